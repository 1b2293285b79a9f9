//! Whole runs with the analytic latency model against the same runs with measured latency.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::Folder;

/// Largest deviation of the mean request latency.
const TOLERANCE: f64 = 0.10;

/// Runs with a workload of conversations, under the batch limits of the engine that they were also measured with.
const RUNS: [(&str, &str); 4] = [
    ("RTXPRO6000/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl"),
    ("RTXPRO6000/Qwen3-32B", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl"),
    ("RTXPRO6000/Qwen3-30B-A3B-Instruct-2507", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl"),
    ("RTX4090/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl"),
];

#[test]
fn analytic_runs_are_near_measured_ones() {
    let Some(reference) = testkit::reference_dir() else { return };
    let mut worst: f64 = 0.0;
    for (name, workload) in RUNS {
        let [measured, analytic] = ["profile", "analytic"].map(|source| means(&reference, name, workload, source));
        let deviation = |at: usize| analytic[at] / measured[at] - 1.0;
        let [latency, ttft, tpot] = [0, 1, 2].map(|at| 100.0 * deviation(at));
        println!("{name:<40} mean latency {latency:+.1} %, TTFT {ttft:+.1} %, TPOT {tpot:+.1} %");
        worst = worst.max(deviation(0).abs());
    }
    println!("worst mean latency: {:.1} % off", worst * 100.0);
    assert!(worst <= TOLERANCE, "the mean latency is {:.1} % off", worst * 100.0);
}

/// Means over all requests of latency, TTFT and TPOT in ms.
fn means(reference: &Path, run: &str, workload: &str, latency_source: &str) -> [f64; 3] {
    let dir = reference.join("golden/bench").join(run);
    let meta = fs::read_to_string(dir.join("vllm/meta.json")).expect("the recording's settings are there");
    let meta: Value = serde_json::from_str(&meta).expect("they are JSON");
    let limit = |key: &str| meta["engine_kwargs"][key].to_string();
    let folder = Folder::new();
    folder.write("cluster.json", fs::read(dir.join("config.json")).expect("the cluster is there"));
    folder
        .write("workload.jsonl", fs::read(reference.join("workloads").join(workload)).expect("the workload is there"));
    let said = folder.run(&[
        "run",
        "--quiet",
        "--format",
        "json",
        "--polling",
        "exact",
        "--latency-source",
        latency_source,
        "--cluster-config",
        "cluster.json",
        "--dataset",
        "workload.jsonl",
        "--max-num-seqs",
        &limit("max_num_seqs"),
        "--max-num-batched-tokens",
        &limit("max_num_batched_tokens"),
        "--profile-dir",
        reference.join("profiles").to_str().expect("a path in UTF-8"),
    ]);
    assert_eq!(said.code, Some(0), "{run}: {said}");
    let summary: Value = serde_json::from_str(&said.stdout).expect("the summary is JSON");
    ["latency_ms", "ttft_ms", "tpot_ms"].map(|key| summary[key]["mean"].as_f64().expect("a mean"))
}
