//! [`Plan::advance`] in closed form and [`Machine`] message by message are two ways to the same nanosecond.

mod common;

use common::finish_times;
use network::{
    Collective, CollectiveKind, DimMask, Dimension, Graph, Machine, MemoryDevices, Op, Plan, System, Topology,
};
use proptest::prelude::*;
use std::rc::Rc;
use units::{Duration, Instant};

fn topologies() -> impl Strategy<Value = Topology> {
    let dim = (1..=6u32, 1.0..900.0, 0.0..3000.0).prop_map(|(npus, bandwidth_gib_per_s, latency_ns)| Dimension {
        npus,
        bandwidth_gib_per_s,
        latency_ns,
    });
    prop::collection::vec(dim, 1..=3).prop_map(Topology::new)
}

fn systems() -> impl Strategy<Value = System> {
    (0..30u64, 0.5..4000.0)
        .prop_map(|(endpoint_delay_ns, local_memory_gb_per_s)| System { endpoint_delay_ns, local_memory_gb_per_s })
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
        let mut machine = Machine::new(vec![topology.clone(), topology.clone()], system, memory);
        let got = finish_times(&mut machine, &both);

        let plans: Option<Vec<_>> =
            collectives.iter().map(|&collective| Plan::new(&topology, &system, collective)).collect();
        let expected = match plans {
            None => vec![None; num_npus],
            Some(plans) => {
                let mut at = vec![Instant::ZERO; num_npus];
                for (index, plan) in plans.iter().enumerate() {
                    at.iter_mut().zip(&computes).for_each(|(at, ns)| *at += Duration::from_ns(ns[index]));
                    plan.advance(&mut at);
                }
                at.into_iter().map(Some).collect()
            }
        };
        prop_assert_eq!(&got[..num_npus], &expected[..]);
        prop_assert_eq!(&got[num_npus..], &expected[..]);
    }
}
