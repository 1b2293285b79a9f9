//! The summary for programs.

use std::collections::BTreeMap;

use metrics::{Component, Energy, EngineLayout, InstanceSummary, PowerSummary, PrefixSummary, Spread, Summary};
use network::{CollectiveKind, NetworkModel};
use serde::Serialize;
use units::Duration;

/// The summary as one JSON object, with a line break at its end.
///
/// Keys keep their order and name their unit where there is one: `ttft_ms.p99`, `makespan_s`. Shares are from 0 to 1.
/// What has no value, such as the latencies of no requests, is `null`. What only some deployments have is left out in
/// others: hits in prefix caches below the NPUs', waits for room on decode instances, power.
pub fn summary_json(summary: &Summary) -> String {
    let json = serde_json::to_string_pretty(&SummaryJson::of(summary));
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

/// The same as a value.
pub(crate) fn summary_value(summary: &Summary) -> serde_json::Value {
    serde_json::to_value(SummaryJson::of(summary)).expect("plain structures of numbers and strings have a JSON form")
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
    #[serde(skip_serializing_if = "Option::is_none")]
    handoff_waits: Option<u64>,
    waves: u64,
    steps: u64,
    dummy_steps: u64,
    dummy_share: f64,
    collective_bytes: CollectiveJson,
    #[serde(skip_serializing_if = "is_unaware")]
    network_model: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    measured_collectives: Vec<MeasuredJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<EngineJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power: Option<PowerJson>,
    instances: Vec<InstanceJson<'a>>,
}

/// How engines step, where they do not one step after the other.
#[derive(Serialize)]
struct EngineJson<'a> {
    name: &'static str,
    async_scheduling: bool,
    preset: Option<&'a str>,
    host_us: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warm_up_ms: Option<f64>,
    captures_graphs: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without: Vec<&'static str>,
}

/// A kind of collective whose times in a dimension are measured, not computed.
#[derive(Serialize)]
struct MeasuredJson {
    dimension: usize,
    kind: &'static str,
}

/// What is so as a rule is not said.
fn is_unaware(model: &str) -> bool {
    model == NetworkModel::Unaware.name()
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<TierJson>,
}

#[derive(Serialize)]
struct TierJson {
    hit_tokens: u64,
    hit_ratio: f64,
    total_hit_ratio: f64,
}

#[derive(Serialize)]
struct PowerJson {
    energy_j: f64,
    mean_w: f64,
    nodes: Vec<NodePowerJson>,
}

#[derive(Serialize)]
struct NodePowerJson {
    energy_j: f64,
    mean_w: f64,
    /// Joules of each component.
    base_j: f64,
    npu_j: f64,
    cpu_j: f64,
    dram_j: f64,
    link_j: f64,
    nic_j: f64,
    storage_j: f64,
    /// Part of `npu_j`.
    npu_standby_j: f64,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    tier_hit_tokens: Option<u64>,
    preemptions: u64,
    recomputed_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    handoff_waits: Option<u64>,
    steps: u64,
    dummy_steps: u64,
    kv_capacity_tokens: u64,
    kv_max_share: Option<f64>,
    npu_max_bytes: Option<u64>,
}

impl<'a> EngineJson<'a> {
    fn of(layout: &'a EngineLayout) -> Option<Self> {
        let vllm = layout.engine.vllm()?;
        Some(Self {
            name: layout.engine.name(),
            async_scheduling: vllm.async_scheduling,
            preset: layout.preset.as_deref(),
            host_us: vllm.host.named().map(|(name, time)| (name, time.ns() as f64 / 1e3)).into(),
            warm_up_ms: (vllm.warm_up > Duration::ZERO).then(|| vllm.warm_up.millis_f64()),
            captures_graphs: layout.captures_graphs,
            without: vllm.left_out(),
        })
    }
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
            prefix_cache: PrefixJson::of(&summary.prefix),
            preemptions: summary.preemptions,
            recomputed_tokens: summary.recomputed_tokens,
            handoff_waits: summary.handoff_waits,
            waves: summary.waves.waves,
            steps: summary.waves.steps,
            dummy_steps: summary.waves.dummy_steps,
            dummy_share: summary.waves.dummy_share(),
            collective_bytes: CollectiveJson::of(&summary.collective_bytes),
            network_model: summary.network.model.name(),
            measured_collectives: summary.network.measured.iter().map(|&measured| measured.into()).collect(),
            engine: EngineJson::of(&summary.engine),
            power: summary.power.as_ref().map(PowerJson::of),
            instances: summary.instances.iter().map(|instance| InstanceJson::of(instance, summary)).collect(),
        }
    }
}

impl From<(usize, CollectiveKind)> for MeasuredJson {
    fn from((dimension, kind): (usize, CollectiveKind)) -> Self {
        Self { dimension, kind: kind.name() }
    }
}

impl SpreadJson {
    fn of(spread: Spread) -> Self {
        let Spread { mean, min, median, p90, p99, max } = spread;
        Self { mean, median, p90, p99, min, max }
    }
}

impl PrefixJson {
    fn of(prefix: &PrefixSummary) -> Self {
        let tier = prefix.tier_hit_tokens.zip(prefix.tier_hit_ratio());
        Self {
            lookup_tokens: prefix.lookup_tokens,
            hit_tokens: prefix.hit_tokens,
            hit_ratio: prefix.hit_ratio(),
            tier: tier.map(|(hit_tokens, hit_ratio)| {
                let total_hit_ratio = prefix.total_hit_ratio();
                TierJson { hit_tokens, hit_ratio, total_hit_ratio }
            }),
        }
    }
}

impl PowerJson {
    fn of(power: &PowerSummary) -> Self {
        let total = power.total();
        Self {
            energy_j: total.total_j(),
            mean_w: total.mean_w(power.makespan),
            nodes: power.nodes.iter().map(|energy| NodePowerJson::of(energy, power.makespan)).collect(),
        }
    }
}

impl NodePowerJson {
    fn of(energy: &Energy, makespan: Duration) -> Self {
        Self {
            energy_j: energy.total_j(),
            mean_w: energy.mean_w(makespan),
            base_j: energy.of(Component::Base),
            npu_j: energy.of(Component::Npu),
            cpu_j: energy.of(Component::Cpu),
            dram_j: energy.of(Component::Dram),
            link_j: energy.of(Component::Link),
            nic_j: energy.of(Component::Nic),
            storage_j: energy.of(Component::Storage),
            npu_standby_j: energy.npu_standby_j,
        }
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
    fn of(instance: &'a InstanceSummary, summary: &Summary) -> Self {
        let totals = &instance.totals;
        Self {
            id: instance.id.0,
            model: &instance.model,
            requests: totals.finished_requests,
            prompt_tokens: totals.prompt_tokens,
            generated_tokens: totals.generated_tokens,
            prefix_lookup_tokens: totals.prefix_lookup_tokens,
            prefix_hit_tokens: totals.prefix_hit_tokens,
            tier_hit_tokens: summary.prefix.tier_hit_tokens.map(|_| totals.tier_hit_tokens),
            preemptions: totals.preemptions,
            recomputed_tokens: totals.recomputed_tokens,
            handoff_waits: summary.handoff_waits.map(|_| totals.handoff_waits),
            steps: totals.steps,
            dummy_steps: totals.dummy_steps,
            kv_capacity_tokens: instance.kv_tokens,
            kv_max_share: instance.kv_share_max,
            npu_max_bytes: instance.npu_bytes_max,
        }
    }
}
