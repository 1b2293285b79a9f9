//! Texts of the shape that ASTRA-Sim's own inputs have.

use astra::{Loaded, Options, Texts};
use diagnostics::Faults;

pub(crate) const NETWORK: &str = "\
topology: [ Ring, Switch ]
npus_count: [ 8, 2 ]
bandwidth: [ 50.0, 25 ]  # GB/s
latency: [ 500.0, 2e3 ]  # ns
";

pub(crate) const SYSTEM: &str = r#"{
    "endpoint-delay": 10,
    "active-chunks-per-dimension": 2,
    "preferred-dataset-splits": 4,
    "all-reduce-implementation": ["ring", "direct4"],
    "all-gather-implementation": ["direct", "halvingDoubling"],
    "reduce-scatter-implementation": ["ring", "doubleBinaryTree"],
    "all-to-all-implementation": ["ring", "ring"],
    "collective-optimization": "baseline",
    "local-mem-bw": 1600.5
}"#;

pub(crate) const MEMORY: &str = r#"{
    "local_mem": {"memory-type": "PER_NPU_MEMORY_EXPANSION", "mem-latency": 30, "mem-bw": 936},
    "remote_mem": {
        "memory-type": "PER_NODE_MEMORY_EXPANSION",
        "mem-latency": 120.9,
        "mem-bw": 256.5,
        "num-devices": 2,
        "pim-channels": 4.0
    },
    "cxl_mem": {"memory-type": "MEMORY_POOL", "mem-latency": 250, "mem-bw": 60, "num-devices": 4}
}"#;

pub(crate) fn texts(network: &str, system: &str, memory: &str) -> Texts {
    Texts { network_yml: network.to_owned(), system_json: system.to_owned(), memory_json: memory.to_owned() }
}

#[allow(dead_code, reason = "not in every test")]
pub(crate) fn read(network: &str, system: &str, memory: &str) -> Result<Loaded, Faults> {
    texts(network, system, memory).read(&Options::default())
}

/// `text` with `from`, which must be there, replaced by `to`.
#[allow(dead_code, reason = "not in every test")]
#[track_caller]
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?}");
    text.replacen(from, to, 1)
}
