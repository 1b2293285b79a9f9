//! Time as LLMServingSim sees it, for comparing results with its own, to the nanosecond.
//!
//! LLMServingSim forms batches when ASTRA-Sim asks for work, and ASTRA-Sim asks the idle NPUs at every event of any NPU,
//! and each millisecond when no event is pending. It asks the last NPU of each instance first and the first NPU of each
//! after that. Only the first NPU may open a batch (any may open a dummy), and what it is given also starts the NPUs
//! between the two; the last one joins the next time it is asked. So the ranks of an instance start apart, and an
//! arrival waits for an event. None of this is a model of anything real, which is why it is not the default.
//!
//! All of it depends on when events happen inside a pass, so a pass runs here event by event, on a [`Machine`].

use std::rc::Rc;

use network::{Graph, Location, Machine, Op as Node};
use units::{Duration, GroupId, InstanceId, NpuId};

use crate::cluster::Cluster;
use crate::entry::Entry;
use crate::forward::{ForwardPass, Op};
use crate::observer::Observer;

/// How far the clock goes when no event is pending.
const IDLE_STEP: Duration = Duration::from_ns(1_000_000);

/// When nothing has started after so many idle steps with requests waiting, nothing ever will.
const IDLE_STEPS_MAX: u32 = 8;

pub(crate) struct PolledClock {
    machine: Machine,
    stations: Vec<Station>,
    /// Who is asked, in this order.
    askers: Vec<(InstanceId, Asker)>,
    idle_steps: u32,
}

/// The NPUs of an instance that are asked for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// The first; the only one where there is only one.
    First,
    /// The last.
    Last,
}

/// An instance as its NPUs see it.
#[derive(Debug)]
struct Station {
    first_npu: u32,
    num_npus: u32,
    num_batches: u64,
    in_flight: Option<InFlight>,
    /// Whether the batch was completed by another member's and waits to be picked up.
    handed_over: bool,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    /// Which NPUs have been given the batch, or have opened it.
    fired: [bool; 2],
    ended: [bool; 2],
    /// What each NPU runs; none before all members of the group have joined.
    graphs: Vec<Rc<Graph>>,
}

impl Station {
    fn npu(&self, asker: Asker) -> NpuId {
        match asker {
            Asker::First => NpuId(self.first_npu),
            Asker::Last => NpuId(self.first_npu + self.num_npus - 1),
        }
    }

    /// Opens a batch on behalf of `asker`.
    fn open(&mut self, asker: Asker) {
        let mut fired = [false; 2];
        fired[asker as usize] = true;
        let alone = self.num_npus == 1;
        let number = self.num_batches;
        self.num_batches += 1;
        self.in_flight = Some(InFlight { number, fired, ended: [false, alone], graphs: Vec::new() });
    }

    /// Notes that `asker` is through with the batch in flight, if it is the one it ran last; true when all are.
    fn end(&mut self, asker: Asker, iteration: u64) -> bool {
        let Some(batch) = self.in_flight.as_mut().filter(|batch| batch.number + 1 == iteration) else { return false };
        batch.ended[asker as usize] = true;
        let all_ended = batch.ended == [true; 2];
        if all_ended {
            self.in_flight = None;
        }
        all_ended
    }

    /// Has `asker` join the batch in flight, if it has not run it yet; true when there is something to run.
    fn join(&mut self, asker: Asker, iteration: u64) -> Option<Joined> {
        let batch = self.in_flight.as_mut().filter(|batch| batch.number == iteration)?;
        if batch.fired[asker as usize] {
            return None;
        }
        if batch.graphs.is_empty() {
            return Some(Joined::TooEarly);
        }
        batch.fired[asker as usize] = true;
        Some(Joined::Run)
    }
}

/// What an NPU finds when it joins a batch that another opened.
enum Joined {
    Run,
    /// The group's other members have not joined yet.
    TooEarly,
}

impl PolledClock {
    pub(crate) fn new<I: Iterator<Item = Entry>>(cluster: &mut Cluster<'_, I>) -> Self {
        let deployment = cluster.deployment;
        let mut first_npu_of_group = Vec::new();
        let mut num_npus = 0;
        for group in &deployment.groups {
            first_npu_of_group.push(num_npus);
            num_npus += group.topology.num_npus() as u32;
        }
        let station = |(id, spec): (usize, &crate::InstanceSpec)| {
            let (group, member) = cluster.seat(id.into());
            let first_npu = first_npu_of_group[group.index()] + member as u32 * spec.tp;
            Station { first_npu, num_npus: spec.tp, num_batches: 0, in_flight: None, handed_over: false }
        };
        let stations: Vec<Station> = deployment.instances.iter().enumerate().map(station).collect();
        let ids = || (0..stations.len()).map(InstanceId::from);
        let several = ids().filter(|id| stations[id.index()].num_npus > 1);
        let askers = several.map(|id| (id, Asker::Last)).chain(ids().map(|id| (id, Asker::First))).collect();

        let topologies = deployment.groups.iter().map(|group| group.topology.clone()).collect();
        let mut machine = Machine::new(topologies, deployment.system, deployment.host_memory);
        // The first thing every NPU runs is a wait for the first arrival, at most one log interval long.
        let first_arrival = cluster.arrivals.next_time().map_or(1, |time| time.ns().max(1));
        let mut wait = Graph::with_capacity(1);
        wait.then(Node::Compute(Duration::from_ns(first_arrival).min(deployment.options.log_interval)));
        let wait = Rc::new(wait);
        for npu in 0..num_npus {
            machine.begin(NpuId(npu), Rc::clone(&wait));
        }
        Self { machine, stations, askers, idle_steps: 0 }
    }

    /// Lets everything of the next cycle at which anything happens happen, and asks the idle NPUs; false when all
    /// requests are finished.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        if cluster.is_done() {
            return false;
        }
        if self.machine.step() {
            self.idle_steps = 0;
        } else {
            self.idle(cluster);
        }
        cluster.report_intervals(self.machine.now(), observer);
        for index in 0..self.askers.len() {
            let (instance, asker) = self.askers[index];
            if self.machine.is_idle(self.stations[instance.index()].npu(asker)) {
                self.ask(instance, asker, cluster, observer);
            }
        }
        true
    }

    /// Goes one idle step on, or as many as it takes for something to arrive where nothing is left to run.
    fn idle<I: Iterator<Item = Entry>>(&mut self, cluster: &mut Cluster<'_, I>) {
        let now = self.machine.now();
        let steps = match cluster.arrivals.next_time() {
            Some(next) if cluster.is_empty() && next > now => (next - now).ns().div_ceil(IDLE_STEP.ns()),
            _ => 1,
        };
        self.idle_steps += 1;
        assert!(self.idle_steps <= IDLE_STEPS_MAX, "requests wait, and nothing will ever start them");
        self.machine.idle_for(IDLE_STEP * steps);
    }

    fn ask<I: Iterator<Item = Entry>>(
        &mut self,
        instance: InstanceId,
        asker: Asker,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        let now = self.machine.now();
        while cluster.route_next(now).is_some() {}
        let station = &mut self.stations[instance.index()];
        // Everything an NPU has begun but the wait at the start was a batch.
        let iteration = self.machine.graphs_begun(station.npu(asker)) - 1;
        if station.end(asker, iteration) {
            cluster.finish_step(instance, now, observer);
        }
        let (group, _) = cluster.seat(instance);
        if asker == Asker::First && station.in_flight.is_none() && cluster.form_batch(instance, now) {
            station.open(asker);
            self.start_if_ready(group, instance, asker, cluster, observer);
            return;
        }
        match station.join(asker, iteration) {
            Some(Joined::Run) => self.give(instance, asker),
            Some(Joined::TooEarly) => {}
            None if station.handed_over => {
                station.handed_over = false;
                self.give(instance, asker);
            }
            None if station.in_flight.is_none() && cluster.group(group).has_pending() => {
                cluster.offer_dummy(instance);
                station.open(asker);
                self.start_if_ready(group, instance, asker, cluster, observer);
            }
            None => {}
        }
    }

    /// Starts the wave if the batch that `asker` has just opened was the last one missing. The other members pick
    /// theirs up when they are asked next.
    fn start_if_ready<I: Iterator<Item = Entry>>(
        &mut self,
        group: GroupId,
        instance: InstanceId,
        asker: Asker,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        if !cluster.group(group).is_ready() {
            return;
        }
        let passes = cluster.start_wave(group, self.machine.now(), observer);
        for (pass, &member) in passes.iter().zip(&cluster.group(group).spec.members) {
            let station = &mut self.stations[member.index()];
            let node = cluster.deployment.instances[member.index()].node;
            let graphs = (0..station.num_npus).map(|rank| Rc::new(graph(pass, rank as usize, node.0)));
            let batch = station.in_flight.as_mut().expect("a member of a wave has a batch in flight");
            batch.graphs = graphs.collect();
            station.handed_over = member != instance;
        }
        self.give(instance, asker);
    }

    /// Gives an NPU its part of the batch in flight, and through the first NPU those between it and the last.
    fn give(&mut self, instance: InstanceId, asker: Asker) {
        let station = &self.stations[instance.index()];
        let batch = station.in_flight.as_ref().expect("only a batch in flight is given");
        let last = station.num_npus - 1;
        // Those between start before the first, which puts them ahead of it in the queues they share.
        let ranks = match asker {
            Asker::First => (1..last).chain(0..1),
            Asker::Last => (last..last + 1).chain(0..0),
        };
        for rank in ranks {
            self.machine.begin(NpuId(station.first_npu + rank), Rc::clone(&batch.graphs[rank as usize]));
        }
    }
}

/// A pass as LLMServingSim's trace converter lays it out for one rank.
///
/// It is a chain but for one thing: only the first rank's experts wait for the tokens to be there. Those of the other
/// ranks wait for the layer before, and run beside the collective that brings the tokens.
fn graph(pass: &ForwardPass, rank: usize, node: u32) -> Graph {
    let mut graph =
        Graph::with_capacity(2 + pass.prologue.len() + pass.num_blocks * pass.block.len() + pass.head.len());
    let mut previous = graph.then(Node::Memory { location: Location::Host(node), bytes: pass.input_bytes });
    let mut latest_compute = previous;
    let blocks = (0..pass.num_blocks).flat_map(|block| pass.block.iter().map(move |op| (block, op)));
    let prologue = pass.prologue.iter().map(|op| (0, op));
    let head = pass.head.iter().map(|op| (0, op));
    for (block, op) in prologue.chain(blocks).chain(head) {
        let (duration, after) = match *op {
            Op::Collective(collective) => {
                previous = graph.push(Node::Collective(collective), &[latest_compute]);
                continue;
            }
            Op::Compute(duration) => (duration, previous),
            Op::Experts if rank == 0 => (pass.expert_time(block, rank), previous),
            Op::Experts => (pass.expert_time(block, rank), latest_compute),
        };
        if duration > Duration::ZERO {
            latest_compute = graph.push(Node::Compute(duration), &[after]);
            previous = latest_compute;
        }
    }
    graph.push(Node::Memory { location: Location::Host(node), bytes: pass.output_bytes }, &[previous]);
    graph
}
