//! `servingsim compare`: what it prints, and what it refuses.

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Folder, Said};

/// Three requests, in nanoseconds.
const RESULT: &str = "\
instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL,queued,first_scheduled,first_token
0,0,m,100,3,0,900000000,900000000,0,500000000,200000000,\"[150000000, 250000000]\",0,100000000,500000000
0,1,m,200,1,1000000000,1400000000,400000000,0,400000000,0,[],1000000000,1000000000,1400000000
0,2,m,300,2,1500000000,3000000000,1500000000,0,1000000000,500000000,[500000000],1500000000,2000000000,2500000000
";

/// The same three on a server, which began to answer after half a minute.
const RECORDING: &str = r#"{"request_id": "bench-2", "input_toks": 300, "output_toks": 2, "arrival_time": 1700000001.5, "queued_ts": 31.5, "scheduled_ts": 31.75, "first_token_ts": 32.75, "last_token_ts": 33.5}
{"request_id": "bench-0", "input_toks": 100, "output_toks": 3, "arrival_time": 1700000000, "queued_ts": 30, "scheduled_ts": 30, "first_token_ts": 30.4, "last_token_ts": 31}
{"request_id": "bench-1", "input_toks": 200, "output_toks": 1, "arrival_time": 1700000001.125, "queued_ts": 31, "scheduled_ts": 31, "first_token_ts": 31.5, "last_token_ts": 31.5}
"#;

/// Two of the three, as a benchmark client had them.
const CLIENT: &str = r#"{"input_lens": [100, 200], "output_lens": [3, 1], "ttfts": [0.5, 0.6], "itls": [[0.1, 0.1], []], "errors": ["", ""]}"#;

const MEASURED: &str = "request_id,output_tokens,ttft_ms,latency_ms\n0,3,400,1000\n1,1,500,500\n2,2,1250,2000\n";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("result.csv", RESULT);
    folder.write("requests.jsonl", RECORDING);
    folder.write("measured.csv", MEASURED);
    folder
}

fn compare(folder: &Folder, args: &[&str]) -> Said {
    folder.run(&[&["compare"], args].concat())
}

#[test]
fn a_result_and_a_recording() {
    let folder = folder();
    insta::assert_snapshot!("text", compare(&folder, &["result.csv", "requests.jsonl"]));
    insta::assert_snapshot!("json", compare(&folder, &["result.csv", "requests.jsonl", "--format", "json"]));
}

#[test]
fn what_is_not_known_is_left_out() {
    let folder = folder();
    insta::assert_snapshot!("plain", compare(&folder, &["result.csv", "measured.csv"]));
    folder.write("other.csv", MEASURED.replace("\n0,", "\nx,").replace("\n1,", "\ny,").replace("\n2,", "\nz,"));
    let said = compare(&folder, &["result.csv", "other.csv", "--format", "json"]);
    let json: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert!(json["requests"].is_null() && json["running"].is_null() && json["itl_ms"].is_null(), "{said}");
    assert!(said.stderr.contains("note: ids do not match"), "{said}");
}

#[test]
fn a_run_is_like_itself() {
    let folder = Folder::new();
    let said = folder.run(&["run", "--quiet", "--engine", "vllm", "--output", "a.csv", "--output-stamps"]);
    assert_eq!(said.code, Some(0), "{said}");
    let said = compare(&folder, &["a.csv", "a.csv", "--format", "json", "--to", "delivered"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    let json: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(json["mean_error"], 0.0);
    assert_eq!(json["a"]["from"], "queued");
    for metric in ["ttft_ms", "tpot_ms", "latency_ms", "itl_ms", "prefill_ms"] {
        assert_eq!(json[metric]["ks"], 0.0, "{metric}");
        assert!(json[metric]["a"]["mean"].as_f64().expect("a number") > 0.0, "{metric}");
    }
    for series in ["output_tokens_per_s", "running", "waiting"] {
        assert_eq!(json[series]["mean_absolute_difference"], 0.0, "{series}");
    }
    assert_eq!(json["requests"]["matched_by"], "id");
    assert_eq!(json["requests"]["arrival_drift_ms"]["max"], 0.0);
}

/// The run of the samples, simulated: request 2 failed on the server.
const SIMULATED: &str = "\
instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL,first_delivered
0,0,m,100,4,0,99000000,99000000,0,55000000,14666666,\"[11000000, 22000000, 11000000]\",55000000
0,1,m,200,2,500000000,620000000,120000000,0,100000000,20000000,[20000000],600000000
0,2,m,300,1,625000000,650000000,25000000,0,25000000,0,[],650000000
0,3,m,400,1,1000000000,1030000000,30000000,0,30000000,0,[],1030000000
";

#[test]
fn benchmark_clients() {
    let folder = Folder::new();
    folder.write("result.csv", SIMULATED);
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compare/tests/samples");
    for name in ["vllm-detailed.json", "vllm-summary.json", "sglang-two-runs.jsonl"] {
        folder.write(name, std::fs::read(samples.join(name)).expect("the sample is there"));
    }
    insta::assert_snapshot!("client", compare(&folder, &["result.csv", "vllm-detailed.json"]));
    insta::assert_snapshot!("client_sums", compare(&folder, &["result.csv", "vllm-summary.json"]));
    insta::assert_snapshot!(
        "client_sums_json",
        compare(&folder, &["result.csv", "sglang-two-runs.jsonl#1", "--format", "json"])
    );
    insta::assert_snapshot!("client_several_runs", compare(&folder, &["result.csv", "sglang-two-runs.jsonl"]));
}

#[test]
fn what_cannot_be_compared() {
    let folder = folder();
    folder.write("empty.csv", "");
    folder.write("header.csv", RESULT.lines().next().expect("a header"));
    folder.write("number.csv", RESULT.replace("200000000,\"", "soon,\"").replace(",400000000,0,[]", ",0.4,0,[]"));
    folder.write("columns.csv", "request_id,output_tokens,ttft_ms\n0,1,5\n");
    folder.write("cut.jsonl", &RECORDING[..300]);
    let mut shown = String::new();
    let mut check = |what: &str, args: &[&str]| {
        let said = compare(&folder, args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{what}: {said}");
        assert!(said.stderr.starts_with("error: ") && !said.stderr.contains("panicked"), "{what}: {said}");
        shown += &format!("# {what}\n{}\n", said.stderr);
    };
    check("no such file", &["result.csv", "nowhere.csv"]);
    check("both are faulty", &["empty.csv", "columns.csv"]);
    check("no requests", &["result.csv", "header.csv"]);
    check("a bad number", &["number.csv", "result.csv"]);
    check("cut off", &["result.csv", "cut.jsonl"]);
    check("no arrivals on the server's clock", &["result.csv", "requests.jsonl", "--from", "arrival"]);
    check("no queue", &["result.csv", "measured.csv", "--from", "queued"]);
    check("no deliveries", &["result.csv", "requests.jsonl", "--to", "delivered"]);
    folder.write("requests.json", CLIENT);
    check("computed at a client", &["result.csv", "requests.json", "--to", "computed"]);
    check("too many windows", &["result.csv", "result.csv", "--window", "0.000001"]);
    check("no window", &["result.csv", "result.csv", "--window", "0"]);
    insta::assert_snapshot!(shown);
}
