//! Files to runs.
//!
//! What a file is shows in itself: one that begins with `{` is a recording or what a benchmark client wrote, as its keys
//! tell; another is a table with a header, either a simulator's result or a plain one.

mod aiperf;
mod bench_serving;
mod guidellm;
mod json_file;
mod plain;
mod recording;
mod result;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diagnostics::{Fault, Faults, Position};
use documents::json::{self, Place};
use documents::{Document, suggest};
use units::{Duration, Instant};

use crate::{Request, Run, Summary};
use table::Table;

/// Faults told one by one; further ones are only counted.
const FAULTS_MAX: usize = 20;

/// Latest second that a stamp may have: in the year 2096, if it counts from 1970.
const SECONDS_MAX: f64 = 4e9;

const FORMATS: &str = "a file is a result (`request id,…,TTFT`), a recording of vLLM (JSON Lines), what a benchmark client \
    wrote (JSON) or a table with `request_id`, `output_tokens` and times";

/// Reads the file at `path`, in any of the formats. Of a file with several runs, `path#2` is the second.
///
/// # Errors
/// When it can't be read or is in none of them, and everything wrong in it, with its place; the first 20 of many.
pub fn read(path: &Path) -> Result<Run, Faults> {
    let (file, number) = file_and_number(path);
    let Document { name, text } = Document::read(&file)?;
    parse_run(&name, &text, number)
}

/// Reads a `text`; `name` stands for it in faults and becomes the name of the run.
///
/// # Errors
/// As [`read`].
pub fn parse(name: &str, text: &str) -> Result<Run, Faults> {
    parse_run(name, text, None)
}

/// `number` tells which run of several, from 1.
fn parse_run(name: &str, text: &str, number: Option<usize>) -> Result<Run, Faults> {
    let mut reader = Reader::new(name, number);
    if text.trim_start().starts_with('{') {
        json_file::read(text, &mut reader);
    } else {
        reader.one_run();
        match Table::new(text) {
            None => reader.fault(Fault::new(name, "the file is empty").hint(FORMATS)),
            Some(table) if table.has("request id") => result::read(&table, &mut reader),
            Some(table) if table.has("request_id") => plain::read(&table, &mut reader),
            Some(table) => reader.missing(&table, "request_id", FORMATS),
        }
    }
    reader.finish()
}

/// `bench.jsonl` and 2 of `bench.jsonl#2`, unless a file has that very name.
fn file_and_number(path: &Path) -> (PathBuf, Option<usize>) {
    let parts = path.to_str().filter(|_| !path.exists()).and_then(|text| text.rsplit_once('#'));
    let found = parts.and_then(|(file, number)| Some((PathBuf::from(file), number.parse().ok()?)));
    found.map_or_else(|| (path.to_owned(), None), |(file, number)| (file, Some(number)))
}

/// What is read so far.
struct Reader<'a> {
    name: &'a str,
    /// Which run of several is asked for, from 1.
    number: Option<usize>,
    requests: Vec<Request>,
    one_clock: bool,
    at_client: bool,
    /// Requests that have no times, and why.
    failed: Failed,
    summary: Option<Summary>,
    notes: Vec<String>,
    faults: Vec<Fault>,
    num_faults: usize,
    /// Columns or keys that nothing is made of.
    unread: BTreeSet<String>,
}

/// Requests that are left out.
#[derive(Default)]
struct Failed {
    /// They ended with an error.
    errors: u64,
    /// The run ended before they did.
    unfinished: u64,
}

impl<'a> Reader<'a> {
    fn new(name: &'a str, number: Option<usize>) -> Self {
        Self {
            name,
            number,
            requests: Vec::new(),
            one_clock: true,
            at_client: false,
            failed: Failed::default(),
            summary: None,
            notes: Vec::new(),
            faults: Vec::new(),
            num_faults: 0,
            unread: BTreeSet::new(),
        }
    }

    /// Reads JSON that begins in line `line` of the file.
    fn json(&mut self, text: &str, line: usize, read: impl FnOnce(&json::Cursor<'_>, &mut Self)) {
        let document = Arc::new(Document { name: self.name.to_owned(), text: text.to_owned() });
        let mut faults = Faults::new();
        json::read_python(&document, &mut faults, |value| {
            read(value, self);
            Some(())
        });
        for fault in faults.iter() {
            let at = fault.position.map(|at| Position { line: at.line + line - 1, ..at });
            self.fault(Fault { position: at, ..fault.clone() });
        }
    }

    /// The file has one run: none other can be asked for.
    fn one_run(&mut self) {
        self.choose(1);
    }

    /// Which of `num` runs is asked for, from 0.
    fn choose(&mut self, num: usize) -> Option<usize> {
        let number = match self.number {
            _ if num == 0 => {
                self.fault(Fault::new(self.name, "holds no runs"));
                return None;
            }
            None if num > 1 => {
                let hint = format!("name one of them: `{0}#1` to `{0}#{num}`", self.name);
                self.fault(Fault::new(self.name, format!("holds {num} runs")).hint(hint));
                return None;
            }
            number => number.unwrap_or(1),
        };
        if (1..=num).contains(&number) {
            return Some(number - 1);
        }
        let runs = if num == 1 { "run" } else { "runs" };
        let fault = Fault::new(self.name, format!("holds {num} {runs}, and none is number {number}"));
        self.fault(fault.hint("runs are counted from 1"));
        None
    }

    fn note(&mut self, note: impl std::fmt::Display) {
        self.notes.push(format!("{}: {note}", self.name));
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
            Some(message) => self.fault(Fault::new(self.name, message).at(position)),
            None => self.requests.push(request),
        }
    }

    /// The same; a fault is pushed to `object`, whose file it is in.
    fn request_in(&mut self, object: &json::Object<'_>, place: &Place, request: Request) {
        match disorder(&request) {
            Some(message) => object.push(place.fault(message)),
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
        let Failed { errors, unfinished } = self.failed;
        if faults.is_empty() && self.requests.is_empty() && self.summary.is_none() {
            let failed = errors + unfinished;
            let message = if failed > 0 { format!("no requests: {failed} failed") } else { "no requests".to_owned() };
            faults.push(Fault::new(self.name, message));
        }
        let mut notes = self.notes;
        for (number, what) in [(errors, "failed"), (unfinished, "never finished")] {
            match number {
                0 => {}
                1 => notes.push(format!("{}: 1 request {what} and is left out", self.name)),
                _ => notes.push(format!("{}: {number} requests {what} and are left out", self.name)),
            }
        }
        let unread: Vec<&str> = self.unread.iter().map(String::as_str).collect();
        let note = (!unread.is_empty()).then(|| format!("{}: {} not read", self.name, suggest::listed(&unread)));
        let name = self.number.map_or(self.name.to_owned(), |number| format!("{}#{number}", self.name));
        faults.into_result(Run {
            one_clock: self.one_clock,
            at_client: self.at_client,
            num_failed: errors + unfinished,
            summary: self.summary,
            notes: notes.into_iter().chain(note).collect(),
            ..Run::new(name, self.requests)
        })
    }
}

/// Says of two stamps that the later one comes first, if so.
fn disorder(request: &Request) -> Option<String> {
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
    .map(|[(earlier, _), (later, _)]| format!("{later} comes before {earlier}"))
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
