//! Files to runs.
//!
//! What a file is shows in itself: one that begins with `{` is a recording (JSON Lines), another is a table with a
//! header, either a simulator's result or a plain one.

mod plain;
mod recording;
mod result;
mod table;

use std::collections::BTreeSet;
use std::path::Path;

use diagnostics::{Fault, Faults, Position};
use documents::{Document, suggest};
use units::{Duration, Instant};

use crate::{Request, Run};
use table::Table;

/// Faults told one by one; further ones are only counted.
const FAULTS_MAX: usize = 20;

/// Latest second that a stamp may have: in the year 2096, if it counts from 1970.
const SECONDS_MAX: f64 = 4e9;

const FORMATS: &str = "a file is a result (`request id,…,TTFT`), a recording of vLLM (JSON Lines) or a table with \
    `request_id`, `output_tokens` and times";

/// Reads the file at `path`, in any of the formats.
///
/// # Errors
/// When it can't be read or is in none of them, and everything wrong in it, with its place; the first 20 of many.
pub fn read(path: &Path) -> Result<Run, Faults> {
    let Document { name, text } = Document::read(path)?;
    parse(&name, &text)
}

/// Reads a `text`; `name` stands for it in faults and becomes the name of the run.
///
/// # Errors
/// As [`read`].
pub fn parse(name: &str, text: &str) -> Result<Run, Faults> {
    let mut reader = Reader::new(name);
    if text.trim_start().starts_with('{') {
        recording::read(text, &mut reader);
    } else {
        match Table::new(text) {
            None => reader.fault(Fault::new(name, "the file is empty").hint(FORMATS)),
            Some(table) if table.has("request id") => result::read(&table, &mut reader),
            Some(table) if table.has("request_id") => plain::read(&table, &mut reader),
            Some(table) => reader.missing(&table, "request_id", FORMATS),
        }
    }
    reader.finish()
}

/// What is read so far.
struct Reader<'a> {
    name: &'a str,
    requests: Vec<Request>,
    one_clock: bool,
    faults: Vec<Fault>,
    num_faults: usize,
    /// Columns or keys that nothing is made of.
    unread: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str) -> Self {
        let (requests, faults, unread) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { name, requests, one_clock: true, faults, num_faults: 0, unread }
    }

    fn fault(&mut self, fault: Fault) {
        self.num_faults += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    fn fault_at(&mut self, position: Position, path: &str, message: impl Into<String>) {
        self.fault(Fault::new(self.name, message).at(position).path(path));
    }

    /// A column is not there.
    fn missing(&mut self, table: &Table<'_>, column: &str, hint: &str) {
        let columns = suggest::listed(&table.columns());
        let fault = Fault::new(self.name, format!("there is no column `{column}` among {columns}"));
        self.fault(fault.at(table.header_position()).hint(hint));
    }

    /// Takes a request in, if its stamps are in order.
    fn request(&mut self, position: Position, request: Request) {
        match disorder(&request) {
            Some((earlier, later)) => {
                self.fault(Fault::new(self.name, format!("{later} comes before {earlier}")).at(position));
            }
            None => self.requests.push(request),
        }
    }

    fn finish(self) -> Result<Run, Faults> {
        let mut faults = Faults::new();
        let unlisted = self.num_faults - self.faults.len();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if unlisted > 0 {
            let more = if unlisted == 1 { "fault" } else { "faults" };
            faults.push(Fault::new(self.name, format!("{unlisted} more {more}")));
        }
        if faults.is_empty() && self.requests.is_empty() {
            faults.push(Fault::new(self.name, "no requests"));
        }
        let unread: Vec<&str> = self.unread.iter().map(String::as_str).collect();
        let note = (!unread.is_empty()).then(|| format!("{}: {} not read", self.name, suggest::listed(&unread)));
        faults.into_result(Run {
            one_clock: self.one_clock,
            notes: note.into_iter().collect(),
            ..Run::new(self.name, self.requests)
        })
    }
}

/// Two stamps of which the later one comes first.
fn disorder(request: &Request) -> Option<(&'static str, &'static str)> {
    let first = ("the first token", Some(request.first_token));
    [
        [("arrival", request.arrived), first],
        [("queueing", request.queued), first],
        [("queueing", request.queued), ("first scheduling", request.first_scheduled)],
        [("first scheduling", request.first_scheduled), first],
        [first, ("its delivery", request.first_delivered)],
        [first, ("the last token", Some(request.last_token))],
    ]
    .into_iter()
    .find(|[(_, earlier), (_, later)]| matches!((earlier, later), (Some(earlier), Some(later)) if later < earlier))
    .map(|[(earlier, _), (later, _)]| (earlier, later))
}

/// Seconds as an instant, rounded to nanoseconds.
fn instant(seconds: f64) -> Instant {
    // Nanoseconds since 1970 are more than an `f64` holds exactly.
    Instant::from_ns(seconds.trunc() as u64 * 1_000_000_000 + (seconds.fract() * 1e9).round() as u64)
}

/// Milliseconds as a duration, rounded to nanoseconds.
fn duration(millis: f64) -> Duration {
    Duration::from_ns((millis * 1e6).round() as u64)
}

#[cfg(test)]
mod tests;
