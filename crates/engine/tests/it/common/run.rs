//! One run, and everything it told.

use engine::{
    Deployment, Entry, FinishedRequest, GroupInterval, Interval, MemberStep, Observer, RunTotals, Simulation, Wave,
};
use units::{Duration, GroupId, InstanceId, Instant, RequestId};

/// No run of a test goes on for so many steps unless it never ends.
const STEPS_MAX: u64 = 20_000_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// In order of completion.
    pub(crate) finished: Vec<Finished>,
    pub(crate) waves: Vec<WaveStart>,
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
    pub(crate) prompt_tokens: u64,
    pub(crate) generated_tokens: u64,
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

impl Run {
    /// Runs `deployment` on `entries`, step by step.
    pub(crate) fn of(deployment: &Deployment, entries: &[Entry]) -> Self {
        let mut run = Self::default();
        let mut simulation = Simulation::new(deployment, entries.iter().cloned());
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

    /// The waves of `group`.
    pub(crate) fn waves_of(&self, group: usize) -> impl Iterator<Item = &WaveStart> {
        self.waves.iter().filter(move |wave| wave.group.index() == group)
    }
}

impl Observer for Run {
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
            itl: request.itl.to_vec(),
            prefix_hit_tokens: request.prefix_hit_tokens,
            preemptions: request.preemptions,
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
            waves: group.waves,
            prompt_tokens: group.prompt_tokens,
            generated_tokens: group.generated_tokens,
            synchronised_bytes: group.synchronised_bytes,
            members: group.members.clone(),
        };
        let groups = interval.groups.iter().map(figures).collect();
        self.intervals.push(IntervalEnd { end: interval.end, length: interval.length, groups });
    }
}
