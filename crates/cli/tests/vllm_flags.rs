//! Flags of vLLM's engine: each does something.

mod support;

use std::fs;

use support::Folder;

/// The results and the summary of the DP+EP example.
fn run(folder: &Folder, flags: &[&str]) -> (String, String) {
    let args = ["run", "--quiet", "--format", "json", "--engine", "vllm", "--output", "out.csv", "--output-stamps"];
    let said = folder.run(&[&args[..], flags].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    (fs::read_to_string(folder.path("out.csv")).expect("results"), said.stdout)
}

#[test]
fn each_flag_does_something() {
    let folder = Folder::new();
    folder.write("slow.json", r#"{"name": "slow", "host_us": {"frontend_request": 900, "frontend_token": 20}}"#);
    let (rows, summary) = run(&folder, &[]);
    assert!(summary.contains(r#""preset": "vllm-0.19""#), "{summary}");
    for flags in [
        &["--no-async-scheduling"][..],
        &["--preset", "none"],
        &["--preset", "slow.json"],
        &["--cudagraph-capture-sizes", "1,2"],
        &["--enforce-eager"],
        &["--warm-up", "60"],
        &["--expert-routing-policy", "BALANCED"],
        &["--without", "varlen-attention"],
        &["--without", "graph-padding"],
        &["--without", "group-experts"],
        &["--without", "published-loads"],
    ] {
        assert_ne!(run(&folder, flags).0, rows, "{flags:?}");
    }
    // The tail of dummies shows in what the group did, not in what requests saw.
    let (without, of_group) = run(&folder, &["--without", "waves"]);
    assert_eq!(without, rows);
    let dummies = |summary: &str| {
        let summary: serde_json::Value = serde_json::from_str(summary).expect("JSON");
        (summary["dummy_steps"].as_u64().expect("a number"), summary["waves"].as_u64().expect("a number"))
    };
    let ((with_tail, waves), (no_tail, _)) = (dummies(&summary), dummies(&of_group));
    assert!(with_tail > no_tail && waves % 32 == 0, "{with_tail} {no_tail} {waves}");
    // Summaries say how engines stepped.
    let (_, summary) = run(&folder, &["--preset", "slow.json", "--no-async-scheduling", "--warm-up", "60"]);
    for expected in [r#""preset": "slow""#, r#""async_scheduling": false"#, r#""warm_up_ms": 60.0"#] {
        assert!(summary.contains(expected), "{summary}");
    }
    let said = folder.run(&["run", "--engine", "vllm", "--warm-up", "60", "--no-async-scheduling"]);
    assert!(said.stdout.contains("vllm, preset vllm-0.19, one batch in flight, warm-up 60.0 ms"), "{said}");
}

#[test]
fn arrivals_are_those_that_were_measured() {
    let folder = Folder::new();
    let workload = |times: [u64; 3]| {
        let line = |time| format!(r#"{{"input_toks": 100, "output_toks": 5, "arrival_time_ns": {time}}}"#);
        times.map(line).join("\n")
    };
    folder.write("planned.jsonl", workload([1_000, 2_000_000, 900_000_000]));
    folder.write("late.jsonl", workload([1_000, 700_001_000, 500_001_000]));
    folder.write(
        "measured.csv",
        "request_id,output_tokens,arrival_s,first_token_s,last_token_s\nr-2,5,5.5,6,7\nr-1,5,5.7,6,7\nr-0,5,5,6,7\n",
    );
    let examples = folder.run(&["examples", "--write", "files"]);
    assert_eq!(examples.code, Some(0), "{examples}");
    let run = |flags: &[&str]| {
        let args = ["run", "--quiet", "--cluster-config", "files/dense.cluster.json", "--output", "out.csv"];
        let said = folder.run(&[&args[..], flags].concat());
        (said.code, said.stderr, fs::read_to_string(folder.path("out.csv")).unwrap_or_default())
    };
    let replayed = run(&["--dataset", "planned.jsonl", "--arrivals-from", "measured.csv"]);
    assert_eq!(replayed.0, Some(0), "{}", replayed.1);
    assert_eq!(replayed, run(&["--dataset", "late.jsonl"]));

    folder.write("times.csv", "request_id,output_tokens,ttft_ms,latency_ms\nr-0,5,6,7\nr-1,5,6,7\nr-2,5,6,7\n");
    folder
        .write("two.csv", "request_id,output_tokens,arrival_s,first_token_s,last_token_s\nr-1,5,5,6,7\nr-0,5,5,6,7\n");
    let agents = "files/agents.workload.jsonl";
    for (file, workload, expected) in [
        ("missing.csv", "planned.jsonl", "missing.csv"),
        ("times.csv", "planned.jsonl", "does not tell when requests arrived"),
        ("two.csv", "planned.jsonl", "has 2 requests, and the workload 3"),
        ("measured.csv", agents, "the workload has sessions"),
    ] {
        let (code, stderr, _) = run(&["--dataset", workload, "--arrivals-from", file]);
        assert!(code == Some(2) && stderr.contains(expected), "{expected}: {stderr}");
    }
}
