//! Whole nodes come out as messages do, wherever they don't give up; and they seldom do.

use super::*;
use crate::{
    Algorithm, Algorithms, Block, Collective, CollectiveKind, DimMask, Dimension, Location, MemoryDevices, MemorySpeed,
    NetworkModel, Op,
};
use proptest::prelude::*;
use units::Duration;

fn fabrics() -> impl Strategy<Value = Fabric> {
    let dim = (prop::sample::select(Block::ALL.to_vec()), 1..=4u32, 0.5..900.0, 0.0..3000.0).prop_map(
        |(block, npus, bandwidth_gib_per_s, latency_ns)| Dimension { block, npus, bandwidth_gib_per_s, latency_ns },
    );
    let algorithms =
        [Algorithm::Ring, Algorithm::Direct { window: None }, Algorithm::HalvingDoubling, Algorithm::DoubleBinaryTree];
    let algorithms = prop::collection::vec(prop::sample::select(algorithms.to_vec()), 2);
    let model = prop::sample::select(NetworkModel::ALL.to_vec());
    (prop::collection::vec(dim, 1..=2), 0..30u64, 0.5..4000.0, algorithms, model, 1..3u64).prop_map(
        |(dims, endpoint_delay_ns, local_memory, algorithms, network_model, num_chunks)| Fabric {
            topology: Topology::new(dims),
            system: System {
                algorithms: Algorithms::of_all_kinds(algorithms),
                network_model,
                num_chunks,
                ..System::new(endpoint_delay_ns, local_memory)
            },
            memory: Memory {
                host: MemoryDevices::new(120.0, 256.0, 2),
                pool: Some(MemoryDevices::new(250.0, 60.0, 1).private()),
                npu: Some(MemorySpeed::new(30.0, 936.0)),
            },
        },
    )
}

/// A step that all NPUs take, or two of them.
#[derive(Clone, Debug)]
enum Step {
    Meet(Collective),
    Pass { from: usize, distance: usize, bytes: u64, tag: u32 },
    Apart(Vec<Op>),
}

fn steps() -> impl Strategy<Value = Step> {
    let kinds = prop::sample::select(CollectiveKind::ALL.to_vec());
    let dims = prop::array::uniform2(prop::bool::weighted(0.8)).prop_map(|involved| DimMask::new(&involved));
    let meet = (kinds, 1..5_000_000u64, dims).prop_map(|(kind, bytes, dims)| Collective { kind, bytes, dims });
    let pass = (0..16usize, 0..16usize, prop::sample::select(vec![1, 5_000_000]), 0..2u32)
        .prop_map(|(from, distance, bytes, tag)| Step::Pass { from, distance, bytes, tag });
    let time = || prop_oneof![Just(0), 0..20u64, 0..20_000u64].prop_map(Duration::from_ns);
    let location = prop_oneof![(0..2u32).prop_map(Location::Host), Just(Location::Pool(0)), Just(Location::Npu)];
    let op = prop_oneof![
        4 => time().prop_map(Op::Compute),
        1 => time().prop_map(Op::HostCompute),
        1 => time().prop_map(Op::Broadcast),
        1 => (location, 0..100_000u64).prop_map(|(location, bytes)| Op::Memory { location, bytes }),
    ];
    prop_oneof![meet.prop_map(Step::Meet), pass, prop::collection::vec(op, 16).prop_map(Step::Apart)]
}

/// Graphs in which nodes wait for the one before, or now and then for another.
fn graphs(num_npus: usize, steps: &[Step], detours: &[(usize, u32)]) -> Vec<Rc<Graph>> {
    let mut graphs = vec![Graph::default(); num_npus];
    let mut detours = detours.iter().cycle();
    for step in steps {
        for (npu, graph) in graphs.iter_mut().enumerate() {
            let op = match step {
                Step::Meet(collective) => Op::Collective(*collective),
                &Step::Pass { from, distance, bytes, tag } => {
                    let from = from % num_npus;
                    let to = (from + 1 + distance % (num_npus - 1).max(1)) % num_npus;
                    match npu {
                        _ if from == to => continue,
                        _ if npu == from => Op::Send { to: to as u32, bytes, tag },
                        _ if npu == to => Op::Recv { from: from as u32, bytes, tag },
                        _ => continue,
                    }
                }
                Step::Apart(ops) => ops[npu],
            };
            match (detours.next(), graph.num_nodes() as u32) {
                (Some((0, parent)), len) if len > 0 => graph.push(op, &[parent % len]),
                _ => graph.then(op),
            };
        }
    }
    graphs.into_iter().map(Rc::new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole_nodes_agree_with_messages(
        fabric in fabrics(),
        steps in prop::collection::vec(steps(), 1..8),
        detours in prop::collection::vec((0..6usize, 0..100u32), 40),
    ) {
        let graphs = graphs(fabric.topology.num_npus(), &steps, &detours);
        if let Some(finished) = whole_nodes::finish_times(&fabric, &graphs) {
            prop_assert_eq!(replay_by_message(&fabric, &graphs), Outcome::Finished(finished));
        }
    }
}

#[test]
fn chains_and_overlaps_need_no_messages() {
    let compute = |ns| Op::Compute(Duration::from_ns(ns));
    let reduce = Op::Collective(Collective { kind: CollectiveKind::AllReduce, bytes: 1 << 20, dims: DimMask::ALL });
    let chain = |ns| {
        let mut graph = Graph::default();
        graph.then(compute(ns));
        graph.then(reduce);
        graph.push(compute(700_000), &[0]);
        graph.push(compute(1), &[1, 2]);
        Rc::new(graph)
    };
    let fabric = Fabric {
        topology: Topology::new(vec![Dimension::fully_connected(4, 16.0, 1000.0)]),
        system: System::new(10, 768.0),
        memory: MemoryDevices::new(0.0, 1.0, 0).into(),
    };
    let graphs: Vec<_> = [5, 900, 77, 31].map(chain).into();
    let finished = whole_nodes::finish_times(&fabric, &graphs).expect("nothing here is ambiguous");
    assert_eq!(replay_by_message(&fabric, &graphs), Outcome::Finished(finished));
}

#[test]
fn a_deadlock_says_who_waits_for_what() {
    use crate::{Impossible, Reason};
    let fabric = Fabric {
        topology: Topology::new(vec![Dimension::fully_connected(2, 16.0, 1000.0)]),
        system: System::new(10, 768.0),
        memory: MemoryDevices::new(0.0, 1.0, 0).into(),
    };
    let check = |graphs: [Graph; 2], expected: &[(u32, u32, Reason)]| {
        let Outcome::Deadlock { waiting, .. } = replay(&fabric, &graphs.map(Rc::new)) else { panic!("it ends") };
        let flat = |(npu, nodes): &(NpuId, Vec<Waiting>)| -> Vec<_> {
            nodes.iter().map(|waiting| (npu.0, waiting.node, waiting.reason)).collect()
        };
        assert_eq!(waiting.iter().flat_map(flat).collect::<Vec<_>>(), expected);
    };
    let graph = |ops: &[Op]| {
        let mut graph = Graph::default();
        ops.iter().for_each(|&op| {
            graph.then(op);
        });
        graph
    };
    let gather = |bytes, dims| Op::Collective(Collective { kind: CollectiveKind::AllGather, bytes, dims });
    let compute = Op::Compute(Duration::from_ns(5));
    check([graph(&[compute, gather(8, DimMask::ALL)]), graph(&[compute])], &[(0, 1, Reason::Members)]);
    let none = Reason::Impossible(Impossible::NoMembers);
    check([graph(&[gather(8, DimMask::new(&[]))]), graph(&[])], &[(0, 0, none)]);
    let recv = |from| Op::Recv { from, bytes: 8, tag: 1 };
    check(
        [graph(&[recv(1), compute]), graph(&[recv(0)])],
        &[(0, 0, Reason::Message { from: 1 }), (1, 0, Reason::Message { from: 0 })],
    );
    let mut cycle = graph(&[compute, compute]);
    cycle.connect(1, 0);
    check([graph(&[]), cycle], &[(1, 0, Reason::Itself)]);
}
