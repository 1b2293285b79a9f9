//! How far a run is from another, for programs.

use compare::{
    Comparison, ErrorSpread, Figure, FigureComparison, Figures, Metric, MetricComparison, Pair, Pairs, Quantity, Rate,
    RequestComparison, SeriesComparison, Side,
};
use serde::Serialize;

/// The comparison as one JSON object, with a line break at its end.
///
/// Keys keep their order and name their unit where there is one. Errors are A / B − 1, as parts of 1. What a side does
/// not know is `null`.
pub fn comparison_json(comparison: &Comparison) -> String {
    let json = serde_json::to_string_pretty(&ComparisonJson::of(comparison));
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

#[derive(Serialize)]
struct ComparisonJson<'a> {
    a: SideJson<'a>,
    b: SideJson<'a>,
    ttft_ms: Option<MetricJson>,
    tpot_ms: Option<MetricJson>,
    latency_ms: Option<MetricJson>,
    itl_ms: Option<MetricJson>,
    prefill_ms: Option<MetricJson>,
    /// Where a side has sums only: each number that both tell. The metrics above are `null` then.
    figures_ms: Vec<FigureJson>,
    requests_per_s_told: Option<PairJson>,
    output_tokens_per_s_told: Option<PairJson>,
    mean_error: Option<f64>,
    largest_error: Option<LargestJson>,
    window_s: f64,
    output_tokens_per_s: Option<SeriesJson<'a>>,
    running: Option<SeriesJson<'a>>,
    waiting: Option<SeriesJson<'a>>,
    requests: Option<RequestsJson<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct SideJson<'a> {
    name: &'a str,
    requests: usize,
    failed: u64,
    output_tokens: u64,
    from: &'static str,
    first_token: &'static str,
}

#[derive(Serialize)]
struct MetricJson {
    a: FiguresJson<f64>,
    b: FiguresJson<f64>,
    error: FiguresJson<Option<f64>>,
    ks: f64,
}

#[derive(Serialize)]
struct FiguresJson<T> {
    mean: T,
    median: T,
    p90: T,
    p95: T,
    p99: T,
}

#[derive(Serialize)]
struct FigureJson {
    metric: &'static str,
    figure: &'static str,
    a: f64,
    b: f64,
    error: Option<f64>,
}

#[derive(Serialize)]
struct LargestJson {
    metric: &'static str,
    figure: &'static str,
    error: f64,
}

#[derive(Serialize)]
struct SeriesJson<'a> {
    mean_a: f64,
    mean_b: f64,
    mean_absolute_difference: f64,
    /// By window.
    a: &'a [f64],
    b: &'a [f64],
}

#[derive(Serialize)]
struct RequestsJson<'a> {
    matched_by: &'static str,
    count: usize,
    ttft_error: Option<SpreadJson>,
    tpot_error: Option<SpreadJson>,
    latency_error: Option<SpreadJson>,
    arrival_drift_ms: Option<DriftJson>,
    all: Vec<RequestJson<'a>>,
}

#[derive(Serialize)]
struct SpreadJson {
    median: f64,
    p90: f64,
}

#[derive(Serialize)]
struct DriftJson {
    median: f64,
    max: f64,
}

#[derive(Serialize)]
struct RequestJson<'a> {
    id_a: &'a str,
    id_b: &'a str,
    ttft_ms: PairJson,
    tpot_ms: Option<PairJson>,
    latency_ms: PairJson,
}

#[derive(Serialize)]
struct PairJson {
    a: f64,
    b: f64,
    error: Option<f64>,
}

impl<'a> ComparisonJson<'a> {
    fn of(comparison: &'a Comparison) -> Self {
        let metric = |metric| comparison.metric(metric).map(MetricJson::of);
        let rate = |rate| {
            let told = comparison.rates.iter().find(|told| told.rate == rate)?;
            Some(PairJson { a: told.a, b: told.b, error: told.error() })
        };
        let of_quantity = |series: &&SeriesComparison, quantity| series.quantity == quantity;
        let series =
            |quantity| comparison.series.iter().find(|series| of_quantity(series, quantity)).map(SeriesJson::of);
        Self {
            a: SideJson::of(&comparison.a),
            b: SideJson::of(&comparison.b),
            ttft_ms: metric(Metric::Ttft),
            tpot_ms: metric(Metric::Tpot),
            latency_ms: metric(Metric::Latency),
            itl_ms: metric(Metric::Itl),
            prefill_ms: metric(Metric::Prefill),
            figures_ms: comparison.figures.iter().map(FigureJson::of).collect(),
            requests_per_s_told: rate(Rate::RequestsPerS),
            output_tokens_per_s_told: rate(Rate::OutputTokensPerS),
            mean_error: comparison.mean_error(),
            largest_error: comparison.largest_error().map(|largest| LargestJson {
                metric: metric_name(largest.metric),
                figure: figure_name(largest.figure),
                error: largest.error,
            }),
            window_s: comparison.window.secs_f64(),
            output_tokens_per_s: series(Quantity::OutputTokensPerS),
            running: series(Quantity::Running),
            waiting: series(Quantity::Waiting),
            requests: comparison.pairs.as_ref().map(RequestsJson::of),
            notes: &comparison.notes,
        }
    }
}

/// As the key of the metric begins.
const fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Ttft => "ttft",
        Metric::Tpot => "tpot",
        Metric::Latency => "latency",
        Metric::Itl => "itl",
        Metric::Prefill => "prefill",
    }
}

/// The key of the figure.
const fn figure_name(figure: Figure) -> &'static str {
    match figure {
        Figure::Mean => "mean",
        Figure::Median => "median",
        Figure::P90 => "p90",
        Figure::P95 => "p95",
        Figure::P99 => "p99",
    }
}

impl<'a> SideJson<'a> {
    fn of(side: &'a Side) -> Self {
        Self {
            name: &side.name,
            requests: side.num_requests,
            failed: side.num_failed,
            output_tokens: side.output_tokens,
            from: side.from.name(),
            first_token: side.to.name(),
        }
    }
}

impl FigureJson {
    fn of(told: &FigureComparison) -> Self {
        let (metric, figure) = (metric_name(told.metric), figure_name(told.figure));
        Self { metric, figure, a: told.a, b: told.b, error: told.error() }
    }
}

impl MetricJson {
    fn of(metric: &MetricComparison) -> Self {
        Self {
            a: FiguresJson::of(&metric.a),
            b: FiguresJson::of(&metric.b),
            error: FiguresJson::by(|figure| metric.error(figure)),
            ks: metric.ks,
        }
    }
}

impl FiguresJson<f64> {
    fn of(figures: &Figures) -> Self {
        Self::by(|figure| figures.get(figure))
    }
}

impl<T> FiguresJson<T> {
    fn by(value: impl Fn(Figure) -> T) -> Self {
        let [mean, median, p90, p95, p99] = Figure::ALL.map(value);
        Self { mean, median, p90, p95, p99 }
    }
}

impl<'a> SeriesJson<'a> {
    fn of(series: &'a SeriesComparison) -> Self {
        Self {
            mean_a: series.a.mean,
            mean_b: series.b.mean,
            mean_absolute_difference: series.mean_absolute_difference,
            a: &series.a.values,
            b: &series.b.values,
        }
    }
}

impl<'a> RequestsJson<'a> {
    fn of(pairs: &'a Pairs) -> Self {
        let spread = |metric| pairs.errors.iter().find(|spread| spread.metric == metric).map(SpreadJson::of);
        Self {
            matched_by: pairs.by.name(),
            count: pairs.requests.len(),
            ttft_error: spread(Metric::Ttft),
            tpot_error: spread(Metric::Tpot),
            latency_error: spread(Metric::Latency),
            arrival_drift_ms: pairs.arrival_drift.map(|drift| DriftJson { median: drift.median_ms, max: drift.max_ms }),
            all: pairs.requests.iter().map(RequestJson::of).collect(),
        }
    }
}

impl SpreadJson {
    fn of(spread: &ErrorSpread) -> Self {
        Self { median: spread.median, p90: spread.p90 }
    }
}

impl<'a> RequestJson<'a> {
    fn of(request: &'a RequestComparison) -> Self {
        Self {
            id_a: &request.id_a,
            id_b: &request.id_b,
            ttft_ms: PairJson::of(request.ttft),
            tpot_ms: request.tpot.map(PairJson::of),
            latency_ms: PairJson::of(request.latency),
        }
    }
}

impl PairJson {
    fn of(pair: Pair) -> Self {
        Self { a: pair.a, b: pair.b, error: pair.error() }
    }
}
