//! Plain tables, for measurements of any server: `docs/comparing.md` lists their columns.

use units::Instant;

use super::table::{Row, Table};
use super::{Reader, SECONDS_MAX, duration, instant};
use crate::Request;

const STAMPS: [&str; 4] = ["arrival_s", "queued_s", "scheduled_s", "first_delivered_s"];
const BY_INSTANT: [&str; 2] = ["first_token_s", "last_token_s"];
const BY_DURATION: [&str; 2] = ["ttft_ms", "latency_ms"];

pub(super) fn read(table: &Table<'_>, reader: &mut Reader<'_>) {
    let by_instant = BY_INSTANT.iter().any(|column| table.has(column));
    // Without arrivals each request has a clock of its own, on which no stamp could be placed.
    let on_clock = by_instant || table.has("arrival_s");
    let times = if by_instant { BY_INSTANT } else { BY_DURATION };
    let hint = "times are `first_token_s` and `last_token_s` with `arrival_s` or `queued_s`, or `ttft_ms` and \
        `latency_ms`";
    let mut missing: Vec<_> = ["output_tokens"].into_iter().chain(times).filter(|column| !table.has(column)).collect();
    if by_instant && !table.has("arrival_s") && !table.has("queued_s") {
        missing.push("arrival_s");
    }
    missing.iter().for_each(|column| reader.missing(table, column, hint));
    if !missing.is_empty() {
        return;
    }
    let known = |column: &&str| {
        ["request_id", "output_tokens", "input_tokens"].contains(column)
            || times.contains(column)
            || (on_clock && STAMPS.contains(column))
    };
    reader.unread.extend(table.columns().into_iter().filter(|column| !known(column)).map(str::to_owned));
    reader.one_clock = on_clock;
    table.each_row(reader, |row, reader| {
        if let Some(request) = request(row, by_instant, on_clock, reader) {
            reader.request(row.position(), request);
        }
    });
}

/// `None` after its faults are told.
fn request(row: &Row<'_, '_>, by_instant: bool, on_clock: bool, reader: &mut Reader<'_>) -> Option<Request> {
    let seconds = |column, reader: &mut Reader<'_>| row.number(column, SECONDS_MAX, reader).map(instant);
    let millis = |column, reader: &mut Reader<'_>| row.number(column, SECONDS_MAX * 1e3, reader).map(duration);
    // All are read before any is missed, so that the faults of a row come out together.
    let id = row.text("request_id", reader);
    let input_tokens =
        if row.holds("input_tokens") { row.whole("input_tokens", 0, reader).map(Some) } else { Some(None) };
    let output_tokens = row.whole("output_tokens", 1, reader);
    let stamps = STAMPS.map(|column| {
        // What is counted from an arrival needs one in each row.
        let needed = column == "arrival_s" && !by_instant;
        let reads = on_clock && (needed || row.holds(column));
        if reads { seconds(column, reader).map(Some) } else { Some(None) }
    });
    let [arrived, queued, first_scheduled, first_delivered] = stamps;
    let arrived = if on_clock { arrived } else { Some(Some(Instant::ZERO)) };
    let times = if by_instant {
        BY_INSTANT.map(|column| seconds(column, reader))
    } else {
        BY_DURATION.map(|column| {
            let time = millis(column, reader);
            Some(arrived?? + time?)
        })
    };
    let [first_token, last_token] = times;
    Some(Request {
        id: id?,
        input_tokens: input_tokens?,
        output_tokens: output_tokens?,
        arrived: arrived?,
        queued: queued?,
        first_scheduled: first_scheduled?,
        first_token: first_token?,
        first_delivered: first_delivered?,
        last_token: last_token?,
        sent_after: None,
        itl: None,
    })
}
