//! The rules by which an NPU works through its graphs, worked by hand.

mod common;

use common::finish_times;
use network::{Collective, CollectiveKind, DimMask, Dimension, Graph, Machine, MemoryDevices, Op, System, Topology};
use std::rc::Rc;
use units::{Duration, Instant, NpuId};

/// An operation and the nodes it waits for.
type Node<'a> = (Op, &'a [u32]);

/// Links of 1000 ns, endpoint delays of 10 ns, reductions of 3 ns a byte, two devices of 100 ns and 10 bytes/ns.
fn machine(npus: u32) -> Machine {
    let dim = Dimension { npus, bandwidth_gib_per_s: 1e6, latency_ns: 1000.0 };
    let system = System { endpoint_delay_ns: 10, local_memory_gb_per_s: 1.0 };
    Machine::new(vec![Topology::new(vec![dim])], system, MemoryDevices::new(100.0, 10.0, 2))
}

fn graph(nodes: &[Node]) -> Rc<Graph> {
    let mut graph = Graph::default();
    for (op, parents) in nodes {
        graph.push(*op, parents);
    }
    Rc::new(graph)
}

fn compute(ns: u64) -> Op {
    Op::Compute(Duration::from_ns(ns))
}

fn collective(kind: CollectiveKind, bytes: u64) -> Op {
    Op::Collective(Collective { kind, bytes, dims: DimMask::ALL })
}

fn all_gather(bytes: u64) -> Op {
    collective(CollectiveKind::AllGather, bytes)
}

fn memory(device: u32, bytes: u64) -> Op {
    Op::Memory { device, bytes }
}

/// One graph per NPU; when each is done, or `None`.
#[track_caller]
fn check(graphs: &[&[Node]], expected: &[Option<u64>]) {
    let graphs: Vec<_> = graphs.iter().map(|nodes| graph(nodes)).collect();
    let finished = finish_times(&mut machine(graphs.len() as u32), &graphs);
    let finished: Vec<_> = finished.into_iter().map(|at| at.map(Instant::ns)).collect();
    assert_eq!(finished, expected);
}

#[test]
fn nodes_wait_for_their_parents_and_for_the_npu() {
    check(&[&[]], &[Some(0)]);
    check(&[&[(compute(5), &[]), (compute(7), &[0])]], &[Some(12)]);
    check(&[&[(compute(5), &[]), (compute(7), &[])]], &[Some(12)]);
    check(&[&[(compute(0), &[]), (compute(0), &[0])]], &[Some(0)]);
    check(&[&[(compute(5), &[]), (compute(0), &[]), (memory(0, 0), &[1])]], &[Some(105)]);
    // A blocked node does not hold back later ones, and a parent named twice is waited for once.
    check(&[&[(compute(5), &[]), (compute(7), &[]), (memory(0, 0), &[])]], &[Some(100)]);
    check(&[&[(compute(5), &[]), (compute(7), &[0, 0])]], &[Some(12)]);
}

#[test]
fn one_computation_and_one_collective_at_a_time() {
    let overlapping: &[Node] = &[(compute(500), &[]), (all_gather(8), &[])];
    check(&[overlapping, overlapping], &[Some(1020), Some(1020)]);
    let competing: &[Node] = &[(all_gather(8), &[]), (all_gather(8), &[])];
    check(&[competing, competing], &[Some(2040), Some(2040)]);
}

#[test]
fn devices_serve_first_come_first_served() {
    let load: &[Node] = &[(memory(0, 1000), &[])];
    check(&[load, load, load], &[Some(200), Some(400), Some(600)]);
    check(&[load, &[(memory(1, 0), &[])]], &[Some(200), Some(100)]);
    check(&[&[(memory(0, 0), &[]), (memory(1, 0), &[]), (memory(0, 0), &[])]], &[Some(200)]);
}

#[test]
fn events_of_one_nanosecond_run_in_the_order_of_their_scheduling() {
    let straight: &[Node] = &[(compute(100), &[]), (memory(0, 0), &[0])];
    check(&[straight, straight], &[Some(200), Some(300)]);
    let in_two: &[Node] = &[(compute(60), &[]), (compute(40), &[0]), (memory(0, 0), &[1])];
    check(&[in_two, straight], &[Some(300), Some(200)]);
    // An access that ends in the same nanosecond was scheduled at the start, and takes the second computation along.
    let beside_access: &[Node] = &[(compute(60), &[]), (compute(40), &[0]), (memory(0, 0), &[1]), (memory(1, 0), &[])];
    check(&[beside_access, straight], &[Some(200), Some(300)]);
    // A collective in the dimension of the one just done starts after all else that waited for it. Here, that lets NPU
    // 1 finish computing before its message lets NPU 0 finish gathering, in the same nanosecond.
    let gather: &[Node] = &[(all_gather(8), &[]), (all_gather(8), &[0]), (memory(0, 0), &[1])];
    let gather_and_compute: &[Node] = &[
        (all_gather(8), &[]),
        (all_gather(8), &[0]),
        (compute(10), &[0]),
        (compute(1000), &[2]),
        (compute(10), &[3]),
        (memory(0, 0), &[4]),
    ];
    check(&[gather, gather_and_compute], &[Some(2240), Some(2140)]);
}

#[test]
fn collectives_that_make_no_sense_never_complete() {
    check(&[&[(all_gather(8), &[])]], &[None]);
    check(&[&[(all_gather(8), &[])], &[(all_gather(9), &[])]], &[None, None]);
    check(&[&[(all_gather(8), &[])], &[(compute(7), &[])]], &[None, Some(7)]);
    check(&[&[(all_gather(0), &[]), (compute(3), &[])], &[]], &[None, Some(0)]);
}

#[test]
fn every_stage_of_a_message_is_a_step() {
    let mut machine = machine(2);
    let all_reduce = graph(&[(collective(CollectiveKind::AllReduce, 8), &[])]);
    machine.begin(NpuId(0), Rc::clone(&all_reduce));
    machine.begin(NpuId(1), all_reduce);
    let mut steps = Vec::new();
    while machine.step() {
        steps.push(machine.now().ns());
    }
    // Delay, message, delay, reduction of 4 bytes, message, delay.
    assert_eq!(steps, [10, 1010, 1020, 1032, 2032, 2042]);
}

#[test]
fn graphs_queue_up() {
    let mut machine = machine(1);
    let npu = NpuId(0);
    assert!(machine.is_idle(npu) && !machine.step());
    machine.idle_for(Duration::from_ns(1000));
    for ns in [5, 0, 7] {
        machine.begin(npu, graph(&[(compute(ns), &[])]));
    }
    assert_eq!((machine.graphs_begun(npu), machine.is_idle(npu)), (1, false));
    assert!(machine.step());
    // The second took no time, so the third has begun in the nanosecond the first ended.
    assert_eq!((machine.now().ns(), machine.graphs_begun(npu), machine.is_idle(npu)), (1005, 3, false));
    assert!(machine.step());
    assert_eq!((machine.now().ns(), machine.graphs_begun(npu), machine.is_idle(npu)), (1012, 3, true));
    assert!(!machine.step());
    assert_eq!(machine.now().ns(), 1012);
}
