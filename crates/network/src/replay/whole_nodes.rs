//! Graphs run node by node, collectives in closed form.
//!
//! Where links are never shared, what happens inside a collective concerns nobody else: its members leave when the closed
//! form says, once the last of them is there, and none leaves before that. So the only events are ends of nodes.
//!
//! Two ends at one NPU in one nanosecond could come in either order, and what starts next may depend on it; the same goes
//! for two accesses that reach a device in one nanosecond. Wherever that happens this gives up.

use super::Fabric;
use crate::memory::Queue;
use crate::{Collective, Graph, NetworkModel, Op, Plan};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use units::{Duration, Instant};

/// When each NPU is done. `None` where that takes more than whole nodes, and for graphs that never end.
pub(super) fn finish_times(fabric: &Fabric, graphs: &[Rc<Graph>]) -> Option<Vec<Instant>> {
    if fabric.system.has_rendezvous {
        return None;
    }
    let mut run = Run::new(fabric, graphs);
    for npu in 0..graphs.len() {
        run.issue(npu)?;
        run.note_end(npu);
    }
    while let Some(Reverse(end)) = run.ends.pop() {
        run.end(end)?;
    }
    run.npus.into_iter().map(|npu| npu.finished).collect()
}

struct Run<'a> {
    fabric: &'a Fabric,
    graphs: &'a [Rc<Graph>],
    npus: Vec<Npu>,
    ends: BinaryHeap<Reverse<End>>,
    num_scheduled: u64,
    now: Instant,
    /// Ends so far; all beginnings at the start count as one.
    epoch: u64,
    plans: FxHashMap<Collective, Option<Plan>>,
    /// Members of collectives that wait for the others, by the first of them and the number of the collective.
    gatherings: FxHashMap<(usize, u64), Gathering>,
    /// By sender, receiver, bytes and tag.
    mail: FxHashMap<(usize, usize, u64, u32), MailBox>,
    devices: FxHashMap<Queue, DeviceState>,
}

#[derive(Default)]
struct Npu {
    waits_for: Vec<u32>,
    ready: BinaryHeap<Reverse<u32>>,
    remaining: usize,
    computing: bool,
    host_computing: bool,
    communicating: bool,
    /// Chunks of collectives begun: the number of the next one.
    num_chunks: u64,
    finished: Option<Instant>,
    /// When a node of it ended last, or it began.
    last_end: Instant,
    /// Ends that it scheduled for the nanosecond in which it did so, and that are still to come.
    ends_at_once: u32,
}

/// The end of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: Instant,
    sequence: u64,
    npu: usize,
    node: u32,
    /// Whether the NPU itself scheduled it, in the same nanosecond.
    is_at_once: bool,
}

struct Gathering {
    collective: Collective,
    /// NPU, node and when it came.
    members: Vec<(usize, u32, Instant)>,
}

/// For equal messages.
#[derive(Default)]
struct MailBox {
    /// How many have come unasked.
    arrived: u32,
    /// The nodes that wait for one.
    awaiting: VecDeque<u32>,
}

#[derive(Default)]
struct DeviceState {
    free_at: Instant,
    /// When it was last turned to, and in which epoch.
    latest: Option<(Instant, u64)>,
}

impl<'a> Run<'a> {
    fn new(fabric: &'a Fabric, graphs: &'a [Rc<Graph>]) -> Self {
        let npu = |graph: &Rc<Graph>| {
            let waits_for: Vec<u32> = graph.parent_counts().collect();
            let roots = (0..).zip(&waits_for).filter(|&(_, &parents)| parents == 0);
            let ready = roots.map(|(node, _)| Reverse(node)).collect();
            Npu { ready, remaining: waits_for.len(), waits_for, ..Npu::default() }
        };
        Self {
            fabric,
            graphs,
            npus: graphs.iter().map(npu).collect(),
            ends: BinaryHeap::with_capacity(graphs.len()),
            num_scheduled: 0,
            now: Instant::ZERO,
            epoch: 0,
            plans: FxHashMap::default(),
            gatherings: FxHashMap::default(),
            mail: FxHashMap::default(),
            devices: FxHashMap::default(),
        }
    }

    fn end(&mut self, end: End) -> Option<()> {
        let End { at, npu, node, is_at_once, .. } = end;
        (self.now, self.epoch) = (at, self.epoch + 1);
        let state = &mut self.npus[npu];
        if is_at_once {
            state.ends_at_once -= 1;
        } else if state.last_end == at {
            return None;
        }
        state.last_end = at;
        match self.graphs[npu].op(node) {
            Op::Compute(_) => state.computing = false,
            Op::HostCompute(_) => state.host_computing = false,
            Op::Collective(_) | Op::Broadcast(_) => state.communicating = false,
            Op::Send { to, bytes, tag } => {
                state.communicating = false;
                // Its receiver goes on after it, in the same nanosecond.
                self.deliver(npu, to as usize, bytes, tag);
            }
            Op::Recv { .. } | Op::Memory { .. } | Op::Pim { .. } => {}
        }
        self.release(npu, node);
        self.issue(npu)?;
        self.npus[npu].remaining -= 1;
        self.note_end(npu);
        Some(())
    }

    fn note_end(&mut self, npu: usize) {
        let state = &mut self.npus[npu];
        if state.remaining == 0 && state.finished.is_none() {
            state.finished = Some(self.now);
        }
    }

    fn release(&mut self, npu: usize, node: u32) {
        let state = &mut self.npus[npu];
        for child in self.graphs[npu].children(node) {
            let waits_for = &mut state.waits_for[child as usize];
            *waits_for -= 1;
            if *waits_for == 0 {
                state.ready.push(Reverse(child));
            }
        }
    }

    /// Starts the nodes that can start, in order of number.
    fn issue(&mut self, npu: usize) -> Option<()> {
        let mut blocked = Vec::new();
        while let Some(Reverse(node)) = self.npus[npu].ready.pop() {
            let state = &mut self.npus[npu];
            match self.graphs[npu].op(node) {
                Op::Compute(_) if state.computing => blocked.push(node),
                Op::HostCompute(_) if state.host_computing => blocked.push(node),
                Op::Collective(_) | Op::Broadcast(_) | Op::Send { .. } if state.communicating => blocked.push(node),
                Op::Compute(Duration::ZERO) | Op::HostCompute(Duration::ZERO) => {
                    self.release(npu, node);
                    self.npus[npu].remaining -= 1;
                }
                Op::Compute(time) => {
                    state.computing = true;
                    self.schedule(npu, node, self.now + time)?;
                }
                Op::HostCompute(time) => {
                    state.host_computing = true;
                    self.schedule(npu, node, self.now + time)?;
                }
                Op::Broadcast(time) => {
                    state.communicating = true;
                    self.schedule(npu, node, self.now + time)?;
                }
                Op::Collective(collective) => {
                    state.communicating = true;
                    self.join(npu, node, collective)?;
                }
                Op::Send { to, bytes, .. } => {
                    if self.fabric.system.network_model == NetworkModel::Aware {
                        return None;
                    }
                    state.communicating = true;
                    let delay = self.fabric.topology.message_delay(npu, to as usize, bytes);
                    self.schedule(npu, node, self.now + delay)?;
                }
                Op::Recv { from, bytes, tag } => self.receive(npu, node, (from as usize, npu, bytes, tag))?,
                Op::Memory { location, bytes } => {
                    let memory = &self.fabric.memory;
                    let (queue, time) = (memory.queue(location), memory.access_time(location, bytes));
                    self.access(npu, node, queue, time)?;
                }
                Op::Pim { location, channel, time, bytes } => {
                    let memory = &self.fabric.memory;
                    let queue = memory.pim_queue(location, memory.pim_stride(location), channel);
                    self.access(npu, node, Some(queue), memory.pim_time(location, time, bytes))?;
                }
            }
        }
        self.npus[npu].ready.extend(blocked.into_iter().map(Reverse));
        Some(())
    }

    fn schedule(&mut self, npu: usize, node: u32, at: Instant) -> Option<()> {
        let is_at_once = at == self.now;
        if is_at_once {
            let state = &mut self.npus[npu];
            state.ends_at_once += 1;
            if state.ends_at_once > 1 {
                return None;
            }
        }
        self.push(npu, node, at, is_at_once);
        Some(())
    }

    fn push(&mut self, npu: usize, node: u32, at: Instant, is_at_once: bool) {
        let sequence = self.num_scheduled;
        self.num_scheduled += 1;
        self.ends.push(Reverse(End { at, sequence, npu, node, is_at_once }));
    }

    fn access(&mut self, npu: usize, node: u32, queue: Option<Queue>, time: Duration) -> Option<()> {
        let Some(queue) = queue else { return self.schedule(npu, node, self.now + time) };
        let device = self.devices.entry(queue).or_default();
        let turn = (self.now, self.epoch);
        if device.latest.is_some_and(|latest| latest.0 == turn.0 && latest.1 != turn.1) {
            return None;
        }
        device.latest = Some(turn);
        device.free_at = device.free_at.max(self.now) + time;
        let end = device.free_at;
        self.schedule(npu, node, end)
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: u64, tag: u32) {
        let mail = self.mail.entry((from, to, bytes, tag)).or_default();
        match mail.awaiting.pop_front() {
            Some(node) => self.push(to, node, self.now, false),
            None => mail.arrived += 1,
        }
    }

    fn receive(&mut self, npu: usize, node: u32, message: (usize, usize, u64, u32)) -> Option<()> {
        let mail = self.mail.entry(message).or_default();
        if mail.arrived > 0 {
            mail.arrived -= 1;
            return self.schedule(npu, node, self.now);
        }
        mail.awaiting.push_back(node);
        Some(())
    }

    /// Takes part in a collective, and lets all members leave when they will if it was the last one missing.
    fn join(&mut self, npu: usize, node: u32, collective: Collective) -> Option<()> {
        let (topology, system) = (&self.fabric.topology, &self.fabric.system);
        let plan = self.plans.entry(collective).or_insert_with(|| Plan::new(topology, system, collective).ok());
        let plan = plan.as_ref()?;
        let state = &mut self.npus[npu];
        let number = state.num_chunks;
        state.num_chunks += plan.num_chunks();
        let apart = (0..topology.dims().len()).filter(|&dim| collective.dims.contains(dim));
        let first = npu - apart.map(|dim| topology.coordinate(npu, dim) * topology.stride(dim)).sum::<usize>();
        let new = || Gathering { collective, members: Vec::with_capacity(plan.num_members()) };
        let gathering = self.gatherings.entry((first, number)).or_insert_with(new);
        if gathering.collective != collective {
            return None;
        }
        gathering.members.push((npu, node, self.now));
        if gathering.members.len() < plan.num_members() {
            return Some(());
        }
        let mut members = self.gatherings.remove(&(first, number))?.members;
        members.sort_unstable_by_key(|member| member.0);
        let mut at: Vec<Instant> = members.iter().map(|member| member.2).collect();
        if !plan.advance_groups(&mut at) {
            return None;
        }
        for ((member, node, _), at) in members.into_iter().zip(at) {
            if at == self.now {
                return None;
            }
            self.push(member, node, at, false);
        }
        Some(())
    }
}
