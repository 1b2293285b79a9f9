//! Time as it is: work starts when it can start, and the ranks of an instance start together.
//!
//! A step is three stretches: each rank loads its input from host memory, runs the forward pass, stores its output.
//! Host memory serves one request at a time, so a store is an event of its own: who comes first is known only when
//! everybody's forward pass is timed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use network::{DeviceQueue, Location};
use units::{GroupId, InstanceId, Instant};

use crate::cluster::Cluster;
use crate::deployment::Deployment;
use crate::entry::Entry;
use crate::observer::Observer;
use crate::pass_clock::PassClock;

#[derive(Debug)]
pub(crate) struct ExactClock {
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    host_memory: DeviceQueue,
    groups: Vec<GroupClock>,
    /// Groups that may have a batch to form or a wave to start, each at most once.
    touched: Vec<GroupId>,
}

/// What is known to happen. Events of one instant happen in this order, and then by whom they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A rank is through its forward pass and stores its output.
    Store { group: GroupId, rank: usize },
    /// All ranks of an instance have stored theirs.
    StepDone { instance: InstanceId },
}

#[derive(Debug)]
struct GroupClock {
    pass: PassClock,
    ranks_per_member: usize,
    output_bytes: u64,
    /// By member: ranks that have yet to store, and when the last one so far has.
    stores: Vec<(usize, Instant)>,
}

impl ExactClock {
    pub(crate) fn new(deployment: &Deployment) -> Self {
        let group_clock = |spec: &crate::GroupSpec| {
            let first = &deployment.instances[spec.members[0].index()];
            let ranks_per_member = first.tp as usize;
            // Only expert-parallel collectives reach past an instance, and only where the experts do.
            let members_meet = spec.members.len() > 1 && first.ep > first.tp;
            GroupClock {
                pass: PassClock::new(spec.topology.clone(), deployment.system, ranks_per_member, members_meet),
                ranks_per_member,
                output_bytes: 0,
                stores: vec![(0, Instant::ZERO); spec.members.len()],
            }
        };
        Self {
            events: BinaryHeap::new(),
            host_memory: DeviceQueue::new(deployment.host_memory),
            groups: deployment.groups.iter().map(group_clock).collect(),
            touched: Vec::new(),
        }
    }

    /// Lets everything of the next instant at which anything happens happen; false when nothing is left to.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        let event = self.events.peek().map(|Reverse((time, _))| *time);
        let Some(now) = [cluster.arrivals.next_time(), event].into_iter().flatten().min() else { return false };
        cluster.report_intervals(now, observer);
        while let Some(instance) = cluster.route_next(now) {
            self.touch(cluster.seat(instance).0);
        }
        while let Some(&Reverse((time, event))) = self.events.peek()
            && time == now
        {
            self.events.pop();
            self.handle(event, now, cluster, observer);
        }
        let mut touched = mem::take(&mut self.touched);
        touched.sort_unstable();
        for group in touched.drain(..) {
            self.start_what_can(group, now, cluster, observer);
        }
        self.touched = touched;
        true
    }

    fn touch(&mut self, group: GroupId) {
        if !self.touched.contains(&group) {
            self.touched.push(group);
        }
    }

    fn handle<I: Iterator<Item = Entry>>(
        &mut self,
        event: Event,
        now: Instant,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        match event {
            Event::Store { group, rank } => {
                let clock = &mut self.groups[group.index()];
                let member = rank / clock.ranks_per_member;
                let instance = cluster.group(group).spec.members[member];
                let node = cluster.deployment.instances[instance.index()].node;
                let stored = self.host_memory.serve(Location::Host(node.0), now, clock.output_bytes);
                let (remaining, latest) = &mut clock.stores[member];
                *remaining -= 1;
                *latest = stored.max(*latest);
                if *remaining == 0 {
                    self.events.push(Reverse((*latest, Event::StepDone { instance })));
                }
            }
            Event::StepDone { instance } => {
                cluster.finish_step(instance, now, observer);
                self.touch(cluster.seat(instance).0);
            }
        }
    }

    /// Has the idle members of a group form batches, and starts the wave if none is missing.
    fn start_what_can<I: Iterator<Item = Entry>>(
        &mut self,
        group: GroupId,
        now: Instant,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        let members = &cluster.group(group).spec.members;
        for (member, &instance) in members.iter().enumerate() {
            if cluster.group(group).is_idle(member) {
                cluster.form_batch(instance, now);
            }
        }
        if !cluster.group(group).has_pending() {
            return;
        }
        for (member, &instance) in members.iter().enumerate() {
            if cluster.group(group).is_idle(member) {
                cluster.offer_dummy(instance);
            }
        }
        if cluster.group(group).is_ready() {
            self.start_wave(group, now, cluster, observer);
        }
    }

    fn start_wave<I: Iterator<Item = Entry>>(
        &mut self,
        group: GroupId,
        now: Instant,
        cluster: &mut Cluster<'_, I>,
        observer: &mut dyn Observer,
    ) {
        let passes = cluster.start_wave(group, now, observer);
        let clock = &mut self.groups[group.index()];
        let mut at = Vec::with_capacity(passes.len() * clock.ranks_per_member);
        for (pass, &instance) in passes.iter().zip(&cluster.group(group).spec.members) {
            let node = cluster.deployment.instances[instance.index()].node;
            for _ in 0..clock.ranks_per_member {
                at.push(self.host_memory.serve(Location::Host(node.0), now, pass.input_bytes));
            }
        }
        clock.pass.run(&passes, &mut at);
        clock.output_bytes = passes[0].output_bytes;
        clock.stores.fill((clock.ranks_per_member, Instant::ZERO));
        for (rank, &time) in at.iter().enumerate() {
            self.events.push(Reverse((time, Event::Store { group, rank })));
        }
    }
}
