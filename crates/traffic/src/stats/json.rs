//! Statistics for programs.

use serde::Serialize;

use super::{Counts, SessionStats, Stats, TimeStats};

/// Most stretches of time that arrivals are told for.
const STRETCHES_MAX: usize = 100;

/// The statistics of each workload, as one JSON object with a line break at its end.
///
/// Keys keep their order and name their unit where there is one. Shares are from 0 to 1. What has no value is `null`.
pub fn stats_json(stats: &[Stats]) -> String {
    let json = Json { workloads: stats.iter().map(WorkloadJson::of).collect() };
    serde_json::to_string_pretty(&json).expect("plain structures of numbers and strings have a JSON form") + "\n"
}

#[derive(Serialize)]
struct Json<'a> {
    workloads: Vec<WorkloadJson<'a>>,
}

#[derive(Serialize)]
struct WorkloadJson<'a> {
    file: &'a str,
    format: &'a str,
    requests: u64,
    arrivals: u64,
    first_arrival_s: Option<f64>,
    duration_s: Option<f64>,
    arrivals_per_s: Option<f64>,
    interarrival_cv: Option<f64>,
    /// As vLLM defines it: the shape of a gamma distribution with this cv.
    burstiness: Option<f64>,
    total_tokens: u128,
    input_tokens: CountsJson,
    output_tokens: CountsJson,
    prefixes: Option<PrefixJson>,
    sessions: Option<SessionJson>,
    arrivals_over_time: Option<OverTimeJson>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct CountsJson {
    total: u128,
    mean: f64,
    deviation: f64,
    min: u64,
    p10: f64,
    p25: f64,
    median: f64,
    p75: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    max: u64,
}

#[derive(Serialize)]
struct PrefixJson {
    block_size: u32,
    requests: u64,
    prompt_tokens: u64,
    hit_tokens: u64,
    hit_share: f64,
    blocks: u64,
}

#[derive(Serialize)]
struct SessionJson {
    sessions: u64,
    calls: CountsJson,
    tool_time_s: Option<SecondsJson>,
}

#[derive(Serialize)]
struct SecondsJson {
    mean: f64,
    min: f64,
    median: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct OverTimeJson {
    stretch_s: f64,
    arrivals: Vec<u64>,
}

impl<'a> WorkloadJson<'a> {
    fn of(stats: &'a Stats) -> Self {
        let arrivals = stats.arrivals.as_ref();
        let gap_cv = arrivals.and_then(|arrivals| arrivals.gap_cv);
        Self {
            file: &stats.name,
            format: stats.format.name(),
            requests: stats.num_requests,
            arrivals: stats.num_arrivals,
            first_arrival_s: arrivals.map(|arrivals| arrivals.first_s),
            duration_s: arrivals.map(|arrivals| arrivals.duration_s),
            arrivals_per_s: arrivals.and_then(|arrivals| arrivals.per_s),
            interarrival_cv: gap_cv,
            burstiness: gap_cv.filter(|&cv| cv > 0.0).map(|cv| (cv * cv).recip()),
            total_tokens: stats.input_tokens.sum() + stats.output_tokens.sum(),
            input_tokens: counts(&stats.input_tokens),
            output_tokens: counts(&stats.output_tokens),
            prefixes: stats.prefixes.map(|prefixes| PrefixJson {
                block_size: prefixes.block_size,
                requests: prefixes.num_requests,
                prompt_tokens: prefixes.lookup_tokens,
                hit_tokens: prefixes.hit_tokens,
                hit_share: prefixes.hit_share(),
                blocks: prefixes.num_blocks,
            }),
            sessions: stats.sessions.as_ref().map(sessions),
            arrivals_over_time: arrivals.map(over_time),
            notes: &stats.notes,
        }
    }
}

fn counts(counts: &Counts) -> CountsJson {
    let sorted = counts.sorted();
    let percentile = |percent| sorted.percentile(percent);
    CountsJson {
        total: counts.sum(),
        mean: counts.mean(),
        deviation: counts.deviation(),
        min: percentile(0.0) as u64,
        p10: percentile(10.0),
        p25: percentile(25.0),
        median: percentile(50.0),
        p75: percentile(75.0),
        p90: percentile(90.0),
        p95: percentile(95.0),
        p99: percentile(99.0),
        max: percentile(100.0) as u64,
    }
}

fn sessions(sessions: &SessionStats) -> SessionJson {
    let times = &sessions.tool_time_ns;
    let seconds = |ns: u64| ns as f64 / 1e9;
    SessionJson {
        sessions: sessions.calls.num(),
        calls: counts(&sessions.calls),
        tool_time_s: (!times.is_empty()).then(|| SecondsJson {
            mean: times.mean() / 1e9,
            min: seconds(times.min()),
            median: seconds(times.value_at_quantile(0.5)),
            p90: seconds(times.value_at_quantile(0.9)),
            p99: seconds(times.value_at_quantile(0.99)),
            max: seconds(times.max()),
        }),
    }
}

fn over_time(arrivals: &TimeStats) -> OverTimeJson {
    let (stretch_s, arrivals) = arrivals.binned.merged(STRETCHES_MAX);
    OverTimeJson { stretch_s, arrivals }
}
