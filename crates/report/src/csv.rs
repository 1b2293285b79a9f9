//! The CSV of finished requests, byte for byte as Python's `csv` module writes it (behaviour contract, section 16).
//!
//! Lines end in `\r\n`. Rows are grouped by instance, in order of completion within each. Times are nanoseconds. The
//! last column is a list of inter-token latencies, `[a, b]`, in quotes only where it holds a comma.
//!
//! Nearly all of a file is that list. The latencies of a request that decodes are the times between the ends of
//! successive steps, so each is written out once a step ([`StepTexts`]) and copied into the rows of all that decoded in
//! it. Rows of the first instance go out as the run goes; what those of the others say waits in a short form
//! ([`Pending`]), in memory and then in a temporary file.

mod pending;
mod row;
mod steps;

use std::io::{self, Write};
use std::path::Path;

use diagnostics::Fault;
use engine::{FinishedRequest, Observer};
use metrics::Layout;

use crate::{AtomicFile, Column};
use pending::Pending;
use row::{Columns, Row};
use steps::{StepTexts, StepTimes};

/// Columns that are always there.
pub const REQUEST_COLUMNS: [Column; 11] = [
    Column::new("instance id", "", "the instance that finished it, counting from 0 in the order of the cluster file"),
    Column::new(
        "request id",
        "",
        "its number, counting from 0 in the order of the workload, calls of a session one by one",
    ),
    Column::new("model", "", "the model that served it"),
    Column::new("input", "tokens", "of the prompt"),
    Column::new("output", "tokens", "generated"),
    Column::new(
        "arrival",
        "ns",
        "when it arrived, since the start of the run; a later call of a session when its tool was done",
    ),
    Column::new("end_time", "ns", "when its last token was there, since the start of the run"),
    Column::new("latency", "ns", "from arrival to its last token"),
    Column::new("queuing_delay", "ns", "from arrival to the last time it was scheduled before its first token"),
    Column::new("TTFT", "ns", "from arrival to its first token"),
    Column::new(
        "TPOT",
        "ns",
        "mean time of a token after the first, cut to whole nanoseconds; 0 where there is one token",
    ),
];

/// The column that [`CsvWriter::without_itl`] leaves out.
pub const ITL_COLUMN: Column =
    Column::new("ITL", "ns", "time of each token after the first: a list `[a, b]`, in quotes where it holds a comma");

/// Columns that [`CsvWriter::with_stamps`] adds.
pub const STAMP_COLUMNS: [Column; 4] = [
    Column::new("queued", "ns", "when its engine saw it, since the start of the run"),
    Column::new("first_scheduled", "ns", "when its engine first put it into a batch"),
    Column::new("first_token", "ns", "when its engine had its first token"),
    Column::new("first_delivered", "ns", "when the client had it"),
];

const END: &[u8] = b"\r\n";

/// Bytes after which rows are passed on.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes finished requests as CSV.
#[derive(Debug)]
pub struct CsvWriter<W> {
    sink: W,
    columns: Columns,
    has_begun: bool,
    /// Model names by instance, as they stand in a row.
    models: Vec<Vec<u8>>,
    /// Rows that the sink has not seen.
    rows: Vec<u8>,
    /// Of the first instance.
    texts: StepTexts,
    /// Steps of the other instances.
    steps: Vec<StepTimes>,
    pending: Pending,
    /// The first failure. Nothing more is written after it.
    error: Option<io::Error>,
}

impl CsvWriter<AtomicFile> {
    /// Begins a file at `path`, which [`commit`](Self::commit) puts in its place.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(path: &Path, layout: &Layout) -> Result<Self, Fault> {
        Ok(Self::new(AtomicFile::create(path)?, layout))
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// When anything at all could not be written; an older file is then left as it was.
    pub fn commit(mut self) -> Result<(), Fault> {
        match self.write_all() {
            Ok(()) => self.sink.commit(),
            Err(error) => Err(self.sink.fault(&error)),
        }
    }
}

impl<W: Write> CsvWriter<W> {
    /// Writes requests of a deployment with this `layout` to `sink`.
    pub fn new(sink: W, layout: &Layout) -> Self {
        let models: Vec<_> = layout.instances.iter().map(|instance| field(&instance.model).into_bytes()).collect();
        let num_others = models.len().saturating_sub(1);
        Self {
            sink,
            columns: Columns { itl: true, stamps: false },
            has_begun: false,
            models,
            rows: Vec::new(),
            texts: StepTexts::default(),
            steps: vec![StepTimes::default(); num_others],
            pending: Pending::new(num_others),
            error: None,
        }
    }

    /// Adds columns at the end: when the engine saw the request, first put it into a batch and had its first token, and
    /// when the client had it.
    pub fn with_stamps(mut self) -> Self {
        self.columns.stamps = true;
        self
    }

    /// Leaves the column of inter-token latencies out, which is most of a file.
    pub fn without_itl(mut self) -> Self {
        self.columns.itl = false;
        self
    }

    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// The first error since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_all()?;
        Ok(self.sink)
    }

    fn begin(&mut self) {
        if !self.has_begun {
            self.has_begun = true;
            let itl = self.columns.itl.then_some(&ITL_COLUMN);
            let stamps = if self.columns.stamps { &STAMP_COLUMNS[..] } else { &[] };
            let names: Vec<_> = REQUEST_COLUMNS.iter().chain(itl).chain(stamps).map(|column| column.name).collect();
            self.rows.extend_from_slice(names.join(",").as_bytes());
            self.rows.extend_from_slice(END);
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.begin();
        for (other, steps) in self.steps.iter_mut().enumerate() {
            let texts = std::mem::take(steps).into_texts();
            let (index, model) = (other + 1, &self.models[other + 1]);
            let (rows, sink, columns) = (&mut self.rows, &mut self.sink, self.columns);
            self.pending.take(other, |bytes| {
                Row::decode(bytes, |row| {
                    row.write(rows, (index, model), columns, &texts);
                    pass_on(rows, sink)
                })
            })?;
        }
        self.sink.write_all(&self.rows)?;
        self.rows.clear();
        self.sink.flush()
    }
}

/// Hands rows to the sink when they have become many.
fn pass_on(rows: &mut Vec<u8>, sink: &mut impl Write) -> io::Result<()> {
    if rows.len() >= BUFFER_BYTES {
        sink.write_all(rows)?;
        rows.clear();
    }
    Ok(())
}

impl<W: Write> Observer for CsvWriter<W> {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        if self.error.is_some() {
            return;
        }
        self.begin();
        let row = Row::of(request, self.columns);
        let outcome = match request.instance.index() {
            0 => {
                self.texts.follow(&request.itl, self.columns);
                row.write(&mut self.rows, (0, &self.models[0]), self.columns, &self.texts);
                pass_on(&mut self.rows, &mut self.sink)
            }
            index => {
                self.steps[index - 1].follow(&request.itl, self.columns);
                self.pending.push(index - 1, |bytes| row.encode(bytes))
            }
        };
        self.error = outcome.err();
    }
}

/// Appends `number` in decimal.
fn write_number(row: &mut Vec<u8>, number: u64) {
    row.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// `text` as a field: in quotes only where it must be, with quotes in it doubled.
pub(crate) fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
