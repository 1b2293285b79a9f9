//! Results of a simulator: one row a request, times in nanoseconds. LLMServingSim writes them, and so do we.

use diagnostics::Position;
use units::{Duration, Instant};

use super::Reader;
use super::table::{Row, Table};
use crate::Request;

const NEEDED: [&str; 6] = ["request id", "input", "output", "arrival", "end_time", "TTFT"];

/// A list of each token's latency, which a result may leave out.
const ITL: &str = "ITL";

/// What says the same as others, or nothing that is compared. The queueing delay ends when the last part of a prompt is
/// scheduled, not the first.
const KNOWN: [&str; 5] = ["instance id", "model", "latency", "queuing_delay", "TPOT"];

const STAMPS: [&str; 4] = ["queued", "first_scheduled", "first_token", "first_delivered"];

pub(super) fn read(table: &Table<'_>, reader: &mut Reader<'_>) {
    let missing: Vec<_> = NEEDED.into_iter().filter(|column| !table.has(column)).collect();
    for column in &missing {
        reader.missing(table, column, "a result has all of `request id,input,output,arrival,end_time,TTFT`");
    }
    if !missing.is_empty() {
        return;
    }
    let known = [&NEEDED[..], &[ITL], &KNOWN, &STAMPS].concat();
    let unread = table.columns().into_iter().filter(|column| !known.contains(column));
    reader.unread.extend(unread.map(str::to_owned));
    let has_itl = table.has(ITL);
    table.each_row(reader, |row, reader| {
        if let Some(request) = request(row, has_itl, reader) {
            reader.request(row.position(), request);
        }
    });
}

/// `None` after its faults are told.
fn request(row: &Row<'_, '_>, has_itl: bool, reader: &mut Reader<'_>) -> Option<Request> {
    let at = |column, reader: &mut Reader<'_>| row.whole(column, 0, reader).map(Instant::from_ns);
    // All are read before any is missed, so that the faults of a row come out together.
    let id = row.text("request id", reader);
    let input_tokens = row.whole("input", 0, reader);
    let output_tokens = row.whole("output", 1, reader);
    let (arrived, end) = (at("arrival", reader), at("end_time", reader));
    let ttft = row.whole("TTFT", 0, reader).map(Duration::from_ns);
    let itl = if has_itl { row.list(ITL, reader) } else { Some(Vec::new()) };
    let [queued, first_scheduled, first_token, first_delivered] = STAMPS.map(|stamp| at(stamp, reader));
    let arrived = arrived?;
    let (itl, last_token) = (itl?, end?);
    let longest = last_token.ns().saturating_sub(arrived.ns());
    if let Some(&latency) = itl.iter().find(|&&latency| latency > longest) {
        let Position { line, .. } = row.position();
        let message = format!("a latency of {latency} ns is longer than that of the request");
        reader.fault_at(Position { line, column: 1 }, ITL, message);
        return None;
    }
    Some(Request {
        id: id?,
        input_tokens: Some(input_tokens?),
        output_tokens: output_tokens?,
        arrived: Some(arrived),
        queued,
        first_scheduled,
        first_token: first_token.unwrap_or(arrived + ttft?),
        first_delivered,
        last_token,
        sent_after: None,
        itl: has_itl.then(|| itl.into_iter().map(Duration::from_ns).collect()),
    })
}
