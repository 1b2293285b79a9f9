//! Flat tables as CSV.

use std::path::Path;

use diagnostics::{Fault, Faults};

use crate::ENDING;
use crate::batches::ParquetFile;
use crate::cells::Column;

/// Names of the columns of a result, as a table of requests has them and as the CSV has them.
const RESULT_COLUMNS: [(&str, &str); 16] = [
    ("instance", "instance id"),
    ("request", "request id"),
    ("model", "model"),
    ("input_tokens", "input"),
    ("output_tokens", "output"),
    ("arrival_ns", "arrival"),
    ("end_ns", "end_time"),
    ("latency_ns", "latency"),
    ("queuing_delay_ns", "queuing_delay"),
    ("ttft_ns", "TTFT"),
    ("tpot_ns", "TPOT"),
    ("itl_ns", "ITL"),
    ("queued_ns", "queued"),
    ("first_scheduled_ns", "first_scheduled"),
    ("first_token_ns", "first_token"),
    ("first_delivered_ns", "first_delivered"),
];

/// Columns that make a file a result.
const OF_RESULT: [&str; 2] = ["request", "ttft_ns"];

/// A file as CSV: a header, and a line a row. A result's columns are called what they are called in a result's CSV.
#[derive(Debug)]
pub struct TableText {
    /// The file as the user named it.
    pub name: String,
    /// The CSV.
    pub text: String,
    is_result: bool,
}

/// Makes something of the file at `path`, which `parse` has as its name and as CSV.
///
/// # Errors
/// As [`TableText::read`], and those of `parse`, with their places in the file.
pub fn read_table<T>(path: &Path, parse: impl FnOnce(&str, &str) -> Result<T, Faults>) -> Result<T, Faults> {
    let table = TableText::read(path)?;
    parse(&table.name, &table.text).map_err(|faults| table.place(faults))
}

/// The file at `path` as CSV.
///
/// # Errors
/// As [`TableText::read`].
pub fn table_text(path: &Path) -> Result<String, Fault> {
    TableText::read(path).map(|table| table.text)
}

/// Faults of which some may be of Parquet files that were read as CSV: those have their rows then.
pub fn place_rows(faults: Faults) -> Faults {
    let mut placed = Faults::new();
    for fault in faults.iter().cloned() {
        let is_here = Path::new(&fault.source).extension().is_some_and(|ending| ending == ENDING);
        placed.push(if is_here { place(fault, false) } else { fault });
    }
    placed
}

impl TableText {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it can't be read, or is no Parquet file.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let name = path.display().to_string();
        let file = ParquetFile::open(path)?;
        let columns: Vec<&str> = file.schema().fields().iter().map(|field| field.name().as_str()).collect();
        let is_result = OF_RESULT.iter().all(|needed| columns.contains(needed));
        let header = columns.iter().map(|column| if is_result { csv_name(column) } else { column });

        let mut text = Vec::new();
        push_line(&mut text, header, push_field);
        let failed = |error| Fault::new(&name, format!("can't be read: {error}"));
        let mut rows = file.rows(|_| true).map_err(failed)?;
        let mut cell = Vec::new();
        while let Some((columns, row)) = rows.next().map_err(failed)? {
            push_line(&mut text, columns, |text, column| push_cell(text, column, row, &mut cell));
        }
        let text = String::from_utf8(text).expect("texts and numbers are UTF-8");
        Ok(Self { name, text, is_result })
    }

    /// Faults that were found in the text, with their places in the file: rows, counted from 1, and columns by their
    /// names.
    pub fn place(&self, faults: Faults) -> Faults {
        let mut placed = Faults::new();
        faults.iter().for_each(|fault| placed.push(place(fault.clone(), self.is_result)));
        placed
    }
}

/// `fault`, which is at a line of a text, at its row.
fn place(fault: Fault, is_result: bool) -> Fault {
    let Some(position) = fault.position else { return fault };
    // Below the header, which is no row.
    let row = (position.line > 1).then(|| format!("row {}", position.line - 1));
    let column = fault.path.map(|column| if is_result { table_name(&column).to_owned() } else { column });
    let path: Vec<String> = [row, column].into_iter().flatten().collect();
    Fault { position: None, path: (!path.is_empty()).then(|| path.join(", ")), ..fault }
}

fn csv_name(column: &str) -> &str {
    RESULT_COLUMNS.iter().find(|(name, _)| *name == column).map_or(column, |(_, name)| name)
}

fn table_name(column: &str) -> &str {
    RESULT_COLUMNS.iter().find(|(_, name)| *name == column).map_or(column, |(name, _)| name)
}

fn push_line<T>(text: &mut Vec<u8>, fields: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut Vec<u8>, T)) {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        push(text, field);
    }
    text.push(b'\n');
}

fn push_cell(text: &mut Vec<u8>, column: &Column, row: usize, cell: &mut Vec<u8>) {
    if column.is_null(row) {
        return;
    }
    if let Some(found) = column.text(row) {
        return push_field(text, found);
    }
    cell.clear();
    column.write(row, cell);
    push_field(text, std::str::from_utf8(cell).expect("JSON is UTF-8"));
}

/// A field, in quotes where it must be. A line break in it would end the line, so it becomes a blank.
fn push_field(text: &mut Vec<u8>, field: &str) {
    if !field.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return text.extend_from_slice(field.as_bytes());
    }
    text.push(b'"');
    for byte in field.bytes() {
        match byte {
            b'"' => text.extend_from_slice(b"\"\""),
            b'\n' | b'\r' => text.push(b' '),
            other => text.push(other),
        }
    }
    text.push(b'"');
}
