//! How far a run is from another, for people.

use compare::{
    Comparison, Figure, FigureComparison, Metric, MetricComparison, Pair, Pairs, Quantity, Rate, RateComparison,
    SeriesComparison, Side,
};

use crate::human;
use crate::table::{columns, row};

/// Requests that are named as furthest off.
const WORST_MAX: usize = 5;

/// The comparison as aligned text, with a line break at its end. Errors are A / B − 1.
pub fn comparison_text(comparison: &Comparison) -> String {
    let parts = [Some(sides(comparison)), latencies(comparison), rates(comparison), over_time(comparison)];
    let requests = comparison.pairs.as_ref().map(|pairs| [requests(pairs), worst(pairs)].join("\n"));
    parts.into_iter().chain([requests]).flatten().collect::<Vec<_>>().join("\n")
}

fn sides(comparison: &Comparison) -> String {
    let known = |number: u64| if number > 0 { human::grouped(number) } else { "?".to_owned() };
    let side = |name: &str, side: &Side| {
        let requests = format!("{} requests", known(side.num_requests as u64));
        let tokens = format!("{} tokens", known(side.output_tokens));
        let counted = format!("{} to first token {}", side.from.name(), side.to.name());
        row([name, &requests, &tokens, &counted, &side.name])
    };
    columns(&[side("A", &comparison.a), side("B", &comparison.b)], 5)
}

/// `None` where the sides know no latency in common.
fn latencies(comparison: &Comparison) -> Option<String> {
    let is_of_summaries = !comparison.figures.is_empty();
    let heads = ["Latency (ms)", "", "A", "B", "error", "KS"];
    let mut head = row(heads);
    head.truncate(if is_of_summaries { 5 } else { 6 });
    let told = comparison.figures.iter().enumerate().map(|(index, figure)| {
        let is_first = index == 0 || comparison.figures[index - 1].metric != figure.metric;
        told(figure, is_first)
    });
    let rows: Vec<_> = [head].into_iter().chain(comparison.metrics.iter().flat_map(metric)).chain(told).collect();
    (rows.len() > 1).then(|| columns(&rows, 2) + &errors(comparison))
}

/// A row of a number that a summary tells. The first of a metric also names it.
fn told(told: &FigureComparison, is_first: bool) -> Vec<String> {
    vec![
        if is_first { told.metric.name().to_owned() } else { String::new() },
        told.figure.name().to_owned(),
        format!("{:.2}", told.a),
        format!("{:.2}", told.b),
        signed(told.error()),
    ]
}

/// `None` where there are none.
fn rates(comparison: &Comparison) -> Option<String> {
    let name = |rate| match rate {
        Rate::RequestsPerS => "Requests/s",
        Rate::OutputTokensPerS => "Output tokens/s",
    };
    let rate = |rate: &RateComparison| {
        row([name(rate.rate), &format!("{:.2}", rate.a), &format!("{:.2}", rate.b), &signed(rate.error())])
    };
    let head = row(["Throughput", "A", "B", "error"]);
    let rows: Vec<_> = [head].into_iter().chain(comparison.rates.iter().map(rate)).collect();
    (rows.len() > 1).then(|| columns(&rows, 1))
}

/// A row for each figure; the first also names the metric.
fn metric(metric: &MetricComparison) -> Vec<Vec<String>> {
    let figure = |figure: Figure| {
        let first = figure == Figure::Mean;
        vec![
            if first { metric.metric.name().to_owned() } else { String::new() },
            figure.name().to_owned(),
            format!("{:.2}", metric.a.get(figure)),
            format!("{:.2}", metric.b.get(figure)),
            signed(metric.error(figure)),
            if first { format!("{:.3}", metric.ks) } else { String::new() },
        ]
    };
    Figure::ALL.map(figure).into()
}

fn errors(comparison: &Comparison) -> String {
    let (Some(mean), Some(largest)) = (comparison.mean_error(), comparison.largest_error()) else {
        return String::new();
    };
    format!(
        "\nMean error of {} numbers of TTFT, TPOT and latency: {:.2} %; the largest is {} ({} {})\n",
        comparison.errors().len(),
        mean * 100.0,
        signed(Some(largest.error)),
        largest.metric.name(),
        largest.figure.name()
    )
}

fn over_time(comparison: &Comparison) -> Option<String> {
    let name = |quantity| match quantity {
        Quantity::OutputTokensPerS => "Output tokens/s",
        Quantity::Running => "Running requests",
        Quantity::Waiting => "Waiting requests",
    };
    let series = |series: &SeriesComparison| {
        let numbers = [series.a.mean, series.b.mean, series.mean_absolute_difference];
        [name(series.quantity).to_owned()].into_iter().chain(numbers.map(|number| format!("{number:.2}"))).collect()
    };
    let window = format!("Over time ({} s)", comparison.window.secs_f64());
    let head = row([&window, "mean of A", "mean of B", "mean |A - B|"]);
    let rows: Vec<_> = [head].into_iter().chain(comparison.series.iter().map(series)).collect();
    (rows.len() > 1).then(|| columns(&rows, 1))
}

fn requests(pairs: &Pairs) -> String {
    let head = format!("{} by {}", human::grouped(pairs.requests.len() as u64), pairs.by.name());
    let errors = pairs
        .errors
        .iter()
        .map(|spread| row([spread.metric.name(), &human::percent(spread.median), &human::percent(spread.p90)]));
    let rows: Vec<_> =
        [row([&format!("Requests ({head})"), "median |error|", "P90"])].into_iter().chain(errors).collect();
    let drift = pairs.arrival_drift.map_or(String::new(), |drift| {
        format!(
            "Arrivals, counted from the first: {:.2} ms apart (median), {:.2} ms at most\n",
            drift.median_ms, drift.max_ms
        )
    });
    columns(&rows, 1) + &drift
}

fn worst(pairs: &Pairs) -> String {
    let head = row(["Furthest off (ms)", "TTFT of A", "of B", "TPOT of A", "of B", "latency of A", "of B", "error"]);
    let requests = pairs.worst(WORST_MAX).into_iter().map(|request| {
        let id = match (&request.id_a, &request.id_b) {
            (a, b) if a == b => a.clone(),
            (a, b) => format!("{a} = {b}"),
        };
        let metrics = [Metric::Ttft, Metric::Tpot, Metric::Latency].map(|metric| request.get(metric));
        let value = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        let both = |pair: Option<Pair>| [value(pair.map(|pair| pair.a)), value(pair.map(|pair| pair.b))];
        let error = signed(request.latency.error());
        [id].into_iter().chain(metrics.into_iter().flat_map(both)).chain([error]).collect()
    });
    columns(&[head].into_iter().chain(requests).collect::<Vec<_>>(), 1)
}

/// A part of a whole in per cent, with its sign.
fn signed(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:+.1} %", share * 100.0))
}
