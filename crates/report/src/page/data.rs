//! What the scripts of a page read. Times of requests are in nanoseconds, as result files have them; what is averaged or
//! added up is in milliseconds.

use metrics::{Distribution, Spread};
use serde::Serialize;
use serde_json::Value;

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct RunData {
    pub(super) name: String,
    /// The summary as `--format json` has it; `None` where only its requests are known.
    pub(super) summary: Option<Value>,
    pub(super) distributions: Distributions,
    pub(super) requests: Requests,
    pub(super) timeline: Option<TimelineData>,
    /// By instance.
    pub(super) breakdown: Vec<BreakdownData>,
    /// Groups of several members.
    pub(super) groups: Vec<GroupData>,
    pub(super) experts: Vec<ExpertsData>,
    pub(super) configuration: Vec<(String, Vec<(String, String)>)>,
    pub(super) files: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    pub(super) not_modelled: Vec<String>,
    pub(super) drawing: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Distributions {
    pub(super) ttft: Option<DistributionData>,
    pub(super) tpot: Option<DistributionData>,
    pub(super) itl: Option<DistributionData>,
    pub(super) latency: Option<DistributionData>,
    pub(super) queuing: Option<DistributionData>,
}

/// In milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct DistributionData {
    count: u64,
    mean: f64,
    min: f64,
    median: f64,
    p90: f64,
    p99: f64,
    max: f64,
    quantiles: Vec<f64>,
}

impl From<Distribution> for DistributionData {
    fn from(distribution: Distribution) -> Self {
        let Distribution { count, spread: Spread { mean, min, median, p90, p99, max }, quantiles_ms } = distribution;
        // Drawn, not read.
        let quantiles = quantiles_ms.into_iter().map(|value| digits(value, 6)).collect();
        Self { count, mean, min, median, p90, p99, max, quantiles }
    }
}

/// Requests in order of arrival, column by column. A column of which nothing is known is empty.
#[derive(Debug, Default, Serialize)]
pub(super) struct Requests {
    /// All there were, of which those here may be a part.
    pub(super) total: u64,
    /// Numbers, or names where ids are not numbers.
    pub(super) id: Vec<Value>,
    pub(super) instance: Vec<u32>,
    pub(super) input_tokens: Vec<u64>,
    pub(super) output_tokens: Vec<u64>,
    /// The first from the start of the run, others from the one before.
    pub(super) arrival_ns: Vec<u64>,
    pub(super) queuing_ns: Vec<u64>,
    pub(super) ttft_ns: Vec<u64>,
    pub(super) tpot_ns: Vec<u64>,
    pub(super) latency_ns: Vec<u64>,
    pub(super) prefix_hit_tokens: Vec<u64>,
    pub(super) preemptions: Vec<u64>,
}

/// Bins of equal width from the start of the run on.
#[derive(Debug, Serialize)]
pub(super) struct TimelineData {
    pub(super) bin_ms: f64,
    /// All instances together, then instances one by one: all of a few, some of many.
    pub(super) series: Vec<SeriesData>,
    pub(super) num_instances: usize,
}

/// One value a bin.
#[derive(Debug, Serialize)]
pub(super) struct SeriesData {
    pub(super) name: String,
    pub(super) instance: Option<u32>,
    /// Tokens a second.
    pub(super) prefill: Vec<f64>,
    pub(super) decode: Vec<f64>,
    pub(super) running: Vec<f64>,
    pub(super) waiting: Vec<f64>,
    /// The part of the KV cache in use, in percent.
    pub(super) kv: Vec<f64>,
    /// Parts of the time in percent: in steps, in dummies, waiting within steps.
    pub(super) busy: Vec<f64>,
    pub(super) dummy: Vec<f64>,
    pub(super) waited: Vec<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct BreakdownData {
    pub(super) name: String,
    pub(super) steps: u64,
    pub(super) time_ms: f64,
    pub(super) parts: Vec<(&'static str, f64)>,
    pub(super) waiting_ms: f64,
    pub(super) overlap_ms: f64,
    pub(super) before_ms: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct GroupData {
    pub(super) name: String,
    pub(super) waves: u64,
    pub(super) members: Vec<MemberData>,
    /// Row by row: how long each member waited for each.
    pub(super) pairs_ms: Vec<f64>,
    pub(super) worst: Option<WaveData>,
}

#[derive(Debug, Serialize)]
pub(super) struct MemberData {
    pub(super) instance: u32,
    pub(super) dummies: u64,
    pub(super) tokens: u64,
    pub(super) padded_tokens: u64,
    pub(super) waited_before_ms: f64,
    pub(super) waited_inside_ms: f64,
    pub(super) waited_for_ms: f64,
    pub(super) slowest: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct WaveData {
    pub(super) start_ms: f64,
    pub(super) waited_ms: f64,
    pub(super) members: Vec<WaveMemberData>,
}

#[derive(Debug, Serialize)]
pub(super) struct WaveMemberData {
    pub(super) tokens: u64,
    pub(super) ready_ms: f64,
    pub(super) parts: Vec<(&'static str, f64)>,
}

/// Expert-parallel ranks of one group.
#[derive(Debug, Serialize)]
pub(super) struct ExpertsData {
    pub(super) name: String,
    /// By rank: the instance, and the tokens that reached its experts, over all blocks and steps.
    pub(super) ranks: Vec<(u32, u64)>,
    /// How many times the mean the rank is loaded that most tokens reach, in the mean wave.
    pub(super) imbalance: f64,
}

/// `value` to so many significant digits, to be short in text.
pub(super) fn digits(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(digits - 1 - value.abs().log10().floor() as i32);
    // By division where that is exact, so that no digits come from rounding.
    if scale >= 1.0 { (value * scale).round() / scale } else { (value * scale).round() * (1.0 / scale).round() }
}
