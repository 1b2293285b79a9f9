//! What `vllm bench serve` and SGLang's `bench_serving` write.
//!
//! Both come from one script and have the same keys: sums in milliseconds, and, where they were asked for
//! (`--save-detailed`, `--output-details`), lists with an element for each request, in seconds and in the order in which
//! requests were sent. A failed request has a message in `errors` and 0 tokens. What versions differ in: `start_times`
//! came late to vLLM and later to SGLang, `latencies` later still; without the first nothing is known of what happened at
//! the same time, and without the second a request ends with the last of its `itls`.

use documents::json::{Cursor, Object};
use documents::{Bounds, json};
use units::{Duration, Instant};

use super::{Reader, SECONDS_MAX, instant};
use crate::{Figure, Metric, Request, Summary, Told};

/// What metrics are called in `mean_…_ms`.
const METRICS: [(&str, Metric); 5] = [
    ("ttft", Metric::Ttft),
    ("tpot", Metric::Tpot),
    ("itl", Metric::Itl),
    ("e2el", Metric::Latency),
    ("e2e_latency", Metric::Latency),
];

/// What numbers are called there, the better name first.
const FIGURES: [(&str, Figure); 6] = [
    ("mean", Figure::Mean),
    ("median", Figure::Median),
    ("p50", Figure::Median),
    ("p90", Figure::P90),
    ("p95", Figure::P95),
    ("p99", Figure::P99),
];

const SECONDS: Bounds = Bounds::From { least: 0.0, most: SECONDS_MAX };

/// Milliseconds, tokens or requests by second.
const MOST: Bounds = Bounds::From { least: 0.0, most: SECONDS_MAX * 1e3 };

pub(super) fn read(object: &Object<'_>, reader: &mut Reader<'_>) {
    reader.at_client = true;
    match object.get("ttfts") {
        Some(ttfts) => read_details(object, &ttfts, reader),
        None => read_sums(object, reader),
    }
}

/// The lists of a file.
struct Details<'r> {
    input_lens: Vec<Cursor<'r>>,
    output_lens: Vec<Cursor<'r>>,
    ttfts: Vec<Cursor<'r>>,
    itls: Vec<Cursor<'r>>,
    errors: Option<Vec<Cursor<'r>>>,
    start_times: Option<Vec<Cursor<'r>>>,
    latencies: Option<Vec<Cursor<'r>>>,
}

fn read_details(object: &Object<'_>, ttfts: &Cursor<'_>, reader: &mut Reader<'_>) {
    let Some(ttft_elements) = ttfts.array() else { return };
    let num = ttft_elements.len();
    let as_long = |value: Cursor<'_>, key: &str| match value.array() {
        Some(elements) if elements.len() != num => {
            let message = format!("`{key}` has {} elements where `ttfts` has {num}", elements.len());
            object.push(value.place().fault(message));
            None
        }
        elements => elements.map(|_| ()),
    };
    // Checked first, so that all that is wrong comes out together.
    let needed = ["input_lens", "output_lens", "itls"]
        .map(|key| object.require(key).and_then(|value| as_long(value, key)).is_some());
    let others = ["errors", "start_times", "latencies"]
        .map(|key| object.get(key).is_none_or(|value| as_long(value, key).is_some()));
    if needed.contains(&false) || others.contains(&false) {
        return;
    }
    let list = |key| object.get(key).and_then(|value| value.array());
    let of = |key| list(key).unwrap_or_default();
    let details = Details {
        input_lens: of("input_lens"),
        output_lens: of("output_lens"),
        ttfts: ttft_elements,
        itls: of("itls"),
        errors: list("errors"),
        start_times: list("start_times"),
        latencies: list("latencies"),
    };
    reader.one_clock = details.start_times.is_some();
    let mut bundled = 0;
    for index in 0..num {
        if details.is_failed(index) {
            reader.failed.errors += 1;
        } else if let Some(request) = details.request(index) {
            let gaps = request.itl.as_ref().map_or(0, Vec::len) as u64;
            bundled += u64::from(gaps + 1 < request.output_tokens);
            reader.request_in(object, &details.ttfts[index].place(), request);
        }
    }
    if bundled > 0 {
        reader.note(format!("tokens of {bundled} requests came several at once, so ITL is that of messages"));
    }
    let never_first = |request: &Request| Some(request.first_token) == request.arrived;
    if !reader.requests.is_empty() && reader.requests.iter().all(never_first) {
        let fault = ttfts.place().fault("all first tokens come after 0 s: responses were not streamed");
        object.push(fault.hint("measure with a backend that streams"));
    }
    check_total(object, "completed", reader.requests.len() as u64, reader);
    let tokens = reader.requests.iter().map(|request| request.output_tokens).sum();
    check_total(object, "total_output_tokens", tokens, reader);
}

/// Notes where a sum in the file is not that of its requests.
fn check_total(object: &Object<'_>, key: &str, total: u64, reader: &mut Reader<'_>) {
    if let Some(told) = object.get(key).and_then(|value| value.as_count())
        && told != total
    {
        reader.note(format!("`{key}` is {told}, and the requests come to {total}"));
    }
}

impl Details<'_> {
    fn is_failed(&self, index: usize) -> bool {
        let error = self.errors.as_ref().and_then(|errors| errors[index].as_text());
        error.is_some_and(|error| !error.is_empty()) || self.output_lens[index].as_count() == Some(0)
    }

    /// `None` after its faults are told.
    fn request(&self, index: usize) -> Option<Request> {
        let seconds = |value: &json::Cursor<'_>| value.number(SECONDS).map(|placed| placed.value);
        let perhaps = |list: &Option<Vec<Cursor<'_>>>| match list {
            Some(list) => seconds(&list[index]).map(Some),
            None => Some(None),
        };
        // All are read before any is missed, so that the faults of a request come out together.
        let input_tokens = self.input_lens[index].count(0, u64::MAX);
        let output_tokens = self.output_lens[index].count(1, u64::MAX);
        let ttft = seconds(&self.ttfts[index]);
        let itl: Option<Vec<Duration>> = self.itls[index].array().and_then(|gaps| {
            let gaps: Vec<_> = gaps.iter().map(seconds).collect();
            gaps.into_iter().map(|gap| gap.map(duration)).collect()
        });
        let (start, latency) = (perhaps(&self.start_times), perhaps(&self.latencies));
        let arrived = start?.map_or(Instant::ZERO, instant);
        let (itl, first_token) = (itl?, arrived + duration(ttft?));
        let last_token = match latency? {
            Some(latency) => arrived + duration(latency),
            None => itl.iter().fold(first_token, |at, &gap| at + gap),
        };
        Some(Request {
            id: index.to_string(),
            input_tokens: Some(input_tokens?.value),
            output_tokens: output_tokens?.value,
            arrived: Some(arrived),
            queued: None,
            first_scheduled: None,
            first_token,
            first_delivered: Some(first_token),
            last_token,
            sent_after: None,
            itl: Some(itl),
        })
    }
}

/// Seconds, rounded to nanoseconds.
fn duration(seconds: f64) -> Duration {
    Duration::from_ns((seconds * 1e9).round() as u64)
}

fn read_sums(object: &Object<'_>, reader: &mut Reader<'_>) {
    let number = |value: Cursor<'_>| value.number(MOST).map(|placed| placed.value);
    let perhaps = |key: &str| object.get(key).and_then(number);
    let count = |key: &str| object.get(key).and_then(|value| value.count(0, u64::MAX)).map(|placed| placed.value);
    let completed = object.require("completed").and_then(|value| value.count(0, u64::MAX)).map(|placed| placed.value);
    let mut told: Vec<Told> = Vec::new();
    for (name, metric) in METRICS {
        for (prefix, figure) in FIGURES {
            let is_new = !told.iter().any(|told| (told.metric, told.figure) == (metric, figure));
            let value = perhaps(&format!("{prefix}_{name}_ms")).filter(|_| is_new);
            told.extend(value.map(|ms| Told { metric, figure, ms }));
        }
    }
    // Where responses are not streamed, all of these are 0.
    let streamed = told.iter().any(|told| told.metric == Metric::Ttft && told.ms > 0.0);
    if !streamed && told.iter().any(|told| told.metric == Metric::Ttft) {
        reader.note("all first tokens come after 0 ms: responses were not streamed, and only latency is compared");
        told.retain(|told| told.metric == Metric::Latency);
    }
    let failed = count("failed").or_else(|| count("num_prompts")?.checked_sub(completed?));
    reader.failed.errors = failed.unwrap_or(0);
    reader.summary = Some(Summary {
        num_requests: completed,
        input_tokens: count("total_input_tokens"),
        output_tokens: count("total_output_tokens"),
        duration: perhaps("duration").map(duration),
        requests_per_s: perhaps("request_throughput"),
        output_tokens_per_s: perhaps("output_throughput"),
        told,
    });
}
