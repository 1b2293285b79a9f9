//! What GuideLLM writes: `benchmarks.json`, with a run for each rate that it tried.
//!
//! Requests are apart by how they ended. Stamps are seconds by the wall clock: in the requests themselves up to version
//! 0.3, in `info.timings` from 0.4 on. A request ends with its last token here, where GuideLLM's own latency goes on to the
//! end of its response. Runs may have been written with some of their requests only, or with none; their sums remain.
//! GuideLLM weighs the inter-token latency of a request with its tokens, so that its mean is that of ITL here, while its
//! percentiles are of nothing that is compared; its time per output token has the first token in it, unlike TPOT.

use documents::json::{Cursor, Object};
use documents::{Bounds, json};

use super::{Reader, SECONDS_MAX, instant};
use crate::{Figure, Metric, Request, Summary, Told};

const SECONDS: Bounds = Bounds::From { least: 0.0, most: SECONDS_MAX };
const NUMBER: Bounds = Bounds::From { least: 0.0, most: 4e18 };

const PERCENTILES: [(&str, Figure); 4] =
    [("p50", Figure::Median), ("p90", Figure::P90), ("p95", Figure::P95), ("p99", Figure::P99)];

pub(super) fn read(object: &Object<'_>, reader: &mut Reader<'_>) {
    reader.at_client = true;
    let Some(benchmarks) = object.require("benchmarks").and_then(|value| value.array()) else { return };
    let chosen = reader.choose(benchmarks.len()).and_then(|index| benchmarks.get(index));
    if let Some(benchmark) = chosen.and_then(|benchmark| benchmark.object()) {
        read_run(&benchmark, reader);
    }
}

fn read_run(benchmark: &Object<'_>, reader: &mut Reader<'_>) {
    let requests = object_of(benchmark, "requests");
    let list = |key: &str| requests.as_ref().and_then(|requests| requests.get(key)?.array()).unwrap_or_default();
    let metrics = object_of(benchmark, "metrics");
    let totals = object_of(benchmark, "request_totals").or_else(|| object_of(metrics.as_ref()?, "request_totals"));
    let total = |key: &str| totals.as_ref().and_then(|totals| Some(totals.get(key)?.count(0, u64::MAX)?.value));
    let number = |key: &str| total(key).unwrap_or(list(key).len() as u64);
    (reader.failed.errors, reader.failed.unfinished) = (number("errored"), number("incomplete"));
    let successful = list("successful");
    if successful.is_empty() {
        match metrics {
            Some(metrics) if total("successful") != Some(0) => {
                reader.summary = Some(summary(benchmark, &metrics, total("successful")));
            }
            Some(_) => {}
            None => {
                benchmark.require("metrics");
            }
        }
        return;
    }
    for value in &successful {
        let Some(object) = value.object() else { continue };
        if let Some(request) = request(&object) {
            reader.request_in(&object, &value.place(), request);
        }
    }
    let (kept, all) = (successful.len() as u64, number("successful"));
    if kept < all {
        reader.note(format!("has {kept} of {all} requests: a sample, in which loads are too small"));
    }
}

fn object_of<'r>(object: &Object<'r>, key: &str) -> Option<Object<'r>> {
    object.get(key)?.object()
}

/// `None` after its faults are told.
fn request(object: &Object<'_>) -> Option<Request> {
    let count = |key, least| object.require(key).and_then(|value| value.count(least, u64::MAX));
    // All are read before any is missed, so that the faults of a request come out together.
    let id = object.require("request_id").and_then(|value| value.string());
    let input_tokens =
        object.get("prompt_tokens").map_or(Some(None), |value| Some(Some(value.count(0, u64::MAX)?.value)));
    let output_tokens = count("output_tokens", 1);
    let timings = match object.get("info") {
        Some(info) => info.object().and_then(|info| info.require("timings")).and_then(|value| value.object()),
        None => None,
    };
    let keys = match timings {
        Some(_) => ["request_start", "first_token_iteration", "last_token_iteration", "request_end"],
        None if object.get("info").is_some() => return None,
        None => ["start_time", "first_token_time", "last_token_time", "end_time"],
    };
    let stamps = timings.as_ref().unwrap_or(object);
    let at = |value: json::Cursor<'_>| value.number(SECONDS).map(|placed| instant(placed.value));
    let [start, first, last, end] = keys;
    let start = stamps.require(start).and_then(at);
    let first_token = match stamps.get(first) {
        Some(value) => at(value),
        None => {
            let fault = stamps.place().fault(format!("missing key `{first}`"));
            stamps.push(fault.hint("measure with streaming on: without it nothing is known of first tokens"));
            None
        }
    };
    let last_token = stamps.get(last).or_else(|| stamps.require(end)).and_then(at);
    Some(Request {
        id: id?.value,
        input_tokens: input_tokens?,
        output_tokens: output_tokens?.value,
        arrived: Some(start?),
        queued: None,
        first_scheduled: None,
        first_token: first_token?,
        first_delivered: first_token,
        last_token: last_token?,
        sent_after: None,
        itl: None,
    })
}

fn summary(benchmark: &Object<'_>, metrics: &Object<'_>, num_requests: Option<u64>) -> Summary {
    let number = |value: Cursor<'_>| value.number(NUMBER).map(|placed| placed.value);
    let successful = |key: &str| metrics.get(key)?.object()?.get("successful")?.object();
    let mean = |key: &str| successful(key)?.get("mean").and_then(number);
    let mut told = Vec::new();
    for (key, metric, ms) in [("time_to_first_token_ms", Metric::Ttft, 1.0), ("request_latency", Metric::Latency, 1e3)]
    {
        let Some(summary) = successful(key) else { continue };
        let percentiles = summary.get("percentiles").and_then(|value| value.object());
        let percentile = |(key, figure)| Some((figure, percentiles.as_ref()?.get(key).and_then(number)?));
        let mean = summary.get("mean").and_then(number).map(|mean| (Figure::Mean, mean));
        let figures = mean.into_iter().chain(PERCENTILES.into_iter().filter_map(percentile));
        told.extend(figures.map(|(figure, value)| Told { metric, figure, ms: value * ms }));
    }
    let itl = mean("inter_token_latency_ms");
    told.extend(itl.map(|ms| Told { metric: Metric::Itl, figure: Figure::Mean, ms }));
    let sum = |key: &str| successful(key)?.get("total_sum").and_then(number).map(|sum| sum.round() as u64);
    let seconds = benchmark.get("duration").and_then(|value| value.number(SECONDS));
    Summary {
        num_requests,
        input_tokens: sum("prompt_token_count"),
        output_tokens: sum("output_token_count"),
        duration: seconds.map(|seconds| units::Duration::from_ns((seconds.value * 1e9).round() as u64)),
        requests_per_s: mean("requests_per_second"),
        output_tokens_per_s: mean("output_tokens_per_second"),
        told,
    }
}
