//! Time as it is, in closed form: work starts when it can start, and the ranks of an instance start together.
//!
//! A step is three stretches: each rank loads its input from host memory, runs the forward pass, stores its output.
//! Host memory serves one request at a time, so a store is an event of its own: who comes first is known only when
//! everybody's forward pass is timed. Only passes that are one chain of ops can be timed so ([`crate::detailed`] is for
//! the others).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use network::{DeviceQueue, Location};
use units::{Duration, GroupId, InstanceId, Instant};

use crate::cluster::Cluster;
use crate::deployment::{Deployment, GroupSpec, InstanceSpec, Role};
use crate::entry::Entry;
use crate::forward::ForwardPass;
use crate::observer::Observer;
use crate::pass_clock::PassClock;

#[derive(Debug)]
pub(crate) struct ExactClock<'d> {
    deployment: &'d Deployment,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    memory: DeviceQueue,
    groups: Vec<GroupClock>,
}

/// What is known to happen. Events of one instant happen in this order, and then by whom they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A rank is through its forward pass and stores its output.
    Store { group: GroupId, rank: usize, wave: u64 },
    /// The host of an instance has made a batch ready.
    Prepared { instance: InstanceId },
    /// All ranks of an instance have stored theirs.
    StepDone { instance: InstanceId },
}

#[derive(Debug)]
struct GroupClock {
    pass: PassClock,
    ranks_per_member: usize,
    /// By rank, when it is free: when it is through with its latest pass.
    free: Vec<Instant>,
    /// Waves begun.
    num_waves: u64,
    /// Those under way, oldest first.
    waves: VecDeque<WaveStores>,
    /// Lists of stores to be used again.
    spare: Vec<Vec<(usize, Instant)>>,
}

/// What a wave has yet to store.
#[derive(Debug)]
struct WaveStores {
    output_bytes: u64,
    /// By member: ranks that have yet to store, and when the last one so far has.
    stores: Vec<(usize, Instant)>,
}

/// Whether the passes of an instance are single chains.
pub(crate) fn runs_in_chains(instance: &InstanceSpec) -> bool {
    instance.pp == 1 && instance.role != Role::Prefill && instance.pim.is_none() && instance.placement.needs_no_loads()
}

impl<'d> ExactClock<'d> {
    pub(crate) fn new(deployment: &'d Deployment) -> Self {
        let group_clock = |spec: &GroupSpec| {
            let first = &deployment.instances[spec.members[0].index()];
            let ranks_per_member = first.tp as usize;
            // Only expert-parallel collectives reach past an instance, and only where the experts do.
            let members_meet = spec.members.len() > 1 && first.ep > first.tp;
            GroupClock {
                pass: PassClock::new(spec.topology.clone(), deployment.system.clone(), ranks_per_member, members_meet),
                ranks_per_member,
                free: vec![Instant::ZERO; ranks_per_member * spec.members.len()],
                num_waves: 0,
                waves: VecDeque::new(),
                spare: Vec::new(),
            }
        };
        Self {
            deployment,
            events: BinaryHeap::new(),
            memory: DeviceQueue::new(deployment.memory),
            groups: deployment.groups.iter().map(group_clock).collect(),
        }
    }

    /// Lets everything of the next instant at which anything happens happen; false when nothing is left to.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'d, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        let event = self.events.peek().map(|Reverse((time, _))| *time);
        let Some(now) = [cluster.arrivals.next_time(), event].into_iter().flatten().min() else { return false };
        cluster.report_intervals(now, observer);
        cluster.route_arrivals(now);
        while let Some(&Reverse((time, event))) = self.events.peek()
            && time == now
        {
            self.events.pop();
            match event {
                Event::Store { group, rank, wave } => self.store(group, rank, wave, now),
                Event::Prepared { instance } => cluster.finish_preparation(instance, now, observer),
                Event::StepDone { instance } => cluster.end_step(instance, now, observer),
            }
        }
        // Sessions whose tools take no time go on at once.
        cluster.route_arrivals(now);
        cluster.start_what_can(now, observer, |group, passes| self.start_wave(group, passes, now));
        let prepared = |(time, instance)| Reverse((time, Event::Prepared { instance }));
        self.events.extend(cluster.preparations().map(prepared));
        true
    }

    fn store(&mut self, group: GroupId, rank: usize, wave: u64, now: Instant) {
        let clock = &mut self.groups[group.index()];
        let member = rank / clock.ranks_per_member;
        let instance = self.deployment.groups[group.index()].members[member];
        let host = Location::Host(self.deployment.instances[instance.index()].node.0);
        let oldest = clock.num_waves - clock.waves.len() as u64;
        let wave = &mut clock.waves[(wave - oldest) as usize];
        let stored = self.memory.serve(host, now, wave.output_bytes);
        let (remaining, latest) = &mut wave.stores[member];
        *remaining -= 1;
        *latest = stored.max(*latest);
        if *remaining == 0 {
            self.events.push(Reverse((*latest, Event::StepDone { instance })));
        }
        while clock.waves.front().is_some_and(|wave| wave.stores.iter().all(|store| store.0 == 0)) {
            let stored = clock.waves.pop_front();
            clock.spare.extend(stored.map(|wave| wave.stores).map(emptied));
        }
    }

    fn start_wave(&mut self, group: GroupId, passes: &[ForwardPass], now: Instant) {
        let clock = &mut self.groups[group.index()];
        let at = &mut clock.free;
        let of_members = at.chunks_mut(clock.ranks_per_member);
        let members = &self.deployment.groups[group.index()].members;
        for ((pass, &instance), ranks) in passes.iter().zip(members).zip(of_members) {
            let spec = &self.deployment.instances[instance.index()];
            for at in ranks {
                let recalled = match pass.recall_bytes {
                    0 => now,
                    bytes => self.memory.serve(spec.placement.recall_from, now, bytes),
                };
                let input = self.memory.serve(Location::Host(spec.node.0), now, pass.lanes[0].input_bytes);
                *at = recalled.max(input).max(*at);
            }
        }
        clock.pass.run(passes, at);
        if clock.num_waves == 0 {
            let warm_up = self.deployment.options.engine.vllm().map_or(Duration::ZERO, |vllm| vllm.warm_up);
            at.iter_mut().for_each(|at| *at += warm_up);
        }
        let wave = clock.num_waves;
        clock.num_waves += 1;
        let mut stores = clock.spare.pop().unwrap_or_default();
        stores.extend(passes.iter().map(|_| (clock.ranks_per_member, Instant::ZERO)));
        clock.waves.push_back(WaveStores { output_bytes: passes[0].lanes[0].output_bytes, stores });
        for (rank, &time) in clock.free.iter().enumerate() {
            self.events.push(Reverse((time, Event::Store { group, rank, wave })));
        }
    }
}

fn emptied<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    list
}
