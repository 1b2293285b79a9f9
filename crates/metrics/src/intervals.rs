//! What happened in each log interval.
//!
//! The engine tells what every instance and group has done since the run began, so that whoever watches may choose its
//! own intervals. Here the differences are taken, once for all who show them. The engine reports whole intervals only,
//! and passes over those in which no request is there. What it passes over comes as one interval here, and so does the
//! one that the end of the run cuts short, so that all intervals together are the run.

use std::mem;

use engine::{GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, Observer, RunTotals, Wave};
use units::{Duration, InstanceId, Instant};

use crate::{Layout, PowerMeter, PowerReading};

/// One log interval.
#[derive(Clone, Debug, PartialEq)]
pub struct IntervalResults {
    /// When it ended.
    pub end: Instant,
    /// How long it was.
    pub length: Duration,
    /// Whether it is one log interval, and not several without requests or what is left at the end of the run.
    pub is_whole: bool,
    /// By instance.
    pub instances: Vec<InstanceResults>,
    /// By group.
    pub groups: Vec<GroupResults>,
    /// Energy used in the interval, where power is modelled.
    pub power: Option<PowerReading>,
}

/// One instance in a log interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceResults {
    /// What it did in the interval.
    pub did: InstanceTotals,
    /// Sequences running at its end.
    pub running: u64,
    /// Requests waiting at its end.
    pub waiting: u64,
    /// KV blocks that sequences held at its end.
    pub kv_blocks_held: u32,
    /// Sequences in its latest batch. Like the next, known in whole intervals only.
    pub batch_sequences: Option<u64>,
    /// Bytes in use on each NPU at the end of the interval: weights, KV blocks held, and free blocks that still hold a
    /// findable prefix.
    pub npu_bytes: Option<u64>,
}

/// One group in a log interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupResults {
    /// What it did in the interval.
    pub did: GroupTotals,
    /// Waves that it has run since the run began.
    pub waves_total: u64,
    /// Bytes that its last wave synchronised per expert collective; `None` where nothing was synchronised. Known in
    /// whole intervals only.
    pub synchronised_bytes: Option<u64>,
}

/// Takes the differences from one log interval to the next.
#[derive(Clone, Debug)]
pub struct IntervalMeter {
    /// Members by group.
    members: Vec<Vec<InstanceId>>,
    power: Option<PowerMeter>,
    /// When the latest step ended: in a group, perhaps after its last request did.
    latest: Instant,
    /// The length of log intervals, once there has been one.
    length: Option<Duration>,
    /// Up to where the intervals go so far, and what had been done by then.
    closed: Instant,
    instances: Vec<InstanceTotals>,
    groups: Vec<GroupTotals>,
    used: Option<PowerReading>,
    /// Intervals that nobody has taken yet.
    results: Vec<IntervalResults>,
}

impl IntervalMeter {
    /// A meter for a run of a deployment with this `layout`.
    pub fn new(layout: &Layout) -> Self {
        let power = PowerMeter::new(layout);
        Self {
            members: layout.groups.iter().map(|group| group.members.clone()).collect(),
            used: power.as_ref().map(|power| power.reading(Instant::ZERO)),
            power,
            latest: Instant::ZERO,
            length: None,
            closed: Instant::ZERO,
            instances: vec![InstanceTotals::default(); layout.instances.len()],
            groups: vec![GroupTotals::default(); layout.groups.len()],
            results: Vec::new(),
        }
    }

    /// Takes the intervals that have ended since they were last taken, in order.
    pub fn take(&mut self) -> Vec<IntervalResults> {
        mem::take(&mut self.results)
    }

    /// Ends the last interval of a run that came to `totals`.
    pub fn finish(&mut self, totals: &RunTotals) {
        let end = totals.end.max(self.latest);
        if end <= self.closed {
            return;
        }
        let instances = self.instances.iter_mut().zip(&totals.instances);
        let instances = instances.map(|(then, &now)| InstanceResults::without_state(now, then)).collect();
        let groups = self.groups.iter_mut().zip(&totals.groups);
        let groups = groups.map(|(then, &now)| GroupResults::new(now, then)).collect();
        self.close(end, end - self.closed, false, instances, groups);
    }

    /// The energy of the run, where power is modelled.
    pub fn power(&self) -> Option<&PowerMeter> {
        self.power.as_ref()
    }

    /// Closes what the engine has passed over, up to `end`. Nothing has happened since the latest interval.
    fn close_idle(&mut self, end: Instant) {
        let instances = self.instances.iter_mut().map(|then| InstanceResults::without_state(*then, then)).collect();
        let groups = self.groups.iter_mut().map(|then| GroupResults::new(*then, then)).collect();
        self.close(end, end - self.closed, false, instances, groups);
    }

    fn close(
        &mut self,
        end: Instant,
        length: Duration,
        is_whole: bool,
        instances: Vec<InstanceResults>,
        groups: Vec<GroupResults>,
    ) {
        let used = self.power.as_ref().map(|power| power.reading(end));
        let power = used.as_ref().zip(self.used.as_ref()).map(|(now, then)| now.since(then));
        self.used = used;
        self.closed = end;
        self.results.push(IntervalResults { end, length, is_whole, instances, groups, power });
    }
}

impl Observer for IntervalMeter {
    fn wants_work(&self) -> bool {
        self.power.is_some()
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        // Energy can be read only before the cluster is at work again.
        if let Some(length) = self.length.filter(|&length| wave.start > self.closed + length) {
            let num_intervals = (wave.start - self.closed).ns().div_ceil(length.ns());
            self.close_idle(self.closed + length * (num_intervals - 1));
        }
        if let Some(power) = &mut self.power {
            power.wave_started(wave);
        }
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.latest = now;
        if let Some(power) = &mut self.power {
            power.step_finished(instance, now);
        }
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.length = Some(interval.length);
        if self.closed + interval.length < interval.end {
            self.close_idle(Instant::ZERO + ((interval.end - Instant::ZERO) - interval.length));
        }
        let mut instances = vec![InstanceResults::default(); self.instances.len()];
        for (members, group) in self.members.iter().zip(interval.groups) {
            for (id, member) in members.iter().zip(&group.members) {
                instances[id.index()] = InstanceResults::new(member, &mut self.instances[id.index()]);
            }
        }
        let result = |(group, then): (&GroupInterval, &mut GroupTotals)| GroupResults {
            synchronised_bytes: group.synchronised_bytes,
            ..GroupResults::new(group.totals, then)
        };
        let groups = interval.groups.iter().zip(&mut self.groups).map(result).collect();
        self.close(interval.end, interval.length, true, instances, groups);
    }
}

impl InstanceResults {
    /// What an instance has done since `then`, which becomes now.
    fn without_state(now: InstanceTotals, then: &mut InstanceTotals) -> Self {
        let did = instance_difference(&now, then);
        *then = now;
        Self { did, ..Self::default() }
    }

    fn new(now: &MemberInterval, then: &mut InstanceTotals) -> Self {
        Self {
            running: now.running,
            waiting: now.waiting,
            kv_blocks_held: now.kv_blocks_held,
            batch_sequences: Some(now.batch_sequences),
            npu_bytes: Some(now.npu_bytes),
            ..Self::without_state(now.totals, then)
        }
    }
}

impl GroupResults {
    /// What a group has done since `then`, which becomes now.
    fn new(now: GroupTotals, then: &mut GroupTotals) -> Self {
        let did = group_difference(&now, then);
        *then = now;
        Self { did, waves_total: now.waves, synchronised_bytes: None }
    }
}

fn instance_difference(now: &InstanceTotals, then: &InstanceTotals) -> InstanceTotals {
    InstanceTotals {
        finished_requests: now.finished_requests - then.finished_requests,
        prompt_tokens: now.prompt_tokens - then.prompt_tokens,
        generated_tokens: now.generated_tokens - then.generated_tokens,
        prefix_lookup_tokens: now.prefix_lookup_tokens - then.prefix_lookup_tokens,
        prefix_hit_tokens: now.prefix_hit_tokens - then.prefix_hit_tokens,
        tier_hit_tokens: now.tier_hit_tokens - then.tier_hit_tokens,
        handoff_waits: now.handoff_waits - then.handoff_waits,
        preemptions: now.preemptions - then.preemptions,
        recomputed_tokens: now.recomputed_tokens - then.recomputed_tokens,
        steps: now.steps - then.steps,
        dummy_steps: now.dummy_steps - then.dummy_steps,
    }
}

fn group_difference(now: &GroupTotals, then: &GroupTotals) -> GroupTotals {
    let mut collective_bytes = now.collective_bytes;
    collective_bytes.iter_mut().zip(then.collective_bytes).for_each(|(now, then)| *now -= then);
    GroupTotals { waves: now.waves - then.waves, collective_bytes }
}

#[cfg(test)]
mod tests {
    use units::GroupId;

    use super::*;
    use crate::{GroupLayout, InstanceLayout};

    const SECOND: Duration = Duration::from_ns(1_000_000_000);

    fn second(number: u64) -> Instant {
        Instant::ZERO + SECOND * number
    }

    /// A meter of two instances in one group, the second of which comes first.
    fn meter() -> IntervalMeter {
        let group = GroupLayout { members: vec![InstanceId(1), InstanceId(0)], ..GroupLayout::default() };
        let instances = vec![InstanceLayout::default(); 2];
        IntervalMeter::new(&Layout { instances, groups: vec![group], ..Layout::default() })
    }

    fn did(generated_tokens: u64) -> InstanceTotals {
        InstanceTotals { generated_tokens, ..InstanceTotals::default() }
    }

    /// Ends the log interval before second `number`, by which much had been done.
    fn end_interval(meter: &mut IntervalMeter, number: u64) {
        let member = |tokens, running| MemberInterval { totals: did(tokens), running, ..Default::default() };
        let groups = [GroupInterval {
            totals: GroupTotals { waves: 3 * number, collective_bytes: [number * number, 0, 0, 0] },
            members: vec![member(10 * number, 5), member(100 * number * number, 6)],
            ..GroupInterval::default()
        }];
        meter.interval_ended(&Interval { end: second(number), length: SECOND, groups: &groups });
    }

    fn start_wave(meter: &mut IntervalMeter, start: Instant) {
        meter.wave_started(&Wave { group: GroupId(0), start, padded_tokens: 0, members: &[] });
    }

    fn tokens(results: &IntervalResults) -> Vec<u64> {
        results.instances.iter().map(|instance| instance.did.generated_tokens).collect()
    }

    #[test]
    fn intervals_tell_differences() {
        let mut meter = meter();
        end_interval(&mut meter, 1);
        end_interval(&mut meter, 2);
        let intervals = meter.take();
        assert_eq!(intervals.iter().map(tokens).collect::<Vec<_>>(), [[100, 10], [300, 10]]);
        let group = |results: &IntervalResults| (results.groups[0].did, results.groups[0].waves_total);
        let expected = [(1, 3), (3, 6)]
            .map(|(bytes, waves_total)| (GroupTotals { waves: 3, collective_bytes: [bytes, 0, 0, 0] }, waves_total));
        assert_eq!(intervals.iter().map(group).collect::<Vec<_>>(), expected);
        assert_eq!(intervals[1].instances[1].running, 5);
        assert_eq!(meter.take(), []);
    }

    /// Ends, lengths in seconds, and which of them are whole.
    fn check(mut meter: IntervalMeter, expected: &[(u64, u64, bool)]) {
        let shape = |results: &IntervalResults| (results.end.ns(), results.length.ns(), results.is_whole);
        let expected: Vec<_> =
            expected.iter().map(|&(end, length, whole)| (end * SECOND.ns(), length * SECOND.ns(), whole)).collect();
        assert_eq!(meter.take().iter().map(shape).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn intervals_passed_over_are_one() {
        let after_wave = |start: Instant| {
            let mut meter = meter();
            end_interval(&mut meter, 1);
            start_wave(&mut meter, start);
            end_interval(&mut meter, if start <= second(2) { 2 } else { 9 });
            meter
        };
        let half = Duration::from_ns(500_000_000);
        check(after_wave(second(1) + half), &[(1, 1, true), (2, 1, true)]);
        check(after_wave(second(2)), &[(1, 1, true), (2, 1, true)]);
        check(after_wave(second(8) + half), &[(1, 1, true), (8, 7, false), (9, 1, true)]);
        check(after_wave(second(9)), &[(1, 1, true), (8, 7, false), (9, 1, true)]);
        // The requests that are there again may have to wait for their wave.
        let mut late = meter();
        end_interval(&mut late, 1);
        end_interval(&mut late, 9);
        start_wave(&mut late, second(9) + half);
        check(late, &[(1, 1, true), (8, 7, false), (9, 1, true)]);
    }

    #[test]
    fn the_last_interval_is_what_is_left() {
        let check = |end_ns, latest_ns, expected_ns: Option<u64>| {
            let mut meter = meter();
            end_interval(&mut meter, 2);
            meter.take();
            meter.step_finished(InstanceId(0), Instant::from_ns(latest_ns));
            let totals = RunTotals {
                end: Instant::from_ns(end_ns),
                instances: vec![did(407), did(20)],
                groups: vec![GroupTotals { waves: 8, collective_bytes: [4, 0, 9, 0] }],
            };
            meter.finish(&totals);
            let last = meter.take().pop();
            assert_eq!(last.as_ref().map(|last| last.length.ns()), expected_ns);
            if let Some(last) = last {
                assert_eq!((tokens(&last), last.instances[1].running, last.is_whole), (vec![7, 0], 0, false));
                assert_eq!(last.groups[0].did, GroupTotals { waves: 2, collective_bytes: [0, 0, 9, 0] });
            }
        };
        check(2_500_000_000, 2_500_000_000, Some(500_000_000));
        check(2_500_000_000, 2_600_000_000, Some(600_000_000));
        check(2_000_000_000, 2_000_000_000, None);
    }
}
