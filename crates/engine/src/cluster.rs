//! Everything that is simulated, and what can happen to it. When things happen is the clock's business
//! ([`crate::exact`], [`crate::polled`]).

use std::mem;

use units::{Duration, GroupId, InstanceId, Instant};

use crate::arrivals::Arrivals;
use crate::batch::Batch;
use crate::deployment::Deployment;
use crate::entry::Entry;
use crate::forward::ForwardPass;
use crate::group::Group;
use crate::instance::Instance;
use crate::observer::{GroupInterval, Interval, MemberInterval, Observer, RunTotals};
use crate::router::Router;
use crate::sequence::Sequence;

#[derive(Debug)]
pub(crate) struct Cluster<'d, I: Iterator<Item = Entry>> {
    pub(crate) deployment: &'d Deployment,
    pub(crate) arrivals: Arrivals<I>,
    instances: Vec<Instance<'d>>,
    groups: Vec<Group<'d>>,
    /// Where each instance is among the members of its group.
    seats: Vec<(GroupId, usize)>,
    router: Router,
    intervals: Intervals,
    unfinished_requests: u64,
    end: Instant,
    finished: Vec<Sequence>,
}

/// Log intervals, and what was counted when the current one began.
#[derive(Debug)]
struct Intervals {
    length: Duration,
    end: Instant,
    /// Prompt and generated tokens, by group.
    tokens_before: Vec<(u64, u64)>,
}

impl<'d, I: Iterator<Item = Entry>> Cluster<'d, I> {
    pub(crate) fn new(deployment: &'d Deployment, entries: I) -> Self {
        let options = &deployment.options;
        let mut seats = vec![(GroupId(0), 0); deployment.instances.len()];
        for (group, spec) in deployment.groups.iter().enumerate() {
            for (member, instance) in spec.members.iter().enumerate() {
                seats[instance.index()] = (GroupId::from(group), member);
            }
        }
        Self {
            deployment,
            arrivals: Arrivals::new(entries),
            instances: deployment.instances.iter().map(Instance::new).collect(),
            groups: (0..deployment.groups.len()).map(|group| Group::new(group.into(), deployment)).collect(),
            seats,
            router: Router::new(options.request_routing, options.seed),
            intervals: Intervals {
                length: options.log_interval,
                end: Instant::ZERO + options.log_interval,
                tokens_before: vec![(0, 0); deployment.groups.len()],
            },
            unfinished_requests: 0,
            end: Instant::ZERO,
            finished: Vec::new(),
        }
    }

    pub(crate) fn group(&self, group: GroupId) -> &Group<'d> {
        &self.groups[group.index()]
    }

    /// The group an instance steps in, and its place among the members.
    pub(crate) fn seat(&self, instance: InstanceId) -> (GroupId, usize) {
        self.seats[instance.index()]
    }

    /// Whether every request that has arrived is finished.
    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished_requests == 0
    }

    /// Whether every request that has arrived is finished and none is known to come.
    pub(crate) fn is_done(&mut self) -> bool {
        self.is_empty() && self.arrivals.next_time().is_none()
    }

    /// Routes the next request that has arrived by `now`; returns where it went.
    pub(crate) fn route_next(&mut self, now: Instant) -> Option<InstanceId> {
        let arrival = self.arrivals.next_due(now)?;
        let index = self.router.choose(&self.deployment.instances, &self.instances);
        self.instances[index].enqueue(arrival.id, arrival.time, &arrival.call);
        self.unfinished_requests += 1;
        Some(index.into())
    }

    /// Has an idle instance form its next batch; returns whether there was anything to run.
    pub(crate) fn form_batch(&mut self, instance: InstanceId, now: Instant) -> bool {
        let batch = self.instances[instance.index()].form_batch(now);
        let formed = batch.is_some();
        if let Some(batch) = batch {
            self.offer(instance, batch);
        }
        formed
    }

    /// Gives an idle instance a dummy, to keep pace with its group.
    pub(crate) fn offer_dummy(&mut self, instance: InstanceId) {
        self.offer(instance, Batch::dummy());
    }

    fn offer(&mut self, instance: InstanceId, batch: Batch) {
        let (group, member) = self.seat(instance);
        self.groups[group.index()].offer(member, batch);
    }

    /// Starts the wave that every member of `group` is ready for.
    pub(crate) fn start_wave(&mut self, group: GroupId, now: Instant, observer: &mut dyn Observer) -> Vec<ForwardPass> {
        self.groups[group.index()].start(now, observer)
    }

    /// Takes in what an instance's step yielded.
    pub(crate) fn finish_step(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let (group, member) = self.seat(instance);
        let batch = self.groups[group.index()].finish(member);
        let mut finished = mem::take(&mut self.finished);
        self.instances[instance.index()].complete(&batch, now, &mut finished);
        for sequence in finished.drain(..) {
            observer.request_finished(&sequence.record(instance));
            self.arrivals.completed(sequence.id, now);
            self.unfinished_requests -= 1;
            self.end = now;
        }
        self.finished = finished;
    }

    /// Reports every log interval that is over by `now`. Where no request is there, one is enough: the time to the next
    /// arrival can be long.
    pub(crate) fn report_intervals(&mut self, now: Instant, observer: &mut dyn Observer) {
        while self.intervals.end < now && !self.is_done() {
            let groups: Vec<GroupInterval> = (0..self.groups.len()).map(|group| self.group_interval(group)).collect();
            let Intervals { length, end, .. } = self.intervals;
            observer.interval_ended(&Interval { end, length, groups: &groups });
            self.intervals.end = end + length;
            if self.is_empty() && self.intervals.end < now {
                let num_idle = (now - self.intervals.end).ns().div_ceil(length.ns());
                self.intervals.end += length * num_idle;
            }
        }
    }

    fn group_interval(&mut self, index: usize) -> GroupInterval {
        let group = &self.groups[index];
        let (mut prompt, mut generated) = (0, 0);
        let members = group.spec.members.iter().enumerate().map(|(member, id)| {
            let instance = &self.instances[id.index()];
            prompt += instance.totals.prompt_tokens;
            generated += instance.totals.generated_tokens;
            MemberInterval {
                batch_sequences: group.latest.get(member).map_or(0, |step| step.sequences),
                running: instance.num_running(),
                waiting: instance.num_waiting(),
                npu_bytes: instance.npu_bytes(),
            }
        });
        let members = members.collect();
        let synchronises = group.num_members() > 1 && group.totals.waves > 0;
        let before = mem::replace(&mut self.intervals.tokens_before[index], (prompt, generated));
        GroupInterval {
            waves: group.totals.waves,
            prompt_tokens: prompt - before.0,
            generated_tokens: generated - before.1,
            synchronised_bytes: synchronises.then_some(group.latest_bytes),
            members,
        }
    }

    /// What the run adds up to, once it is done. A finished run holds nothing.
    pub(crate) fn totals(&self) -> RunTotals {
        for (index, instance) in self.instances.iter().enumerate() {
            assert!(instance.is_empty(), "instance {index} still holds requests or KV blocks");
        }
        RunTotals {
            end: self.end,
            instances: self.instances.iter().map(|instance| instance.totals).collect(),
            groups: self.groups.iter().map(|group| group.totals).collect(),
        }
    }
}
