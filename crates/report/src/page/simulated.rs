//! A simulated run on a page.

use engine::{FinishedRequest, Observer, StepDetails, StepParts, Wave};
use metrics::{
    Bin, Breakdown, GroupWaves, Latency, Layout, RequestRecord, RequestRecords, RequestStatistics, Summary, Timeline,
};
use units::{Duration, InstanceId, Instant};

use super::data::{
    BreakdownData, Distributions, ExpertsData, GroupData, MemberData, Requests, RunData, SeriesData, TimelineData,
    WaveData, WaveMemberData, digits,
};
use super::{PageRun, PageText};
use crate::json;

/// Instances and groups of which a page shows each; of more, so many evenly.
const SERIES_MAX: usize = 16;
const BREAKDOWNS_MAX: usize = 64;
const GROUPS_MAX: usize = 16;

/// Watches a run for a page.
#[derive(Clone, Debug)]
pub struct PageRecorder {
    timeline: Timeline,
    requests: RequestRecords,
}

impl PageRecorder {
    /// Watches a run of a deployment with this `layout` from its beginning.
    pub fn new(layout: &Layout) -> Self {
        Self { timeline: Timeline::new(layout), requests: RequestRecords::default() }
    }

    /// What was seen of a run that is over.
    pub fn finish(
        mut self,
        name: impl Into<String>,
        layout: &Layout,
        summary: &Summary,
        statistics: &RequestStatistics,
        text: PageText,
    ) -> PageRun {
        self.timeline.finish();
        let distribution = |latency| statistics.distribution(latency).map(Into::into);
        let PageText { configuration, files, notes, not_modelled, drawing } = text;
        PageRun(RunData {
            name: name.into(),
            summary: Some(json::summary_value(summary)),
            distributions: Distributions {
                ttft: distribution(Latency::Ttft),
                tpot: distribution(Latency::Tpot),
                itl: distribution(Latency::Itl),
                latency: distribution(Latency::Whole),
                queuing: distribution(Latency::Queuing),
            },
            requests: requests(&self.requests),
            timeline: Some(timeline(&self.timeline, layout)),
            breakdown: breakdowns(&self.timeline),
            groups: groups(&self.timeline, layout),
            experts: experts(&self.timeline, layout),
            configuration,
            files,
            notes,
            not_modelled,
            drawing,
        })
    }
}

impl Observer for PageRecorder {
    fn wants_work(&self) -> bool {
        false
    }

    fn wants_details(&self) -> bool {
        true
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        self.timeline.wave_detailed(wave, members);
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.timeline.step_finished(instance, now);
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.requests.request_finished(request);
    }
}

fn requests(records: &RequestRecords) -> Requests {
    let mut sorted: Vec<&RequestRecord> = records.records().iter().collect();
    sorted.sort_by_key(|record| (record.arrival, record.id));
    let mut requests = Requests { total: records.num_seen(), ..Requests::default() };
    let mut before = Instant::ZERO;
    for record in sorted {
        requests.id.push(record.id.0.into());
        requests.instance.push(record.instance.0);
        requests.input_tokens.push(record.input_tokens);
        requests.output_tokens.push(record.output_tokens);
        requests.arrival_ns.push((record.arrival - before).ns());
        requests.queuing_ns.push(record.queuing_delay.ns());
        requests.ttft_ns.push(record.ttft.ns());
        requests.tpot_ns.push(record.tpot.ns());
        requests.latency_ns.push(record.latency.ns());
        requests.prefix_hit_tokens.push(record.prefix_hit_tokens);
        requests.preemptions.push(record.preemptions);
        before = record.arrival;
    }
    // A column of zeros says no more than none.
    for column in [&mut requests.prefix_hit_tokens, &mut requests.preemptions] {
        if column.iter().all(|&value| value == 0) {
            column.clear();
        }
    }
    requests
}

fn timeline(timeline: &Timeline, layout: &Layout) -> TimelineData {
    let bins = timeline.bins();
    let num_instances = layout.instances.len();
    let series = |name: String, instances: &[usize]| {
        let len = bins.len();
        let width_ns = bins.width().ns() as f64;
        let sum = |place: usize, value: &dyn Fn(&Bin, usize) -> f64| {
            instances.iter().filter_map(|&index| bins.of(index).get(place).map(|bin| value(bin, index))).sum::<f64>()
        };
        let column =
            |value: &dyn Fn(&Bin, usize) -> f64| (0..len).map(|place| digits(sum(place, value), 4)).collect::<Vec<_>>();
        let kv_blocks: f64 = instances.iter().map(|&index| f64::from(layout.instances[index].kv_blocks)).sum();
        let percent = 100.0 / width_ns / instances.len() as f64;
        SeriesData {
            name,
            instance: if let [index] = instances { Some(*index as u32) } else { None },
            prefill: column(&|bin, _| bin.prefill_tokens as f64 / (width_ns / 1e9)),
            decode: column(&|bin, _| bin.decode_tokens as f64 / (width_ns / 1e9)),
            running: column(&|bin, _| bin.running_ns as f64 / width_ns),
            waiting: column(&|bin, _| bin.waiting_ns as f64 / width_ns),
            kv: column(&|bin, _| bin.kv_block_ns as f64 / width_ns / kv_blocks.max(1.0) * 100.0),
            busy: column(&|bin, _| bin.step_ns as f64 * percent),
            dummy: column(&|bin, _| bin.dummy_ns as f64 * percent),
            waited: column(&|bin, _| bin.waited_ns as f64 * percent),
        }
    };
    let all: Vec<usize> = (0..num_instances).collect();
    let mut list = vec![series("all instances".to_owned(), &all)];
    if num_instances > 1 {
        list.extend(some(num_instances, SERIES_MAX).map(|index| series(format!("instance {index}"), &[index])));
    }
    TimelineData { bin_ms: bins.width().millis_f64(), series: list, num_instances }
}

/// Up to `max` of `num` indices, evenly.
fn some(num: usize, max: usize) -> impl Iterator<Item = usize> {
    let shown = num.min(max);
    (0..shown).map(move |place| place * num / shown)
}

fn breakdowns(timeline: &Timeline) -> Vec<BreakdownData> {
    let instances = timeline.instances();
    let data = |name: String, breakdown: &Breakdown| BreakdownData {
        name,
        steps: breakdown.steps,
        time_ms: breakdown.time.millis_f64(),
        parts: named_ms(breakdown.named()),
        waiting_ms: breakdown.waiting.millis_f64(),
        overlap_ms: breakdown.overlap.millis_f64(),
        before_ms: breakdown.before.millis_f64(),
    };
    some(instances.len(), BREAKDOWNS_MAX)
        .map(|index| data(format!("instance {index}"), &instances[index].breakdown))
        .collect()
}

fn named_ms(named: Vec<(&'static str, Duration)>) -> Vec<(&'static str, f64)> {
    named.into_iter().filter(|(_, time)| *time > Duration::ZERO).map(|(name, time)| (name, time.millis_f64())).collect()
}

fn group_name(layout: &Layout, index: usize) -> String {
    let group = &layout.groups[index];
    match (&group.name, &group.members[..]) {
        (Some(name), _) => format!("group {name}"),
        (None, [member]) => format!("instance {member}"),
        (None, _) => format!("group {index}"),
    }
}

fn groups(timeline: &Timeline, layout: &Layout) -> Vec<GroupData> {
    let groups: Vec<usize> = (0..layout.groups.len()).filter(|&index| layout.groups[index].members.len() > 1).collect();
    some(groups.len(), GROUPS_MAX)
        .map(|place| group(group_name(layout, groups[place]), &timeline.groups()[groups[place]], layout, groups[place]))
        .collect()
}

fn group(name: String, waves: &GroupWaves, layout: &Layout, index: usize) -> GroupData {
    let member = |(member, id): (&metrics::WaveMember, &InstanceId)| MemberData {
        instance: id.0,
        dummies: member.dummies,
        tokens: member.tokens,
        padded_tokens: member.padded_tokens,
        waited_before_ms: member.waited_before.millis_f64(),
        waited_inside_ms: member.waited_inside.millis_f64(),
        waited_for_ms: member.waited_for.millis_f64(),
        slowest: member.slowest,
    };
    let worst = waves.worst.as_ref().map(|wave| WaveData {
        start_ms: wave.start.secs_f64() * 1e3,
        waited_ms: wave.waited.millis_f64(),
        members: wave
            .members
            .iter()
            .map(|&(tokens, ready, parts)| WaveMemberData {
                tokens,
                ready_ms: ready.secs_f64() * 1e3,
                parts: named_ms(parts_of_one(parts)),
            })
            .collect(),
    });
    GroupData {
        name,
        waves: waves.waves,
        members: waves.members.iter().zip(&layout.groups[index].members).map(member).collect(),
        pairs_ms: waves.pairs.iter().map(|pair| digits(pair.millis_f64(), 5)).collect(),
        worst,
    }
}

fn parts_of_one(parts: StepParts) -> Vec<(&'static str, Duration)> {
    Breakdown { parts, ..Breakdown::default() }.named()
}

fn experts(timeline: &Timeline, layout: &Layout) -> Vec<ExpertsData> {
    let of_group = |index: usize| {
        let waves = &timeline.groups()[index];
        let ranks: Vec<(u32, u64)> = layout.groups[index]
            .members
            .iter()
            .flat_map(|id| timeline.instances()[id.index()].expert_tokens.iter().map(|&tokens| (id.0, tokens)))
            .collect();
        let mean = waves.expert_tokens as f64 / waves.expert_ranks.max(1) as f64;
        let imbalance = if mean > 0.0 { waves.expert_tokens_max as f64 / mean } else { 1.0 };
        ExpertsData { name: group_name(layout, index), ranks, imbalance }
    };
    let has_ranks = |&index: &usize| timeline.groups()[index].expert_ranks > 1;
    (0..layout.groups.len()).filter(has_ranks).take(GROUPS_MAX).map(of_group).collect()
}
