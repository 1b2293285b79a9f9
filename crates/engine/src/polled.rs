//! Time as LLMServingSim sees it, for comparing results with its own, to the nanosecond.
//!
//! LLMServingSim forms batches when ASTRA-Sim asks for work, and ASTRA-Sim asks the idle NPUs at every event of any NPU,
//! and each millisecond when no event is pending. It asks the last NPU of each instance first and the first NPU of each
//! after that. Only the first NPU may open a batch (any may open a dummy), and what it is given also starts the NPUs
//! between the two; the last one joins the next time it is asked. So the ranks of an instance start apart, and an
//! arrival waits for an event. None of this is a model of anything real, which is why it is not the default.
//!
//! All of it depends on when events happen inside a pass, so a pass runs here event by event, on a [`Machine`].

use std::collections::VecDeque;
use std::rc::Rc;

use network::{Graph, Machine, Op as Node};
use units::{Duration, GroupId, InstanceId, NpuId};

use crate::activity::GraphWatch;
use crate::cluster::Cluster;
use crate::deployment::Deployment;
use crate::entry::Entry;
use crate::graphs::{Layout, graphs, graphs_in_pieces};
use crate::npus::NpuMap;
use crate::observer::Observer;

/// How far the clock goes when no event is pending.
const IDLE_STEP: Duration = Duration::from_ns(1_000_000);

/// When nothing has started after so many idle steps with requests waiting, nothing will before something arrives.
const IDLE_STEPS_MAX: u32 = 2;

pub(crate) struct PolledClock {
    machine: Machine,
    stations: Vec<Station>,
    /// Who is asked, in this order.
    askers: Vec<(InstanceId, Asker)>,
    idle_steps: u32,
    watch: Option<Box<GraphWatch>>,
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
    rank_in_group: u32,
    /// Batches that may be in flight.
    depth: usize,
    num_batches: u64,
    /// Oldest first.
    in_flight: VecDeque<InFlight>,
    /// The batch that another member's completed, and that waits to be picked up.
    handed_over: Option<u64>,
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

    fn has_room(&self) -> bool {
        self.in_flight.len() < self.depth
    }

    /// Opens a batch on behalf of `asker`.
    fn open(&mut self, asker: Asker) {
        let mut fired = [false; 2];
        fired[asker as usize] = true;
        let alone = self.num_npus == 1;
        let number = self.num_batches;
        self.num_batches += 1;
        self.in_flight.push_back(InFlight { number, fired, ended: [false, alone], graphs: Vec::new() });
    }

    /// Notes that `asker` is through with the batch before its `iteration`; true when all are.
    fn end(&mut self, asker: Asker, iteration: u64) -> bool {
        let Some(index) = self.in_flight.iter().position(|batch| batch.number + 1 == iteration) else { return false };
        let batch = &mut self.in_flight[index];
        batch.ended[asker as usize] = true;
        let all_ended = batch.ended == [true; 2];
        if all_ended {
            assert_eq!(index, 0, "batches go through the stages in order");
            self.in_flight.pop_front();
        }
        all_ended
    }

    /// Has `asker` join the batch of its `iteration`, if it has not run it yet.
    fn join(&mut self, asker: Asker, iteration: u64) -> Option<Joined> {
        let batch = self.in_flight.iter_mut().find(|batch| batch.number == iteration)?;
        if batch.fired[asker as usize] {
            return None;
        }
        if batch.graphs.is_empty() {
            return Some(Joined::TooEarly);
        }
        batch.fired[asker as usize] = true;
        Some(Joined::Run(iteration))
    }
}

/// What an NPU finds when it joins a batch that another opened.
enum Joined {
    /// The batch to run.
    Run(u64),
    /// The group's other members have not joined yet.
    TooEarly,
}

impl PolledClock {
    pub(crate) fn new<I: Iterator<Item = Entry>>(cluster: &mut Cluster<'_, I>) -> Self {
        let deployment = cluster.deployment;
        let npus = NpuMap::new(deployment);
        let station = |(id, spec): (usize, &crate::InstanceSpec)| Station {
            first_npu: npus.of(id.into()).next().expect("an instance has NPUs").0,
            num_npus: spec.num_npus_with_peers(),
            rank_in_group: npus.rank_in_group(id.into()),
            depth: spec.pp as usize,
            num_batches: 0,
            in_flight: VecDeque::new(),
            handed_over: None,
        };
        let stations: Vec<Station> = deployment.instances.iter().enumerate().map(station).collect();
        let ids = || (0..stations.len()).map(InstanceId::from);
        let several = ids().filter(|id| stations[id.index()].num_npus > 1);
        let askers = several.map(|id| (id, Asker::Last)).chain(ids().map(|id| (id, Asker::First))).collect();

        let topologies = deployment.groups.iter().map(|group| group.topology.clone()).collect();
        let mut machine = Machine::new(topologies, deployment.system.clone(), deployment.memory);
        // The first thing every NPU runs is a wait for the first arrival, at most one log interval long.
        let first_arrival = cluster.arrivals.next_time().map_or(1, |time| time.ns().max(1));
        let mut wait = Graph::with_capacity(1);
        wait.then(Node::Compute(Duration::from_ns(first_arrival).min(deployment.options.log_interval)));
        let wait = Rc::new(wait);
        for npu in 0..npus.num_npus() {
            machine.begin(npu.into(), Rc::clone(&wait));
        }
        Self { machine, stations, askers, idle_steps: 0, watch: None }
    }

    /// Has waves watched that an observer asks for.
    pub(crate) fn watch(&mut self, deployment: &Deployment) {
        let npus = NpuMap::new(deployment);
        let mut watch = GraphWatch::new(deployment, &npus);
        // The wait for the first arrival.
        (0..npus.num_npus()).for_each(|npu| watch.give(npu.into(), None, self.machine.now()));
        self.watch = Some(Box::new(watch));
    }

    /// Lets everything of the next cycle at which anything happens happen, and asks the idle NPUs; false when all
    /// requests are finished, or wait for what will never come.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        if cluster.is_done() && self.stations.iter().all(|station| station.in_flight.is_empty()) {
            self.see_off(cluster.deployment, observer);
            return false;
        }
        if self.machine.step() {
            self.idle_steps = 0;
            if let Some(watch) = &mut self.watch {
                watch.note(&mut self.machine, cluster.deployment, observer);
            }
        } else if !self.idle(cluster, observer) {
            return false;
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

    /// Watches NPUs that nobody waits for: those between the first and the last of an instance may be through later.
    fn see_off(&mut self, deployment: &Deployment, observer: &mut dyn Observer) {
        let Some(watch) = &mut self.watch else { return };
        while watch.is_watching() && self.machine.step() {
            watch.note(&mut self.machine, deployment, observer);
        }
    }

    /// Goes one idle step on, or as many as it takes for something to arrive where nothing else can happen; false when
    /// nothing ever will.
    fn idle<I: Iterator<Item = Entry>>(&mut self, cluster: &mut Cluster<'_, I>, observer: &mut dyn Observer) -> bool {
        let now = self.machine.now();
        let is_stuck = self.idle_steps >= IDLE_STEPS_MAX;
        self.idle_steps += 1;
        let next_arrival = cluster.arrivals.next_time().filter(|&next| next > now);
        let steps = match next_arrival {
            Some(next) if cluster.is_empty() || is_stuck => (next - now).ns().div_ceil(IDLE_STEP.ns()),
            _ => 1,
        };
        self.machine.idle_for(IDLE_STEP * steps);
        !is_stuck || next_arrival.is_some() || self.give_what_is_left(observer)
    }

    /// Gives idle NPUs what they were never handed; false when there is nothing. LLMServingSim would wait for ever here:
    /// with several batches in flight, the first NPU of an instance does not join a dummy that another has opened.
    fn give_what_is_left(&mut self, observer: &mut dyn Observer) -> bool {
        let left = self.askers.iter().filter_map(|&(instance, asker)| {
            let station = &self.stations[instance.index()];
            let npu = station.npu(asker);
            let iteration = self.machine.graphs_begun(npu) - 1;
            let batch = station.in_flight.iter().find(|batch| batch.number == iteration && !batch.graphs.is_empty())?;
            self.machine.is_idle(npu).then_some((instance, asker, batch.number))
        });
        let left: Vec<(InstanceId, Asker, u64)> = left.collect();
        for &(instance, asker, number) in &left {
            self.give(instance, asker, number, observer);
        }
        !left.is_empty()
    }

    fn ask<I: Iterator<Item = Entry>>(
        &mut self,
        instance: InstanceId,
        asker: Asker,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        let now = self.machine.now();
        cluster.route_arrivals(now);
        let station = &mut self.stations[instance.index()];
        // Everything an NPU has begun but the wait at the start was a batch.
        let iteration = self.machine.graphs_begun(station.npu(asker)) - 1;
        if station.end(asker, iteration) {
            cluster.finish_step(instance, now, observer);
        }
        let (group, _) = cluster.seat(instance);
        let is_pending = is_pending(cluster, instance);
        if asker == Asker::First && station.has_room() {
            if !is_pending && cluster.form_batch(instance, now) {
                station.open(asker);
                self.start_if_ready(group, instance, asker, cluster, observer);
                return;
            }
        } else if let Some(joined) = station.join(asker, iteration) {
            if let Joined::Run(number) = joined {
                self.give(instance, asker, number, observer);
            }
            return;
        }
        if let Some(number) = station.handed_over.take() {
            self.give(instance, asker, number, observer);
        } else if station.has_room() && cluster.group(group).has_pending() && !is_pending {
            cluster.offer_dummy(instance);
            station.open(asker);
            self.start_if_ready(group, instance, asker, cluster, observer);
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
        cluster.start_wave(group, self.machine.now(), observer);
        let mut own = 0;
        let mut watched = Vec::new();
        let is_told = cluster.is_told();
        for (pass, &member) in cluster.group(group).passes().iter().zip(&cluster.group(group).spec.members) {
            let station = &mut self.stations[member.index()];
            let spec = &cluster.deployment.instances[member.index()];
            let graphs = if is_told {
                let graphs = graphs_in_pieces(pass, spec, station.rank_in_group, Layout::Converted);
                let (graphs, pieces): (Vec<_>, Vec<_>) = graphs.into_iter().unzip();
                watched.extend(pieces);
                graphs
            } else {
                graphs(pass, spec, station.rank_in_group, Layout::Converted)
            };
            let batch = station.in_flight.back_mut().expect("a member of a wave has a batch in flight");
            batch.graphs = graphs.into_iter().map(Rc::new).collect();
            if member == instance {
                own = batch.number;
            } else {
                station.handed_over = Some(batch.number);
            }
        }
        if let (Some(watch), true) = (&mut self.watch, is_told) {
            let members = cluster.group(group).spec.members.iter();
            let in_flight = members.filter_map(|member| self.stations[member.index()].in_flight.back());
            let graphs = in_flight.flat_map(|batch| batch.graphs.iter().map(Rc::clone));
            watch.watch((group, own), graphs.zip(watched), &mut self.machine);
        }
        self.give(instance, asker, own, observer);
    }

    /// Gives an NPU its part of a batch in flight, and through the first NPU those between it and the last.
    fn give(&mut self, instance: InstanceId, asker: Asker, number: u64, observer: &mut dyn Observer) {
        let station = &self.stations[instance.index()];
        let batch = station.in_flight.iter().find(|batch| batch.number == number);
        let batch = batch.expect("only a batch in flight is given");
        let last = station.num_npus - 1;
        // Those between start before the first, which puts them ahead of it in the queues they share.
        let ranks = match asker {
            Asker::First => (1..last).chain(0..1),
            Asker::Last => (last..last + 1).chain(0..0),
        };
        for rank in ranks {
            observer.graph_given(instance, rank, number, self.machine.now());
            let npu = NpuId(station.first_npu + rank);
            if let Some(watch) = &mut self.watch {
                watch.give(npu, Some(number), self.machine.now());
            }
            self.machine.begin(npu, Rc::clone(&batch.graphs[rank as usize]));
        }
    }
}

/// Whether an instance has opened a batch that waits for the other members of its group.
fn is_pending<I: Iterator<Item = Entry>>(cluster: &Cluster<'_, I>, instance: InstanceId) -> bool {
    let (group, member) = cluster.seat(instance);
    cluster.group(group).is_pending(member)
}
