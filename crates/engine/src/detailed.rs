//! Time as it is, event by event: for passes that are more than one chain of ops.
//!
//! KV that is sent on beside the computation, weights that are fetched ahead, attention in memory and messages on shared
//! links all compete for links and devices while a pass runs, so when a pass ends follows from events inside it. It runs
//! on a [`Machine`]; everything around it is as with the closed form ([`crate::exact`]).

use std::rc::Rc;

use network::Machine;
use units::{GroupId, InstanceId, Instant};

use crate::activity::GraphWatch;
use crate::cluster::Cluster;
use crate::deployment::Deployment;
use crate::entry::Entry;
use crate::forward::ForwardPass;
use crate::graphs::{Layout, graphs, graphs_in_pieces};
use crate::npus::NpuMap;
use crate::observer::Observer;

pub(crate) struct DetailedClock<'d> {
    deployment: &'d Deployment,
    machine: Machine,
    npus: NpuMap,
    /// Graphs each NPU has finished.
    finished: Vec<u64>,
    /// Steps each instance has finished.
    steps: Vec<u64>,
    /// Waves begun, by group; counted where they are watched.
    num_waves: Vec<u64>,
    watch: Option<Box<GraphWatch>>,
}

impl<'d> DetailedClock<'d> {
    pub(crate) fn new(deployment: &'d Deployment) -> Self {
        let npus = NpuMap::new(deployment);
        let topologies = deployment.groups.iter().map(|group| group.topology.clone()).collect();
        let channels = deployment.instances.iter().filter_map(|spec| spec.pim).map(|pim| pim.num_channels);
        Self {
            deployment,
            machine: Machine::new(topologies, deployment.system.clone(), deployment.memory)
                .with_pim_channels(channels.max().unwrap_or(0)),
            finished: vec![0; npus.num_npus()],
            steps: vec![0; deployment.instances.len()],
            num_waves: vec![0; deployment.groups.len()],
            watch: None,
            npus,
        }
    }

    /// Has waves watched that an observer asks for.
    pub(crate) fn watch(&mut self) {
        self.watch = Some(Box::new(GraphWatch::new(self.deployment, &self.npus)));
    }

    /// Lets everything of the next instant at which anything happens happen; false when nothing is left to.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'d, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        let event = self.machine.next_event_time();
        let Some(now) = [cluster.arrivals.next_time(), event].into_iter().flatten().min() else { return false };
        cluster.report_intervals(now, observer);
        cluster.route_arrivals(now);
        if event == Some(now) {
            self.machine.step();
            if let Some(watch) = &mut self.watch {
                watch.note(&mut self.machine, self.deployment, observer);
            }
            self.finish_steps(now, cluster, observer);
        } else {
            self.machine.advance_to(now);
        }
        // Sessions whose tools take no time go on at once.
        cluster.route_arrivals(now);
        cluster.start_what_can(now, observer, |group, passes, is_told| self.start_wave(group, passes, is_told));
        true
    }

    /// A step is done when every NPU of its instance has finished its part.
    fn finish_steps<I: Iterator<Item = Entry>>(
        &mut self,
        now: Instant,
        cluster: &mut Cluster<'d, I>,
        observer: &mut dyn Observer,
    ) {
        let mut done: Vec<InstanceId> = Vec::new();
        for &npu in self.machine.finished() {
            self.finished[npu.index()] += 1;
            let instance = self.npus.instance_of(npu);
            if !done.contains(&instance) {
                done.push(instance);
            }
        }
        done.sort_unstable();
        for instance in done {
            let least = self.npus.of(instance).map(|npu| self.finished[npu.index()]).min().unwrap_or(0);
            while self.steps[instance.index()] < least {
                self.steps[instance.index()] += 1;
                cluster.finish_step(instance, now, observer);
            }
        }
    }

    fn start_wave(&mut self, group: GroupId, passes: &[ForwardPass], is_told: bool) {
        if self.watch.is_some() {
            return self.start_watched_wave(group, passes, is_told);
        }
        for (pass, &instance) in passes.iter().zip(&self.deployment.groups[group.index()].members) {
            let spec = &self.deployment.instances[instance.index()];
            let graphs = graphs(pass, spec, self.npus.rank_in_group(instance), Layout::Physical);
            for (npu, graph) in self.npus.of(instance).zip(graphs) {
                self.machine.begin(npu, Rc::new(graph));
            }
        }
    }

    /// The same where waves are watched, this one if it is to be told.
    fn start_watched_wave(&mut self, group: GroupId, passes: &[ForwardPass], is_told: bool) {
        let Some(watch) = &mut self.watch else { return };
        let members = &self.deployment.groups[group.index()].members;
        let graphs = passes.iter().zip(members).flat_map(|(pass, &instance)| {
            let spec = &self.deployment.instances[instance.index()];
            graphs_in_pieces(pass, spec, self.npus.rank_in_group(instance), Layout::Physical)
        });
        let graphs: Vec<_> = graphs.map(|(graph, pieces)| (Rc::new(graph), pieces)).collect();
        let npus = members.iter().flat_map(|&instance| self.npus.of(instance));
        let to_run: Vec<_> = npus.zip(graphs.iter().map(|(graph, _)| Rc::clone(graph))).collect();
        let wave = self.num_waves[group.index()];
        self.num_waves[group.index()] += 1;
        if is_told {
            watch.watch((group, wave), graphs.into_iter(), &mut self.machine);
        }
        for (npu, graph) in to_run {
            watch.give(npu, Some(wave), self.machine.now());
            self.machine.begin(npu, graph);
        }
    }
}
