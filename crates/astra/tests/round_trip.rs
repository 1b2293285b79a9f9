//! What is written reads back to the same, and no text makes the reader panic.

mod common;

use std::sync::Arc;

use astra::{Options, PimChannels, Setup, Texts};
use common::{MEMORY, NETWORK, SYSTEM, read, texts};
use network::{
    Algorithm, Algorithms, Block, CollectiveKind, Dimension, Fabric, Measured, Memory, MemoryDevices, MemorySpeed,
    NetworkModel, Optimization, System, Topology,
};
use proptest::prelude::*;

fn options() -> impl Strategy<Value = Options> {
    (prop::sample::select(NetworkModel::ALL.to_vec()), 1..5u32, any::<bool>()).prop_map(
        |(network_model, queues_per_dim, has_rendezvous)| Options {
            network_model,
            injection_scale: 1.0,
            queues_per_dim,
            has_rendezvous,
        },
    )
}

fn topologies() -> impl Strategy<Value = Topology> {
    let bandwidth = prop_oneof![1e-3..1e9, (1..1000u32).prop_map(f64::from)];
    let latency = prop_oneof![Just(0.0), 1e-9..1e-3, 0.0..1e12];
    let dim = (prop::sample::select(Block::ALL.to_vec()), 1..=8u32, bandwidth, latency).prop_map(
        |(block, npus, bandwidth_gib_per_s, latency_ns)| Dimension { block, npus, bandwidth_gib_per_s, latency_ns },
    );
    prop::collection::vec(dim, 1..=6).prop_map(Topology::new)
}

fn algorithms(num_dims: usize) -> impl Strategy<Value = Algorithms> {
    let algorithm = prop_oneof![
        Just(Algorithm::Ring),
        prop::option::of(1..u32::MAX).prop_map(|window| Algorithm::Direct { window }),
        Just(Algorithm::HalvingDoubling),
        Just(Algorithm::DoubleBinaryTree),
    ];
    prop::array::uniform4(prop::collection::vec(algorithm, num_dims)).prop_map(|by_kind| {
        let mut algorithms = Algorithms::default();
        CollectiveKind::ALL.into_iter().zip(by_kind).for_each(|(kind, by_dim)| algorithms.set(kind, by_dim));
        algorithms
    })
}

fn devices() -> impl Strategy<Value = (MemoryDevices, u32)> {
    (0..=1_000_000u64, 1..=1_000_000u64, 1..100u32, 0..20u32, any::<bool>()).prop_map(
        |(latency_ns, bandwidth, num_devices, pim_channels, is_private)| {
            let devices = MemoryDevices::new(latency_ns as f64, bandwidth as f64, num_devices);
            if is_private { (devices.private(), 0) } else { (devices, pim_channels) }
        },
    )
}

fn memories() -> impl Strategy<Value = (Memory, PimChannels)> {
    let npu = (0..1000u32, 1..10_000u32).prop_map(|(ns, speed)| MemorySpeed::new(f64::from(ns), f64::from(speed)));
    (prop::option::of(devices()), prop::option::of(devices()), prop::option::of(npu)).prop_map(|(host, pool, npu)| {
        let channels = |devices: Option<(MemoryDevices, u32)>| devices.map_or(0, |(_, pim_channels)| pim_channels);
        let pim_channels = PimChannels { host: channels(host), pool: channels(pool) };
        let host = host.map_or(MemoryDevices::new(0.0, 1.0, 0), |(devices, _)| devices);
        (Memory { host, pool: pool.map(|(devices, _)| devices), npu }, pim_channels)
    })
}

prop_compose! {
    fn setups()(topology in topologies(), options in options())(
        algorithms in algorithms(topology.dims().len()),
        topology in Just(topology),
        options in Just(options),
        numbers in (0..=1_000_000_000u64, 1e-3..1e9, 1..=1_048_576u64, 1..=1_048_576u32),
        is_baseline in any::<bool>(),
        (memory, pim_channels) in memories(),
        peak_tflops in prop::option::of(1e-3..1e6),
    ) -> (Setup, Options) {
        let (endpoint_delay_ns, local_memory_gb_per_s, num_chunks, active_chunks_per_dim) = numbers;
        let system = System {
            endpoint_delay_ns,
            local_memory_gb_per_s,
            algorithms,
            optimization: if is_baseline { Optimization::Baseline } else { Optimization::LocalBandwidthAware },
            num_chunks,
            active_chunks_per_dim,
            queues_per_dim: options.queues_per_dim,
            has_rendezvous: options.has_rendezvous,
            network_model: options.network_model,
            measured: None,
        };
        (Setup { fabric: Fabric { topology, system, memory }, pim_channels, peak_tflops }, options)
    }
}

/// Characters that mean something in one of the formats, and some that don't.
fn junk() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "-",
        "?",
        "#",
        "&a",
        "*a",
        "!",
        "|",
        ">",
        "\n",
        " ",
        "\t",
        "\0",
        "é",
        "0",
        "1e999",
        "-1",
        "null",
        "topology",
        "memory-type",
        "local_mem",
        "'",
        "%",
        "---",
        "...",
        "@",
        "`",
        "\\",
        "<<",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn setups_read_back((setup, options) in setups()) {
        let texts = Texts::of(&setup).unwrap();
        let loaded = texts.read(&options);
        let mut dims = setup.fabric.topology.dims().iter();
        if options.network_model == NetworkModel::Aware && dims.any(|dim| dim.block == Block::Ring && dim.npus == 2) {
            prop_assert!(loaded.is_err(), "shared links in a ring of two");
            return Ok(());
        }
        let loaded = loaded.unwrap();
        prop_assert_eq!(&loaded.setup, &setup, "{:#?}", &texts);
        prop_assert_eq!(&loaded.notes, &["system.json: `scheduling-policy` changes nothing"]);
        prop_assert_eq!(Texts::of(&loaded.setup).unwrap(), texts);
    }

    #[test]
    fn no_text_is_too_odd(network in junk(), system in junk(), memory in junk()) {
        let _ = read(&network, SYSTEM, MEMORY);
        let _ = read(NETWORK, &system, MEMORY);
        let _ = read(NETWORK, SYSTEM, &memory);
        let _ = read(&network, &system, &memory);
    }

    #[test]
    fn no_change_is_too_odd(at in any::<prop::sample::Index>(), junk in junk(), file in 0..3usize) {
        let mut files = [NETWORK, SYSTEM, MEMORY].map(str::to_owned);
        let at = at.index(files[file].len());
        files[file].insert_str(at, &junk);
        let _ = read(&files[0], &files[1], &files[2]);
    }
}

#[test]
fn truncations_are_faults() {
    for text in [NETWORK, SYSTEM, MEMORY] {
        for end in 0..text.trim_end().len() {
            let cut = |file: &'static str| if file == text { &file[..end] } else { file };
            let result = read(cut(NETWORK), cut(SYSTEM), cut(MEMORY));
            // A network is whole once its last list is.
            assert!(
                result.is_err() || text[end..].starts_with("  #") || text[..end].contains("2e3 ]"),
                "{end} of {text}"
            );
        }
    }
}

#[test]
fn deep_nesting_is_a_fault() {
    for opening in ["[", "{", "- ", "? ", "a: [", "{\"a\":", "[\n#[\n"] {
        for depth in [100, 1_000, 100_000] {
            let text = opening.repeat(depth);
            let broken = |network, system, memory| read(network, system, memory).unwrap_err();
            broken(&text, SYSTEM, MEMORY);
            broken(NETWORK, &text, MEMORY);
            broken(NETWORK, SYSTEM, &text);
        }
    }
}

#[test]
fn what_cant_be_written() {
    let sound = read(NETWORK, SYSTEM, MEMORY).unwrap().setup;
    let check = |change: &dyn Fn(&mut Setup), expected: &str| {
        let mut setup = sound.clone();
        change(&mut setup);
        assert_eq!(Texts::of(&setup).unwrap_err().to_string(), expected);
    };
    check(
        &|setup| setup.fabric.system.measured = Some(Arc::new(Measured::default())),
        "error: system.json: there is no place in this file for measured times of collectives",
    );
    check(
        &|setup| setup.fabric.topology = Topology::new(vec![Dimension::fully_connected(2, 1e10, 0.0); 2]),
        "error: network.yml:3:13 at $.bandwidth[0]: expected a number from 0.001 to 1000000000, found 10000000000.0\n\
         error: network.yml:3:28 at $.bandwidth[1]: expected a number from 0.001 to 1000000000, found 10000000000.0",
    );
}

#[test]
fn rings_that_are_not_listed() {
    let mut setup = read(NETWORK, SYSTEM, MEMORY).unwrap().setup;
    setup.fabric.system.algorithms = Algorithms::default();
    let texts = Texts::of(&setup).unwrap();
    assert_eq!(texts.system_json.matches("[\"ring\", \"ring\"]").count(), 4);
}

#[test]
fn texts_to_the_letter() {
    let system = r#"{"local-mem-bw": 768, "roofline-enabled": 1, "peak-perf": 0.1}"#;
    let setup = read(NETWORK, system, MEMORY).unwrap().setup;
    let network_yml = "\
topology: [Ring, Switch]
npus_count: [8, 2]
bandwidth: [50.0, 25.0]  # GiB/s
latency: [500.0, 2000.0]  # ns
";
    let system_json = r#"{
  "scheduling-policy": "LIFO",
  "endpoint-delay": 10,
  "active-chunks-per-dimension": 1,
  "preferred-dataset-splits": 1,
  "all-reduce-implementation": ["ring", "ring"],
  "all-gather-implementation": ["ring", "ring"],
  "reduce-scatter-implementation": ["ring", "ring"],
  "all-to-all-implementation": ["ring", "ring"],
  "collective-optimization": "localBWAware",
  "local-mem-bw": 768.0,
  "roofline-enabled": 1,
  "peak-perf": 0.1
}
"#;
    let memory_json = r#"{
  "local_mem": {
    "memory-type": "PER_NPU_MEMORY_EXPANSION",
    "mem-latency": 30,
    "mem-bw": 936
  },
  "remote_mem": {
    "memory-type": "PER_NODE_MEMORY_EXPANSION",
    "mem-latency": 120,
    "mem-bw": 256,
    "num-devices": 2,
    "pim-channels": 4
  },
  "cxl_mem": {
    "memory-type": "MEMORY_POOL",
    "mem-latency": 250,
    "mem-bw": 60,
    "num-devices": 4
  }
}
"#;
    assert_eq!(Texts::of(&setup).unwrap(), texts(network_yml, system_json, memory_json));
    let memory_json = "{\n  \"memory-type\": \"NO_MEMORY_EXPANSION\"\n}\n";
    assert_eq!(Texts::of(&read(NETWORK, SYSTEM, "{}").unwrap().setup).unwrap().memory_json, memory_json);
}
