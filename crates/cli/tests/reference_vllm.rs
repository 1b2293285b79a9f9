//! `--engine vllm` against recorded runs of vLLM 0.19.0: 300 requests each on real GPUs. The shipped preset is fitted to
//! the last two; docs/validation.md has every number.

#[expect(dead_code, reason = "it writes no files")]
mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::Folder;

/// How far a simulated run is from its recording.
fn compared(reference: &Path, name: &str, workload: &str, arrivals_are_measured: bool) -> Value {
    let dir = reference.join("golden/bench").join(name);
    let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let measured = path(&dir.join("vllm/requests.jsonl"));
    let text = fs::read_to_string(dir.join("vllm/meta.json")).expect("the recording's settings are there");
    let meta: Value = serde_json::from_str(&text).expect("they are JSON");
    let limit = |key: &str| meta["engine_kwargs"][key].to_string();
    let mut flags = vec![
        ("--engine", "vllm".to_owned()),
        ("--cluster-config", path(&dir.join("config.json"))),
        ("--dataset", path(&reference.join("workloads").join(workload))),
        ("--profile-dir", path(&reference.join("profiles"))),
        ("--model-dir", path(&reference.join("models"))),
        ("--dtype", "bfloat16".to_owned()),
        ("--max-num-seqs", limit("max_num_seqs")),
        ("--max-num-batched-tokens", limit("max_num_batched_tokens")),
        ("--output", "run.csv".to_owned()),
    ];
    if arrivals_are_measured {
        flags.push(("--arrivals-from", measured.clone()));
    }
    let folder = Folder::new();
    let flags: Vec<&str> = flags.iter().flat_map(|(flag, value)| [*flag, value]).collect();
    let said = folder.run(&[&["run", "--quiet", "--output-stamps"], &flags[..]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let said = folder.run(&["compare", "run.csv", &measured, "--format", "json"]);
    assert_eq!(said.code, Some(0), "{said}");
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

/// What must hold of a run, in per cent and as distances: its mean error, its largest, the distances of TTFT, TPOT and
/// latency.
#[track_caller]
fn check(name: &str, workload: &str, most_mean: f64, most_single: f64, most_ks: f64) {
    let Some(reference) = testkit::reference_dir() else { return };
    for arrivals_are_measured in [true, false] {
        let comparison = compared(&reference, name, workload, arrivals_are_measured);
        let percent = |value: &Value| value.as_f64().expect("a number") * 100.0;
        let (mean, largest) = (percent(&comparison["mean_error"]), percent(&comparison["largest_error"]["error"]));
        let ks =
            ["ttft_ms", "tpot_ms", "latency_ms"].map(|metric| comparison[metric]["ks"].as_f64().expect("a number"));
        println!("{name}: mean error {mean:.2} %, largest {largest:+.1} %, KS of TTFT, TPOT, latency {ks:.3?}");
        assert!(mean <= most_mean && largest.abs() <= most_single, "{mean} {largest}");
        assert!(ks.iter().all(|&ks| ks <= most_ks), "{ks:?}");
    }
}

const QWEN: &str = "sharegpt-qwen3-30b-a3b-300-sps10.jsonl";
const LLAMA: &str = "sharegpt-llama-3.1-8b-300-sps10.jsonl";

#[test]
fn data_parallel_attention_with_shared_experts() {
    check("RTXPRO6000/Qwen3-30B-A3B-Instruct-2507", QWEN, 1.5, 5.0, 0.08);
}

/// The profile's decode steps of 33 to 64 sequences are too fast here (docs/validation.md).
#[test]
fn a_dense_model() {
    check("RTXPRO6000/Llama-3.1-8B", LLAMA, 2.0, 7.0, 0.105);
}

#[test]
fn a_dense_model_on_two_gpus() {
    check("RTXPRO6000/Qwen3-32B", QWEN, 0.5, 1.0, 0.055);
}

#[test]
fn a_dense_model_short_of_memory() {
    check("RTX4090/Llama-3.1-8B", LLAMA, 1.0, 2.0, 0.095);
}
