//! Files to workloads: lines, their numbering, their faults.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use diagnostics::{Fault, Faults, Position};
use engine::{Call, Entry};
use units::RequestId;

use crate::scan::Problem;
use crate::{line, usual};

/// Faults reported in full; further faulty lines are only counted.
const FAULTS_MAX: usize = 20;

/// What may stand in front of the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// How to read a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Most lines to read; `None` for all. A session is one line, whatever its calls. Nothing is read after them, so
    /// their faults don't matter.
    pub limit: Option<usize>,
    /// Whether to keep token ids. They serve prefix caching only and are most of the memory. Lists that are not kept are
    /// looked over, which is faster than reading them: a missing comma in one goes unseen.
    pub token_ids: bool,
}

/// What arrives in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// In order of arrival; those that arrive together in order of the file. Ids are numbered in order of the file.
    pub entries: Vec<Entry>,
    /// Requests, every call of a session counted.
    pub num_requests: u64,
    /// What is odd but no fault, in sentences without a full stop.
    pub notes: Vec<String>,
}

/// Reads the workload file at `path`, line by line.
///
/// # Errors
/// Every faulty line, with its place; or that the file can't be read, is not UTF-8, or holds no requests.
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<Workload, Faults> {
    let name = path.display().to_string();
    if path.is_dir() {
        let fault = Fault::new(name, "is a folder, not a workload file").hint("name one .jsonl file in it");
        return Err(fault.into());
    }
    match File::open(path) {
        Ok(file) => read(&name, BufReader::with_capacity(BUFFER_BYTES, file), options),
        Err(error) => Err(unreadable(&name, &error).into()),
    }
}

/// Reads a workload from `text`; `name` stands for it in faults.
///
/// # Errors
/// As [`read_file`].
pub fn read_str(name: &str, text: &str, options: &ReadOptions) -> Result<Workload, Faults> {
    read(name, text.as_bytes(), options)
}

fn read(name: &str, mut input: impl BufRead, options: &ReadOptions) -> Result<Workload, Faults> {
    let mut reader = Reader { name, token_ids: options.token_ids, ..Reader::default() };
    let mut line = Vec::new();
    for line_number in 1.. {
        if options.limit.is_some_and(|limit| reader.num_lines >= limit) {
            break;
        }
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => reader.line(line_number, &line),
            Err(error) => return Err(unreadable(name, &error).into()),
        }
    }
    reader.finish()
}

fn unreadable(name: &str, error: &io::Error) -> Fault {
    let message = match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    Fault::new(name, message)
}

#[derive(Default)]
struct Reader<'a> {
    name: &'a str,
    token_ids: bool,
    /// Lines so far that are not blank.
    num_lines: usize,
    workload: Workload,
    faults: Vec<Fault>,
    num_faults: usize,
    /// Sessions without calls.
    num_empty: u64,
    /// Calls whose token ids are more or fewer than their tokens, and the line of the first.
    num_odd_lengths: u64,
    first_odd_length: usize,
}

impl Reader<'_> {
    fn line(&mut self, line_number: usize, line: &[u8]) {
        // Some editors mark UTF-8 so.
        let line = if line_number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        if line.trim_ascii().is_empty() {
            return;
        }
        self.num_lines += 1;
        let first_id = RequestId(self.workload.num_requests);
        if let Some(entry) = usual::parse(line, first_id) {
            return self.entry(line_number, entry);
        }
        if let Err(error) = std::str::from_utf8(line) {
            return self.fault(line_number, line, *Problem::new(error.valid_up_to(), "not UTF-8 text"));
        }
        match line::parse(line, first_id, self.token_ids) {
            Ok(Some(entry)) => self.entry(line_number, entry),
            Ok(None) => self.num_empty += 1,
            Err(problem) => self.fault(line_number, line, *problem),
        }
    }

    fn entry(&mut self, line_number: usize, entry: Entry) {
        let odd_lengths = entry.calls().filter(|call| has_odd_length(call)).count() as u64;
        if odd_lengths > 0 && self.num_odd_lengths == 0 {
            self.first_odd_length = line_number;
        }
        self.num_odd_lengths += odd_lengths;
        self.workload.num_requests += entry.num_calls() as u64;
        self.workload.entries.push(entry);
    }

    fn fault(&mut self, line_number: usize, line: &[u8], problem: Problem) {
        self.num_faults += 1;
        if self.faults.len() == FAULTS_MAX {
            return;
        }
        // At the end of the line the place is just after its last character, not after the line break.
        let before = &line[..problem.offset.min(line.trim_ascii_end().len())];
        let column = 1 + String::from_utf8_lossy(before).chars().count();
        self.faults.push(Fault {
            position: Some(Position { line: line_number, column }),
            path: (!problem.path.is_empty()).then_some(problem.path),
            hint: problem.hint.map(str::to_owned),
            ..Fault::new(self.name, problem.message)
        });
    }

    fn finish(mut self) -> Result<Workload, Faults> {
        let mut faults = Faults::new();
        let unlisted = self.num_faults - self.faults.len();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if unlisted > 0 {
            let lines = if unlisted == 1 { "line" } else { "lines" };
            faults.push(Fault::new(self.name, format!("{unlisted} more faulty {lines}")));
        }
        if faults.is_empty() && self.workload.entries.is_empty() {
            let hint = "each line is one JSON object with `input_toks`, `output_toks` and `arrival_time_ns`";
            faults.push(Fault::new(self.name, "no requests").hint(hint));
        }
        if self.num_empty > 0 {
            let sessions = if self.num_empty == 1 { "session without calls is" } else { "sessions without calls are" };
            self.workload.notes.push(format!("{}: {} {sessions} left out", self.name, self.num_empty));
        }
        if self.num_odd_lengths > 0 {
            self.workload.notes.push(format!(
                "{}: {} of {} requests, the first in line {}, list more or fewer token ids than they have tokens; \
                 prefixes are found by the ids, everything else goes by the tokens",
                self.name, self.num_odd_lengths, self.workload.num_requests, self.first_odd_length
            ));
        }
        self.workload.entries.sort_by_key(|entry| entry.arrival);
        faults.into_result(self.workload)
    }
}

/// Whether a call lists ids, but not one for each token.
fn has_odd_length(call: &Call) -> bool {
    let differs = |ids: &[u32], tokens: u64| !ids.is_empty() && ids.len() as u64 != tokens;
    differs(&call.input_ids, call.input_tokens) || differs(&call.output_ids, call.output_tokens)
}
