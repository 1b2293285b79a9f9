//! Trace formats, and how a file shows which one it is in.

mod counted;
mod decimal;
mod json;
mod mooncake;
mod ours;
mod sharegpt;
mod table;
mod vllm;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::str::FromStr;

use diagnostics::{Fault, Faults, Position};
use documents::suggest;

use crate::fault_log::FaultLog;
use crate::item::Item;

pub use sharegpt::Conversations;
pub(crate) use table::Values;

/// A format that workloads are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// servingsim's and LLMServingSim's JSONL.
    Workload,
    /// Azure's LLM inference traces of 2023 and later: CSV.
    Azure,
    /// BurstGPT: CSV.
    BurstGpt,
    /// What splitwise-sim reads: CSV.
    Splitwise,
    /// What Vidur reads: CSV.
    Vidur,
    /// Mooncake's traces: JSONL.
    Mooncake,
    /// ShareGPT's conversations: JSON or JSONL.
    ShareGpt,
    /// A result of `vllm bench serve --save-result --save-detailed`: JSON.
    Vllm,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 8] = [
        Format::Workload,
        Format::Azure,
        Format::BurstGpt,
        Format::Splitwise,
        Format::Vidur,
        Format::Mooncake,
        Format::ShareGpt,
        Format::Vllm,
    ];

    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Format::Workload => "workload",
            Format::Azure => "azure",
            Format::BurstGpt => "burstgpt",
            Format::Splitwise => "splitwise",
            Format::Vidur => "vidur",
            Format::Mooncake => "mooncake",
            Format::ShareGpt => "sharegpt",
            Format::Vllm => "vllm",
        }
    }

    /// Whether its clock begins with the trace, rather than long before.
    pub(crate) fn begins_at_zero(self) -> bool {
        matches!(self, Format::Workload | Format::Splitwise | Format::Vidur | Format::Mooncake)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Format::ALL.map(Format::name);
        let found = Format::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
    }
}

/// How to read a trace.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// Its format; `None` to find out.
    pub format: Option<Format>,
    /// Whether to read or make up token ids, where the format has what they follow from.
    pub token_ids: bool,
    /// Token ids are below this.
    pub vocabulary: u32,
    /// Characters of a token, where a format has texts: there is no tokenizer here.
    pub chars_per_token: f64,
    /// What to make of conversations.
    pub conversations: Conversations,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            token_ids: true,
            vocabulary: 32_000,
            chars_per_token: 4.0,
            conversations: Conversations::First,
        }
    }
}

/// Gives out a trace's items, in its order and on its clock.
pub(crate) trait Source: fmt::Debug {
    /// The next item. What is at fault is left out and told to `faults`; `None` at the end, or where nothing more can be
    /// read.
    fn next(&mut self, faults: &mut FaultLog) -> Option<Item>;

    /// What is odd but no fault, in sentences without a full stop.
    fn notes(&self) -> Vec<String>;
}

/// A trace that is being read.
#[derive(Debug)]
pub struct Trace {
    name: String,
    format: Format,
    source: Box<dyn Source>,
    faults: FaultLog,
    num_items: u64,
    is_over: bool,
}

impl Trace {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it can't be read or is in no known format.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, Faults> {
        let name = path.display().to_string();
        let mut input = open(path)?;
        let head = head(&name, &mut input)?;
        let format = match options.format {
            Some(format) => format,
            None => detect(&name, &head)?,
        };
        let mut faults = FaultLog::new(&name);
        let source: Box<dyn Source> = match format {
            Format::Workload => Box::new(ours::Workload::open(path, input, options)?),
            Format::Azure | Format::BurstGpt | Format::Splitwise | Format::Vidur => {
                Box::new(table::Requests::new(&name, input, table::Layout::of(format), &mut faults))
            }
            Format::Mooncake => Box::new(mooncake::Lines::new(&name, input, options)),
            Format::ShareGpt => Box::new(sharegpt::Elements::new(&name, input, options)),
            Format::Vllm => Box::new(vllm::Requests::new(&name, input, &mut faults)),
        };
        Ok(Self { name, format, source, faults, num_items: 0, is_over: false })
    }

    /// What faults and notes call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// To be asked after the last item that is wanted: what was odd.
    ///
    /// # Errors
    /// What was at fault; or that there are no requests.
    pub fn finish(mut self) -> Result<Vec<String>, Faults> {
        let notes: Vec<String> = self.source.notes().into_iter().map(|note| format!("{}: {note}", self.name)).collect();
        if self.faults.is_empty() && self.num_items == 0 && self.is_over {
            self.faults.whole(format!("no requests in the {} trace", self.format));
        }
        self.faults.into_result(notes)
    }
}

/// Requests and sessions on the trace's own clock. What is at fault is left out, and told by
/// [`finish`](Trace::finish).
impl Iterator for Trace {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.is_over {
            return None;
        }
        let item = self.source.next(&mut self.faults);
        self.is_over = item.is_none();
        self.num_items += u64::from(item.is_some());
        item
    }
}

/// Bytes that are looked at to find out about a format.
const HEAD_BYTES: usize = 1 << 16;

pub(crate) type Input = BufReader<File>;

/// Opens the file at `path`, to be read once.
pub(crate) fn open(path: &Path) -> Result<Input, Fault> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Fault::new(name, "is a folder").hint("name a file in it"));
    }
    match File::open(path) {
        Ok(file) => Ok(BufReader::with_capacity(HEAD_BYTES, file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Fault::new(name, "no such file")),
        Err(error) => Err(unreadable(&name, &error)),
    }
}

pub(crate) fn unreadable(name: &str, error: &std::io::Error) -> Fault {
    Fault::new(name, format!("can't be read: {error}"))
}

/// The first bytes of an input, which are still to be read.
fn head(name: &str, input: &mut impl BufRead) -> Result<String, Fault> {
    let bytes = input.fill_buf().map_err(|error| unreadable(name, &error))?;
    if bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(Fault::new(name, "is compressed").hint("unpack it first, with gunzip or unzstd"));
    }
    Ok(String::from_utf8_lossy(bytes).trim_start_matches('\u{feff}').to_owned())
}

/// The format of a file that begins with `head`.
fn detect(name: &str, head: &str) -> Result<Format, Fault> {
    let text = head.trim_start();
    let has = |keys: &[&str]| keys.iter().any(|key| text.contains(&format!("\"{key}\"")));
    match text.chars().next() {
        None => Err(Fault::new(name, "the file is empty")),
        Some('[') => Ok(Format::ShareGpt),
        Some('{') if has(&["input_toks", "sub_requests", "arrival_time_ns"]) => Ok(Format::Workload),
        Some('{') if has(&["hash_ids", "input_length"]) => Ok(Format::Mooncake),
        Some('{') if has(&["conversations"]) => Ok(Format::ShareGpt),
        Some('{') if has(&["input_lens", "num_prompts", "request_throughput", "backend"]) => Ok(Format::Vllm),
        Some('{') => Err(Fault::new(name, "is JSON, but of no format that is known")
            .at(Position::of(head, head.len() - text.len()))
            .hint(format!("name its format with --from: {}", Format::ALL.map(Format::name).join(", ")))),
        Some(_) => detect_table(name, head),
    }
}

fn detect_table(name: &str, head: &str) -> Result<Format, Fault> {
    let line = head.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let columns: Vec<&str> = line.split(',').map(|column| column.trim().trim_matches('"')).collect();
    let fits = |layout: &&table::Layout| layout.required().iter().all(|column| columns.contains(column));
    if let Some(layout) = table::LAYOUTS.iter().find(fits) {
        return Ok(layout.format);
    }
    // What shares the most columns with the file is what it was probably meant to be.
    let missing = |layout: &table::Layout| -> Vec<&str> {
        layout.required().into_iter().filter(|column| !columns.contains(column)).collect()
    };
    let nearest = table::LAYOUTS.iter().min_by_key(|layout| missing(layout).len()).filter(|l| missing(l).len() < 3);
    let fault = Fault::new(name, "is a table, but of no format that is known").at(Position { line: 1, column: 1 });
    Err(fault.hint(match nearest {
        Some(layout) => {
            format!("for {} it lacks {}", layout.format, suggest::listed(&missing(layout)))
        }
        None => {
            let known = table::LAYOUTS.iter().map(|l| format!("{} has {}", l.format, suggest::listed(&l.required())));
            known.collect::<Vec<_>>().join("; ")
        }
    }))
}

/// Reads all of `input` as text.
pub(crate) fn text(name: &str, input: &mut impl Read) -> Result<String, Fault> {
    let mut text = String::new();
    match input.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Fault::new(name, "not a text file in UTF-8")),
        Err(error) => Err(unreadable(name, &error)),
    }
}
