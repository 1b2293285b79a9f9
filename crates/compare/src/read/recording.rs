//! Recordings of vLLM: one JSON object a line and request. Its engine stamps requests by a monotonic clock in seconds;
//! arrivals are by the wall clock, so that only their differences can be used.

use diagnostics::Position;
use documents::{Bounds, json};

use super::{Reader, SECONDS_MAX, instant};
use crate::Request;

const KNOWN: [&str; 8] = [
    "request_id",
    "input_toks",
    "output_toks",
    "arrival_time",
    "queued_ts",
    "scheduled_ts",
    "first_token_ts",
    "last_token_ts",
];

/// `lines` are numbered from 1.
pub(super) fn read(lines: &[(usize, &str)], reader: &mut Reader<'_>) {
    let mut arrivals = Vec::new();
    for &(number, line) in lines {
        let mut found = None;
        reader.json(line, number, |value, reader| found = value.object().and_then(|object| request(&object, reader)));
        if let Some((request, arrival)) = found {
            arrivals.push(arrival);
            reader.request(Position { line: number, column: 1 }, request);
        }
    }
    // In requests that were refused for their order there are faults, and no run comes of them.
    let first = arrivals.iter().flatten().copied().min();
    for (request, arrival) in reader.requests.iter_mut().zip(arrivals) {
        request.sent_after = arrival.zip(first).map(|(arrival, first)| arrival - first);
    }
}

/// A request and when it arrived by the wall clock.
fn request(object: &json::Object<'_>, reader: &mut Reader<'_>) -> Option<(Request, Option<units::Instant>)> {
    let unread = object.entries().map(|(key, _)| key).filter(|key| !KNOWN.contains(key));
    reader.unread.extend(unread.map(str::to_owned));
    let seconds = Bounds::From { least: 0.0, most: SECONDS_MAX };
    let number = |value: json::Cursor<'_>| value.number(seconds).map(|placed| instant(placed.value));
    let at = |key| object.require(key).and_then(number);
    let perhaps_at = |key| object.get(key).map_or(Some(None), |value| number(value).map(Some));
    let count = |value: json::Cursor<'_>, least| value.count(least, u64::MAX).map(|placed| placed.value);
    // All are read before any is missed, so that the faults of a line come out together.
    let id = object.require("request_id").and_then(|value| value.string());
    let input_tokens = object.get("input_toks").map_or(Some(None), |value| count(value, 0).map(Some));
    let output_tokens = object.require("output_toks").and_then(|value| count(value, 1));
    let arrival = perhaps_at("arrival_time");
    let (queued, first_scheduled) = (at("queued_ts"), perhaps_at("scheduled_ts"));
    let (first_token, last_token) = (at("first_token_ts"), at("last_token_ts"));
    let request = Request {
        id: id?.value,
        input_tokens: input_tokens?,
        output_tokens: output_tokens?,
        arrived: None,
        queued: Some(queued?),
        first_scheduled: first_scheduled?,
        first_token: first_token?,
        first_delivered: None,
        last_token: last_token?,
        sent_after: None,
        itl: None,
    };
    Some((request, arrival?))
}
