//! Everything that is simulated, and what can happen to it. When things happen is the business of the clocks
//! ([`crate::exact`], [`crate::staged`], [`crate::detailed`], [`crate::polled`]).

mod notes;

use std::mem;

use kvcache::TierPool;
use units::{Duration, GroupId, InstanceId, Instant};

use crate::arrivals::Arrivals;
use crate::batch::{Batch, Formed};
use crate::coordinator::{Coordinator, Counts};
use crate::deployment::{Deployment, InstanceSpec, RequestRouting, Role, TierSpec};
use crate::details::{StepDetails, StepParts, composition, host_memory, weight_loads};
use crate::entry::Entry;
use crate::forward::ForwardPass;
use crate::group::Group;
use crate::instance::{Departures, Instance};
use crate::layer_times::SharedTimes;
use crate::observer::{GroupInterval, Interval, MemberInterval, Observer, RunTotals};
use crate::router::{InstanceLoad, RequestRouter, RoutedRequest, built_in};

#[derive(Debug)]
pub(crate) struct Cluster<'d, I: Iterator<Item = Entry>> {
    pub(crate) deployment: &'d Deployment,
    pub(crate) arrivals: Arrivals<I>,
    instances: Vec<Instance<'d>>,
    groups: Vec<Group<'d>>,
    /// Where each instance is among the members of its group.
    seats: Vec<(GroupId, usize)>,
    tiers: Vec<TierPool>,
    /// To the instances that take requests in, and to those that take prefilled ones over.
    entrance: Entrance,
    decode_entrance: Entrance,
    /// Groups in which something may have become possible, each at most once.
    touched: Vec<GroupId>,
    /// Members of the group at hand, for [`Cluster::start_wave_of`] to use again.
    touched_members: Vec<usize>,
    intervals: Intervals,
    unfinished_requests: u64,
    end: Instant,
    departures: Departures,
    preparations: Vec<(Instant, InstanceId)>,
    /// Whether the observer is told what requests and NPUs do, and whether what NPUs do in the latest wave.
    tells_activity: bool,
    is_told: bool,
}

/// Log intervals.
#[derive(Debug)]
struct Intervals {
    length: Duration,
    end: Instant,
}

/// Instances behind one router.
#[derive(Debug)]
struct Entrance {
    router: Box<dyn RequestRouter>,
    /// Knows of loads what has been published, and goes by that instead.
    coordinator: Option<Coordinator>,
    /// In order of their ids.
    instances: Vec<usize>,
    /// Of each of them, as of the latest choice.
    loads: Vec<InstanceLoad>,
    /// Those whose load may have changed since, each once.
    stale: Vec<usize>,
    /// By instance, its place among those behind this router, and whether it is stale.
    places: Vec<Option<(u32, bool)>>,
}

impl Entrance {
    fn new(router: Box<dyn RequestRouter>, is_published: bool, instances: Vec<usize>, deployment: &Deployment) -> Self {
        let idle = |&index: &usize| InstanceLoad {
            instance: index.into(),
            running: 0,
            waiting: 0,
            max_num_seqs: deployment.instances[index].scheduler.max_num_seqs,
        };
        Self {
            router,
            coordinator: is_published.then(|| Coordinator::new(instances.len())),
            loads: instances.iter().map(idle).collect(),
            stale: (0..instances.len()).collect(),
            places: places(&instances, deployment.instances.len()),
            instances,
        }
    }

    /// Notes that the load of an instance may have changed.
    fn touch(&mut self, index: usize) {
        if let Some((place, is_stale @ false)) = &mut self.places[index] {
            *is_stale = true;
            self.stale.push(*place as usize);
        }
    }

    /// Routes by `router` from here on.
    fn route_with(&mut self, router: Box<dyn RequestRouter>) {
        (self.router, self.coordinator) = (router, None);
        self.stale = (0..self.instances.len()).collect();
        self.places = places(&self.instances, self.places.len());
    }

    /// Index of the instance that a request goes to.
    fn choose(&mut self, request: &RoutedRequest, now: Instant, instances: &[Instance<'_>]) -> usize {
        if let Some(coordinator) = &mut self.coordinator {
            return self.instances[coordinator.choose(now)];
        }
        for place in self.stale.drain(..) {
            let (index, load) = (self.instances[place], &mut self.loads[place]);
            let instance = &instances[index];
            self.places[index] = Some((place as u32, false));
            (load.running, load.waiting) = (instance.num_running(), instance.num_waiting());
            self.router.load_changed(place, load);
        }
        self.instances[self.router.choose(request, &self.loads)]
    }

    /// Has an instance report its load.
    fn report(&mut self, index: usize, instance: &Instance<'_>, now: Instant) {
        if let Some(coordinator) = &mut self.coordinator
            && let Some((place, _)) = self.places[index]
        {
            let engine = place as usize;
            let counts = Counts { running: instance.num_running(), waiting: instance.num_waiting() };
            coordinator.report(engine, counts, now);
        }
    }
}

/// By instance of `num_instances`, its place among `instances`, all of them stale.
fn places(instances: &[usize], num_instances: usize) -> Vec<Option<(u32, bool)>> {
    let mut places = vec![None; num_instances];
    (0..).zip(instances).for_each(|(place, &index)| places[index] = Some((place, true)));
    places
}

impl<'d, I: Iterator<Item = Entry>> Cluster<'d, I> {
    /// Before anything has happened. Passes are timed as chains alone where it is `in_chains`.
    pub(crate) fn new(deployment: &'d Deployment, entries: I, in_chains: bool) -> Self {
        let options = &deployment.options;
        let mut seats = vec![(GroupId(0), 0); deployment.instances.len()];
        for (group, spec) in deployment.groups.iter().enumerate() {
            for (member, instance) in spec.members.iter().enumerate() {
                seats[instance.index()] = (GroupId::from(group), member);
            }
        }
        let mut times = SharedTimes::default();
        let mut group = |group: usize| Group::new(group.into(), deployment, in_chains, &mut times);
        let groups: Vec<Group<'d>> = (0..deployment.groups.len()).map(&mut group).collect();
        let instance = |(index, spec): (usize, &'d InstanceSpec)| {
            let (group, member): (GroupId, usize) = seats[index];
            let group = &groups[group.index()];
            let tier = spec.tier.map(|tier| &deployment.tiers[tier]);
            Instance::new(spec, tier, options, group.num_longest(member), group.repeats())
        };
        let tier = |spec: &TierSpec| TierPool::new(spec.num_blocks, spec.tokens_per_block, spec.npu_block_size);
        let entrance = |seed: u64, is_behind: fn(Role) -> bool| {
            let instances = deployment.instances.iter().enumerate();
            let behind = instances.filter(|(_, spec)| is_behind(spec.role)).map(|(index, _)| index);
            let instances: Vec<usize> = behind.collect();
            let publishes = options.engine.vllm().is_some_and(|vllm| vllm.published_loads);
            let is_published = publishes && options.request_routing == RequestRouting::Load;
            let router = built_in(options.request_routing, instances.len(), seed);
            Entrance::new(router, is_published, instances, deployment)
        };
        Self {
            deployment,
            arrivals: Arrivals::new(entries, options.engine.host()),
            instances: deployment.instances.iter().enumerate().map(instance).collect(),
            groups,
            seats,
            tiers: deployment.tiers.iter().map(tier).collect(),
            entrance: entrance(options.seed, |role| role != Role::Decode),
            decode_entrance: entrance(options.seed.wrapping_sub(1), |role| role == Role::Decode),
            touched: Vec::new(),
            touched_members: Vec::new(),
            intervals: Intervals { length: options.log_interval, end: Instant::ZERO + options.log_interval },
            unfinished_requests: 0,
            end: Instant::ZERO,
            departures: Departures::default(),
            preparations: Vec::new(),
            tells_activity: false,
            is_told: false,
        }
    }

    /// Routes requests by `router` from here on.
    pub(crate) fn route_with(&mut self, router: Box<dyn RequestRouter>) {
        self.entrance.route_with(router);
    }

    /// Has every batch and all ops be there for somebody who looks at them.
    pub(crate) fn look_closely(&mut self) {
        self.instances.iter_mut().for_each(Instance::look_closely);
        self.groups.iter_mut().for_each(Group::look_closely);
    }

    /// Lets blocks have no identity, before any is taken.
    pub(crate) fn forget_prefixes(&mut self) {
        self.instances.iter_mut().for_each(Instance::forget_prefixes);
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

    /// Requests that have arrived and are not finished.
    pub(crate) fn num_unfinished(&self) -> u64 {
        self.unfinished_requests
    }

    /// Whether every request that has arrived is finished and none is known to come.
    pub(crate) fn is_done(&mut self) -> bool {
        self.is_empty() && self.arrivals.next_time().is_none()
    }

    /// Routes every request that has arrived by `now`.
    pub(crate) fn route_arrivals(&mut self, now: Instant) {
        while let Some(arrival) = self.arrivals.next_due(now) {
            let request = RoutedRequest {
                id: arrival.id,
                arrival: arrival.time,
                input_tokens: arrival.call.input_tokens,
                output_tokens: arrival.call.output_tokens,
            };
            let index = self.entrance.choose(&request, now, &self.instances);
            self.instances[index].enqueue(arrival.id, arrival.time, &arrival.call);
            self.unfinished_requests += 1;
            self.note_load(index.into());
            self.touch(index.into());
        }
    }

    /// Notes that something has become possible for an instance.
    fn touch(&mut self, instance: InstanceId) {
        let (group, member) = self.seat(instance);
        self.groups[group.index()].touch(member);
        if !self.touched.contains(&group) {
            self.touched.push(group);
        }
    }

    /// Notes that the load of an instance may have changed.
    fn note_load(&mut self, instance: InstanceId) {
        self.entrance.touch(instance.index());
        self.decode_entrance.touch(instance.index());
    }

    /// Starts, in every group in which something happened, what can start. Members with room form batches, those with
    /// nothing to run contribute dummies, and waves without a missing member begin: `start` is given their passes,
    /// and whether the observer is to be told what NPUs do in them.
    pub(crate) fn start_what_can(
        &mut self,
        now: Instant,
        observer: &mut dyn Observer,
        mut start: impl FnMut(GroupId, &[ForwardPass], bool),
    ) {
        let mut touched = mem::take(&mut self.touched);
        touched.sort_unstable();
        for group in touched.drain(..) {
            while self.start_wave_of(group, now, observer) {
                start(group, self.group(group).passes(), self.is_told);
                if !self.group(group).has_any_room() {
                    break;
                }
            }
        }
        self.touched = touched;
    }

    /// Starts a wave of `group` if it can; returns whether it did.
    fn start_wave_of(&mut self, group: GroupId, now: Instant, observer: &mut dyn Observer) -> bool {
        let members = &self.group(group).spec.members;
        let mut touched = mem::take(&mut self.touched_members);
        self.groups[group.index()].take_touched(&mut touched);
        for member in touched.drain(..) {
            // One that could not use its chance, though it has something to run, keeps it.
            if self.group(group).has_room(member)
                && !self.form_batch(members[member], now)
                && self.instances[members[member].index()].has_work()
            {
                self.groups[group.index()].touch(member);
            }
        }
        self.touched_members = touched;
        if !self.group(group).has_pending() && !self.group(group).keeps_pace() {
            self.groups[group.index()].wait_for_results();
            return false;
        }
        if self.group(group).has_any_room() {
            for (member, &instance) in members.iter().enumerate() {
                if self.group(group).has_room(member) {
                    self.offer_dummy(instance);
                }
            }
        }
        let is_ready = self.group(group).is_ready();
        if is_ready {
            self.start_wave(group, now, observer);
        }
        is_ready
    }

    /// Has an instance with room form its next batch; returns whether there was anything to run.
    pub(crate) fn form_batch(&mut self, instance: InstanceId, now: Instant) -> bool {
        let former = &mut self.instances[instance.index()];
        let again = former.form_again();
        let Some(batch) = again.or_else(|| former.form_batch(now, &mut self.tiers).map(Formed::New)) else {
            self.note_load(instance);
            return false;
        };
        if matches!(batch, Formed::New(_)) {
            self.note_load(instance);
        }
        let (group, member) = self.seat(instance);
        let time = self.groups[group.index()].prepare(member, batch, now);
        if time > Duration::ZERO {
            self.preparations.push((now + time, instance));
        }
        true
    }

    /// Hosts that make a batch ready, since this was asked last, each with when it is done.
    pub(crate) fn preparations(&mut self) -> impl Iterator<Item = (Instant, InstanceId)> {
        self.preparations.drain(..)
    }

    /// A host has made its batch ready.
    pub(crate) fn finish_preparation(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let (group, member) = self.seat(instance);
        self.touch(instance);
        if self.groups[group.index()].prepared(member) {
            self.finish_step(instance, now, observer);
        }
    }

    /// An instance's oldest step is at its end; its host takes the result in when it has nothing else to do.
    pub(crate) fn end_step(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let (group, member) = self.seat(instance);
        if !self.groups[group.index()].puts_off_result(member) {
            self.finish_step(instance, now, observer);
        }
    }

    /// Gives an instance with room a dummy, to keep pace with its group.
    pub(crate) fn offer_dummy(&mut self, instance: InstanceId) {
        self.offer(instance, Formed::New(Box::new(Batch::dummy())));
    }

    fn offer(&mut self, instance: InstanceId, batch: Formed) {
        let (group, member) = self.seat(instance);
        self.groups[group.index()].offer(member, batch);
    }

    /// Starts the wave that every member of `group` is ready for.
    pub(crate) fn start_wave(&mut self, group: GroupId, now: Instant, observer: &mut dyn Observer) {
        self.groups[group.index()].start(now, observer);
        if self.tells_activity {
            self.tell_wave(group, now, observer);
        }
        if observer.wants_details() {
            self.tell_details(group, now, observer);
        }
    }

    /// Tells what the wave of `group` that has just started consists of.
    fn tell_details(&mut self, group: GroupId, now: Instant, observer: &mut dyn Observer) {
        let Self { deployment, groups, instances, .. } = self;
        let group = &mut groups[group.index()];
        let parts: Vec<StepParts> = (0..group.num_members()).map(|member| group.step_parts(member)).collect();
        let details = |(member, (id, parts)): (usize, (&InstanceId, StepParts))| {
            let (spec, instance) = (&deployment.instances[id.index()], &instances[id.index()]);
            let (ready, batch, expert_tokens) = group.latest_step(member);
            let (prefills, decodes) = composition(batch);
            StepDetails {
                // One that only keeps pace waits for nobody.
                ready: if batch.is_empty() { now } else { ready },
                prefills,
                decodes,
                batch: (!batch.is_empty()).then_some(batch.number),
                kv_decode_tokens: if batch.is_empty() { (0, 0) } else { batch.kv_decode_tokens() },
                running: instance.num_running(),
                waiting: instance.num_waiting(),
                kv_blocks_held: instance.kv_blocks_held(),
                parts: StepParts {
                    weights: weight_loads(&group.passes()[member], spec, &deployment.memory),
                    host_memory: host_memory(&group.passes()[member], spec, &deployment.memory),
                    ..parts
                },
                expert_tokens,
            }
        };
        let members: Vec<_> = group.spec.members.iter().zip(parts).enumerate().map(details).collect();
        observer.wave_detailed(&group.latest_wave(now), &members);
    }

    /// Takes in what an instance's oldest step yielded.
    pub(crate) fn finish_step(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let (group, member) = self.seat(instance);
        if self.tells_activity {
            self.tell_notes(instance, now, observer);
        }
        let batch = self.groups[group.index()].finish(member);
        observer.step_finished(instance, now);
        let mut departures = mem::take(&mut self.departures);
        self.instances[instance.index()].complete(batch, now, &mut departures, observer);
        self.touch(instance);
        if !departures.is_empty() {
            self.note_load(instance);
            self.take_leave(instance, &mut departures, now, observer);
        }
        if self.tells_activity {
            self.tell_load(instance, now, observer);
        }
        self.departures = departures;
        self.entrance.report(instance.index(), &self.instances[instance.index()], now);
    }

    /// Tells of the sequences that leave an instance, or hands them on.
    fn take_leave(
        &mut self,
        instance: InstanceId,
        departures: &mut Departures,
        now: Instant,
        observer: &mut dyn Observer,
    ) {
        for sequence in departures.finished.drain(..) {
            let delivery = self.deployment.options.engine.host().frontend_token;
            let log = self.instances[instance.index()].log();
            observer.request_finished(&sequence.record(instance, delivery, log));
            self.arrivals.completed(sequence.id, now);
            self.unfinished_requests -= 1;
            self.end = now;
        }
        for sequence in departures.prefilled.drain(..) {
            let request = sequence.request();
            let index = self.decode_entrance.choose(&request, now, &self.instances);
            self.instances[index].note_time(now);
            self.instances[index].take_over(sequence, &mut self.tiers);
            self.note_load(index.into());
            if self.tells_activity {
                self.tell_notes(index.into(), now, observer);
                self.tell_load(index.into(), now, observer);
            }
            self.touch(index.into());
        }
    }

    /// Reports every log interval that is over by `now`. Where no request is there, one is enough: the time to the next
    /// arrival can be long.
    pub(crate) fn report_intervals(&mut self, now: Instant, observer: &mut dyn Observer) {
        while self.intervals.end < now && !self.is_done() {
            let Intervals { length, end } = self.intervals;
            let groups: Vec<GroupInterval> = self.groups.iter().map(|group| self.group_interval(group)).collect();
            observer.interval_ended(&Interval { end, length, groups: &groups });
            self.intervals.end = end + length;
            if self.is_empty() && self.intervals.end < now {
                let num_idle = (now - self.intervals.end).ns().div_ceil(length.ns());
                self.intervals.end += length * num_idle;
            }
        }
    }

    fn group_interval(&self, group: &Group<'d>) -> GroupInterval {
        let member = |(member, id): (usize, &InstanceId)| {
            let instance = &self.instances[id.index()];
            MemberInterval {
                totals: instance.totals,
                batch_sequences: group.latest.get(member).map_or(0, |step| step.sequences),
                running: instance.num_running(),
                waiting: instance.num_waiting(),
                kv_blocks_held: instance.kv_blocks_held(),
                npu_bytes: instance.npu_bytes(),
            }
        };
        let synchronises = group.num_members() > 1 && group.totals.waves > 0;
        GroupInterval {
            totals: group.totals,
            synchronised_bytes: synchronises.then_some(group.latest_bytes),
            members: group.spec.members.iter().enumerate().map(member).collect(),
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
