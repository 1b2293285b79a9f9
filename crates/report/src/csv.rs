//! The CSV of finished requests, byte for byte as Python's `csv` module writes it (behaviour contract, section 16).
//!
//! Lines end in `\r\n`. Rows are grouped by instance, in order of completion within each. Times are nanoseconds. The
//! last column is a list of inter-token latencies, `[a, b]`, in quotes only where it holds a comma.

use std::io::{self, Write};
use std::path::Path;

use diagnostics::Fault;
use engine::{FinishedRequest, Observer};
use metrics::Layout;

use crate::AtomicFile;

const HEADER: &[u8] = b"instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL";

/// Of the columns that [`CsvWriter::with_stamps`] adds.
const STAMPS_HEADER: &[u8] = b",queued,first_scheduled,first_token,first_delivered";

const END: &[u8] = b"\r\n";

/// Bytes after which rows of the first instance are passed on.
const BUFFER_BYTES: usize = 1 << 16;

/// Writes finished requests as CSV.
///
/// Rows of the first instance go to the sink as the run goes. Those of the others wait in memory, as text, for the end.
#[derive(Debug)]
pub struct CsvWriter<W> {
    sink: W,
    /// Model names by instance, as they stand in a row.
    models: Vec<Vec<u8>>,
    /// Rows by instance that the sink has not seen.
    rows: Vec<Vec<u8>>,
    has_stamps: bool,
    /// The first failure of the sink. Nothing more is written after it.
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
        let mut rows = vec![Vec::new(); models.len().max(1)];
        rows[0].extend_from_slice(HEADER);
        rows[0].extend_from_slice(END);
        Self { sink, models, rows, has_stamps: false, error: None }
    }

    /// Adds columns at the end: when the engine saw the request, first put it into a batch and had its first token, and
    /// when the client had it.
    pub fn with_stamps(mut self) -> Self {
        let header = &mut self.rows[0];
        header.truncate(header.len() - END.len());
        header.extend_from_slice(STAMPS_HEADER);
        header.extend_from_slice(END);
        self.has_stamps = true;
        self
    }

    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// The first error of the sink since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_all()?;
        Ok(self.sink)
    }

    fn write_all(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        for rows in &mut self.rows {
            self.sink.write_all(rows)?;
            rows.clear();
        }
        self.sink.flush()
    }
}

impl<W: Write> Observer for CsvWriter<W> {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        if self.error.is_some() {
            return;
        }
        let index = request.instance.index();
        let rows = &mut self.rows[index];
        write_row(rows, &self.models[index], request);
        if self.has_stamps {
            let stamps = request.stamps;
            let stamps = [stamps.queued, stamps.first_scheduled, stamps.first_token, stamps.first_delivered];
            for stamp in stamps {
                rows.push(b',');
                write_number(rows, stamp.ns());
            }
        }
        rows.extend_from_slice(END);
        if index == 0 && rows.len() >= BUFFER_BYTES {
            self.error = self.sink.write_all(rows).err();
            rows.clear();
        }
    }
}

fn write_row(row: &mut Vec<u8>, model: &[u8], request: &FinishedRequest<'_>) {
    for number in [u64::from(request.instance.0), request.id.0] {
        write_number(row, number);
        row.push(b',');
    }
    row.extend_from_slice(model);
    row.push(b',');
    let numbers = [
        request.input_tokens,
        request.output_tokens,
        request.arrival.ns(),
        request.end.ns(),
        request.latency().ns(),
        request.queuing_delay.ns(),
        request.ttft.ns(),
        request.tpot().ns(),
    ];
    for number in numbers {
        write_number(row, number);
        row.push(b',');
    }
    let quote: &[u8] = if request.itl.len() > 1 { b"\"" } else { b"" };
    row.extend_from_slice(quote);
    row.push(b'[');
    for (index, latency) in request.itl.iter().enumerate() {
        if index > 0 {
            row.extend_from_slice(b", ");
        }
        write_number(row, latency.ns());
    }
    row.push(b']');
    row.extend_from_slice(quote);
}

/// Appends `number` in decimal. Most of a file is this, and the formatting machinery would take most of its time.
fn write_number(row: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break row.extend_from_slice(&digits[start..]);
        }
    }
}

/// `text` as a field: in quotes only where it must be, with quotes in it doubled.
pub(crate) fn field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
