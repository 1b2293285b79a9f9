//! Watching NPUs that run their parts event by event, on a [`Machine`].
//!
//! What nodes come to is recorded while a wave that was asked for is under way. A wave is told when all its NPUs are
//! through with it: only then is known of every collective when the last of its members entered it.

use std::collections::BTreeMap;
use std::rc::Rc;

use network::{Collective, Graph, Machine, NodeMoment, NodeRecord, Op as Node, Topology};
use rustc_hash::FxHashMap;
use units::{GroupId, InstanceId, Instant, NpuId};

use super::{Activity, Doing, Moved, NpuPart, layer_name};
use crate::deployment::Deployment;
use crate::labels::{Part, Piece, Pieces, Stem};
use crate::npus::NpuMap;
use crate::observer::Observer;

#[derive(Debug)]
pub(crate) struct GraphWatch {
    npus: Vec<Npu>,
    waves: BTreeMap<(GroupId, u64), Vec<Watched>>,
    /// By NPU and the graph's number on it, from 1, the wave that is watched.
    wave_of: FxHashMap<(NpuId, u64), u64>,
}

/// Where an NPU is, and how far it has come.
#[derive(Debug)]
struct Npu {
    group: GroupId,
    /// Its rank in the group.
    rank: usize,
    instance: InstanceId,
    number: u32,
    /// Graphs it was given, and those that it is through with.
    num_given: u64,
    num_finished: u64,
    /// When it was given the graph that it is at, or through with the one before.
    begin: Instant,
}

/// What one NPU runs in a wave.
#[derive(Debug)]
struct Watched {
    graph: Rc<Graph>,
    pieces: Pieces,
    /// By node, when it began, when the memory turned to it, and when it was done, if it was.
    times: Vec<(Instant, Instant, Option<Instant>)>,
    begin: Instant,
    end: Option<Instant>,
}

/// When the last member entered each collective: by the rank that stands for those that meet, and by how many collectives
/// each went through before.
type Meetings = FxHashMap<(usize, usize, Collective), Instant>;

impl GraphWatch {
    pub(crate) fn new(deployment: &Deployment, npus: &NpuMap) -> Self {
        let npu = |npu: usize| {
            let instance = npus.instance_of(npu.into());
            let number = npus.of(instance).position(|other| other.index() == npu).expect("it is one of its own") as u32;
            let rank = (npus.rank_in_group(instance) + number) as usize;
            let group = deployment.instances[instance.index()].group;
            Npu { group, rank, instance, number, num_given: 0, num_finished: 0, begin: Instant::ZERO }
        };
        let npus = (0..npus.num_npus()).map(npu).collect();
        Self { npus, waves: BTreeMap::new(), wave_of: FxHashMap::default() }
    }

    /// Watches a wave that runs these graphs, by rank in the group, before any is begun.
    pub(crate) fn watch(
        &mut self,
        (group, wave): (GroupId, u64),
        graphs: impl Iterator<Item = (Rc<Graph>, Pieces)>,
        machine: &mut Machine,
    ) {
        machine.set_recording(true);
        let watched = |(graph, pieces): (Rc<Graph>, Pieces)| {
            let times = vec![(Instant::ZERO, Instant::ZERO, None); graph.num_nodes()];
            Watched { graph, pieces, times, begin: Instant::ZERO, end: None }
        };
        self.waves.insert((group, wave), graphs.map(watched).collect());
    }

    /// Whether waves that are watched are under way.
    pub(crate) fn is_watching(&self) -> bool {
        !self.waves.is_empty()
    }

    /// An NPU is about to be given its graph of a wave.
    pub(crate) fn give(&mut self, npu: NpuId, wave: Option<u64>, now: Instant) {
        let state = &mut self.npus[npu.index()];
        state.num_given += 1;
        if state.num_given == state.num_finished + 1 {
            state.begin = now;
        }
        if let Some(wave) = wave.filter(|&wave| self.waves.contains_key(&(state.group, wave))) {
            self.wave_of.insert((npu, state.num_given), wave);
        }
    }

    /// Takes in what happened in the latest step of the machine, and tells of waves that have ended.
    pub(crate) fn note(&mut self, machine: &mut Machine, deployment: &Deployment, observer: &mut dyn Observer) {
        for NodeRecord { npu, graph, node, at, moment } in machine.take_records() {
            let Some(&wave) = self.wave_of.get(&(npu, graph)) else { continue };
            let times = &mut self.watched(npu, wave).times[node as usize];
            match moment {
                NodeMoment::Begun => times.0 = at,
                NodeMoment::Served => times.1 = at,
                NodeMoment::Done => times.2 = Some(at),
            }
        }
        let now = machine.now();
        for &npu in machine.finished() {
            let state = &mut self.npus[npu.index()];
            state.num_finished += 1;
            let begin = std::mem::replace(&mut state.begin, now);
            let (number, group) = (state.num_finished, state.group);
            let Some(wave) = self.wave_of.remove(&(npu, number)) else { continue };
            let watched = self.watched(npu, wave);
            (watched.begin, watched.end) = (begin, Some(now));
            if self.waves[&(group, wave)].iter().all(|watched| watched.end.is_some()) {
                self.tell((group, wave), &deployment.groups[group.index()].topology, observer);
            }
        }
        if self.waves.is_empty() {
            machine.set_recording(false);
        }
    }

    fn watched(&mut self, npu: NpuId, wave: u64) -> &mut Watched {
        let Npu { group, rank, .. } = self.npus[npu.index()];
        &mut self.waves.get_mut(&(group, wave)).expect("a wave that is watched")[rank]
    }

    fn tell(&mut self, (group, wave): (GroupId, u64), topology: &Topology, observer: &mut dyn Observer) {
        let Some(all) = self.waves.remove(&(group, wave)) else { return };
        let mut meetings = Meetings::default();
        for (rank, watched) in all.iter().enumerate() {
            for (place, (node, collective)) in watched.collectives().into_iter().enumerate() {
                let met = meetings.entry((first_met(topology, rank, collective), place, collective)).or_default();
                *met = watched.times[node].0.max(*met);
            }
        }
        let first = self.npus.iter().position(|npu| npu.group == group).expect("a group has NPUs");
        for (rank, watched) in all.iter().enumerate() {
            let met: FxHashMap<usize, Instant> = watched
                .collectives()
                .into_iter()
                .enumerate()
                .map(|(place, (node, collective))| {
                    (node, meetings[&(first_met(topology, rank, collective), place, collective)])
                })
                .collect();
            let activities = watched.activities(&met);
            let &Npu { instance, number: npu, .. } = &self.npus[first + rank];
            let (begin, end) = (watched.begin, watched.end.expect("all NPUs are through"));
            observer.npu_part_ended(&NpuPart { instance, npu, group, wave, begin, end, activities: &activities });
        }
    }
}

/// The first of the ranks that `rank` meets in a collective.
fn first_met(topology: &Topology, rank: usize, collective: Collective) -> usize {
    let coordinate = |dim| if collective.dims.contains(dim) { 0 } else { topology.coordinate(rank, dim) };
    topology.rank(&(0..topology.dims().len()).map(coordinate).collect::<Vec<_>>())
}

impl Watched {
    /// Its collectives in the order in which they were begun, each with its node.
    fn collectives(&self) -> Vec<(usize, Collective)> {
        let collective = |node: usize| match self.graph.op(node as u32) {
            Node::Collective(collective) => Some((node, collective)),
            _ => None,
        };
        let mut collectives: Vec<_> = (0..self.graph.num_nodes()).filter_map(collective).collect();
        collectives.sort_by_key(|&(node, _)| self.times[node].0);
        collectives
    }

    /// What the NPU did; `met` says of collectives when they had all their members.
    fn activities(&self, met: &FxHashMap<usize, Instant>) -> Vec<Activity> {
        let mut activities = Vec::with_capacity(self.times.len());
        for (node, &(begun, served, done)) in self.times.iter().enumerate() {
            let Some(done) = done else { continue };
            // Tasks of one channel are asked for together.
            let mut begin = if matches!(self.graph.op(node as u32), Node::Pim { .. }) { served } else { begun };
            for piece in &self.pieces[node] {
                let op = self.graph.op(node as u32);
                let end = if matches!(op, Node::Compute(_)) { begin + piece.time } else { done };
                let what = doing(op, piece, served, met.get(&node).copied().unwrap_or(begun));
                if end > begin {
                    activities.push(Activity { begin, end, block: piece.block, half: piece.half, what });
                }
                begin = end;
            }
        }
        activities.sort_by_key(|activity| activity.begin);
        activities
    }
}

fn doing(op: Node, piece: &Piece, served: Instant, met: Instant) -> Doing {
    // The output that a prefill instance hands on is a hidden state too.
    let message = if piece.name == Stem::KV.name { Moved::Kv } else { Moved::HiddenState };
    match op {
        Node::Compute(_) | Node::HostCompute(_) | Node::Broadcast(_) => Doing::Compute(layer_name(piece.name)),
        Node::Collective(Collective { kind, bytes, .. }) => Doing::Collective { kind, bytes, met },
        Node::Memory { location, bytes } => {
            let moved = match piece.part {
                Part::Weight if piece.name == Stem::RECALL.name => Moved::Prefixes,
                Part::Weight => Moved::Weights(layer_name(piece.name)),
                Part::Input => Moved::Input,
                _ => Moved::Output,
            };
            Doing::Access { moved, location, bytes, served }
        }
        Node::Pim { channel, .. } => Doing::InMemory(Some(channel)),
        Node::Send { to, bytes, .. } => Doing::Send { moved: message, to, bytes },
        Node::Recv { from, bytes, .. } => Doing::Receive { moved: message, from, bytes },
    }
}
