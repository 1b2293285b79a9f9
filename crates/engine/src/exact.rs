//! Time as it is, in closed form: work starts when it can start, and the ranks of an instance start together.
//!
//! A step is three stretches: each rank loads its input from host memory, runs the forward pass, stores its output.
//! Host memory serves one request at a time, so a store is an event of its own: who comes first is known only when
//! everybody's forward pass is timed. Only passes that are one chain of ops can be timed so (those of
//! pipelines are in [`crate::staged`], all others in [`crate::detailed`]).

use network::{DeviceQueue, Location};
use units::{Duration, GroupId, InstanceId, Instant};

use crate::activity::{Doing, Moved, Parts, WaveParts};
use crate::cluster::Cluster;
use crate::deployment::{Deployment, GroupSpec, InstanceSpec, Role};
use crate::entry::Entry;
use crate::events::EventQueue;
use crate::forward::ForwardPass;
use crate::observer::Observer;
use crate::pass_clock::PassClock;

#[derive(Debug)]
pub(crate) struct ExactClock<'d> {
    deployment: &'d Deployment,
    events: EventQueue<Event>,
    memory: DeviceQueue,
    groups: Vec<GroupClock>,
    /// Parts of waves that are to be told.
    parts: Parts,
}

/// What is known to happen, in one word. Events of one instant happen in the order of their kinds, and then by whom they
/// concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A rank is through its forward pass and stores its output.
    Store { group: GroupId, rank: usize },
    /// The host of an instance has made a batch ready.
    Prepared { instance: InstanceId },
    /// All ranks of an instance have stored theirs.
    StepDone { instance: InstanceId },
}

impl Event {
    /// Bits of a rank or an instance, of a group, and of the kind.
    const LOW_BITS: u32 = 32;
    const GROUP_BITS: u32 = 30;

    fn kind(self) -> Kind {
        let instance = InstanceId(self.0 as u32);
        match self.0 >> (Self::LOW_BITS + Self::GROUP_BITS) {
            0 => Kind::Store { group: GroupId((self.0 >> Self::LOW_BITS) as u32), rank: self.0 as u32 as usize },
            1 => Kind::Prepared { instance },
            _ => Kind::StepDone { instance },
        }
    }
}

impl From<Kind> for Event {
    fn from(kind: Kind) -> Self {
        let (kind, group, low) = match kind {
            Kind::Store { group, rank } => (0, group.0, rank as u32),
            Kind::Prepared { instance } => (1, 0, instance.0),
            Kind::StepDone { instance } => (2, 0, instance.0),
        };
        assert!(group < 1 << Self::GROUP_BITS, "a billion groups");
        Self((kind << Self::GROUP_BITS | u64::from(group)) << Self::LOW_BITS | u64::from(low))
    }
}

#[derive(Debug)]
struct GroupClock {
    pass: PassClock,
    ranks_per_member: usize,
    members: Vec<MemberClock>,
    /// By rank, when it is free: when it is through with its latest pass.
    free: Vec<Instant>,
    /// By rank, the waves whose output it has stored.
    num_stored: Vec<u64>,
    /// Waves begun. Two may be under way: by whether their number is even, what each rank of them stores.
    num_waves: u64,
    output_bytes: [u64; 2],
    /// What is done in them, where that is to be told.
    told: [Option<Box<WaveParts>>; 2],
}

#[derive(Debug)]
struct MemberClock {
    instance: InstanceId,
    /// The memory of its host, and that from which it has prefixes brought back.
    host: Location,
    recall_from: Location,
    /// Of each wave under way: ranks that have yet to store, and when the last one so far has.
    stores: [(usize, Instant); 2],
}

/// Whether the passes of an instance are single chains.
pub(crate) fn runs_in_chains(instance: &InstanceSpec, deployment: &Deployment) -> bool {
    instance.pp == 1 && needs_no_transfers(instance) && (instance.pim.is_none() || attends_alone(instance, deployment))
}

/// Whether nothing is sent or loaded while an instance computes.
pub(crate) fn needs_no_transfers(instance: &InstanceSpec) -> bool {
    instance.role != Role::Prefill && instance.placement.needs_no_loads()
}

/// Whether nobody else attends in the memory that an instance attends in. A step in halves is timed on one NPU alone.
fn attends_alone(instance: &InstanceSpec, deployment: &Deployment) -> bool {
    let group = &deployment.groups[instance.group.index()];
    let attends_there = |other: &&InstanceSpec| other.pim.is_some() && other.node == instance.node;
    group.members.len() == 1
        && instance.pim.is_some_and(|pim| !pim.interleaves_sub_batches || instance.tp == 1)
        && deployment.instances.iter().filter(attends_there).count() == 1
}

impl<'d> ExactClock<'d> {
    pub(crate) fn new(deployment: &'d Deployment) -> Self {
        let group_clock = |spec: &GroupSpec| {
            let first = &deployment.instances[spec.members[0].index()];
            let ranks_per_member = first.tp as usize;
            // Only expert-parallel collectives reach past an instance, and only where the experts do.
            let members_meet = spec.members.len() > 1 && first.ep > first.tp;
            let member = |&instance: &InstanceId| {
                let spec = &deployment.instances[instance.index()];
                let (host, recall_from) = (Location::Host(spec.node.0), spec.placement.recall_from);
                MemberClock { instance, host, recall_from, stores: [(0, Instant::ZERO); 2] }
            };
            let num_ranks = ranks_per_member * spec.members.len();
            let mut pass =
                PassClock::new(spec.topology.clone(), deployment.system.clone(), ranks_per_member, members_meet);
            if first.pim.is_some() {
                pass = pass.attending_in(deployment.memory, Location::Host(first.node.0));
            }
            GroupClock {
                pass,
                ranks_per_member,
                members: spec.members.iter().map(member).collect(),
                free: vec![Instant::ZERO; num_ranks],
                num_stored: vec![0; num_ranks],
                num_waves: 0,
                output_bytes: [0; 2],
                told: [None, None],
            }
        };
        Self {
            deployment,
            events: EventQueue::new(),
            memory: DeviceQueue::new(deployment.memory),
            groups: deployment.groups.iter().map(group_clock).collect(),
            parts: Parts::default(),
        }
    }

    /// Lets everything of the next instant at which anything happens happen; false when nothing is left to.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'d, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        let times = [cluster.arrivals.next_time(), self.events.next_time()];
        let Some(now) = times.into_iter().flatten().min() else { return false };
        cluster.report_intervals(now, observer);
        cluster.route_arrivals(now);
        while let Some(event) = self.events.pop_at(now) {
            match event.kind() {
                Kind::Store { group, rank } => self.store(group, rank, now),
                Kind::Prepared { instance } => cluster.finish_preparation(instance, now, observer),
                Kind::StepDone { instance } => cluster.end_step(instance, now, observer),
            }
        }
        // Sessions whose tools take no time go on at once.
        cluster.route_arrivals(now);
        cluster.start_what_can(now, observer, |group, passes, is_told| {
            self.start_wave(group, passes, now, is_told);
        });
        for (time, instance) in cluster.preparations() {
            self.events.push(time, Kind::Prepared { instance }.into());
        }
        if !self.parts.is_empty() {
            self.parts.tell(observer);
        }
        true
    }

    fn store(&mut self, group: GroupId, rank: usize, now: Instant) {
        let clock = &mut self.groups[group.index()];
        // Most groups are one instance, and a division takes its time.
        let member = if clock.members.len() == 1 { 0 } else { rank / clock.ranks_per_member };
        let member = &mut clock.members[member];
        let wave = (clock.num_stored[rank] % 2) as usize;
        clock.num_stored[rank] += 1;
        let stored = self.memory.serve(member.host, now, clock.output_bytes[wave]);
        let (remaining, latest) = &mut member.stores[wave];
        *remaining -= 1;
        *latest = stored.max(*latest);
        if *remaining == 0 {
            self.events.push(*latest, Kind::StepDone { instance: member.instance }.into());
        }
        if clock.told[wave].is_some() {
            self.tell_store(group, rank, (now, stored), wave);
        }
    }

    /// Tells that a rank stores its output, with which it is through.
    #[cold]
    fn tell_store(&mut self, group: GroupId, rank: usize, (now, stored): (Instant, Instant), wave: usize) {
        let clock = &mut self.groups[group.index()];
        let member = &clock.members[rank / clock.ranks_per_member];
        let Some(told) = &mut clock.told[wave] else { return };
        let (output, npu) = ((Moved::Output, member.host, clock.output_bytes[wave]), rank % clock.ranks_per_member);
        told.access(rank, (now, stored), output, &self.deployment.memory);
        // Another wave may be under way already.
        let end = if self.deployment.options.engine.is_asynchronous() { now } else { stored };
        told.end(rank, (member.instance, npu as u32), end, &mut self.parts);
    }

    fn start_wave(&mut self, group: GroupId, passes: &[ForwardPass], now: Instant, is_told: bool) {
        let clock = &mut self.groups[group.index()];
        let at = &mut clock.free;
        let mut told = is_told.then(|| Box::new(WaveParts::new(group, clock.num_waves, at.len())));
        let wave = (clock.num_waves % 2) as usize;
        let mut following = &mut at[..];
        let mut rank = 0;
        for (pass, member) in passes.iter().zip(&mut clock.members) {
            let ranks;
            (ranks, following) = following.split_at_mut(clock.ranks_per_member);
            for at in ranks {
                let recalled = match pass.recall_bytes {
                    0 => now,
                    bytes => self.memory.serve(member.recall_from, now, bytes),
                };
                let input = self.memory.serve(member.host, now, pass.input_bytes());
                if let Some(told) = &mut told {
                    let prefixes = (recalled, (Moved::Prefixes, member.recall_from, pass.recall_bytes));
                    let input = (input, (Moved::Input, member.host, pass.input_bytes()));
                    told.take_up(rank, (now, *at), prefixes, input, &self.deployment.memory);
                    rank += 1;
                }
                *at = recalled.max(input).max(*at);
            }
            assert_eq!(member.stores[wave].0, 0, "two waves are under way at most");
            member.stores[wave] = (clock.ranks_per_member, Instant::ZERO);
        }
        match &mut told {
            None => clock.pass.run(passes, at),
            Some(told) => clock.pass.run_and_tell(passes, at, &mut |rank, activity| told.push(rank, activity)),
        }
        if clock.num_waves == 0 {
            let warm_up = self.deployment.options.engine.vllm().map_or(Duration::ZERO, |vllm| vllm.warm_up);
            for (rank, at) in at.iter_mut().enumerate() {
                if let Some(told) = &mut told {
                    told.push_outside(rank, *at, *at + warm_up, Doing::WarmUp);
                }
                *at += warm_up;
            }
        }
        clock.output_bytes[wave] = passes[0].output_bytes();
        clock.told[wave] = told;
        clock.num_waves += 1;
        for (rank, &time) in clock.free.iter().enumerate() {
            self.events.push(time, Kind::Store { group, rank }.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_come_by_kind_and_then_by_whom_they_concern() {
        let store = |group, rank| Kind::Store { group: GroupId(group), rank };
        let instance = InstanceId(u32::MAX);
        let kinds = [
            store(0, 7),
            store(1, 0),
            store((1 << 30) - 1, u32::MAX as usize),
            Kind::Prepared { instance: InstanceId(3) },
            Kind::Prepared { instance },
            Kind::StepDone { instance: InstanceId(0) },
            Kind::StepDone { instance },
        ];
        let events = kinds.map(Event::from);
        assert!(events.is_sorted(), "{events:?}");
        assert_eq!(events.map(Event::kind), kinds);
    }
}
