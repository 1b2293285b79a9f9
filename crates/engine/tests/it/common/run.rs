//! One run, and everything it told.

use engine::{
    Deployment, Entry, FinishedRequest, GroupInterval, InstanceTotals, Interval, MemberStep, Observer, RequestRouter,
    Role, RunTotals, Simulation, Stamps, Wave,
};
use units::{Duration, GroupId, InstanceId, Instant, RequestId};

/// No run of a test goes on for so many steps unless it never ends.
const STEPS_MAX: u64 = 20_000_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// In order of completion.
    pub(crate) finished: Vec<Finished>,
    pub(crate) waves: Vec<WaveStart>,
    /// Instances in the order in which they got through with their steps, and when.
    pub(crate) step_ends: Vec<(InstanceId, Instant)>,
    pub(crate) intervals: Vec<IntervalEnd>,
    /// The instant of everything that was told, in the order it was told.
    pub(crate) told_at: Vec<Instant>,
    pub(crate) totals: RunTotals,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) instance: InstanceId,
    pub(crate) id: RequestId,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) arrival: Instant,
    pub(crate) end: Instant,
    pub(crate) queuing_delay: Duration,
    pub(crate) ttft: Duration,
    pub(crate) itl: Vec<Duration>,
    pub(crate) prefix_hit_tokens: u64,
    pub(crate) preemptions: u64,
    pub(crate) stamps: Stamps,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WaveStart {
    pub(crate) group: GroupId,
    pub(crate) start: Instant,
    pub(crate) padded_tokens: u64,
    pub(crate) members: Vec<MemberStep>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IntervalEnd {
    pub(crate) end: Instant,
    pub(crate) length: Duration,
    pub(crate) groups: Vec<GroupFigures>,
}

/// A [`GroupInterval`] that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupFigures {
    pub(crate) waves: u64,
    pub(crate) synchronised_bytes: Option<u64>,
    pub(crate) members: Vec<engine::MemberInterval>,
}

impl Finished {
    /// When each of its tokens was there.
    pub(crate) fn token_times(&self) -> impl Iterator<Item = Instant> {
        let first = self.arrival + self.ttft;
        let later = self.itl.iter().scan(first, |time, &itl| {
            *time += itl;
            Some(*time)
        });
        std::iter::once(first).chain(later)
    }

    /// When it was last scheduled before its first token.
    pub(crate) fn scheduled_at(&self) -> Instant {
        self.arrival + self.queuing_delay
    }
}

/// One step of an instance, from the start of its wave to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) part: MemberStep,
}

/// Instances by whose requests they serve: each by itself, but all prefill and decode instances together.
pub(crate) fn services(deployment: &Deployment) -> Vec<Vec<usize>> {
    let (whole, split): (Vec<usize>, Vec<usize>) =
        (0..deployment.instances.len()).partition(|&index| deployment.instances[index].role == Role::Whole);
    let split = (!split.is_empty()).then_some(split);
    whole.into_iter().map(|index| vec![index]).chain(split).collect()
}

impl Run {
    /// Runs `deployment` on `entries`, step by step.
    pub(crate) fn of(deployment: &Deployment, entries: &[Entry]) -> Self {
        Self::to_the_end(Simulation::new(deployment, entries.iter().cloned()))
    }

    /// The same with requests routed by `router`.
    pub(crate) fn routed(deployment: &Deployment, entries: &[Entry], router: Box<dyn RequestRouter>) -> Self {
        Self::to_the_end(Simulation::new(deployment, entries.iter().cloned()).route_with(router))
    }

    /// The same where no entry has token ids, which the simulation is told.
    pub(crate) fn without_prefixes(deployment: &Deployment, entries: &[Entry]) -> Self {
        Self::to_the_end(Simulation::new(deployment, entries.iter().cloned()).without_prefixes())
    }

    fn to_the_end<I: Iterator<Item = Entry>>(mut simulation: Simulation<'_, I>) -> Self {
        let mut run = Self::default();
        let mut steps = 0;
        while simulation.step(&mut run) {
            steps += 1;
            assert!(steps < STEPS_MAX, "the run does not end");
        }
        run.totals = simulation.run(&mut run);
        run
    }

    /// The finished requests by id.
    pub(crate) fn by_id(&self) -> Vec<&Finished> {
        let mut requests: Vec<&Finished> = self.finished.iter().collect();
        requests.sort_by_key(|request| request.id);
        requests
    }

    /// The requests that `instance` finished.
    pub(crate) fn on(&self, instance: usize) -> impl Iterator<Item = &Finished> {
        self.finished.iter().filter(move |request| request.instance.index() == instance)
    }

    /// The steps of `instance`, in order. Steps end in the order in which they start.
    pub(crate) fn steps_of(&self, instance: usize) -> Vec<Step> {
        let parts = self.waves.iter().flat_map(|wave| wave.members.iter().map(move |part| (wave.start, *part)));
        let parts = parts.filter(|(_, part)| part.instance.index() == instance);
        let ends = self.step_ends.iter().filter(|(ended, _)| ended.index() == instance);
        parts.zip(ends).map(|((start, part), &(_, end))| Step { start, end, part }).collect()
    }

    /// What `count` of each of these instances adds up to.
    pub(crate) fn total(&self, instances: &[usize], count: fn(&InstanceTotals) -> u64) -> u64 {
        instances.iter().map(|&instance| count(&self.totals.instances[instance])).sum()
    }

    /// The requests that any of these instances finished.
    pub(crate) fn on_any(&self, instances: &[usize]) -> impl Iterator<Item = &Finished> {
        self.finished.iter().filter(move |request| instances.contains(&request.instance.index()))
    }

    /// The waves of `group`.
    pub(crate) fn waves_of(&self, group: usize) -> impl Iterator<Item = &WaveStart> {
        self.waves.iter().filter(move |wave| wave.group.index() == group)
    }
}

impl Observer for Run {
    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.told_at.push(now);
        self.step_ends.push((instance, now));
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.told_at.push(request.end);
        self.finished.push(Finished {
            instance: request.instance,
            id: request.id,
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
            arrival: request.arrival,
            end: request.end,
            queuing_delay: request.queuing_delay,
            ttft: request.ttft,
            itl: request.itl.iter().collect(),
            prefix_hit_tokens: request.prefix_hit_tokens,
            preemptions: request.preemptions,
            stamps: request.stamps,
        });
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        self.told_at.push(wave.start);
        let Wave { group, start, padded_tokens, members } = *wave;
        self.waves.push(WaveStart { group, start, padded_tokens, members: members.to_vec() });
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.told_at.push(interval.end);
        let figures = |group: &GroupInterval| GroupFigures {
            waves: group.totals.waves,
            synchronised_bytes: group.synchronised_bytes,
            members: group.members.clone(),
        };
        let groups = interval.groups.iter().map(figures).collect();
        self.intervals.push(IntervalEnd { end: interval.end, length: interval.length, groups });
    }
}
