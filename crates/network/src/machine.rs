//! NPUs that run graphs, event by event.
//!
//! This is ASTRA-Sim's loop as far as it shows in results. An NPU runs one compute node at a time, one collective or
//! message to send, and any number of memory accesses and of messages to receive; whenever a node is done it tries its
//! ready nodes in order of number, and one that is blocked does not hold back the next. Each member of a collective is a
//! state machine of its own that waits for its own messages only. Accesses to a memory device queue up, first in, first
//! out, over all NPUs.
//!
//! The caller steps from one nanosecond in which something happens to the next and may look around and hand out graphs
//! in between, which is what a scheduler does that is polled at every event. Or it stops the clock before the next event
//! to do so at an instant of its own.
//!
//! A graph can be nonsense: a collective without members, one whose members disagree, NPUs that meet in a different
//! order, a message that nobody sends. Then the NPU waits for ever, here as there: it is not idle though nothing is
//! pending.

mod clock;
mod devices;
mod links;
mod messages;
mod npu;
mod packets;
mod record;
mod streams;
mod tree;
mod waiting;

use crate::{Collective, Graph, Memory, NetworkModel, Op, Plan, System, Topology};
use clock::{Clock, Event, Local};
use devices::{Access, Devices};
use links::Links;
use messages::{Flight, Message, Receipt, Then};
use npu::Npu;
pub use record::{NodeMoment, NodeRecord};
use rustc_hash::FxHashMap;
use slab::Slab;
use std::rc::Rc;
use streams::Gatherings;
use units::{Duration, Instant, NpuId};
pub use waiting::{Reason, Waiting};

/// An event-level simulation of NPUs, their topologies and the memory they use.
pub struct Machine {
    clock: Clock,
    npus: Vec<Npu>,
    topologies: Vec<Topology>,
    system: System,
    memory: Memory,
    /// Between the numbers of the first PIM channels of two devices, where it is not ASTRA-Sim's rule.
    channel_stride: Option<u32>,
    devices: Devices,
    /// Whether messages slow each other down.
    shares_links: bool,
    links: Links,
    /// Messages on their way.
    flights: Slab<Flight>,
    /// Messages that wait for the token of their receiver.
    waiting_messages: Slab<(Message, Then)>,
    gatherings: Gatherings,
    plans: Vec<Plan>,
    /// Where in `plans` a collective of a topology is, if it completes at all.
    plan_indices: FxHashMap<(u32, Collective), Option<u32>>,
    /// Whose graphs came to their end since the last step began.
    finished: Vec<NpuId>,
    /// What nodes came to, while that is recorded.
    records: Option<Vec<NodeRecord>>,
}

impl Machine {
    /// Idle NPUs at [`Instant::ZERO`]. Their ids run through one topology after the other; collectives and messages stay
    /// inside one topology. Memory is common to all.
    pub fn new(topologies: Vec<Topology>, system: System, memory: impl Into<Memory>) -> Self {
        let mut npus = Vec::new();
        for (topology, index) in topologies.iter().zip(0..) {
            let first = npus.len();
            npus.extend((0..topology.num_npus()).map(|_| Npu::new(index, first)));
        }
        Self {
            clock: Clock::new(npus.len()),
            npus,
            topologies,
            shares_links: system.network_model == NetworkModel::Aware,
            system,
            memory: memory.into(),
            channel_stride: None,
            devices: Devices::default(),
            links: Links::default(),
            flights: Slab::new(),
            waiting_messages: Slab::new(),
            gatherings: Gatherings::default(),
            plans: Vec::new(),
            plan_indices: FxHashMap::default(),
            finished: Vec::new(),
            records: None,
        }
    }

    /// The same machine where each host has `num_channels` PIM channels of its own. Otherwise it numbers them as
    /// ASTRA-Sim does, by the number of hosts, so that those of different hosts coincide if there are more of them.
    #[must_use]
    pub fn with_pim_channels(mut self, num_channels: u32) -> Self {
        self.channel_stride = Some(num_channels);
        self
    }

    /// The current instant: that of the last step, or a later one the clock was moved to since.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When the next step will be, if all stays as it is. `None` when nothing is pending.
    pub fn next_event_time(&self) -> Option<Instant> {
        self.clock.next_at()
    }

    /// Whether this NPU has nothing left to do.
    pub fn is_idle(&self, npu: NpuId) -> bool {
        self.npus[npu.index()].is_idle()
    }

    /// How many graphs this NPU has begun.
    pub fn graphs_begun(&self, npu: NpuId) -> u64 {
        self.npus[npu.index()].graphs_begun
    }

    /// The NPUs that came to the end of a graph, in that order, an entry per graph: during the last [`step`](Self::step),
    /// and in [`begin`](Self::begin) after it where a graph took no time at all. Those of them that had no other graph to
    /// go on with are idle. [`advance_to`](Self::advance_to) empties the list.
    pub fn finished(&self) -> &[NpuId] {
        &self.finished
    }

    /// Lets an NPU run `graph`: from now on, or from the nanosecond in which it has done all it was given before.
    ///
    /// # Panics
    /// Here or while it runs, when the graph names memory that is not there, or sends a message without bytes, to the
    /// NPU itself or to a rank that is not there.
    pub fn begin(&mut self, npu: NpuId, graph: Rc<Graph>) {
        let state = &mut self.npus[npu.index()];
        state.queued.push_back(graph);
        if state.is_idle() {
            self.begin_queued(npu);
        }
    }

    /// Runs all events of the next nanosecond that has any, those included that are added meanwhile. `false`, and no
    /// time passes, when nothing is pending.
    pub fn step(&mut self) -> bool {
        self.finished.clear();
        if !self.clock.begin_cycle() {
            return false;
        }
        while let Some(event) = self.clock.next() {
            self.handle(event);
        }
        true
    }

    /// Moves the clock on to `instant`, where nothing need happen. The events of that nanosecond are still to come.
    ///
    /// # Panics
    /// When `instant` has passed, or events are pending before it.
    pub fn advance_to(&mut self, instant: Instant) {
        self.finished.clear();
        self.clock.advance_to(instant);
    }

    /// Lets time pass with nothing to do.
    ///
    /// # Panics
    /// When events are pending.
    pub fn idle_for(&mut self, duration: Duration) {
        assert!(self.next_event_time().is_none(), "events are pending");
        self.advance_to(self.now() + duration);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Local(npu, local) => self.handle_local(npu, local),
            Event::Arrived { flight } => self.arrive(flight),
            Event::Freed { link } => self.free_link(link),
            Event::Taken(npu, receipt) => self.take(npu, receipt),
        }
    }

    fn handle_local(&mut self, npu: NpuId, local: Local) {
        match local {
            Local::Computed { node } => {
                self.npus[npu.index()].computing = false;
                self.complete(npu, node);
            }
            Local::HostComputed { node } => {
                self.npus[npu.index()].host_computing = false;
                self.complete(npu, node);
            }
            Local::Broadcast { node } => {
                self.npus[npu.index()].communicating = None;
                self.complete(npu, node);
            }
            Local::Accessed { node, device } => {
                if let Some(device) = device {
                    self.serve_next(device);
                }
                self.complete(npu, node);
            }
            Local::Delayed { stream, reduces } => self.delayed(npu, stream, reduces),
            Local::Reduced { stream } => self.proceed(npu, stream),
            Local::Measured { stream } => self.end_phase(npu, stream),
        }
    }

    /// Starts the nodes that can start, in order of number.
    fn issue(&mut self, npu: NpuId) {
        let index = npu.index();
        while let Some(node) = self.npus[index].next_ready() {
            self.record(npu, node, NodeMoment::Begun);
            let state = &mut self.npus[index];
            match state.graph().op(node) {
                Op::Compute(_) if state.computing => state.block(node),
                Op::HostCompute(_) if state.host_computing => state.block(node),
                Op::Compute(Duration::ZERO) | Op::HostCompute(Duration::ZERO) => {
                    state.release(node);
                    state.remaining -= 1;
                }
                Op::Compute(time) => {
                    state.computing = true;
                    self.clock.schedule_local(npu, time, Local::Computed { node });
                }
                Op::HostCompute(time) => {
                    state.host_computing = true;
                    self.clock.schedule_local(npu, time, Local::HostComputed { node });
                }
                Op::Collective(_) | Op::Broadcast(_) | Op::Send { .. } if state.communicating.is_some() => {
                    state.block(node)
                }
                Op::Collective(collective) => {
                    state.communicating = Some(node);
                    self.begin_collective(npu, node, collective);
                }
                Op::Broadcast(time) => {
                    state.communicating = Some(node);
                    self.clock.schedule_local(npu, time, Local::Broadcast { node });
                }
                Op::Send { to, bytes, tag } => {
                    state.communicating = Some(node);
                    let to = NpuId::from(state.first + to as usize);
                    self.send(Message::tagged(npu, to, tag, bytes), Then::Complete(node));
                }
                Op::Recv { from, bytes, tag } => {
                    let from = NpuId::from(state.first + from as usize);
                    self.receive(Message::tagged(from, npu, tag, bytes), Receipt::Node(node));
                }
                Op::Memory { location, bytes } => {
                    let device = self.memory.queue(location).map(|queue| self.devices.number(queue));
                    self.access(Access { npu, node, device, time: self.memory.access_time(location, bytes) });
                }
                Op::Pim { location, channel, time, bytes } => {
                    let stride = self.channel_stride.unwrap_or_else(|| self.memory.pim_stride(location));
                    let device = self.devices.number(self.memory.pim_queue(location, stride, channel));
                    let time = self.memory.pim_time(location, time, bytes);
                    self.access(Access { npu, node, device: Some(device), time });
                }
            }
        }
        self.npus[index].unblock();
    }

    /// A node is done: what waited for it may start, and the NPU may be done altogether.
    fn complete(&mut self, npu: NpuId, node: u32) {
        self.record(npu, node, NodeMoment::Done);
        self.npus[npu.index()].release(node);
        self.issue(npu);
        let state = &mut self.npus[npu.index()];
        state.remaining -= 1;
        if state.remaining == 0 {
            self.finished.push(npu);
            self.begin_queued(npu);
        }
    }

    /// Goes on to the next graph, and through those that take no time at all; idle after the last.
    fn begin_queued(&mut self, npu: NpuId) {
        loop {
            let state = &mut self.npus[npu.index()];
            let next = state.queued.pop_front();
            state.load(next);
            if state.is_idle() {
                return;
            }
            self.issue(npu);
            if self.npus[npu.index()].remaining > 0 {
                return;
            }
            self.finished.push(npu);
        }
    }
}
