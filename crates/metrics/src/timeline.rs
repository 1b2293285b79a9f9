//! A run over time, small enough to be drawn: what instances did, where the time of steps went, who waited for whom.
//!
//! Time is cut into at most [`BINS_MAX`] bins. They begin at a millisecond and are joined in pairs whenever the run has
//! become too long for them, so memory grows with instances and not with the run. The state of an instance (running,
//! waiting, KV blocks) is told when its steps begin, and holds until the next begins or, where none is under way, until
//! the last one ended; in a bin it is an average over time.

mod bins;
mod waves;

use std::collections::VecDeque;

use engine::{Observer, StepDetails, StepParts, Wave};
use network::CollectiveKind;
use units::{Duration, InstanceId, Instant};

use crate::Layout;
pub use bins::{BINS_MAX, Bin, Bins};
pub use waves::{GroupWaves, WaveMember, WorstWave};

/// Watches a run over time.
#[derive(Clone, Debug)]
pub struct Timeline {
    bins: Bins,
    instances: Vec<InstanceTimeline>,
    groups: Vec<GroupWaves>,
}

/// What one instance did.
#[derive(Clone, Debug, Default)]
pub struct InstanceTimeline {
    /// Where the time of its steps went.
    pub breakdown: Breakdown,
    /// Tokens that reached each of its ranks' experts, over all blocks and steps. Empty without experts.
    pub expert_tokens: Vec<u64>,
    under_way: VecDeque<Step>,
    /// When the latest step ended.
    latest_end: Instant,
    state: Option<State>,
}

/// Where the time of an instance's steps went, added up over all steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Steps, dummies included.
    pub steps: u64,
    /// From start to end, added up. Where several steps are under way at once, more than the time that went by.
    pub time: Duration,
    /// What they consisted of.
    pub parts: StepParts,
    /// What is left: ranks waited for each other, or for a link or memory that somebody else had.
    pub waiting: Duration,
    /// What parts come to beyond the steps, where they overlap.
    pub overlap: Duration,
    /// Before steps: batches were ready, and other members were not.
    pub before: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    start: Instant,
    parts: StepParts,
    is_dummy: bool,
}

#[derive(Clone, Copy, Debug)]
struct State {
    since: Instant,
    running: u64,
    waiting: u64,
    kv_blocks_held: u64,
}

impl Timeline {
    /// Watches a run of a deployment with this `layout` from its beginning.
    pub fn new(layout: &Layout) -> Self {
        Self {
            bins: Bins::new(layout.instances.len()),
            instances: vec![InstanceTimeline::default(); layout.instances.len()],
            groups: layout.groups.iter().map(|group| GroupWaves::new(group.members.len())).collect(),
        }
    }

    /// Ends the watch: states that still hold do so no longer than the steps under way.
    pub fn finish(&mut self) {
        for index in 0..self.instances.len() {
            self.end_state(index, self.instances[index].latest_end);
        }
    }

    /// What happened in each bin of time.
    pub fn bins(&self) -> &Bins {
        &self.bins
    }

    /// By instance.
    pub fn instances(&self) -> &[InstanceTimeline] {
        &self.instances
    }

    /// By group.
    pub fn groups(&self) -> &[GroupWaves] {
        &self.groups
    }

    fn end_state(&mut self, instance: usize, until: Instant) {
        let Some(state) = self.instances[instance].state.take() else { return };
        self.bins.hold(instance, state.since, until, |bin, ns| {
            bin.running_ns += state.running * ns;
            bin.waiting_ns += state.waiting * ns;
            bin.kv_block_ns += u128::from(state.kv_blocks_held) * u128::from(ns);
        });
    }

    fn begin_step(&mut self, wave: &Wave<'_>, member: usize, details: &StepDetails<'_>) {
        let (step, start) = (wave.members[member], wave.start);
        let index = step.instance.index();
        let instance = &mut self.instances[index];
        let until = if instance.under_way.is_empty() { instance.latest_end } else { start };
        self.end_state(index, until);
        let instance = &mut self.instances[index];
        instance.state = Some(State {
            since: start,
            running: details.running,
            waiting: details.waiting,
            kv_blocks_held: details.kv_blocks_held.into(),
        });
        instance.breakdown.before += start - details.ready;
        instance.under_way.push_back(Step { start, parts: details.parts, is_dummy: step.is_dummy() });
        instance.expert_tokens.resize(details.expert_tokens.len(), 0);
        instance.expert_tokens.iter_mut().zip(details.expert_tokens).for_each(|(sum, tokens)| *sum += tokens);
        let bin = self.bins.at(index, start);
        bin.prefill_tokens += details.prefills.1;
        bin.decode_tokens += details.decodes;
        bin.padding_tokens += wave.padded_tokens.saturating_sub(step.tokens);
        bin.steps += 1;
    }
}

impl Observer for Timeline {
    fn wants_work(&self) -> bool {
        false
    }

    fn wants_details(&self) -> bool {
        true
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        for (member, details) in members.iter().enumerate() {
            self.begin_step(wave, member, details);
        }
        self.groups[wave.group.index()].count(wave, members);
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        let index = instance.index();
        let timeline = &mut self.instances[index];
        timeline.latest_end = now;
        let Some(step) = timeline.under_way.pop_front() else { return };
        let waited = timeline.breakdown.count(&step, now - step.start);
        let (time, is_dummy) = (now - step.start, step.is_dummy);
        self.bins.hold(index, step.start, now, |bin, ns| {
            bin.step_ns += ns;
            bin.dummy_ns += if is_dummy { ns } else { 0 };
            // Spread evenly over the step.
            bin.waited_ns += (u128::from(waited.ns()) * u128::from(ns) / u128::from(time.ns().max(1))) as u64;
        });
    }
}

impl Breakdown {
    /// Adds a step that took `time`; returns how long its ranks waited.
    fn count(&mut self, step: &Step, time: Duration) -> Duration {
        let total = step.parts.total();
        let waiting = Duration::from_ns(time.ns().saturating_sub(total.ns()));
        self.steps += 1;
        self.time += time;
        self.waiting += waiting;
        self.overlap += Duration::from_ns(total.ns().saturating_sub(time.ns()));
        let (sum, parts) = (&mut self.parts, &step.parts);
        sum.attention += parts.attention;
        sum.memory_attention += parts.memory_attention;
        sum.dense += parts.dense;
        sum.experts += parts.experts;
        sum.launches += parts.launches;
        sum.weights += parts.weights;
        sum.host_memory += parts.host_memory;
        sum.collectives.iter_mut().zip(parts.collectives).for_each(|(sum, time)| *sum += time);
        waiting
    }

    /// All it consists of by name, in the order in which a step runs them; `waiting` is not among them.
    pub fn named(&self) -> Vec<(&'static str, Duration)> {
        let parts = &self.parts;
        let mut named = vec![
            ("attention", parts.attention),
            ("attention in memory", parts.memory_attention),
            ("dense layers", parts.dense),
            ("experts", parts.experts),
            ("launches", parts.launches),
        ];
        named.extend(CollectiveKind::ALL.iter().zip(parts.collectives).map(|(kind, time)| (kind.name(), time)));
        named.extend([("weights", parts.weights), ("host memory", parts.host_memory)]);
        named
    }
}

#[cfg(test)]
mod tests;
