//! The first reading of a workload: every line is checked, and told where it is at fault.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use diagnostics::{Fault, Faults, Position};
use engine::{Call, Entry};
use units::Instant;

use crate::entries::{EntriesAgain, EntryLines};
use crate::lines::{Lines, Rewind, unreadable};
use crate::scan::Problem;
use crate::workload::{Source, Workload};

/// Faults reported in full; further faulty lines are only counted.
const FAULTS_MAX: usize = 20;

/// How to read a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Most lines to read; `None` for all. A session is one line, whatever its calls. Nothing is read after them, so
    /// their faults don't matter.
    pub limit: Option<usize>,
    /// Whether to keep token ids. They serve prefix caching only and are most of the memory. Lists that are not kept are
    /// looked over, which is faster than reading them: a missing comma in one goes unseen.
    pub token_ids: bool,
    /// Bytes up to which entries stay in memory. Where there are more, they are read again as a run asks for them,
    /// unless they stand in another order than they arrive in, or not in a plain file.
    pub kept_bytes_max: usize,
}

impl ReadOptions {
    /// Memory for entries where nothing speaks for more or less: some 150,000 plain requests. More would save no time,
    /// as new memory costs about what reading a line again does.
    pub const KEPT_BYTES_MAX: usize = 16 << 20;
}

/// Reads the workload file at `path`, line by line, and shows every entry to `each`, in order of the file.
///
/// # Errors
/// Every faulty line, with its place; or that the file can't be read, is not UTF-8, or holds no requests.
pub fn read_file(path: &Path, options: &ReadOptions, each: &mut dyn FnMut(&Entry)) -> Result<Workload, Faults> {
    let name = path.display().to_string();
    if path.is_dir() {
        let fault = Fault::new(name, "is a folder, not a workload file").hint("name one .jsonl file in it");
        return Err(fault.into());
    }
    let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return read_once(&name, file, options, each);
    }
    read_twice(&name, Box::new(file), Places::Lines, options, each)
}

/// Reads a workload from `rows`, as [`read_file`] does: each is a line of text, and is called a row in faults.
///
/// # Errors
/// As [`read_file`].
pub fn read_rows(
    name: &str,
    rows: Box<dyn Rewind>,
    options: &ReadOptions,
    each: &mut dyn FnMut(&Entry),
) -> Result<Workload, Faults> {
    read_twice(name, rows, Places::Rows, options, each)
}

/// Reads a workload from `text`, as [`read_file`] does; `name` stands for it in faults. All entries stay in memory.
///
/// # Errors
/// As [`read_file`].
pub fn read_str(
    name: &str,
    text: &str,
    options: &ReadOptions,
    each: &mut dyn FnMut(&Entry),
) -> Result<Workload, Faults> {
    read_once(name, text.as_bytes(), options, each)
}

fn read_twice(
    name: &str,
    input: Box<dyn Rewind>,
    places: Places,
    options: &ReadOptions,
    each: &mut dyn FnMut(&Entry),
) -> Result<Workload, Faults> {
    let mut lines = EntryLines::new(Lines::twice(name, input), options);
    let first = FirstReading::new(name, places, options.kept_bytes_max).read(&mut lines, each)?;
    let is_in_order = first.is_in_order;
    let mut workload = first.finish(lines.again())?;
    if !is_in_order {
        workload.keep()?;
    }
    Ok(workload)
}

fn read_once(
    name: &str,
    mut input: impl Read,
    options: &ReadOptions,
    each: &mut dyn FnMut(&Entry),
) -> Result<Workload, Faults> {
    let mut lines = EntryLines::new(Lines::once(name, &mut input), options);
    FirstReading::new(name, Places::Lines, usize::MAX).read(&mut lines, each)?.finish(None)
}

/// What an entry's place is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Places {
    /// A line of text, with columns.
    Lines,
    /// A row of another file.
    Rows,
}

impl Places {
    /// The word for one.
    fn singular(self) -> &'static str {
        match self {
            Places::Lines => "line",
            Places::Rows => "row",
        }
    }
}

/// What has been found out.
struct FirstReading<'a> {
    name: &'a str,
    places: Places,
    /// `None` once there were too many to keep.
    entries: Option<Vec<Entry>>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    /// Requests so far, every call of a session counted.
    num_requests: u64,
    latest_arrival: Instant,
    /// Whether no entry arrives before one that stands above it.
    is_in_order: bool,
    faults: Vec<Fault>,
    num_faults: usize,
    /// Sessions without calls.
    num_empty: u64,
    /// Calls whose token ids are more or fewer than their tokens, and the line of the first.
    num_odd_lengths: u64,
    has_token_ids: bool,
    first_odd_length: usize,
}

impl<'a> FirstReading<'a> {
    fn new(name: &'a str, places: Places, kept_bytes_max: usize) -> Self {
        Self {
            name,
            places,
            entries: Some(Vec::new()),
            kept_bytes: 0,
            kept_bytes_max,
            num_requests: 0,
            latest_arrival: Instant::ZERO,
            is_in_order: true,
            faults: Vec::new(),
            num_faults: 0,
            num_empty: 0,
            num_odd_lengths: 0,
            has_token_ids: false,
            first_odd_length: 0,
        }
    }

    fn read(mut self, lines: &mut EntryLines<'_>, each: &mut dyn FnMut(&Entry)) -> Result<Self, Fault> {
        while let Some(line) = lines.next()? {
            match line.entry {
                Ok(Some(entry)) => {
                    each(&entry);
                    self.entry(line.number, entry);
                }
                Ok(None) => self.num_empty += 1,
                Err(problem) => self.fault(line.number, line.text, *problem),
            }
        }
        Ok(self)
    }

    fn entry(&mut self, line_number: usize, entry: Entry) {
        self.has_token_ids = self.has_token_ids || entry.calls().any(|call| !call.input_ids.is_empty());
        let odd_lengths = entry.calls().filter(|call| has_odd_length(call)).count() as u64;
        if odd_lengths > 0 && self.num_odd_lengths == 0 {
            self.first_odd_length = line_number;
        }
        self.num_odd_lengths += odd_lengths;
        self.num_requests += entry.num_calls() as u64;
        self.is_in_order &= self.latest_arrival <= entry.arrival;
        self.latest_arrival = entry.arrival;
        let Some(entries) = &mut self.entries else { return };
        self.kept_bytes += bytes(&entry);
        entries.push(entry);
        if self.kept_bytes > self.kept_bytes_max && self.is_in_order {
            self.entries = None;
        }
    }

    fn fault(&mut self, line_number: usize, line: &[u8], problem: Problem) {
        self.num_faults += 1;
        if self.faults.len() == FAULTS_MAX {
            return;
        }
        let fault = Fault { hint: problem.hint.map(str::to_owned), ..Fault::new(self.name, problem.message) };
        if self.places == Places::Rows {
            let column = problem.path.trim_start_matches(['$', '.']);
            let comma = if column.is_empty() { "" } else { ", " };
            self.faults.push(fault.path(format!("row {line_number}{comma}{column}")));
            return;
        }
        // At the end of the line the place is just after its last character, not after the line break.
        let before = &line[..problem.offset.min(line.trim_ascii_end().len())];
        let column = 1 + String::from_utf8_lossy(before).chars().count();
        self.faults.push(Fault {
            position: Some(Position { line: line_number, column }),
            path: (!problem.path.is_empty()).then_some(problem.path),
            ..fault
        });
    }

    /// The workload, to be read from `again` where its entries were too many to keep.
    fn finish(self, again: Option<EntriesAgain>) -> Result<Workload, Faults> {
        let notes = self.notes();
        let mut faults = Faults::new();
        let unlisted = self.num_faults - self.faults.len();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if unlisted > 0 {
            let (place, plural) = (self.places.singular(), if unlisted == 1 { "" } else { "s" });
            faults.push(Fault::new(self.name, format!("{unlisted} more faulty {place}{plural}")));
        }
        if faults.is_empty() && self.num_requests == 0 {
            let hint = match self.places {
                Places::Lines => "each line is one JSON object with `input_toks`, `output_toks` and `arrival_time_ns`",
                Places::Rows => "each row is a request with `input_toks`, `output_toks` and `arrival_time_ns`",
            };
            faults.push(Fault::new(self.name, "no requests").hint(hint));
        }
        let source = match (self.entries, again) {
            (Some(mut entries), _) => {
                entries.sort_by_key(|entry| entry.arrival);
                Source::Kept(entries)
            }
            (None, Some(again)) => Source::File(again),
            (None, None) => unreachable!("what is read once is kept, however much it is"),
        };
        let (num_requests, has_token_ids) = (self.num_requests, self.has_token_ids);
        faults.into_result(Workload { num_requests, has_token_ids, notes, source })
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.num_empty > 0 {
            let sessions = if self.num_empty == 1 { "session without calls is" } else { "sessions without calls are" };
            notes.push(format!("{}: {} {sessions} left out", self.name, self.num_empty));
        }
        if self.num_odd_lengths > 0 {
            notes.push(format!(
                "{}: {} of {} requests, the first in {} {}, list more or fewer token ids than they have tokens; \
                 prefixes are found by the ids, everything else goes by the tokens",
                self.name,
                self.num_odd_lengths,
                self.num_requests,
                self.places.singular(),
                self.first_odd_length
            ));
        }
        notes
    }
}

/// Whether a call lists ids, but not one for each token.
fn has_odd_length(call: &Call) -> bool {
    let differs = |ids: &[u32], tokens: u64| !ids.is_empty() && ids.len() as u64 != tokens;
    differs(&call.input_ids, call.input_tokens) || differs(&call.output_ids, call.output_tokens)
}

/// Memory that `entry` takes.
fn bytes(entry: &Entry) -> usize {
    let ids = entry.calls().map(|call| call.input_ids.len() + call.output_ids.len()).sum::<usize>();
    size_of::<Entry>() + size_of_val(entry.following.as_slice()) + ids * size_of::<u32>()
}
