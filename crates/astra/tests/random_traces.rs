//! Random sets of traces, from their bytes to the end of their replay: nothing panics, nothing hangs, and what comes out
//! is no less than what must be.

use std::path::Path;

use astra::{Options, PimChannels, Setup, Texts};
use chakra::{
    Collective, CollectiveType, File, MemoryKind, Message, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode,
};
use network::{
    Algorithm, Algorithms, Block, Dimension, Fabric, Memory, MemoryDevices, MemorySpeed, NetworkModel, Optimization,
    Outcome, System, Topology, replay,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What a node may be, with NPUs and devices drawn from all that are there, and now and then from more.
#[derive(Clone, Debug)]
enum Draft {
    Nothing,
    Compute {
        time_ns: u64,
        num_ops: u64,
        tensor_bytes: u64,
        on_host: bool,
    },
    Access {
        bytes: u64,
        location: MemoryKind,
        device: u32,
        is_store: bool,
    },
    Pim {
        bytes: u64,
        location: MemoryKind,
        channel: u32,
        time_ns: u64,
    },
    /// Between the NPU of the file and another one.
    Message {
        other: Index,
        bytes: u64,
        tag: u32,
        is_send: bool,
    },
    Collective {
        kind: CollectiveType,
        bytes: u64,
        involved: Option<Vec<bool>>,
    },
}

#[derive(Clone, Debug)]
struct DraftNode {
    draft: Draft,
    parents: Vec<Index>,
}

fn locations() -> impl Strategy<Value = MemoryKind> {
    prop_oneof![3 => Just(MemoryKind::Npu), 3 => Just(MemoryKind::Host), 1 => Just(MemoryKind::Pool)]
}

fn drafts() -> impl Strategy<Value = Draft> {
    use CollectiveType::{AllGather, AllReduce, AllToAll, Broadcast, ReduceScatter};
    let bytes = || prop_oneof![0..64u64, 0..5_000_000u64];
    let compute = (0..50_000u64, prop_oneof![Just(0), 0..1u64 << 30], bytes(), prop::bool::weighted(0.1)).prop_map(
        |(time_ns, num_ops, tensor_bytes, on_host)| Draft::Compute { time_ns, num_ops, tensor_bytes, on_host },
    );
    let access = (bytes(), locations(), 0..2u32, any::<bool>())
        .prop_map(|(bytes, location, device, is_store)| Draft::Access { bytes, location, device, is_store });
    let pim = (bytes(), locations(), 0..4u32, 0..9_000u64).prop_map(|(bytes, location, channel, time_ns)| Draft::Pim {
        bytes,
        location,
        channel,
        time_ns,
    });
    let message = (any::<Index>(), select(vec![1, 64, 4096, 1_000_000]), 0..2u32, any::<bool>())
        .prop_map(|(other, bytes, tag, is_send)| Draft::Message { other, bytes, tag, is_send });
    let kind = prop_oneof![
        12 => select(vec![AllReduce, AllGather, ReduceScatter, AllToAll]),
        2 => Just(Broadcast),
        1 => select(&CollectiveType::ALL),
    ];
    let involved = option::weighted(0.5, vec(prop::bool::weighted(0.7), 3));
    let collective =
        (kind, bytes(), involved).prop_map(|(kind, bytes, involved)| Draft::Collective { kind, bytes, involved });
    prop_oneof![
        1 => Just(Draft::Nothing),
        6 => compute,
        4 => access,
        1 => pim,
        4 => message,
        6 => collective,
    ]
}

fn draft_traces() -> impl Strategy<Value = Vec<DraftNode>> {
    let parents = prop_oneof![3 => Just(Vec::new()), 5 => vec(any::<Index>(), 1), 1 => vec(any::<Index>(), 2..4)];
    vec((drafts(), parents).prop_map(|(draft, parents)| DraftNode { draft, parents }), 0..7)
}

/// `drafts` as the trace of NPU `npu`, each node waiting for earlier ones, by ids that go down where `reversed`.
fn trace(drafts: &[DraftNode], npu: u32, num_npus: u32, numbering: Numbering, reversed: bool) -> Trace {
    let id = |place: usize| if reversed { 100 - 7 * place as u64 } else { place as u64 };
    let nodes = drafts.iter().enumerate().map(|(place, DraftNode { draft, parents })| {
        let parents = parents.iter().filter(|_| place > 0).map(|parent| id(parent.index(place))).collect();
        TraceNode { id: id(place), name: format!("node {place}"), kind: kind(draft, npu, num_npus, numbering), parents }
    });
    Trace { metadata: Metadata::of("random"), nodes: nodes.collect() }
}

fn kind(draft: &Draft, npu: u32, num_npus: u32, numbering: Numbering) -> NodeKind {
    match draft.clone() {
        Draft::Nothing => NodeKind::Invalid,
        Draft::Compute { time_ns, num_ops, tensor_bytes, on_host } => {
            NodeKind::Compute { time_ns, num_ops, tensor_bytes, on_host }
        }
        Draft::Access { bytes, location, device, is_store } => {
            let tensor = Tensor { bytes, location, device };
            if is_store { NodeKind::Store(tensor) } else { NodeKind::Load(tensor) }
        }
        // MLCommons' numbering has no computation in memory.
        Draft::Pim { time_ns, .. } if numbering == Numbering::MlCommons => {
            NodeKind::Compute { time_ns, num_ops: 0, tensor_bytes: 0, on_host: false }
        }
        Draft::Pim { bytes, location, channel, time_ns } => {
            NodeKind::Pim { tensor: Tensor { bytes, location, device: 0 }, channel, time_ns }
        }
        Draft::Message { other, bytes, tag, is_send } => {
            // Anybody but the NPU itself; with one NPU alone, somebody who is not there.
            let step = 1 + other.index((num_npus as usize - 1).max(1)) as u32;
            let other = if num_npus == 1 { 1 } else { (npu + step) % num_npus };
            let (from, to) = if is_send { (npu, other) } else { (other, npu) };
            let message = Message { from, to, bytes, tag, comm_type: None };
            if is_send { NodeKind::Send(message) } else { NodeKind::Recv(message) }
        }
        Draft::Collective { kind, bytes, involved } => {
            NodeKind::Collective(Collective { kind, bytes, involved, priority: 0, group: None, time_ns: 500 })
        }
    }
}

fn setups() -> impl Strategy<Value = Setup> {
    let dim = (select(&Block::ALL), 1..=4u32, 1.0..100.0f64, 0.0..5e3f64).prop_map(
        |(block, npus, bandwidth_gib_per_s, latency_ns)| Dimension { block, npus, bandwidth_gib_per_s, latency_ns },
    );
    let algorithm = select(vec![
        Algorithm::Ring,
        Algorithm::Ring,
        Algorithm::Direct { window: None },
        Algorithm::Direct { window: Some(2) },
        Algorithm::HalvingDoubling,
        Algorithm::DoubleBinaryTree,
    ]);
    let system = (0..100u64, 1.0..2e3f64, vec(algorithm, 3), any::<[bool; 3]>(), 1..5u64, 1..4u32, 1..3u32).prop_map(
        |(delay, memory, algorithms, [is_baseline, is_aware, has_rendezvous], chunks, active, queues)| System {
            algorithms: Algorithms::of_all_kinds(algorithms),
            optimization: if is_baseline { Optimization::Baseline } else { Optimization::default() },
            network_model: if is_aware { NetworkModel::Aware } else { NetworkModel::Unaware },
            has_rendezvous,
            num_chunks: chunks,
            active_chunks_per_dim: active,
            queues_per_dim: queues,
            ..System::new(delay, memory)
        },
    );
    let memory = (any::<[bool; 3]>(), 1..4u32).prop_map(|([has_npu, has_pool, is_private], num_devices)| {
        let host = MemoryDevices::new(120.0, 256.0, num_devices);
        Memory {
            host: if is_private { host.private() } else { host },
            pool: has_pool.then(|| MemoryDevices::new(250.0, 60.0, num_devices)),
            npu: has_npu.then(|| MemorySpeed::new(30.0, 936.0)),
        }
    });
    (vec(dim, 1..=3), system, memory, 0..3u32, option::weighted(0.2, 1.0..1e3f64)).prop_map(
        |(dims, mut system, memory, channels, peak_tflops)| {
            // With shared links there are no rings of two.
            let is_double = |dim: &Dimension| dim.block == Block::Ring && dim.npus == 2;
            if dims.iter().any(is_double) {
                system.network_model = NetworkModel::Unaware;
            }
            let algorithms = |kind| (0..dims.len()).map(|dim| system.algorithms.get(kind, dim)).collect::<Vec<_>>();
            system.algorithms = Algorithms::of_all_kinds(algorithms(network::CollectiveKind::AllReduce));
            Setup {
                fabric: Fabric { topology: Topology::new(dims), system, memory },
                pim_channels: PimChannels { host: channels, pool: channels },
                peak_tflops,
            }
        },
    )
}

/// Runs one set of traces; returns whether it finished, or `None` where it was refused.
fn run(setup: &Setup, drafts: &[Vec<DraftNode>], numbering: Numbering, reversed: bool) -> Option<bool> {
    let num_npus = setup.fabric.topology.num_npus() as u32;
    let traces: Vec<Trace> = (0..num_npus)
        .map(|npu| trace(&drafts[npu as usize % drafts.len()], npu, num_npus, numbering, reversed))
        .collect();
    let encoded: Vec<Vec<u8>> = traces
        .iter()
        .map(|trace| {
            let mut bytes = Vec::new();
            chakra::encode(trace, numbering, &mut bytes).expect("a vector takes everything");
            bytes
        })
        .collect();
    let files: Vec<File<'_>> = encoded.iter().map(|bytes| File { name: "random.et", bytes }).collect();
    let set = chakra::decode(&files, Some(numbering)).expect("what was encoded can be read");
    assert_eq!(set.traces, traces);
    let graphs = match astra::graphs(&set, setup, Path::new("random")) {
        Ok(graphs) => graphs,
        Err(faults) => {
            assert!(!faults.is_empty());
            return None;
        }
    };
    let runs: Vec<_> = graphs.iter().map(|built| built.graph.clone()).collect();
    let outcome = replay(&setup.fabric, &runs);
    assert_eq!(replay(&setup.fabric, &runs), outcome, "twice the same");
    match outcome {
        Outcome::Finished(finished) => {
            for (end, trace) in finished.iter().zip(&traces) {
                let computes = trace.nodes.iter().filter_map(|node| match node.kind {
                    NodeKind::Compute { time_ns, on_host: false, .. } if setup.peak_tflops.is_none() => Some(time_ns),
                    _ => None,
                });
                assert!(end.ns() >= computes.sum(), "an NPU computes one thing at a time");
            }
            Some(true)
        }
        Outcome::Deadlock { finished, waiting } => {
            let stuck = finished.iter().filter(|end| end.is_none()).count();
            assert!(stuck > 0 && stuck == waiting.len());
            for (npu, nodes) in &waiting {
                assert!(!nodes.is_empty(), "NPU {npu} waits for something");
                assert!(nodes.iter().all(|node| (node.node as usize) < graphs[npu.index()].nodes.len()));
            }
            Some(false)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// All NPUs run the same, or each its own.
    #[test]
    fn a_random_set_of_traces_ends(
        setup in setups(),
        own in vec(draft_traces(), 1..=4),
        casys: bool,
        reversed: bool,
    ) {
        let numbering = if casys { Numbering::Casys } else { Numbering::MlCommons };
        // The texts of the setup are another way to the same.
        let setup = match Texts::of(&setup) {
            Ok(texts) => {
                let options = Options {
                    network_model: setup.fabric.system.network_model,
                    queues_per_dim: setup.fabric.system.queues_per_dim,
                    has_rendezvous: setup.fabric.system.has_rendezvous,
                    ..Options::default()
                };
                texts.read(&options).map_err(|faults| TestCaseError::fail(faults.to_string()))?.setup
            }
            Err(_) => setup,
        };
        for drafts in [&own[..1], &own[..]] {
            run(&setup, drafts, numbering, reversed);
        }
    }
}

/// The traces above are of every sort: some are refused, some wait for ever, most of those that all NPUs share finish.
#[test]
fn random_traces_are_of_every_sort() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = [0; 3];
    for _ in 0..2_000 {
        let (setup, own) = (setups(), draft_traces()).new_tree(&mut runner).expect("a case").current();
        let index = match run(&setup, &[own], Numbering::Casys, false) {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        seen[index] += 1;
    }
    let [refused, waiting, finished] = seen;
    println!("of 2000 sets of traces, {refused} are refused, {waiting} wait for ever, {finished} finish");
    assert!(seen.iter().all(|&count| count >= 200), "{seen:?}");
}
