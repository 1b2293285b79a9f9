//! Workloads.
//!
//! Columns have the names of the keys of a line, and a cell that is null is a key that is not there, so that requests and
//! sessions may stand in one file.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use arrow_schema::{DataType, Field, Fields};
use diagnostics::{Fault, Faults};
use documents::suggest;
use engine::Entry;
use workload::{ReadOptions, Rewind, Workload};

use crate::batches::{ParquetFile, Rows};
use crate::cells::{Kind, write_object};

/// Text that is made at once.
const TEXT_BYTES: usize = 1 << 16;

/// The rows of a workload, each as a line of JSON.
pub struct DatasetRows {
    file: ParquetFile,
    /// Whether columns of token ids are read.
    token_ids: bool,
    rows: Rows,
    text: Vec<u8>,
    /// How much of it has been given out.
    given: usize,
}

/// A column that is known, and what it may hold.
type Known = (&'static str, &'static [Kind], &'static str);

/// Reals stand for whole numbers in columns some of whose cells are missing.
const NUMBERS: &[Kind] = &[Kind::Whole, Kind::Real];

const WHOLE: &str = "whole numbers";

const CALL_COLUMNS: [Known; 4] = [
    ("input_toks", NUMBERS, WHOLE),
    ("output_toks", NUMBERS, WHOLE),
    ("input_tok_ids", &[Kind::List], "lists of whole numbers"),
    ("output_tok_ids", &[Kind::List], "lists of whole numbers"),
];

const ROW_COLUMNS: [Known; 3] = [
    ("arrival_time_ns", NUMBERS, WHOLE),
    ("session_id", &[Kind::Whole, Kind::Real, Kind::Text], "texts or whole numbers"),
    ("sub_requests", &[Kind::List], "lists of structs"),
];

const TOOL_COLUMN: Known = ("tool_duration_ns", NUMBERS, WHOLE);

/// Reads the workload at `path`, and shows every entry to `each`, in order of the file.
///
/// # Errors
/// As [`DatasetRows::open`], and every faulty row, with its place.
pub fn read_workload(path: &Path, options: &ReadOptions, each: &mut dyn FnMut(&Entry)) -> Result<Workload, Faults> {
    let rows = DatasetRows::open(path, options.token_ids)?;
    workload::read_rows(&path.display().to_string(), Box::new(rows), options, each)
}

impl DatasetRows {
    /// Opens the file at `path` and checks its columns. Token ids are passed over unless `token_ids` says so.
    ///
    /// # Errors
    /// When it can't be read or is no Parquet file, and everything wrong with its columns.
    pub fn open(path: &Path, token_ids: bool) -> Result<Self, Faults> {
        let file = ParquetFile::open(path)?;
        let name = path.display().to_string();
        let mut faults = Faults::new();
        check_columns(&name, file.schema().fields(), &mut faults);
        let rows = rows(&file, token_ids);
        let rows = rows.map_err(|error| Fault::new(&name, format!("can't be read: {error}")))?;
        faults.into_result(Self { file, token_ids, rows, text: Vec::new(), given: 0 })
    }

    fn make_text(&mut self) -> io::Result<()> {
        self.text.clear();
        self.given = 0;
        while self.text.len() < TEXT_BYTES {
            let Some((columns, row)) = self.rows.next()? else { break };
            write_object(columns, row, &mut self.text);
            self.text.push(b'\n');
        }
        Ok(())
    }
}

impl Read for DatasetRows {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.text.len() {
            self.make_text()?;
        }
        let rest = &self.text[self.given..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.given += length;
        Ok(length)
    }
}

impl Rewind for DatasetRows {
    fn rewind(&mut self) -> io::Result<()> {
        self.rows = rows(&self.file, self.token_ids)?;
        self.text.clear();
        self.given = 0;
        Ok(())
    }
}

impl fmt::Debug for DatasetRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetRows").field("token_ids", &self.token_ids).finish_non_exhaustive()
    }
}

fn rows(file: &ParquetFile, token_ids: bool) -> io::Result<Rows> {
    file.rows(|name| token_ids || !name.ends_with("_tok_ids"))
}

fn check_columns(name: &str, fields: &Fields, faults: &mut Faults) {
    let known = [&CALL_COLUMNS[..], &ROW_COLUMNS].concat();
    check_fields(name, "", fields, &known, faults);
    let has = |column: &str| fields.iter().any(|field| field.name() == column);
    let needed: &[&str] = match has("sub_requests") {
        true => &["arrival_time_ns"],
        false => &["input_toks", "output_toks", "arrival_time_ns"],
    };
    for column in needed.iter().filter(|column| !has(column)) {
        let hint = format!("a request has {}", suggest::listed(&["input_toks", "output_toks", "arrival_time_ns"]));
        faults.push(Fault::new(name, format!("there is no column `{column}`")).hint(hint));
    }
    let calls = fields.iter().find(|field| field.name() == "sub_requests").and_then(|field| element(field));
    match calls.map(Field::data_type) {
        Some(DataType::Struct(parts)) => {
            let known = [&CALL_COLUMNS[..], &[TOOL_COLUMN]].concat();
            check_fields(name, "sub_requests.", parts, &known, faults);
        }
        Some(other) => faults.push(wrong_type(name, "sub_requests", &format!("lists of {other}"), "lists of structs")),
        None => {}
    }
}

fn check_fields(name: &str, within: &str, fields: &Fields, known: &[Known], faults: &mut Faults) {
    let mut foreign = Vec::new();
    for field in fields {
        let path = format!("{within}{}", field.name());
        match known.iter().find(|(column, _, _)| column == field.name()) {
            None => match hint(field.name(), known) {
                Some(hint) => faults.push(Fault::new(name, "unknown column").path(path).hint(hint)),
                None => foreign.push(path),
            },
            Some((_, kinds, expected)) if !kinds.contains(&Kind::of(field.data_type())) => {
                faults.push(wrong_type(name, &path, &field.data_type().to_string(), expected));
            }
            Some((column, _, expected)) if column.ends_with("_ids") => {
                let ids = element(field).map(Field::data_type).filter(|ids| Kind::of(ids) != Kind::Whole);
                if let Some(other) = ids {
                    faults.push(wrong_type(name, &path, &format!("lists of {other}"), expected));
                }
            }
            Some(_) => {}
        }
    }
    if !foreign.is_empty() {
        let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
        let fault = Fault::new(name, format!("unknown columns: {}", suggest::listed(&foreign)));
        faults.push(fault.hint(format!("known are {}; leave others out", suggest::listed(&names(known)))));
    }
}

/// What to do about an unknown column, where that shows in its name.
fn hint(column: &str, known: &[Known]) -> Option<String> {
    if column.starts_with("__index_level_") {
        return Some(
            "it is the index of a data frame: write the file without, `to_parquet(…, index=False)`".to_owned(),
        );
    }
    suggest::nearest(column, &names(known)).map(|nearest| format!("did you mean `{nearest}`?"))
}

fn names(known: &[Known]) -> Vec<&'static str> {
    known.iter().map(|(column, _, _)| *column).collect()
}

fn wrong_type(name: &str, path: &str, found: &str, expected: &str) -> Fault {
    Fault::new(name, format!("a column of type {found}")).path(path).hint(format!("it holds {expected}"))
}

/// What the lists of a column consist of.
fn element(field: &Field) -> Option<&Field> {
    match field.data_type() {
        DataType::List(element) => Some(element),
        _ => None,
    }
}
