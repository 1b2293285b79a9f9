//! The summary for programs.

use metrics::{InstanceSummary, Spread, Summary};
use network::CollectiveKind;
use serde::Serialize;

/// The summary as one JSON object, with a line break at its end.
///
/// Keys keep their order and name their unit where there is one: `ttft_ms.p99`, `makespan_s`. Shares are from 0 to 1.
/// What has no value, such as the latencies of no requests, is `null`.
pub fn summary_json(summary: &Summary) -> String {
    let json = serde_json::to_string_pretty(&SummaryJson::of(summary));
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

#[derive(Serialize)]
struct SummaryJson<'a> {
    requests: u64,
    makespan_s: f64,
    prompt_tokens: u64,
    generated_tokens: u64,
    requests_per_s: Option<f64>,
    prompt_tokens_per_s: Option<f64>,
    generated_tokens_per_s: Option<f64>,
    total_tokens_per_s: Option<f64>,
    ttft_ms: Option<SpreadJson>,
    tpot_ms: Option<SpreadJson>,
    itl_ms: Option<SpreadJson>,
    latency_ms: Option<SpreadJson>,
    queuing_delay_ms: Option<SpreadJson>,
    prefix_cache: PrefixJson,
    preemptions: u64,
    recomputed_tokens: u64,
    waves: u64,
    steps: u64,
    dummy_steps: u64,
    dummy_share: f64,
    collective_bytes: CollectiveJson,
    instances: Vec<InstanceJson<'a>>,
}

#[derive(Serialize)]
struct SpreadJson {
    mean: f64,
    median: f64,
    p90: f64,
    p99: f64,
    min: f64,
    max: f64,
}

#[derive(Serialize)]
struct PrefixJson {
    lookup_tokens: u64,
    hit_tokens: u64,
    hit_ratio: f64,
}

#[derive(Default, Serialize)]
struct CollectiveJson {
    all_reduce: u64,
    all_gather: u64,
    reduce_scatter: u64,
    all_to_all: u64,
}

#[derive(Serialize)]
struct InstanceJson<'a> {
    id: u32,
    model: &'a str,
    requests: u64,
    prompt_tokens: u64,
    generated_tokens: u64,
    prefix_lookup_tokens: u64,
    prefix_hit_tokens: u64,
    preemptions: u64,
    recomputed_tokens: u64,
    steps: u64,
    dummy_steps: u64,
    kv_capacity_tokens: u64,
    kv_max_share: Option<f64>,
    npu_max_bytes: Option<u64>,
}

impl<'a> SummaryJson<'a> {
    fn of(summary: &'a Summary) -> Self {
        let throughput = summary.throughput;
        let spread = |spread: Option<Spread>| spread.map(SpreadJson::of);
        Self {
            requests: summary.requests,
            makespan_s: summary.makespan.secs_f64(),
            prompt_tokens: summary.prompt_tokens,
            generated_tokens: summary.generated_tokens,
            requests_per_s: throughput.map(|rates| rates.requests_per_s),
            prompt_tokens_per_s: throughput.map(|rates| rates.prompt_tokens_per_s),
            generated_tokens_per_s: throughput.map(|rates| rates.generated_tokens_per_s),
            total_tokens_per_s: throughput.map(|rates| rates.total_tokens_per_s),
            ttft_ms: spread(summary.ttft),
            tpot_ms: spread(summary.tpot),
            itl_ms: spread(summary.itl),
            latency_ms: spread(summary.latency),
            queuing_delay_ms: spread(summary.queuing_delay),
            prefix_cache: PrefixJson {
                lookup_tokens: summary.prefix.lookup_tokens,
                hit_tokens: summary.prefix.hit_tokens,
                hit_ratio: summary.prefix.hit_ratio(),
            },
            preemptions: summary.preemptions,
            recomputed_tokens: summary.recomputed_tokens,
            waves: summary.waves.waves,
            steps: summary.waves.steps,
            dummy_steps: summary.waves.dummy_steps,
            dummy_share: summary.waves.dummy_share(),
            collective_bytes: CollectiveJson::of(&summary.collective_bytes),
            instances: summary.instances.iter().map(InstanceJson::of).collect(),
        }
    }
}

impl SpreadJson {
    fn of(spread: Spread) -> Self {
        let Spread { mean, min, median, p90, p99, max } = spread;
        Self { mean, median, p90, p99, min, max }
    }
}

impl CollectiveJson {
    fn of(bytes_by_kind: &[(CollectiveKind, u64)]) -> Self {
        let mut json = Self::default();
        for &(kind, bytes) in bytes_by_kind {
            match kind {
                CollectiveKind::AllReduce => json.all_reduce = bytes,
                CollectiveKind::AllGather => json.all_gather = bytes,
                CollectiveKind::ReduceScatter => json.reduce_scatter = bytes,
                CollectiveKind::AllToAll => json.all_to_all = bytes,
            }
        }
        json
    }
}

impl<'a> InstanceJson<'a> {
    fn of(instance: &'a InstanceSummary) -> Self {
        let totals = &instance.totals;
        Self {
            id: instance.id.0,
            model: &instance.model,
            requests: totals.finished_requests,
            prompt_tokens: totals.prompt_tokens,
            generated_tokens: totals.generated_tokens,
            prefix_lookup_tokens: totals.prefix_lookup_tokens,
            prefix_hit_tokens: totals.prefix_hit_tokens,
            preemptions: totals.preemptions,
            recomputed_tokens: totals.recomputed_tokens,
            steps: totals.steps,
            dummy_steps: totals.dummy_steps,
            kv_capacity_tokens: instance.kv_tokens,
            kv_max_share: instance.kv_share_max,
            npu_max_bytes: instance.npu_bytes_max,
        }
    }
}
