//! The rules by which an NPU works through its graphs, worked by hand.

mod common;

use common::finish_times;
use network::{
    Collective, CollectiveKind, DimMask, Dimension, Graph, Location, Machine, Memory, MemoryDevices, MemorySpeed, Op,
    System, Topology,
};
use std::rc::Rc;
use units::{Duration, Instant, NpuId};

/// An operation and the nodes it waits for.
type Node<'a> = (Op, &'a [u32]);

/// Links of 1000 ns, endpoint delays of 10 ns, reductions of 3 ns a byte; two hosts of 100 ns and 10 bytes/ns, a pool of
/// 300 ns and 10 bytes/ns, and 30 ns and 10 bytes/ns of the NPUs' own.
fn machine(npus: u32) -> Machine {
    let dim = Dimension::fully_connected(npus, 1e6, 1000.0);
    let system = System::new(10, 1.0);
    let memory = Memory {
        host: MemoryDevices::new(100.0, 10.0, 2),
        pool: Some(MemoryDevices::new(300.0, 10.0, 1)),
        npu: Some(MemorySpeed::new(30.0, 10.0)),
    };
    Machine::new(vec![Topology::new(vec![dim])], system, memory)
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
    Op::Memory { location: Location::Host(device), bytes }
}

fn pim(device: u32, channel: u32, ns: u64, bytes: u64) -> Op {
    Op::Pim { location: Location::Host(device), channel, time: Duration::from_ns(ns), bytes }
}

fn send(to: u32, bytes: u64, tag: u32) -> Op {
    Op::Send { to, bytes, tag }
}

fn recv(from: u32, bytes: u64, tag: u32) -> Op {
    Op::Recv { from, bytes, tag }
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
fn kinds_of_memory_do_not_wait_for_each_other() {
    let access = |location| (Op::Memory { location, bytes: 1000 }, &[][..]);
    let (host, pool, npu) = (access(Location::Host(0)), access(Location::Pool(0)), access(Location::Npu));
    check(&[&[host, pool, npu]], &[Some(400)]);
    check(&[&[pool], &[pool], &[npu, npu], &[npu]], &[Some(400), Some(800), Some(130), Some(130)]);
    check(&[&[host], &[pool], &[npu]], &[Some(200), Some(400), Some(130)]);
}

#[test]
fn pim_channels_serve_first_come_first_served() {
    let one: &[Node] = &[(pim(0, 0, 500, 1000), &[])];
    check(&[one, one, one], &[Some(700), Some(1400), Some(2100)]);
    check(&[one, &[(pim(0, 1, 500, 1000), &[])]], &[Some(700), Some(700)]);
    check(&[one, &[(pim(1, 0, 500, 1000), &[])]], &[Some(700), Some(700)]);
    // Two devices, so channel 2 of the first is channel 0 of the second.
    check(&[&[(pim(0, 2, 500, 1000), &[])], &[(pim(1, 0, 0, 0), &[])]], &[Some(700), Some(800)]);
    // Loads, stores and the NPU go on beside it.
    check(&[one, &[(memory(0, 1000), &[])]], &[Some(700), Some(200)]);
    check(&[&[(pim(0, 0, 500, 1000), &[]), (compute(650), &[]), (memory(0, 0), &[1])]], &[Some(750)]);
}

#[test]
fn a_message_is_received_when_it_has_arrived_and_was_asked_for() {
    check(&[&[(send(1, 8, 0), &[])], &[(recv(0, 8, 0), &[])]], &[Some(1000), Some(1000)]);
    check(&[&[(send(1, 8, 0), &[])], &[(compute(1700), &[]), (recv(0, 8, 0), &[0])]], &[Some(1000), Some(1700)]);
    check(&[&[(compute(5), &[]), (send(1, 8, 0), &[0])], &[(recv(0, 8, 0), &[])]], &[Some(1005), Some(1005)]);
    // Nobody need ask, but one who asks must be answered, by the same NPU, with the same size and tag.
    check(&[&[(send(1, 8, 0), &[])], &[]], &[Some(1000), Some(0)]);
    check(&[&[(send(1, 8, 0), &[])], &[(recv(0, 9, 0), &[])]], &[Some(1000), None]);
    check(&[&[(send(1, 8, 0), &[])], &[(recv(0, 8, 1), &[])]], &[Some(1000), None]);
    check(&[&[(send(1, 8, 0), &[])], &[(recv(2, 8, 0), &[])], &[]], &[Some(1000), None, Some(0)]);
}

#[test]
fn equal_messages_are_received_in_order_and_others_by_tag() {
    let sender: &[Node] = &[(send(1, 8, 0), &[]), (compute(500), &[0]), (send(1, 8, 0), &[1]), (send(1, 8, 7), &[2])];
    // Asked for before they came.
    check(&[sender, &[(recv(0, 8, 0), &[]), (recv(0, 8, 0), &[])]], &[Some(3500), Some(2500)]);
    check(&[sender, &[(recv(0, 8, 0), &[]), (recv(0, 8, 0), &[]), (compute(10), &[0])]], &[Some(3500), Some(2500)]);
    check(&[sender, &[(recv(0, 8, 0), &[]), (recv(0, 8, 0), &[]), (compute(10), &[1])]], &[Some(3500), Some(2510)]);
    // Asked for after they came, the last first.
    check(
        &[sender, &[(recv(0, 8, 7), &[]), (recv(0, 8, 0), &[0]), (recv(0, 8, 0), &[1]), (compute(10), &[2])]],
        &[Some(3500), Some(3510)],
    );
    // A third is never sent.
    check(&[sender, &[(recv(0, 8, 0), &[]), (recv(0, 8, 0), &[]), (recv(0, 8, 0), &[])]], &[Some(3500), None]);
}

#[test]
fn sending_keeps_an_npu_from_collectives_and_from_other_sends_but_receiving_does_not() {
    let [both, answer]: [&[Node]; 2] =
        [&[(send(1, 8, 0), &[]), (all_gather(8), &[])], &[(recv(0, 8, 0), &[]), (all_gather(8), &[])]];
    // NPU 1 enters the collective at once, so NPU 0 finds its part there when it is free to enter, at 1000.
    check(&[both, answer], &[Some(1020), Some(2020)]);
    check(&[&[(send(1, 8, 0), &[]), (send(1, 8, 0), &[])], &[]], &[Some(2000), Some(0)]);
    check(&[&[(send(1, 8, 0), &[]), (send(1, 8, 0), &[]), (compute(700), &[])], &[]], &[Some(2000), Some(0)]);
    check(&[&[(send(1, 8, 0), &[])], &[(send(0, 8, 0), &[]), (recv(0, 8, 0), &[])]], &[Some(1000), Some(1000)]);
}

#[test]
#[should_panic(expected = "a message goes to another rank")]
fn nobody_sends_to_itself() {
    check(&[&[(send(0, 8, 0), &[])]], &[None]);
}

#[test]
#[should_panic(expected = "a message without bytes")]
fn nobody_sends_nothing() {
    check(&[&[(send(1, 0, 0), &[])], &[]], &[None, None]);
}

#[test]
#[should_panic(expected = "no memory device 2 of 2")]
fn nobody_loads_from_nowhere() {
    check(&[&[(memory(2, 8), &[])]], &[None]);
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
    // A message lets its sender go on before its receiver.
    check(
        &[&[(recv(1, 8, 0), &[]), (memory(0, 0), &[0])], &[(send(0, 8, 0), &[]), (memory(0, 0), &[0])]],
        &[Some(1200), Some(1100)],
    );
    // A message that was there before it was asked for is received after all else is tried.
    let late: &[Node] = &[
        (compute(1500), &[]),
        (recv(1, 8, 0), &[0]),
        (memory(0, 0), &[1]),
        (memory(0, 1000), &[0]),
        (compute(10_000), &[2]),
    ];
    check(&[late, &[(send(0, 8, 0), &[])]], &[Some(11_800), Some(1000)]);
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

#[test]
fn an_entry_for_each_graph_that_finished() {
    let mut machine = machine(3);
    let check = |machine: &Machine, finished: &[u32]| {
        assert_eq!(machine.finished().iter().map(|npu| npu.0).collect::<Vec<_>>(), finished, "at {}", machine.now());
    };
    check(&machine, &[]);
    for (npu, ns) in [(2, 5), (2, 0), (2, 7), (0, 5), (1, 12), (1, 0)] {
        machine.begin(NpuId(npu), graph(&[(compute(ns), &[])]));
    }
    check(&machine, &[]);
    assert!(machine.step());
    check(&machine, &[2, 2, 0]);
    // A graph that takes no time joins those of the step.
    machine.begin(NpuId(0), graph(&[]));
    check(&machine, &[2, 2, 0, 0]);
    assert!(machine.step());
    check(&machine, &[1, 1, 2]);
    assert!(!machine.step());
    check(&machine, &[]);
    machine.begin(NpuId(1), graph(&[]));
    check(&machine, &[1]);
    machine.advance_to(machine.now());
    check(&machine, &[]);
}

#[test]
fn the_clock_stops_where_nothing_happens() {
    let mut machine = machine(2);
    let at = Instant::from_ns;
    assert_eq!(machine.next_event_time(), None);
    machine.advance_to(at(50));
    machine.begin(NpuId(0), graph(&[(compute(100), &[]), (memory(0, 0), &[0])]));
    assert_eq!((machine.now(), machine.next_event_time()), (at(50), Some(at(150))));
    machine.advance_to(at(70));
    machine.begin(NpuId(1), graph(&[(compute(80), &[]), (memory(0, 0), &[0])]));
    assert_eq!((machine.now(), machine.next_event_time()), (at(70), Some(at(150))));
    // Up to the event, which is still to come.
    machine.advance_to(at(150));
    assert_eq!((machine.now(), machine.next_event_time()), (at(150), Some(at(150))));
    assert!(machine.step());
    assert_eq!((machine.now(), machine.next_event_time()), (at(150), Some(at(250))));
    assert!(machine.step() && machine.step());
    assert_eq!((machine.now(), machine.next_event_time(), machine.finished()), (at(350), None, &[NpuId(1)][..]));
}

#[test]
#[should_panic(expected = "events are pending before 6 ns")]
fn the_clock_does_not_pass_events() {
    let mut machine = machine(1);
    machine.begin(NpuId(0), graph(&[(compute(5), &[])]));
    machine.advance_to(Instant::from_ns(6));
}
