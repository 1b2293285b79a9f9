//! The files of a bundle's tables: CSV, or of another format in the place of one that is not there.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use diagnostics::{Fault, Faults};

/// A format of tables beside CSV, which whoever asks for a bundle can read.
///
/// Where `attention.csv` is not there and `attention.<ending>` is, that is the table.
#[derive(Clone, Copy, Debug)]
pub struct OtherTables {
    /// The ending of such files.
    pub ending: &'static str,
    /// The file as CSV: a header and a line a row. Faults are placed by these lines, under the name of the file.
    pub read: fn(&Path) -> Result<String, Fault>,
}

/// A table to be read.
pub(crate) enum TableFile {
    Csv(File),
    Other(Cursor<String>),
}

impl TableFile {
    /// How many rows of `row_bytes` each it may have, to make room beforehand; 0 when that is not known.
    pub(crate) fn num_rows(&self, row_bytes: u64) -> usize {
        const NUM_MAX: u64 = 1 << 20;
        let num_bytes = match self {
            TableFile::Csv(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            TableFile::Other(text) => text.get_ref().len() as u64,
        };
        (num_bytes / row_bytes).min(NUM_MAX) as usize
    }
}

impl Read for TableFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            TableFile::Csv(file) => file.read(buffer),
            TableFile::Other(text) => text.read(buffer),
        }
    }
}

/// The table at `path`, or the one in its place, and its name in faults; what keeps us from opening it is one.
pub(crate) fn open(path: &Path, others: Option<OtherTables>, faults: &mut Faults) -> Option<(String, TableFile)> {
    let source = path.display().to_string();
    match File::open(path) {
        Ok(file) => Some((source, TableFile::Csv(file))),
        Err(error) => match in_place_of(path, others).filter(|_| error.kind() == ErrorKind::NotFound) {
            Some((path, others)) => match (others.read)(&path) {
                Ok(text) => Some((path.display().to_string(), TableFile::Other(Cursor::new(text)))),
                Err(fault) => {
                    faults.push(fault);
                    None
                }
            },
            None => {
                faults.push(unreadable(&source, &error));
                None
            }
        },
    }
}

/// Whether the table at `path` is there, or one in its place.
pub(crate) fn is_there(path: &Path, others: Option<OtherTables>) -> bool {
    path.exists() || in_place_of(path, others).is_some()
}

fn in_place_of(path: &Path, others: Option<OtherTables>) -> Option<(PathBuf, OtherTables)> {
    let others = others?;
    let path = path.with_extension(others.ending);
    path.is_file().then_some((path, others))
}

/// What keeps us from reading the file `source`.
pub(crate) fn unreadable(source: &str, error: &io::Error) -> Fault {
    let message = match error.kind() {
        ErrorKind::NotFound => "the file is missing".to_owned(),
        _ => format!("the file can't be read: {error}"),
    };
    Fault::new(source, message)
}
