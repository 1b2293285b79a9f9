//! What a run comes to.

use engine::{GroupTotals, InstanceTotals, RunTotals};
use network::CollectiveKind;
use units::{Duration, InstanceId, Instant};

use crate::{Energy, EngineLayout, InstanceLayout, Layout, NetworkLayout, PowerMeter, RequestStatistics, Spread};

/// The results of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Requests finished.
    pub requests: u64,
    /// From the start of the run to the end of its last request.
    pub makespan: Duration,
    /// Prompt tokens that went through prefill, prefix hits and recomputed ones included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// The same by time. `None` when the makespan is zero.
    pub throughput: Option<Throughput>,
    /// Arrival to first token.
    pub ttft: Option<Spread>,
    /// Mean time per token after the first, one value a request; 0 for requests of a single token, as LLMServingSim
    /// has it.
    pub tpot: Option<Spread>,
    /// Time of each token after the first, one value a token.
    pub itl: Option<Spread>,
    /// Arrival to last token.
    pub latency: Option<Spread>,
    /// Arrival to the last time a request was scheduled before its first token.
    pub queuing_delay: Option<Spread>,
    /// How collectives came by their times.
    pub network: NetworkLayout,
    /// How engines stepped.
    pub engine: EngineLayout,
    /// What prefix caches found.
    pub prefix: PrefixSummary,
    /// Times a sequence lost its blocks.
    pub preemptions: u64,
    /// Tokens computed again after a preemption.
    pub recomputed_tokens: u64,
    /// Requests that had to wait for room when they came from a prefill instance. `None` without decode instances.
    pub handoff_waits: Option<u64>,
    /// Waves, and steps run only to keep pace.
    pub waves: WaveSummary,
    /// Bytes handed to collectives, by kind, counted once per collective and not once per rank.
    pub collective_bytes: Vec<(CollectiveKind, u64)>,
    /// What the nodes used, where power is modelled.
    pub power: Option<PowerSummary>,
    /// By instance.
    pub instances: Vec<InstanceSummary>,
}

/// Rates over a whole run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throughput {
    /// Requests finished per second.
    pub requests_per_s: f64,
    /// Prompt tokens per second.
    pub prompt_tokens_per_s: f64,
    /// Generated tokens per second.
    pub generated_tokens_per_s: f64,
    /// Both together.
    pub total_tokens_per_s: f64,
}

/// What prefix caches found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixSummary {
    /// Prompt tokens looked up.
    pub lookup_tokens: u64,
    /// Prompt tokens found on the NPU.
    pub hit_tokens: u64,
    /// Prompt tokens found in the tier below instead; `None` where no instance has one.
    pub tier_hit_tokens: Option<u64>,
}

/// The energy of a whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerSummary {
    /// What each node used, by node.
    pub nodes: Vec<Energy>,
    /// From the start of the run to the end of its last step, a dummy's too.
    pub makespan: Duration,
}

/// Waves, and steps run only to keep pace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaveSummary {
    /// Waves of all groups.
    pub waves: u64,
    /// Steps of all instances, dummies included.
    pub steps: u64,
    /// Steps run only to keep pace.
    pub dummy_steps: u64,
}

/// One instance's part.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSummary {
    /// The instance.
    pub id: InstanceId,
    /// The model it serves.
    pub model: String,
    /// What it did.
    pub totals: InstanceTotals,
    /// Tokens that its KV cache holds.
    pub kv_tokens: u64,
    /// Most bytes in use on each of its NPUs at the end of any log interval. `None` when no interval ended.
    pub npu_bytes_max: Option<u64>,
    /// The part of its KV cache that was then in use, from 0 to 1, findable prefixes included.
    pub kv_share_max: Option<f64>,
}

impl Summary {
    /// Sums up a run of the deployment with this `layout`, with its power where there is a meter.
    ///
    /// # Panics
    /// When `statistics` did not watch the whole of the run that `totals` are of.
    pub fn new(
        layout: &Layout,
        statistics: &RequestStatistics,
        power: Option<&PowerMeter>,
        totals: &RunTotals,
    ) -> Self {
        let sum = |count: fn(&InstanceTotals) -> u64| totals.instances.iter().map(count).sum::<u64>();
        let any = |is_so: fn(&InstanceLayout) -> bool| layout.instances.iter().any(is_so);
        let requests = sum(|instance| instance.finished_requests);
        assert_eq!(statistics.num_requests(), requests, "the statistics are of another run");
        assert_eq!(layout.instances.len(), totals.instances.len(), "the layout is of another run");
        let makespan = totals.end - Instant::ZERO;
        let prompt_tokens = sum(|instance| instance.prompt_tokens);
        let generated_tokens = sum(|instance| instance.generated_tokens);
        Self {
            requests,
            makespan,
            prompt_tokens,
            generated_tokens,
            throughput: Throughput::over(makespan, requests, prompt_tokens, generated_tokens),
            ttft: Spread::of(statistics.ttft_ns.clone()),
            tpot: Spread::of(statistics.tpot_ns.clone()),
            itl: statistics.itl.spread(),
            latency: Spread::of(statistics.latency_ns.clone()),
            queuing_delay: Spread::of(statistics.queuing_delay_ns.clone()),
            network: layout.network.clone(),
            engine: layout.engine.clone(),
            prefix: PrefixSummary {
                lookup_tokens: sum(|instance| instance.prefix_lookup_tokens),
                hit_tokens: sum(|instance| instance.prefix_hit_tokens),
                tier_hit_tokens: any(|instance| instance.has_tier).then(|| sum(|instance| instance.tier_hit_tokens)),
            },
            preemptions: sum(|instance| instance.preemptions),
            recomputed_tokens: sum(|instance| instance.recomputed_tokens),
            handoff_waits: any(|instance| instance.is_decode).then(|| sum(|instance| instance.handoff_waits)),
            waves: WaveSummary {
                waves: totals.groups.iter().map(|group| group.waves).sum(),
                steps: sum(|instance| instance.steps),
                dummy_steps: sum(|instance| instance.dummy_steps),
            },
            collective_bytes: collective_bytes(&totals.groups),
            power: power.map(|meter| PowerSummary {
                nodes: meter.reading(totals.end).nodes,
                makespan: meter.end(totals.end) - Instant::ZERO,
            }),
            instances: instances(layout, statistics, totals),
        }
    }
}

impl Throughput {
    fn over(makespan: Duration, requests: u64, prompt_tokens: u64, generated_tokens: u64) -> Option<Self> {
        let per_s = |count: u64| count as f64 / makespan.secs_f64();
        (makespan > Duration::ZERO).then(|| Self {
            requests_per_s: per_s(requests),
            prompt_tokens_per_s: per_s(prompt_tokens),
            generated_tokens_per_s: per_s(generated_tokens),
            total_tokens_per_s: per_s(prompt_tokens + generated_tokens),
        })
    }
}

impl PrefixSummary {
    /// The part that was found on the NPU, from 0 to 1; 0 when nothing was looked up.
    pub fn hit_ratio(&self) -> f64 {
        share(self.hit_tokens, self.lookup_tokens)
    }

    /// The part that was found in the tier below; `None` where no instance has one.
    pub fn tier_hit_ratio(&self) -> Option<f64> {
        self.tier_hit_tokens.map(|tokens| share(tokens, self.lookup_tokens))
    }

    /// The part that was found at all.
    pub fn total_hit_ratio(&self) -> f64 {
        share(self.hit_tokens + self.tier_hit_tokens.unwrap_or(0), self.lookup_tokens)
    }
}

impl PowerSummary {
    /// What all nodes used.
    pub fn total(&self) -> Energy {
        self.nodes.iter().copied().sum()
    }
}

impl WaveSummary {
    /// The part of the steps that were dummies, from 0 to 1; 0 when there were none.
    pub fn dummy_share(&self) -> f64 {
        share(self.dummy_steps, self.steps)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn collective_bytes(groups: &[GroupTotals]) -> Vec<(CollectiveKind, u64)> {
    let bytes = |index: usize| groups.iter().map(|group| group.collective_bytes[index]).sum();
    CollectiveKind::ALL.iter().enumerate().map(|(index, &kind)| (kind, bytes(index))).collect()
}

fn instances(layout: &Layout, statistics: &RequestStatistics, totals: &RunTotals) -> Vec<InstanceSummary> {
    let mut npu_bytes_max = vec![None; layout.instances.len()];
    for (group, maxima) in layout.groups.iter().zip(&statistics.npu_bytes_max) {
        for (member, &maximum) in group.members.iter().zip(maxima) {
            npu_bytes_max[member.index()] = Some(maximum);
        }
    }
    let summary = |index: usize| {
        let instance = &layout.instances[index];
        let npu_bytes_max = npu_bytes_max[index];
        InstanceSummary {
            id: InstanceId::from(index),
            model: instance.model.clone(),
            totals: totals.instances[index],
            kv_tokens: instance.kv_tokens,
            npu_bytes_max,
            kv_share_max: npu_bytes_max
                .map(|bytes| share(bytes.saturating_sub(instance.weight_bytes), instance.kv_bytes)),
        }
    };
    (0..layout.instances.len()).map(summary).collect()
}

#[cfg(test)]
mod tests {
    use engine::{FinishedRequest, GroupInterval, Interval, MemberInterval, Observer};
    use units::RequestId;

    use super::*;
    use crate::{GroupLayout, InstanceLayout};

    fn finish(statistics: &mut RequestStatistics, arrival_ns: u64, ttft_ns: u64, itl_ns: &[u64]) {
        let itl: Vec<_> = itl_ns.iter().copied().map(Duration::from_ns).collect();
        itl.iter().for_each(|&latency| statistics.tokens_yielded(latency, 1));
        statistics.request_finished(&FinishedRequest {
            instance: InstanceId(0),
            id: RequestId(0),
            input_tokens: 100,
            output_tokens: 1 + itl_ns.len() as u64,
            arrival: Instant::from_ns(arrival_ns),
            end: Instant::from_ns(arrival_ns + ttft_ns + itl_ns.iter().sum::<u64>()),
            queuing_delay: Duration::from_ns(ttft_ns / 2),
            ttft: Duration::from_ns(ttft_ns),
            itl: itl.as_slice().into(),
            prefix_hit_tokens: 0,
            preemptions: 0,
            stamps: engine::Stamps::default(),
        });
    }

    fn flat(value: f64) -> Option<Spread> {
        Some(Spread { mean: value, min: value, median: value, p90: value, p99: value, max: value })
    }

    #[test]
    fn two_instances_worked_by_hand() {
        let instance = InstanceLayout { weight_bytes: 600, kv_bytes: 400, has_tier: true, ..InstanceLayout::default() };
        let decode = InstanceLayout { is_decode: true, ..instance.clone() };
        // The second instance comes first in the groups.
        let group = |member| GroupLayout { name: None, members: vec![InstanceId(member)], is_moe: false };
        let groups = vec![group(1), group(0)];
        let layout = Layout { instances: vec![instance, decode], groups, ..Layout::default() };
        let mut statistics = RequestStatistics::new();
        finish(&mut statistics, 0, 8_000_000, &[1_000_000, 3_000_000]);
        finish(&mut statistics, 9_000_000, 8_000_000, &[2_000_000; 2]);
        for bytes in [[700, 900], [800, 600]] {
            let groups = bytes.map(|npu_bytes| GroupInterval {
                members: vec![MemberInterval { npu_bytes, ..MemberInterval::default() }],
                ..GroupInterval::default()
            });
            let (end, length) = (Instant::ZERO, Duration::ZERO);
            statistics.interval_ended(&Interval { end, length, groups: &groups });
        }
        let did = |finished_requests, steps, dummy_steps| InstanceTotals {
            finished_requests,
            prompt_tokens: 100,
            generated_tokens: 3,
            prefix_lookup_tokens: 80,
            prefix_hit_tokens: 20,
            tier_hit_tokens: 8,
            handoff_waits: 3,
            preemptions: 1,
            recomputed_tokens: 7,
            steps,
            dummy_steps,
        };
        let group = GroupTotals { waves: 5, collective_bytes: [1, 2, 3, 4] };
        let end = Instant::from_ns(20_000_000);
        let totals = RunTotals { end, instances: vec![did(2, 6, 0), did(0, 4, 4)], groups: vec![group, group] };

        let summary = Summary::new(&layout, &statistics, None, &totals);
        assert_eq!((summary.requests, summary.prompt_tokens, summary.generated_tokens), (2, 200, 6));
        let throughput = summary.throughput.expect("time went by");
        assert_eq!((throughput.requests_per_s, throughput.prompt_tokens_per_s), (100.0, 10_000.0));
        assert_eq!((throughput.generated_tokens_per_s, throughput.total_tokens_per_s), (300.0, 10_300.0));
        assert_eq!((summary.ttft, summary.queuing_delay), (flat(8.0), flat(4.0)));
        assert_eq!((summary.latency, summary.tpot), (flat(12.0), flat(2.0)));
        let itl = summary.itl.expect("there are tokens");
        assert_eq!((itl.mean, itl.min, itl.median, itl.max), (2.0, 1.0, 2.0, 3.0));
        assert_eq!((summary.prefix.lookup_tokens, summary.prefix.hit_ratio()), (160, 0.25));
        assert_eq!((summary.prefix.tier_hit_ratio(), summary.prefix.total_hit_ratio()), (Some(0.1), 0.35));
        assert_eq!((summary.preemptions, summary.recomputed_tokens, summary.handoff_waits), (2, 14, Some(6)));
        assert_eq!((summary.waves.waves, summary.waves.steps, summary.waves.dummy_share()), (10, 10, 0.4));
        assert_eq!(summary.collective_bytes.iter().map(|&(_, bytes)| bytes).collect::<Vec<_>>(), [2, 4, 6, 8]);
        let npu: Vec<_> = summary.instances.iter().map(|one| (one.npu_bytes_max, one.kv_share_max)).collect();
        assert_eq!(npu, [(Some(900), Some(0.75)), (Some(800), Some(0.5))]);
    }

    #[test]
    fn a_run_of_nothing_has_no_rates() {
        let summary = Summary::new(&Layout::default(), &RequestStatistics::new(), None, &RunTotals::default());
        assert_eq!((summary.throughput, summary.ttft, summary.itl), (None, None, None));
        assert_eq!((summary.prefix.tier_hit_ratio(), summary.handoff_waits, summary.power), (None, None, None));
        assert_eq!((summary.prefix.hit_ratio(), summary.waves.dummy_share()), (0.0, 0.0));
    }
}
