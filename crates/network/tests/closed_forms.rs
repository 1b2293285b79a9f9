//! What has a closed form comes out of a [`Machine`], event by event, at the same nanosecond: collectives entered apart
//! ([`Plan::advance`]), messages ([`Topology::message_delay`]), memory that is waited for ([`DeviceQueue`]).

mod common;

use common::finish_times;
use network::{
    Algorithm, Algorithms, Block, Collective, CollectiveKind, DeviceQueue, DimMask, Dimension, Graph, Location,
    Machine, Memory, MemoryDevices, MemorySpeed, NetworkModel, Op, Optimization, Plan, System, Topology,
};
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use units::{Duration, Instant};

fn topologies() -> impl Strategy<Value = Topology> {
    let dim = (prop::sample::select(Block::ALL.to_vec()), 1..=6u32, 1.0..900.0, 0.0..3000.0).prop_map(
        |(block, npus, bandwidth_gib_per_s, latency_ns)| Dimension { block, npus, bandwidth_gib_per_s, latency_ns },
    );
    prop::collection::vec(dim, 1..=3).prop_map(Topology::new)
}

fn systems() -> impl Strategy<Value = System> {
    let algorithms =
        [Algorithm::Ring, Algorithm::Direct { window: None }, Algorithm::HalvingDoubling, Algorithm::DoubleBinaryTree];
    let algorithms = prop::collection::vec(prop::sample::select(algorithms.to_vec()), 3);
    let chunks = prop_oneof![4 => Just((1, 1)), 1 => (1..4u64, 1..3u32)];
    (0..30u64, 0.5..4000.0, algorithms, prop::bool::ANY, chunks).prop_map(
        |(endpoint_delay_ns, local_memory_gb_per_s, algorithms, is_baseline, (num_chunks, active_chunks_per_dim))| {
            System {
                algorithms: Algorithms::of_all_kinds(algorithms),
                optimization: if is_baseline { Optimization::Baseline } else { Optimization::LocalBandwidthAware },
                num_chunks,
                active_chunks_per_dim,
                ..System::new(endpoint_delay_ns, local_memory_gb_per_s)
            }
        },
    )
}

fn collectives() -> impl Strategy<Value = Collective> {
    let kinds =
        [CollectiveKind::AllReduce, CollectiveKind::AllGather, CollectiveKind::ReduceScatter, CollectiveKind::AllToAll];
    let dims = prop::array::uniform3(prop::bool::weighted(0.8)).prop_map(|involved| DimMask::new(&involved));
    (prop::sample::select(kinds.to_vec()), prop_oneof![0..300u64, 0..10_000_000u64], dims)
        .prop_map(|(kind, bytes, dims)| Collective { kind, bytes, dims })
}

/// A chain of computations and collectives: what runs before the first collective, between each two, and nothing after.
fn chain(computes: &[u64], collectives: &[Collective]) -> Rc<Graph> {
    let mut graph = Graph::default();
    for (&ns, &collective) in computes.iter().zip(collectives) {
        graph.then(Op::Compute(Duration::from_ns(ns)));
        graph.then(Op::Collective(collective));
    }
    Rc::new(graph)
}

/// A message, and how long its two ends compute before they turn to it.
#[derive(Clone, Debug)]
struct Exchange {
    /// Whom it goes from, and how many ranks on, both to be wrapped into the topology.
    from: usize,
    distance: usize,
    bytes: u64,
    tag: u32,
    sender_computes: u64,
    receiver_computes: u64,
    /// How many later messages are sent before anyone turns to receiving it.
    lag: usize,
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    // Few sizes and tags, so that messages meet their equals.
    let message = (0..1000usize, 0..1000usize, prop::sample::select(vec![1, 5_000_000]), 0..2u32);
    (message, 0..20_000u64, 0..20_000u64, 0..6usize).prop_map(
        |((from, distance, bytes, tag), sender_computes, receiver_computes, lag)| Exchange {
            from,
            distance,
            bytes,
            tag,
            sender_computes,
            receiver_computes,
            lag,
        },
    )
}

/// A memory access or a computation in memory.
fn accesses() -> impl Strategy<Value = Op> {
    let location =
        prop_oneof![(0..2u32).prop_map(Location::Host), (0..3u32).prop_map(Location::Pool), Just(Location::Npu)];
    let access = (location, 0..100_000u64).prop_map(|(location, bytes)| Op::Memory { location, bytes });
    let pim = (0..2u32, 0..4u32, 0..1000u64, 0..100_000u64).prop_map(|(device, channel, ns, bytes)| Op::Pim {
        location: Location::Host(device),
        channel,
        time: Duration::from_ns(ns),
        bytes,
    });
    prop_oneof![access, pim]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn advance_agrees_with_the_machine(
        topology in topologies(),
        system in systems(),
        collectives in prop::collection::vec(collectives(), 1..=3),
        computes in prop::collection::vec(prop::array::uniform3(0..20_000u64), 216),
    ) {
        let num_npus = topology.num_npus();
        let graphs: Vec<_> = computes[..num_npus].iter().map(|ns| chain(ns, &collectives)).collect();
        // A second topology beside the first runs the same and must not meet it.
        let both = [&graphs[..], &graphs[..]].concat();
        let memory = MemoryDevices::new(0.0, 1.0, 0);
        let mut machine = Machine::new(vec![topology.clone(), topology.clone()], system.clone(), memory);
        let got = finish_times(&mut machine, &both);
        prop_assert_eq!(&got[..num_npus], &got[num_npus..]);

        let plans: Result<Vec<_>, _> =
            collectives.iter().map(|&collective| Plan::new(&topology, &system, collective)).collect();
        let Ok(plans) = plans else {
            prop_assert_eq!(&got[..], &vec![None; 2 * num_npus]);
            return Ok(());
        };
        let mut at = vec![Instant::ZERO; num_npus];
        for (index, plan) in plans.iter().enumerate() {
            at.iter_mut().zip(&computes).for_each(|(at, ns)| *at += Duration::from_ns(ns[index]));
            if !plan.advance(&mut at) {
                let has_formula = (0..topology.dims().len()).all(|dim| {
                    let algorithm = system.algorithms.get(collectives[index].kind, dim);
                    algorithm == Algorithm::Ring || algorithm == Algorithm::HalvingDoubling
                });
                prop_assert!(!has_formula || system.num_chunks > 1, "rings and halving have a closed form");
                return Ok(());
            }
        }
        let expected: Vec<_> = at.into_iter().map(Some).collect();
        prop_assert_eq!(&got[..num_npus], &expected[..]);
    }

    /// Where links are shared, a formula is only there for members that start together and meet nobody.
    #[test]
    fn advance_agrees_with_the_machine_on_shared_links(
        topology in topologies(),
        system in systems(),
        collective in collectives(),
        start in 0..5000u64,
    ) {
        let system = System { network_model: NetworkModel::Aware, ..system };
        let num_npus = topology.num_npus();
        let graphs = vec![chain(&[start], &[collective]); num_npus];
        let memory = MemoryDevices::new(0.0, 1.0, 0);
        let got = finish_times(&mut Machine::new(vec![topology.clone()], system.clone(), memory), &graphs);
        let Ok(plan) = Plan::new(&topology, &system, collective) else { return Ok(()) };
        let mut at = vec![Instant::from_ns(start); num_npus];
        if plan.advance(&mut at) {
            prop_assert_eq!(got, at.into_iter().map(Some).collect::<Vec<_>>());
        }
    }

    #[test]
    fn messages_agree_with_the_machine(
        topology in topologies(),
        system in systems(),
        exchanges in prop::collection::vec(exchanges(), 1..60),
    ) {
        let num_npus = topology.num_npus();
        prop_assume!(num_npus > 1);
        // Some order in which both ends of all messages can take their turns: each is sent before it is received.
        let sends = exchanges.iter().enumerate().map(|(index, exchange)| (2 * index, true, exchange));
        let receives =
            exchanges.iter().enumerate().map(|(index, exchange)| (2 * (index + exchange.lag) + 1, false, exchange));
        let mut turns: Vec<_> = sends.chain(receives).collect();
        turns.sort_by_key(|&(turn, ..)| turn);

        let mut graphs = vec![Graph::default(); num_npus];
        let mut expected = vec![Instant::ZERO; num_npus];
        let mut on_their_way: HashMap<_, VecDeque<Instant>> = HashMap::new();
        for (_, sends, &Exchange { from, distance, bytes, tag, sender_computes, receiver_computes, .. }) in turns {
            let from = from % num_npus;
            let to = (from + 1 + distance % (num_npus - 1)) % num_npus;
            let arrivals = on_their_way.entry((from, to, bytes, tag)).or_default();
            if sends {
                let sent = expected[from] + Duration::from_ns(sender_computes);
                expected[from] = sent + topology.message_delay(from, to, bytes);
                arrivals.push_back(expected[from]);
                graphs[from].then(Op::Compute(Duration::from_ns(sender_computes)));
                graphs[from].then(Op::Send { to: to as u32, bytes, tag });
            } else {
                let asked = expected[to] + Duration::from_ns(receiver_computes);
                expected[to] = asked.max(arrivals.pop_front().expect("sent before"));
                graphs[to].then(Op::Compute(Duration::from_ns(receiver_computes)));
                graphs[to].then(Op::Recv { from: from as u32, bytes, tag });
            }
        }

        // A second topology beside the first runs the same and must not meet it.
        let graphs: Vec<_> = graphs.into_iter().map(Rc::new).collect();
        let mut machine =
            Machine::new(vec![topology.clone(), topology], system, MemoryDevices::new(0.0, 1.0, 0));
        let got = finish_times(&mut machine, &[&graphs[..], &graphs[..]].concat());
        let expected: Vec<_> = expected.into_iter().map(Some).collect();
        prop_assert_eq!(&got[..num_npus], &expected[..]);
        prop_assert_eq!(&got[num_npus..], &expected[..]);
    }

    #[test]
    fn device_queues_agree_with_the_machine(
        // Few starts, so that NPUs turn to a device in one nanosecond.
        starts_and_ops in prop::collection::vec((0..40u64, accesses()), 1..30),
    ) {
        let memory = Memory {
            host: MemoryDevices::new(120.0, 256.0, 2),
            pool: Some(MemoryDevices::new(250.0, 60.0, 3)),
            npu: Some(MemorySpeed::new(30.0, 936.0)),
        };
        let graph = |&(ns, op): &(u64, Op)| {
            let mut graph = Graph::default();
            graph.then(Op::Compute(Duration::from_ns(ns)));
            graph.then(op);
            Rc::new(graph)
        };
        let graphs: Vec<_> = starts_and_ops.iter().map(graph).collect();
        let dim = Dimension::fully_connected(graphs.len() as u32, 1.0, 0.0);
        let system = System::new(0, 1.0);
        let got = finish_times(&mut Machine::new(vec![Topology::new(vec![dim])], system, memory), &graphs);

        let mut queue = DeviceQueue::new(memory);
        let mut expected = vec![None; graphs.len()];
        let mut in_order: Vec<_> = starts_and_ops.iter().enumerate().collect();
        in_order.sort_by_key(|(_, (ns, _))| *ns);
        for (npu, &(ns, op)) in in_order {
            let now = Instant::from_ns(ns);
            expected[npu] = Some(match op {
                Op::Memory { location, bytes } => queue.serve(location, now, bytes),
                Op::Pim { location, channel, time, bytes } => queue.serve_pim(location, channel, now, time, bytes),
                op => unreachable!("no access: {op:?}"),
            });
        }
        prop_assert_eq!(got, expected);
    }
}
