//! What NVIDIA's AIPerf writes, and GenAI-Perf before it.
//!
//! `profile_export.jsonl` has a request a line: when it was sent by the wall clock in nanoseconds, and metrics that each
//! name their unit. `profile_export_aiperf.json` and `profile_export_genai_perf.json` have sums of the same metrics. Their
//! inter-token latency is a mean by request, which is TPOT here; the chunks of a response are what comes nearest to ITL.

use documents::json::Object;
use documents::{Bounds, json};
use units::{Duration, Instant};

use super::{Reader, SECONDS_MAX};
use crate::{Figure, Metric, Request, Summary, Told};

/// Metrics by their keys.
pub(super) const METRICS: [(&str, Metric); 4] = [
    ("time_to_first_token", Metric::Ttft),
    ("inter_token_latency", Metric::Tpot),
    ("request_latency", Metric::Latency),
    ("inter_chunk_latency", Metric::Itl),
];

const FIGURES: [(&str, Figure); 5] =
    [("avg", Figure::Mean), ("p50", Figure::Median), ("p90", Figure::P90), ("p95", Figure::P95), ("p99", Figure::P99)];

/// Units by name, in nanoseconds.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1.0),
    ("nanoseconds", 1.0),
    ("us", 1e3),
    ("microseconds", 1e3),
    ("ms", 1e6),
    ("milliseconds", 1e6),
    ("sec", 1e9),
    ("s", 1e9),
    ("seconds", 1e9),
];

const NUMBER: Bounds = Bounds::From { least: 0.0, most: 4e18 };

/// Nanoseconds of a stamp, which still leave room for a latency.
const NS_MAX: u64 = SECONDS_MAX as u64 * 1_000_000_000;

/// `lines` are numbered from 1.
pub(super) fn read_records(lines: &[(usize, &str)], reader: &mut Reader<'_>) {
    reader.at_client = true;
    let (mut warmups, mut turns) = (0_u64, Vec::new());
    for &(number, line) in lines {
        reader.json(line, number, |value, reader| {
            let Some(object) = value.object() else { return };
            match record(&object) {
                Some(Record::Warmup) => warmups += 1,
                Some(Record::Failed) => reader.failed.errors += 1,
                Some(Record::Finished { request, turn }) => {
                    turns.push(turn);
                    reader.request_in(&object, &object.place(), request);
                }
                None => {}
            }
        });
    }
    if warmups > 0 {
        reader.note(format!("{warmups} requests of the warm-up are left out"));
    }
    // Calls of a session share its number, so none of it may be taken for a request's.
    if turns.iter().any(|&turn| turn > 0) {
        for (request, turn) in reader.requests.iter_mut().zip(turns) {
            request.id = format!("session {} call {turn}", request.id);
        }
    }
}

enum Record {
    Warmup,
    Failed,
    Finished { request: Request, turn: u64 },
}

/// `None` after its faults are told.
fn record(object: &Object<'_>) -> Option<Record> {
    let (metadata, metrics) = (object.require("metadata"), object.require("metrics"));
    let (metadata, metrics) = (metadata?.object(), metrics?.object());
    let (metadata, metrics) = (metadata?, metrics?);
    if metadata.get("benchmark_phase").and_then(|phase| phase.as_text()) == Some("warmup") {
        return Some(Record::Warmup);
    }
    let cancelled = metadata.get("was_cancelled").and_then(|value| value.as_boolean());
    if object.get("error").is_some() || cancelled == Some(true) {
        return Some(Record::Failed);
    }
    let count = |object: &Object<'_>, key| object.require(key).and_then(|value| value.count(0, NS_MAX));
    // All are read before any is missed, so that the faults of a line come out together.
    let number = count(&metadata, "session_num");
    let start = count(&metadata, "request_start_ns");
    let turn = metadata.get("turn_index").map_or(Some(0), |value| Some(value.count(0, u64::MAX)?.value));
    let ttft = match metrics.get("time_to_first_token") {
        Some(value) => in_ns(&value).and_then(|values| values.first().copied()),
        None => {
            let fault = metrics.place().fault("missing key `time_to_first_token`");
            metrics.push(fault.hint("measure with `--streaming`: without it nothing is known of first tokens"));
            None
        }
    };
    let latency = metrics.require("request_latency").and_then(|value| in_ns(&value)?.first().copied());
    let output_tokens = metrics.require("output_sequence_length").and_then(|value| tokens(&value, 1));
    let input_tokens = metrics.get("input_sequence_length").map_or(Some(None), |value| tokens(&value, 0).map(Some));
    // A response of one token has one chunk, and nothing between chunks.
    let itl = match metrics.get("inter_chunk_latency") {
        Some(value) => in_ns(&value).map(Some),
        None => Some((output_tokens == Some(1)).then(Vec::new)),
    };
    let arrived = Instant::from_ns(start?.value);
    let first_token = arrived + ttft?;
    let request = Request {
        id: number?.value.to_string(),
        input_tokens: input_tokens?,
        output_tokens: output_tokens?,
        arrived: Some(arrived),
        queued: None,
        first_scheduled: None,
        first_token,
        first_delivered: Some(first_token),
        last_token: arrived + latency?,
        sent_after: None,
        itl: itl?,
    };
    Some(Record::Finished { request, turn: turn? })
}

/// The tokens of `{"value": 9, "unit": "tokens"}`.
fn tokens(value: &json::Cursor<'_>, least: u64) -> Option<u64> {
    let value = value.object()?.require("value")?;
    let whole = value.whole(u32::try_from(least).unwrap_or(0), u32::MAX)?;
    Some(u64::from(whole.value))
}

/// The durations of `{"value": …, "unit": …}`: one, or a list of them.
fn in_ns(value: &json::Cursor<'_>) -> Option<Vec<Duration>> {
    let object = value.object()?;
    let (unit, value) = (unit(&object), object.require("value")?);
    let values = if value.is_array() { value.array()? } else { vec![value] };
    let numbers: Vec<_> = values.iter().map(|value| value.number(NUMBER)).collect();
    let unit = unit?;
    numbers.into_iter().map(|number| Some(Duration::from_ns((number?.value * unit).round() as u64))).collect()
}

/// Nanoseconds of the unit that an object names.
fn unit(object: &Object<'_>) -> Option<f64> {
    let unit = object.require("unit")?;
    let known = unit.as_text().and_then(|text| UNITS.iter().find(|(name, _)| *name == text));
    if known.is_none() {
        let shown = unit.as_text().map_or_else(|| "no string".to_owned(), |text| format!("{text:?}"));
        let message = format!("expected a unit of time, found {shown}");
        object.push(unit.place().fault(message).hint("`ns`, `us`, `ms` and `sec` are known"));
    }
    known.map(|&(_, ns)| ns)
}

/// Sums of a run.
pub(super) fn read_sums(object: &Object<'_>, reader: &mut Reader<'_>) {
    reader.at_client = true;
    let average = |key: &str| {
        let object = object.get(key)?.object()?;
        Some(object.require("avg")?.number(NUMBER)?.value)
    };
    let whole = |key: &str| average(key).map(|number| number.round() as u64);
    let mut told = Vec::new();
    for (key, metric) in METRICS {
        let Some(object) = object.get(key).and_then(|value| value.object()) else { continue };
        let Some(unit) = unit(&object) else { continue };
        for (key, figure) in FIGURES {
            let number = object.get(key).and_then(|value| value.number(NUMBER));
            told.extend(number.map(|number| Told { metric, figure, ms: number.value * unit / 1e6 }));
        }
    }
    let duration = object.get("benchmark_duration").and_then(|value| {
        let object = value.object()?;
        let (unit, number) = (unit(&object), object.require("avg")?.number(NUMBER));
        Some(Duration::from_ns((number?.value * unit?).round() as u64))
    });
    let num_requests = whole("request_count");
    let mean_times_number = |key| Some((average(key)? * num_requests? as f64).round() as u64);
    reader.failed.errors = whole("error_request_count").unwrap_or(0);
    reader.summary = Some(Summary {
        num_requests,
        input_tokens: whole("total_isl").or_else(|| mean_times_number("input_sequence_length")),
        output_tokens: whole("total_osl").or_else(|| mean_times_number("output_sequence_length")),
        duration,
        requests_per_s: average("request_throughput"),
        output_tokens_per_s: average("output_token_throughput"),
        told,
    });
}
