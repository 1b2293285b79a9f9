//! Runs that follow recordings: of the experts that tokens chose, and of the instances that requests went to.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::Folder;

/// A mixture-of-experts model of the shape of the documentation's recordings: 4 blocks of 8 experts, 2 a token.
const MODEL: &str = r#"{
  "model_type": "mixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 4,
  "num_attention_heads": 8, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
  "vocab_size": 32000, "max_position_embeddings": 4096, "torch_dtype": "bfloat16"
}"#;

/// Two instances of it, each with its experts on 2 NPUs.
fn cluster() -> String {
    let instance = r#"{"model_name": "tiny", "hardware": "RTXPRO6000", "tp_size": 2, "ep_size": 2,
         "npu_mem": {"mem_size": 8, "mem_bw": 1597, "mem_latency": 0}}"#;
    format!(
        r#"{{"num_nodes": 1, "link_bw": 16, "link_latency": 1000, "nodes": [{{"num_instances": 2,
        "cpu_mem": {{"mem_size": 512, "mem_bw": 256, "mem_latency": 0}}, "instances": [{instance}, {instance}]}}]}}"#
    )
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("models/tiny.json", MODEL);
    folder.write("cluster.json", cluster());
    let request = r#"{"input_toks": 100, "output_toks": 5, "arrival_time_ns": 0}"#;
    folder.write("workload.jsonl", [request; 4].join("\n"));
    for name in ["expert-shares.csv", "expert-choices.jsonl", "request-routes.csv"] {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name);
        folder.write(name, fs::read(sample).expect("the documentation has a sample"));
    }
    folder
}

/// What comes of a run with `flags`: its code, what it says is wrong, and its results.
fn run(folder: &Folder, flags: &[&str]) -> (Option<i32>, String, String) {
    let output: PathBuf = folder.path("out.csv");
    let inputs = ["run", "--cluster-config", "cluster.json", "--dataset", "workload.jsonl", "--model-dir", "models"];
    let said = folder.run(&[&inputs[..], &["--output", "out.csv", "--quiet"], flags].concat());
    (said.code, said.stderr, fs::read_to_string(output).unwrap_or_default())
}

#[test]
fn experts_are_those_that_were_recorded() {
    let folder = folder();
    let balanced = run(&folder, &[]);
    assert_eq!(balanced.0, Some(0), "{}", balanced.1);
    for name in ["expert-shares.csv", "expert-choices.jsonl"] {
        let recorded = run(&folder, &["--expert-routing-file", name]);
        assert_eq!(recorded.0, Some(0), "{}", recorded.1);
        assert_eq!(recorded, run(&folder, &["--expert-routing-policy", "CUSTOM", "--expert-routing-file", name]));
        assert_ne!(recorded.2, balanced.2, "{name}");
    }
}

#[test]
fn requests_go_where_they_went() {
    let folder = folder();
    let (code, stderr, rows) = run(&folder, &["--request-routing-file", "request-routes.csv"]);
    assert_eq!(code, Some(0), "{stderr}");
    let mut routes: Vec<(&str, &str)> = rows.lines().skip(1).filter_map(|row| row.split_once(',')).collect();
    routes.iter_mut().for_each(|(_, rest)| *rest = rest.split(',').next().expect("a request"));
    routes.sort_by_key(|(_, request)| *request);
    assert_eq!(routes, [("1", "0"), ("1", "1"), ("0", "2"), ("1", "3")]);
}

#[test]
fn recordings_that_do_not_fit_are_told() {
    let folder = folder();
    let mut shown = String::new();
    let mut check = |what: &str, flag: &str, contents: Option<&str>| {
        contents.into_iter().for_each(|contents| folder.write("recording", contents));
        let (code, stderr, rows) = run(&folder, &[flag, if contents.is_some() { "recording" } else { "missing" }]);
        assert_eq!((code, rows.as_str()), (Some(2), ""), "{what}: {stderr}");
        shown += &format!("# {what}\n{stderr}\n");
    };
    check("no routes", "--request-routing-file", None);
    check("an empty file of routes", "--request-routing-file", Some(""));
    check("routes that are none", "--request-routing-file", Some("request,instance\n0,a\n1\n2,0\n2,1\n"));
    check("routes to nowhere", "--request-routing-file", Some("request,instance\n0,0\n1,2\n3,1\n"));
    check("no experts", "--expert-routing-file", None);
    check("shares of a missing expert", "--expert-routing-file", Some("layer,expert,share\n0,8,1\n0,0,1\n"));
    check("shares of one expert", "--expert-routing-file", Some("layer,expert,share\n0,0,1\n"));
    check("a list of three", "--expert-routing-file", Some("{\"layer\": 0, \"experts\": [[0, 1, 2]]}\n"));
    check("a missing layer", "--expert-routing-file", Some("{\"layer\": 4, \"experts\": [[0, 1]]}\n"));
    let model = MODEL.replace("mixtral", "llama");
    let model = model.replace(r#""num_local_experts": 8, "num_experts_per_tok": 2,"#, "");
    folder.write("models/tiny.json", model);
    folder.write("cluster.json", cluster().replace("\"ep_size\": 2", "\"ep_size\": 1"));
    check("experts of a dense model", "--expert-routing-file", Some("layer,expert,share\n0,0,1\n0,1,1\n"));
    insta::assert_snapshot!(shown);
}

#[test]
fn a_recording_and_another_policy_are_refused() {
    let folder = folder();
    let requests = ["--request-routing-file", "request-routes.csv"];
    let experts = ["--expert-routing-file", "expert-shares.csv"];
    for (file, flag) in [
        (requests, &["--request-routing-policy", "RR"][..]),
        (experts, &["--expert-routing-policy", "RAND"]),
        (experts, &["--expert-routing-policy", "BALANCED"]),
        (experts, &["--enable-block-copy"]),
        (requests, &["--interval-output", "request-routes.csv"]),
        (experts, &["--interval-output", "expert-shares.csv"]),
    ] {
        let (code, stderr, rows) = run(&folder, &[&file, flag].concat());
        assert_eq!((code, rows.as_str()), (Some(2), ""), "{flag:?}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {}: ", flag[0])), "{stderr}");
    }
}
