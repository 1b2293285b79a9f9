//! Collectives at one NPU: chunks that go through the phases of a plan, a queue for each dimension.
//!
//! A collective is split into chunks. Each is a stream with a number of its own, which is the number of its messages: the
//! count of streams its NPU has begun, so members must begin the same ones in the same order. A stream queues for the
//! dimension of its phase; a queue lets so many run at once. One that is through with a phase queues for the next before
//! its place is given to another.

use super::Machine;
use super::clock::Local;
use super::packets::Packets;
use super::tree::Climb;
use crate::plan::{Phase, Routine};
use crate::{Collective, CollectiveKind, Plan};
use rustc_hash::FxHashMap;
use slab::Slab;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use units::{Duration, NpuId};

/// One chunk of a collective at one NPU.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) node: u32,
    pub(super) number: u64,
    pub(super) plan: u32,
    pub(super) phase: u32,
    /// For each phase its queue, and the direction of its messages.
    lanes: Lanes,
    /// For each phase, by bit, whether its tree has the root at the end.
    trees: u64,
    pub(super) progress: Progress,
}

/// How far a stream has come in its phase.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    Packets(Packets),
    Climb(Climb),
    /// It waits for the other members, or for the time to be over.
    Measured,
}

/// Where the phases of a stream queue.
#[derive(Clone, Debug)]
enum Lanes {
    /// One queue a dimension, messages as the plan has them.
    AsPlanned,
    /// Queue and direction by phase.
    Chosen(Vec<(u32, bool)>),
}

/// The collectives of one NPU.
#[derive(Default)]
pub(super) struct Collectives {
    pub(super) streams: Slab<Stream>,
    /// Streams begun.
    num_streams: u64,
    /// Chunks of the collective under way that are not through.
    chunks_left: u64,
    queues: Vec<Queue>,
    /// By dimension.
    allocators: Vec<Allocator>,
    /// By kind of collective and dimension, how many tree phases there were.
    num_trees: FxHashMap<(CollectiveKind, usize), u64>,
}

#[derive(Default)]
struct Queue {
    /// In order of arrival, and so of start: those that run come first.
    streams: VecDeque<u32>,
    running: u32,
}

/// Chooses among the queues of a dimension. Where a collective passes a dimension twice, the first half is for the way
/// there, the second for the way back.
#[derive(Clone, Copy)]
struct Allocator {
    any: u32,
    there: u32,
    back: u32,
}

impl Allocator {
    fn new(num_queues: u32) -> Self {
        Self { any: 0, there: 0, back: num_queues / 2 }
    }

    /// Messages go backward in the second half.
    fn any(&mut self, num_queues: u32) -> (u32, bool) {
        let forward = num_queues == 1 || self.any < num_queues / 2;
        let queue = self.any;
        self.any = if queue + 1 >= num_queues { 0 } else { queue + 1 };
        (queue, forward)
    }

    fn there(&mut self, num_queues: u32) -> (u32, bool) {
        let queue = self.there;
        self.there = if queue + 1 >= num_queues / 2 { 0 } else { queue + 1 };
        (queue, true)
    }

    fn back(&mut self, num_queues: u32) -> (u32, bool) {
        let queue = self.back;
        self.back = if queue + 1 >= num_queues { num_queues / 2 } else { queue + 1 };
        (queue, false)
    }
}

/// Members of a measured phase that wait for the others: by the number of their streams, the first member, plan and phase.
pub(super) type Gatherings = FxHashMap<(u64, NpuId, u32, u32), Vec<(NpuId, u32)>>;

impl Machine {
    pub(super) fn begin_collective(&mut self, npu: NpuId, node: u32, collective: Collective) {
        let topology = self.npus[npu.index()].topology;
        // A collective that can't complete keeps the NPU for ever and is not counted.
        let Some(plan) = self.plan(topology, collective) else { return };
        let num_chunks = self.plans[plan as usize].num_chunks();
        self.npus[npu.index()].collectives.chunks_left = num_chunks;
        for _ in 0..num_chunks {
            let (lanes, trees) = self.lanes(npu, plan, collective.kind);
            let collectives = &mut self.npus[npu.index()].collectives;
            let number = collectives.num_streams;
            collectives.num_streams += 1;
            let progress = Progress::Measured;
            let stream = Stream { node, number, plan, phase: 0, lanes, trees, progress };
            let stream = collectives.streams.insert(stream) as u32;
            let queue = self.enqueue(npu, stream);
            self.start_what_can(npu, queue);
        }
    }

    fn plan(&mut self, topology: u32, collective: Collective) -> Option<u32> {
        *self.plan_indices.entry((topology, collective)).or_insert_with(|| {
            let plan = Plan::new(&self.topologies[topology as usize], &self.system, collective).ok()?;
            self.plans.push(plan);
            Some(self.plans.len() as u32 - 1)
        })
    }

    /// Chooses queues, directions and trees for the phases of a chunk.
    fn lanes(&mut self, npu: NpuId, plan: u32, kind: CollectiveKind) -> (Lanes, u64) {
        let num_queues = self.system.queues_per_dim;
        let phases = self.plans[plan as usize].phases();
        let collectives = &mut self.npus[npu.index()].collectives;
        let mut trees = 0;
        for (index, phase) in phases.iter().enumerate() {
            if matches!(phase.routine, Routine::Tree { .. }) {
                let count = collectives.num_trees.entry((kind, phase.dim)).or_default();
                trees |= u64::from(count.is_multiple_of(2)) << index;
                *count += 1;
            }
        }
        if num_queues == 1 {
            return (Lanes::AsPlanned, trees);
        }
        let turns =
            self.system.optimization == crate::Optimization::LocalBandwidthAware && kind == CollectiveKind::AllReduce;
        let lane = |(index, phase): (usize, &Phase)| {
            if collectives.allocators.len() <= phase.dim {
                collectives.allocators.resize(phase.dim + 1, Allocator::new(num_queues));
            }
            let allocator = &mut collectives.allocators[phase.dim];
            let (queue, forward) = match turns {
                false => allocator.any(num_queues),
                true if index <= phases.len() / 2 => allocator.there(num_queues),
                true => allocator.back(num_queues),
            };
            (phase.dim as u32 * num_queues + queue, forward)
        };
        (Lanes::Chosen(phases.iter().enumerate().map(lane).collect()), trees)
    }

    /// Queues a stream for its phase; returns the queue.
    fn enqueue(&mut self, npu: NpuId, stream: u32) -> u32 {
        let queue = self.queue_of(npu, stream);
        let queues = &mut self.npus[npu.index()].collectives.queues;
        if queues.len() <= queue as usize {
            queues.resize_with(queue as usize + 1, Queue::default);
        }
        queues[queue as usize].streams.push_back(stream);
        queue
    }

    fn queue_of(&self, npu: NpuId, stream: u32) -> u32 {
        let stream = &self.npus[npu.index()].collectives.streams[stream as usize];
        match &stream.lanes {
            Lanes::AsPlanned => self.plans[stream.plan as usize].phases()[stream.phase as usize].dim as u32,
            Lanes::Chosen(lanes) => lanes[stream.phase as usize].0,
        }
    }

    fn start_what_can(&mut self, npu: NpuId, queue: u32) {
        let limit = self.system.active_chunks_per_queue();
        loop {
            let collectives = &mut self.npus[npu.index()].collectives;
            let state = &mut collectives.queues[queue as usize];
            if state.running >= limit {
                return;
            }
            let Some(&stream) = state.streams.get(state.running as usize) else { return };
            state.running += 1;
            self.start_phase(npu, stream);
        }
    }

    fn start_phase(&mut self, npu: NpuId, stream: u32) {
        let phase = self.phase(npu, stream);
        match phase.routine {
            Routine::Ring { .. } | Routine::Direct { .. } | Routine::Halving(_) => {
                self.start_packets(npu, stream, phase)
            }
            Routine::Tree { .. } => self.start_climb(npu, stream, phase),
            Routine::Measured { time, .. } => self.gather(npu, stream, phase, time),
        }
    }

    /// The present phase of a stream, with the direction its messages take.
    pub(super) fn phase(&self, npu: NpuId, stream: u32) -> Phase {
        let stream = &self.npus[npu.index()].collectives.streams[stream as usize];
        let mut phase = self.plans[stream.plan as usize].phases()[stream.phase as usize];
        if let Lanes::Chosen(lanes) = &stream.lanes {
            phase.forward = lanes[stream.phase as usize].1;
        }
        phase
    }

    /// Whether the tree of a stream's phase has its root at the end.
    pub(super) fn has_root_at_end(&self, npu: NpuId, stream: u32) -> bool {
        let stream = &self.npus[npu.index()].collectives.streams[stream as usize];
        stream.trees & (1 << stream.phase) != 0
    }

    pub(super) fn stream(&mut self, npu: NpuId, stream: u32) -> &mut Stream {
        &mut self.npus[npu.index()].collectives.streams[stream as usize]
    }

    /// What comes after an endpoint delay, and after a reduction if there is one.
    pub(super) fn delay(&mut self, npu: NpuId, stream: u32, endpoint_delay: Duration, reduces: bool) {
        self.clock.schedule_local(npu, endpoint_delay, Local::Delayed { stream, reduces });
    }

    pub(super) fn delayed(&mut self, npu: NpuId, stream: u32, reduces: bool) {
        if !reduces {
            return self.proceed(npu, stream);
        }
        let phase = self.phase(npu, stream);
        let time = match (phase.routine, self.stream(npu, stream).progress) {
            (
                Routine::Ring { reduction_time, .. }
                | Routine::Direct { reduction_time, .. }
                | Routine::Tree { reduction_time, .. },
                _,
            ) => reduction_time,
            (Routine::Halving(halving), Progress::Packets(packets)) => {
                phase.reduction_time(halving.message_bytes(packets.latest_round()))
            }
            _ => unreachable!("a measured phase reduces nothing"),
        };
        self.clock.schedule_local(npu, time, Local::Reduced { stream });
    }

    pub(super) fn proceed(&mut self, npu: NpuId, stream: u32) {
        match self.stream(npu, stream).progress {
            Progress::Packets(packets) => self.packet_ready(npu, stream, packets),
            Progress::Climb(climb) => self.climb(npu, stream, climb),
            Progress::Measured => self.end_phase(npu, stream),
        }
    }

    /// A message for this stream has come.
    pub(super) fn packet_received(&mut self, npu: NpuId, stream: u32) {
        match self.stream(npu, stream).progress {
            Progress::Packets(packets) => self.next_packet(npu, stream, packets),
            Progress::Climb(climb) => self.climb_received(npu, stream, climb),
            Progress::Measured => unreachable!("a measured phase has no messages"),
        }
    }

    fn gather(&mut self, npu: NpuId, stream: u32, phase: Phase, time: Duration) {
        self.stream(npu, stream).progress = Progress::Measured;
        let state = &self.npus[npu.index()];
        let (_, first_of_group) = phase.place(npu.index() - state.first);
        let Stream { number, plan, phase: index, .. } = state.collectives.streams[stream as usize];
        let key = (number, NpuId::from(state.first + first_of_group), plan, index);
        match self.gatherings.entry(key) {
            Entry::Occupied(mut gathering) => {
                gathering.get_mut().push((npu, stream));
                if gathering.get().len() == phase.members {
                    for (member, stream) in gathering.remove() {
                        self.clock.schedule_local(member, time, Local::Measured { stream });
                    }
                }
            }
            Entry::Vacant(gathering) => {
                gathering.insert(vec![(npu, stream)]);
            }
        }
    }

    /// A stream is through with its phase.
    pub(super) fn end_phase(&mut self, npu: NpuId, stream: u32) {
        let queue = self.queue_of(npu, stream);
        let &mut Stream { node, plan, phase, .. } = self.stream(npu, stream);
        let is_last = phase as usize + 1 == self.plans[plan as usize].phases().len();
        if is_last {
            let state = &mut self.npus[npu.index()];
            state.collectives.chunks_left -= 1;
            if state.collectives.chunks_left == 0 {
                state.communicating = None;
                self.complete(npu, node);
            }
        }
        let collectives = &mut self.npus[npu.index()].collectives;
        let state = &mut collectives.queues[queue as usize];
        let place =
            state.streams.iter().position(|&other| other == stream).expect("a stream that runs is in its queue");
        state.streams.remove(place);
        if is_last {
            state.running -= 1;
            collectives.streams.remove(stream as usize);
            return self.start_what_can(npu, queue);
        }
        collectives.streams[stream as usize].phase += 1;
        let next_queue = self.enqueue(npu, stream);
        self.npus[npu.index()].collectives.queues[queue as usize].running -= 1;
        self.start_what_can(npu, queue);
        self.start_what_can(npu, next_queue);
    }
}
