//! The pass clock against the event machine, on passes of any shape.

use std::rc::Rc;

use model::Layer;
use network::{CollectiveKind, DimMask, Dimension, Graph, Machine, MemoryDevices, Op as Node};
use proptest::prelude::*;
use units::{Duration, NpuId};

use super::*;

fn system() -> System {
    System::new(10, 700.0)
}

/// When each NPU is through when every message is an event.
fn machine_times(topology: &Topology, passes: &[ForwardPass], starts: &[Instant]) -> Vec<Instant> {
    let mut machine = Machine::new(vec![topology.clone()], system(), MemoryDevices::new(0.0, 1.0, 1));
    let ranks_per_member = starts.len() / passes.len();
    for (npu, &start) in starts.iter().enumerate() {
        let pass = &passes[npu / ranks_per_member];
        let mut graph = Graph::with_capacity(64);
        graph.then(Node::Compute(start - Instant::ZERO));
        let lane = &pass.lanes[0];
        let blocks = (0..pass.num_blocks).flat_map(|block| lane.block.iter().map(move |op| (block, op)));
        let prologue = lane.prologue.iter().map(|op| (0, op));
        let head = lane.head.iter().map(|op| (0, op));
        for (block, op) in prologue.chain(blocks).chain(head) {
            graph.then(match *op {
                Op::Compute { time, .. } => Node::Compute(time),
                Op::Experts => Node::Compute(lane.expert_time(block, npu % ranks_per_member)),
                Op::Collective(collective) => Node::Collective(collective),
                Op::Pim | Op::SendKv => unreachable!("the passes here are chains"),
            });
        }
        machine.begin(NpuId(npu as u32), Rc::new(graph));
    }
    let mut times = vec![None; starts.len()];
    while machine.step() {
        for (npu, time) in times.iter_mut().enumerate() {
            if time.is_none() && machine.is_idle(NpuId(npu as u32)) {
                *time = Some(machine.now());
            }
        }
    }
    times.into_iter().map(|time| time.expect("every NPU gets through")).collect()
}

/// An op that all members have in their passes, and how long each takes for it where that is its own affair.
#[derive(Clone, Debug)]
enum Part {
    Compute(Vec<u64>),
    Experts,
    TensorParallel(u64),
    ExpertParallel(CollectiveKind, u64),
}

/// Ops of a group of one NPU have no collectives, those of one NPU per member none between its own.
fn part(members: usize, tp: u32) -> impl Strategy<Value = Part> {
    let kind = prop::sample::select(CollectiveKind::ALL.to_vec());
    prop_oneof![
        prop::collection::vec(1u64..90_000, members).prop_map(Part::Compute),
        Just(Part::Experts),
        (64u64..400_000).prop_map(move |bytes| if tp > 1 { Part::TensorParallel(bytes) } else { Part::Experts }),
        (kind, 64u64..400_000).prop_map(move |(kind, bytes)| {
            if tp as usize * members > 1 { Part::ExpertParallel(kind, bytes) } else { Part::Experts }
        }),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    tp: u32,
    members: usize,
    blocks: usize,
    alike: bool,
    parts: Vec<Part>,
    expert_times: Vec<u64>,
    starts: Vec<u64>,
}

fn case() -> impl Strategy<Value = Case> {
    (1u32..4, 1usize..5, 1usize..12, any::<bool>()).prop_flat_map(|(tp, members, blocks, alike)| {
        let npus = tp as usize * members;
        let routings = if alike { 1 } else { blocks };
        (
            prop::collection::vec(part(members, tp), 1..7),
            prop::collection::vec(1u64..200_000, npus * routings),
            prop::collection::vec(1u64..100_000, npus),
        )
            .prop_map(move |(parts, expert_times, starts)| Case {
                tp,
                members,
                blocks,
                alike,
                parts,
                expert_times,
                starts,
            })
    })
}

fn passes(case: &Case, tp_dims: DimMask, ep_dims: DimMask) -> Vec<ForwardPass> {
    let tp = case.tp as usize;
    let ops = |member: usize| -> Vec<Op> {
        let op = |part: &Part| match *part {
            Part::Compute(ref times) => {
                Op::Compute { layer: Layer::Layernorm, time: Duration::from_ns(times[member]), weight_bytes: 0 }
            }
            Part::Experts => Op::Experts,
            Part::TensorParallel(bytes) => {
                Op::Collective(Collective { kind: CollectiveKind::AllReduce, bytes, dims: tp_dims })
            }
            Part::ExpertParallel(kind, bytes) => Op::Collective(Collective { kind, bytes, dims: ep_dims }),
        };
        case.parts.iter().map(op).collect()
    };
    let member = |member: usize| {
        let times = case.expert_times.chunks(tp * case.members).flat_map(|block| &block[member * tp..][..tp]);
        ForwardPass::of_parts(ops(member), case.blocks, times.map(|&ns| Duration::from_ns(ns)).collect(), tp)
    };
    (0..case.members).map(member).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_closed_form_agrees_with_the_events(case in case()) {
        let dimension = |npus, latency_ns| Dimension::fully_connected(npus, 16.0, latency_ns);
        let topology = Topology::new(vec![dimension(case.tp, 500.0), dimension(case.members as u32, 20_000.0)]);
        let passes = passes(&case, DimMask::new(&[true, false]), DimMask::new(&[true, true]));
        prop_assert_eq!(passes[0].blocks_are_alike(), case.alike || case.blocks == 1);
        let starts: Vec<Instant> = case.starts.iter().map(|&ns| Instant::from_ns(ns)).collect();
        let members_meet = case.parts.iter().any(|part| matches!(part, Part::ExpertParallel(..)));
        let mut clock = PassClock::new(topology.clone(), system(), case.tp as usize, members_meet);
        let mut at = starts.clone();
        clock.run(&passes, &mut at);
        prop_assert_eq!(at, machine_times(&topology, &passes, &starts));
    }
}
