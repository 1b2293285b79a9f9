//! Every flag of LLMServingSim: followed or refused, never unknown.

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::{Folder, Said};

/// The flags of LLMServingSim 2.0, and the opposites of its switches.
const FLAGS: &[&str] = &[
    "--cluster-config",
    "--dataset",
    "--output",
    "--num-reqs",
    "--dtype",
    "--kv-cache-dtype",
    "--block-size",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--long-prefill-token-threshold",
    "--request-routing-policy",
    "--expert-routing-policy",
    "--enable-block-copy",
    "--no-enable-block-copy",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--enable-prefix-sharing",
    "--prefix-storage",
    "--enable-chunked-prefill",
    "--no-enable-chunked-prefill",
    "--reserve-full-isl",
    "--no-reserve-full-isl",
    "--npu-memory-utilization",
    "--enable-local-offloading",
    "--enable-attn-offloading",
    "--enable-sub-batch-interleaving",
    "--skip-prefill",
    "--log-interval",
    "--log-level",
    "--network-backend",
    "--run-id",
    "--inputs-root",
    "--cleanup-inputs",
    "--no-cleanup-inputs",
];

/// What a flag does to a run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    /// Something else comes out.
    Changes,
    /// It says what is so anyway.
    Keeps,
    /// The command does not run, and says why.
    Refused,
}

use Effect::{Changes, Keeps, Refused};

/// Flags that the others are tried beside: a run in which there is something to change.
const NO_OTHERS: &[&str] = &[];
/// Steps that do not take a whole number of the prompts that wait.
const SMALL_STEPS: &[&str] = &["--dataset", "crowd.jsonl", "--max-num-batched-tokens", "1000"];
/// Room for the KV of a few requests only.
const LITTLE_MEMORY: &[&str] =
    &["--dataset", "crowd.jsonl", "--max-num-batched-tokens", "100", "--npu-memory-utilization", "0.312"];
/// Host memory that keeps prefixes, and prompts that begin alike.
const CPU_PREFIXES: &[&str] = &["--dataset", "alike.jsonl", "--prefix-storage", "CPU"];
/// A dense model whose hosts' memory computes.
const PIM: &[&str] = &["--cluster-config", "pim.cluster.json", "--dataset", "crowd.jsonl"];
const PIM_ATTENTION: &[&str] =
    &["--cluster-config", "pim.cluster.json", "--dataset", "crowd.jsonl", "--enable-attn-offloading"];
/// Memory that all nodes share.
const CXL: &[&str] = &["--cluster-config", "cxl.cluster.json", "--dataset", "alike.jsonl"];
/// Experts that differ from block to block.
const RANDOM_EXPERTS: &[&str] = &["--expert-routing-policy", "RAND"];

const ROWS: &[(&[&str], &[&str], Effect)] = &[
    (NO_OTHERS, &["--cluster-config", "files/moe-ep.cluster.json", "--dataset", "files/chat.workload.jsonl"], Changes),
    (NO_OTHERS, &["--dataset", "files/agents.workload.jsonl"], Changes),
    (NO_OTHERS, &["--output", "other.csv"], Changes),
    (NO_OTHERS, &["--num-reqs", "10"], Changes),
    (NO_OTHERS, &["--num-reqs", "0"], Keeps),
    (NO_OTHERS, &["--dtype", "fp8"], Changes),
    (NO_OTHERS, &["--dtype", "float32"], Changes),
    (NO_OTHERS, &["--dtype", "bfloat16"], Keeps),
    (NO_OTHERS, &["--kv-cache-dtype", "fp8"], Changes),
    (NO_OTHERS, &["--kv-cache-dtype", "auto"], Keeps),
    (NO_OTHERS, &["--block-size", "32"], Changes),
    (NO_OTHERS, &["--block-size", "16"], Keeps),
    (NO_OTHERS, &["--max-num-seqs", "2"], Changes),
    (NO_OTHERS, &["--max-num-seqs", "128"], Keeps),
    (&["--max-num-seqs", "2"], &["--max-num-seqs", "0"], Changes),
    (NO_OTHERS, &["--max-num-batched-tokens", "64"], Changes),
    (NO_OTHERS, &["--max-num-batched-tokens", "2048"], Keeps),
    (NO_OTHERS, &["--long-prefill-token-threshold", "50"], Changes),
    (NO_OTHERS, &["--long-prefill-token-threshold", "0"], Keeps),
    (NO_OTHERS, &["--request-routing-policy", "RR"], Changes),
    (NO_OTHERS, &["--request-routing-policy", "RAND"], Changes),
    (NO_OTHERS, &["--request-routing-policy", "LOAD"], Keeps),
    (NO_OTHERS, &["--request-routing-policy", "CUSTOM"], Refused),
    (NO_OTHERS, &["--expert-routing-policy", "RR"], Changes),
    (NO_OTHERS, &["--expert-routing-policy", "RAND"], Changes),
    (NO_OTHERS, &["--expert-routing-policy", "BALANCED"], Keeps),
    (NO_OTHERS, &["--expert-routing-policy", "COPY"], Keeps),
    (NO_OTHERS, &["--expert-routing-policy", "CUSTOM"], Refused),
    (RANDOM_EXPERTS, &["--enable-block-copy"], Keeps),
    (RANDOM_EXPERTS, &["--no-enable-block-copy"], Changes),
    (NO_OTHERS, &["--no-enable-block-copy"], Keeps),
    (NO_OTHERS, &["--enable-prefix-caching"], Keeps),
    (NO_OTHERS, &["--no-enable-prefix-caching"], Changes),
    (NO_OTHERS, &["--enable-prefix-sharing"], Changes),
    (CPU_PREFIXES, &["--enable-prefix-sharing"], Changes),
    (NO_OTHERS, &["--prefix-storage", "None"], Keeps),
    (CXL, &["--prefix-storage", "CXL"], Changes),
    (NO_OTHERS, &["--prefix-storage", "CPU"], Changes),
    (NO_OTHERS, &["--prefix-storage", "CXL"], Refused),
    (SMALL_STEPS, &["--enable-chunked-prefill"], Keeps),
    (SMALL_STEPS, &["--no-enable-chunked-prefill"], Changes),
    (LITTLE_MEMORY, &["--reserve-full-isl"], Keeps),
    (LITTLE_MEMORY, &["--no-reserve-full-isl"], Changes),
    (NO_OTHERS, &["--npu-memory-utilization", "0.5"], Changes),
    (NO_OTHERS, &["--npu-memory-utilization", "0.9"], Keeps),
    (NO_OTHERS, &["--enable-local-offloading"], Changes),
    (NO_OTHERS, &["--enable-attn-offloading"], Refused),
    (NO_OTHERS, &["--enable-sub-batch-interleaving"], Refused),
    (PIM, &["--enable-attn-offloading"], Changes),
    (PIM_ATTENTION, &["--enable-sub-batch-interleaving"], Changes),
    (NO_OTHERS, &["--skip-prefill"], Changes),
    (NO_OTHERS, &["--log-interval", "0.5"], Changes),
    (NO_OTHERS, &["--log-interval", "1.0"], Keeps),
    (NO_OTHERS, &["--log-level", "INFO"], Changes),
    (NO_OTHERS, &["--log-level", "DEBUG"], Changes),
    (NO_OTHERS, &["--log-level", "WARNING"], Keeps),
    (NO_OTHERS, &["--network-backend", "analytical"], Keeps),
    (NO_OTHERS, &["--network-backend", "ns3"], Refused),
    (NO_OTHERS, &["--run-id", "7"], Changes),
    (NO_OTHERS, &["--inputs-root", "files"], Changes),
    (NO_OTHERS, &["--cleanup-inputs"], Changes),
    (NO_OTHERS, &["--no-cleanup-inputs"], Changes),
];

const PIM_CLUSTER: &str = r#"{
    "num_nodes": 1, "link_bw": 16, "link_latency": 20000,
    "nodes": [{
        "num_instances": 1,
        "cpu_mem": {"mem_size": 512, "mem_bw": 256, "mem_latency": 0, "pim_config": "DDR4_8GB_3200_pim"},
        "instances": [{
            "model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTXPRO6000",
            "npu_mem": {"mem_size": 96, "mem_bw": 1597, "mem_latency": 0}, "tp_size": 1
        }]
    }]
}"#;

const CXL_CLUSTER: &str = r#"{
    "num_nodes": 1, "link_bw": 16, "link_latency": 20000,
    "cxl_mem": {"mem_size": 1024, "mem_bw": 60, "mem_latency": 250, "num_devices": 1},
    "nodes": [{
        "num_instances": 1,
        "cpu_mem": {"mem_size": 512, "mem_bw": 256, "mem_latency": 0},
        "instances": [{
            "model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTXPRO6000",
            "npu_mem": {"mem_size": 96, "mem_bw": 1597, "mem_latency": 0}, "tp_size": 1
        }]
    }]
}"#;

#[test]
fn every_flag_is_followed_or_refused() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["examples", "--write", "files"]).code, Some(0));
    folder.write("crowd.jsonl", "{\"input_toks\": 300, \"output_toks\": 40, \"arrival_time_ns\": 0}\n".repeat(16));
    let tokens = vec!["7"; 600].join(",");
    let alike = |second: u64| {
        let arrival_ns = second * 1_000_000_000;
        format!(
            r#"{{"input_toks": 600, "output_toks": 4, "arrival_time_ns": {arrival_ns}, "input_tok_ids": [{tokens}]}}"#
        ) + "\n"
    };
    folder.write("alike.jsonl", (0..4).map(alike).collect::<String>());
    folder.write("pim.cluster.json", PIM_CLUSTER);
    folder.write("cxl.cluster.json", CXL_CLUSTER);
    for (others, flag, expected) in ROWS {
        let base = run(&folder, others);
        assert_eq!(base.0.code, Some(0), "{others:?}: {}", base.0);
        let with_flag = run(&folder, &[others, *flag].concat());
        let effect = match with_flag.0.code {
            Some(0) if with_flag == base => Keeps,
            Some(0) => Changes,
            _ => Refused,
        };
        assert_eq!(effect, *expected, "{flag:?} beside {others:?}: {}", with_flag.0);
        if effect == Refused {
            let stderr = &with_flag.0.stderr;
            assert_eq!(with_flag.0.code, Some(2), "{flag:?}");
            // Either the flag itself is refused, or the cluster lacks something that it needs.
            let place = [flag[0], "moe-dp-ep.cluster.json:"].map(|place| format!("error: {place}"));
            assert!(place.iter().any(|place| stderr.starts_with(place)) && stderr.contains("hint: "), "{stderr}");
        }
    }
    let tried: BTreeSet<&str> = ROWS.iter().map(|(_, flag, _)| flag[0]).collect();
    assert_eq!(tried, FLAGS.iter().copied().collect(), "flags that are not tried, or not listed");
}

/// Everything that comes of the default example with `flags`: what is said, and the result file if there is one.
fn run(folder: &Folder, flags: &[&str]) -> (Said, Option<String>) {
    let results = folder.path("out.csv");
    // A result of the run before would pass for one of this.
    if results.exists() {
        fs::remove_file(&results).expect("it can be removed");
    }
    let said = folder.run(&[&["run", "--output", "out.csv"], flags].concat());
    (said, fs::read_to_string(&results).ok())
}
