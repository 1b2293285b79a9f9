//! What sound files are read as.

mod common;

use std::fs;

use astra::{Files, Options, PimChannels, Roofline};
use common::{MEMORY, NETWORK, SYSTEM, read, replaced, texts};
use network::{
    Algorithm, Algorithms, Block, CollectiveKind, Dimension, Memory, MemoryDevices, MemorySpeed, NetworkModel,
    Optimization, System, Topology,
};

#[test]
fn every_key_that_counts() {
    let loaded = read(NETWORK, SYSTEM, MEMORY).unwrap();
    let fabric = &loaded.setup.fabric;
    let dims = vec![
        Dimension { block: Block::Ring, npus: 8, bandwidth_gib_per_s: 50.0, latency_ns: 500.0 },
        Dimension { block: Block::Switch, npus: 2, bandwidth_gib_per_s: 25.0, latency_ns: 2000.0 },
    ];
    assert_eq!(fabric.topology, Topology::new(dims));
    let (ring, direct) = (Algorithm::Ring, |window| Algorithm::Direct { window });
    let mut algorithms = Algorithms::of_all_kinds(vec![ring, ring]);
    algorithms.set(CollectiveKind::AllReduce, vec![ring, direct(Some(4))]);
    algorithms.set(CollectiveKind::AllGather, vec![direct(None), Algorithm::HalvingDoubling]);
    algorithms.set(CollectiveKind::ReduceScatter, vec![ring, Algorithm::DoubleBinaryTree]);
    let optimization = Optimization::Baseline;
    let system =
        System { algorithms, optimization, num_chunks: 4, active_chunks_per_dim: 2, ..System::new(10, 1600.5) };
    assert_eq!(fabric.system, system);
    let memory = Memory {
        host: MemoryDevices::new(120.0, 256.0, 2),
        pool: Some(MemoryDevices::new(250.0, 60.0, 4)),
        npu: Some(MemorySpeed::new(30.0, 936.0)),
    };
    assert_eq!(fabric.memory, memory);
    assert_eq!(loaded.setup.pim_channels, PimChannels { host: 4, pool: 0 });
    assert_eq!(loaded.setup.roofline(), None);
    assert_eq!(loaded.notes, [] as [&str; 0]);
}

#[test]
fn what_the_command_line_adds() {
    let options =
        Options { network_model: NetworkModel::Aware, injection_scale: 0.35, queues_per_dim: 3, has_rendezvous: true };
    let check = |system: &str, endpoint_delay_ns| {
        let system = texts(NETWORK, system, MEMORY).read(&options).unwrap().setup.fabric.system;
        assert_eq!(system.endpoint_delay_ns, endpoint_delay_ns);
        assert_eq!((system.network_model, system.queues_per_dim), (NetworkModel::Aware, 3));
        assert!(system.has_rendezvous);
    };
    check(SYSTEM, 3); // 3.5
    check(&replaced(SYSTEM, r#""endpoint-delay": 10"#, r#""endpoint-delay": 19.9"#), 6); // 0.35 of 19
    check(&replaced(SYSTEM, r#""endpoint-delay": 10,"#, ""), 10);
}

#[test]
fn what_is_left_out() {
    let network = "topology:\n  - FullyConnected\nnpus_count: [1]\nbandwidth: [112]\nlatency: [0]\n";
    let loaded = read(network, r#"{"local-mem-bw": 768, "endpoint-delay": null}"#, "{}").unwrap();
    let mut system = System::new(10, 768.0);
    system.algorithms = Algorithms::of_all_kinds(vec![Algorithm::Ring]);
    assert_eq!(loaded.setup.fabric.system, system);
    assert_eq!(loaded.setup.fabric.memory, Memory::from(MemoryDevices::new(0.0, 1.0, 0)));
    let notes = [
        "system.json: without `all-reduce-implementation`, `all-gather-implementation`, \
         `reduce-scatter-implementation`, `all-to-all-implementation`, a ring is taken in each dimension",
        "system.json: without `collective-optimization`, `localBWAware` is taken",
    ];
    assert_eq!(loaded.notes, notes);
}

#[test]
fn keys_that_change_nothing() {
    let check = |system: &str, memory: &str, notes: &[&str]| {
        assert_eq!(read(NETWORK, system, memory).unwrap().notes, notes);
    };
    let with = |keys: &str| replaced(SYSTEM, "{", &format!("{{{keys}, "));
    check(
        &with(r#""scheduling-policy": "LIFO", "boost-mode": 0, "L": 1, "o": 0, "g": 0.5, "G": 0"#),
        MEMORY,
        &["system.json: `scheduling-policy`, `boost-mode`, `L`, `o`, `g`, `G` change nothing"],
    );
    check(
        &with(r#""trace-enabled": 1, "local-reduction-delay": 1, "replay-only": 0, "model-shared-bus": 0"#),
        MEMORY,
        &["system.json: `trace-enabled`, `local-reduction-delay` change nothing"],
    );
    check(&with(r#""peak-perf": 100"#), MEMORY, &["system.json: `peak-perf` changes nothing"]);
    check(
        SYSTEM,
        &replaced(MEMORY, r#""num-devices": 2"#, r#""num-nodes": 8, "num-npus-per-node": 8, "memory-location": "x""#),
        &[
            "memory.json: `remote_mem.num-nodes`, `remote_mem.num-npus-per-node`, `remote_mem.memory-location` change nothing",
        ],
    );
    check(
        SYSTEM,
        &replaced(MEMORY, r#""mem-bw": 936"#, r#""mem-bw": 936, "num-devices": 1"#),
        &["memory.json: `local_mem.num-devices` changes nothing"],
    );
}

#[test]
fn a_roofline() {
    let system = replaced(SYSTEM, "{", r#"{"roofline-enabled": 1, "peak-perf": 312.5, "#);
    let setup = read(NETWORK, &system, MEMORY).unwrap().setup;
    assert_eq!(setup.peak_tflops, Some(312.5));
    assert_eq!(setup.roofline(), Some(Roofline { bandwidth_bytes_per_s: 1600.5e9, peak_flop_per_s: 312.5e12 }));
}

#[test]
fn memories() {
    let check = |memory: &str, host: Option<MemoryDevices>, pool: Option<MemoryDevices>, npu: Option<MemorySpeed>| {
        let host = host.unwrap_or(MemoryDevices::new(0.0, 1.0, 0));
        let read = read(NETWORK, SYSTEM, memory).unwrap().setup.fabric.memory;
        assert_eq!(read, Memory { host, pool, npu }, "{memory}");
    };
    let devices = |num_devices| Some(MemoryDevices::new(5.0, 512.0, num_devices));
    let own = devices(1).map(MemoryDevices::private);
    let one = |rest: &str| format!(r#"{{"mem-latency": 5, "mem-bw": 512, {rest}}}"#);
    check(r#"{"memory-type": "NO_MEMORY_EXPANSION"}"#, None, None, None);
    check(r#"{"remote_mem": {"memory-type": "NO_MEMORY_EXPANSION", "mem-bw": 0}, "cxl_mem": null}"#, None, None, None);
    check(&one(r#""memory-type": "PER_NPU_MEMORY_EXPANSION""#), own, None, None);
    check(&one(r#""memory-type": "MEMORY_POOL", "num-devices": 3"#), devices(3), None, None);
    check(&one(r#""memory-type": "MEMORY_POOL", "memory-location": "CXL_MEMORY""#), None, devices(1), None);
    let local = one(r#""memory-type": "PER_NPU_MEMORY_EXPANSION", "memory-location": "LOCAL_MEMORY""#);
    check(&local, None, None, Some(MemorySpeed::new(5.0, 512.0)));
    let pool = one(r#""memory-type": "PER_NPU_MEMORY_EXPANSION""#);
    check(&format!(r#"{{"cxl_mem": {pool}}}"#), None, own, None);
}

#[test]
fn from_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (network, system) = (path("n.yml", NETWORK), path("s.json", SYSTEM));
    let memory = path("m.json", MEMORY);
    let files = Files { network: &network, system: &system, memory: Some(&memory) };
    assert_eq!(astra::read(&files, &Options::default()), read(NETWORK, SYSTEM, MEMORY));
    let files = Files { memory: None, ..files };
    assert_eq!(astra::read(&files, &Options::default()), read(NETWORK, SYSTEM, "{}"));
    let missing = folder.path().join("missing");
    let files = Files { network: &missing, system: &missing, memory: Some(&missing) };
    let faults = astra::read(&files, &Options::default()).unwrap_err();
    assert!(faults.iter().all(|fault| fault.message == "no such file") && faults.iter().count() == 3, "{faults}");
}
