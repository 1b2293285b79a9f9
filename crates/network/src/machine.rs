//! NPUs that run graphs, event by event.
//!
//! This is ASTRA-Sim's loop as far as it shows in results. An NPU runs one compute node and one collective at a time
//! and any number of memory accesses; whenever a node is done it tries its ready nodes in order of number, and one that
//! is blocked does not hold back the next. Each member of a collective is a state machine of its own that waits for its
//! own messages only. Accesses to a memory device queue up, first in, first out, over all NPUs.
//!
//! The caller steps from one nanosecond in which something happens to the next and may look around and hand out graphs
//! in between, which is what a scheduler does that is polled at every event.
//!
//! A graph can be nonsense: a collective without members, one whose members disagree, NPUs that meet in a different
//! order. Then the NPU waits for ever, here as there: it is not idle though nothing is pending.

mod clock;
mod npu;
mod rings;

use crate::{Collective, Graph, MemoryDevices, Op, Plan, System, Topology};
use clock::{Clock, Event, Local};
use npu::Npu;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use units::{Duration, Instant, NpuId};

/// An event-level simulation of NPUs, their topologies and the memory devices they share.
pub struct Machine {
    clock: Clock,
    npus: Vec<Npu>,
    topologies: Vec<Topology>,
    system: System,
    memory: MemoryDevices,
    devices: Vec<Device>,
    plans: Vec<Plan>,
    /// Where in `plans` a collective of a topology is, if it completes at all.
    plan_indices: FxHashMap<(u32, Collective), Option<usize>>,
}

/// A memory device and the accesses that wait for it.
#[derive(Default)]
struct Device {
    serving: bool,
    queue: VecDeque<Access>,
}

#[derive(Clone, Copy)]
struct Access {
    npu: NpuId,
    node: u32,
    device: u32,
    time: Duration,
}

impl Machine {
    /// Idle NPUs at [`Instant::ZERO`]. Their ids run through one topology after the other; a collective concerns the
    /// NPUs of one topology only.
    pub fn new(topologies: Vec<Topology>, system: System, memory: MemoryDevices) -> Self {
        let mut npus = Vec::new();
        for (topology, index) in topologies.iter().zip(0..) {
            let first = npus.len();
            npus.extend((0..topology.num_npus()).map(|_| Npu::new(index, first)));
        }
        Self {
            clock: Clock::new(npus.len()),
            npus,
            topologies,
            system,
            memory,
            devices: (0..memory.num_devices()).map(|_| Device::default()).collect(),
            plans: Vec::new(),
            plan_indices: FxHashMap::default(),
        }
    }

    /// The current instant: that of the last step, or later if the machine was left idle since.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether this NPU has nothing left to do.
    pub fn is_idle(&self, npu: NpuId) -> bool {
        self.npus[npu.index()].is_idle()
    }

    /// How many graphs this NPU has begun.
    pub fn graphs_begun(&self, npu: NpuId) -> u64 {
        self.npus[npu.index()].graphs_begun
    }

    /// Lets an NPU run `graph`: from now on, or from the nanosecond in which it has done all it was given before.
    ///
    /// # Panics
    /// Here or while it runs, when the graph names a memory device that is not there.
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
        if !self.clock.begin_cycle() {
            return false;
        }
        while let Some(event) = self.clock.next() {
            self.handle(event);
        }
        true
    }

    /// Lets time pass with nothing to do.
    ///
    /// # Panics
    /// When events are pending.
    pub fn idle_for(&mut self, duration: Duration) {
        self.clock.idle_for(duration);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Local(npu, Local::Computed { node }) => {
                self.npus[npu.index()].computing = false;
                self.complete(npu, node);
            }
            Event::Local(npu, Local::Accessed { node, device }) => {
                self.serve_next(device);
                self.complete(npu, node);
            }
            Event::Local(npu, Local::Delayed) => self.reduce_or_proceed(npu),
            Event::Local(npu, Local::Reduced) => self.proceed(npu),
            Event::Arrived(npu, message) => {
                if self.npus[npu.index()].mailbox.deliver(message) {
                    self.next_stage(npu);
                }
            }
            Event::Received(npu) => self.next_stage(npu),
        }
    }

    /// Starts the nodes that can start, in order of number.
    fn issue(&mut self, npu: NpuId) {
        let index = npu.index();
        while let Some(node) = self.npus[index].next_ready() {
            let state = &mut self.npus[index];
            match state.graph().op(node) {
                Op::Compute(_) if state.computing => state.block(node),
                Op::Compute(Duration::ZERO) => {
                    state.release(node);
                    state.remaining -= 1;
                }
                Op::Compute(time) => {
                    state.computing = true;
                    self.clock.schedule_local(npu, time, Local::Computed { node });
                }
                Op::Collective(_) if state.communicating => state.block(node),
                Op::Collective(collective) => {
                    state.communicating = true;
                    self.begin_collective(npu, node, collective);
                }
                Op::Memory { device, bytes } => {
                    self.access(Access { npu, node, device, time: self.memory.access_time(bytes) });
                }
            }
        }
        self.npus[index].unblock();
    }

    /// A node is done: what waited for it may start, and the NPU may be done altogether.
    fn complete(&mut self, npu: NpuId, node: u32) {
        self.npus[npu.index()].release(node);
        self.issue(npu);
        let state = &mut self.npus[npu.index()];
        state.remaining -= 1;
        if state.remaining == 0 {
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
        }
    }

    fn access(&mut self, access: Access) {
        let device = &mut self.devices[access.device as usize];
        if device.serving {
            device.queue.push_back(access);
        } else {
            device.serving = true;
            self.serve(access);
        }
    }

    fn serve(&mut self, Access { npu, node, device, time }: Access) {
        self.clock.schedule_local(npu, time, Local::Accessed { node, device });
    }

    fn serve_next(&mut self, device: u32) {
        let device = &mut self.devices[device as usize];
        match device.queue.pop_front() {
            Some(access) => self.serve(access),
            None => device.serving = false,
        }
    }
}
