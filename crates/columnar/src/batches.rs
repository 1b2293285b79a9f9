//! A file, batch by batch.
//!
//! Files may be damaged. The reader of Parquet mostly says so, but where it relies on what a file says of itself it can
//! panic. So the places of columns are looked at before, and a panic while a page is decoded is a file that can't be
//! read.
//!
//! What other writers keep beside Parquet's own schema (that of Arrow, or of pandas) is left aside, so that columns come
//! as few types: whole numbers of some width, reals, texts, lists and structs.

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use diagnostics::Fault;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::cells::Column;

/// Rows that are decoded at once: few, as each may have many token ids.
const BATCH_ROWS: usize = 256;

/// A Parquet file and what its end says of it.
pub(crate) struct ParquetFile {
    file: File,
    metadata: ArrowReaderMetadata,
}

/// The rows of some of a file's columns, from the first on.
pub(crate) struct Rows {
    reader: ParquetRecordBatchReader,
    columns: Vec<Column>,
    /// Of the rows in `columns`, how many there are and which is next.
    num_rows: usize,
    next: usize,
}

impl ParquetFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let name = path.display().to_string();
        if path.is_dir() {
            return Err(Fault::new(name, "is a folder, not a Parquet file").hint("name one file in it"));
        }
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Fault::new(&name, "no such file"),
            _ => Fault::new(&name, format!("can't be read: {error}")),
        })?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = decoded(|| ArrowReaderMetadata::load(&file, options).map_err(io::Error::other));
        let metadata = metadata.map_err(|error| {
            let message = format!("can't be read as the Parquet file that its ending says it is: {error}");
            Fault::new(&name, message)
        })?;
        let length = file.metadata().map_or(u64::MAX, |metadata| metadata.len());
        match has_sound_places(&metadata, length) {
            true => Ok(Self { file, metadata }),
            false => Err(Fault::new(name, "is damaged: columns lie outside the file")),
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// The rows from the first on, of the columns that `is_wanted` picks by name, in their order.
    pub(crate) fn rows(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<Rows> {
        let fields = self.schema().fields().iter().enumerate();
        let wanted: Vec<usize> = fields.filter(|(_, field)| is_wanted(field.name())).map(|(index, _)| index).collect();
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.try_clone()?, self.metadata.clone());
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        let reader = decoded(|| builder.build().map_err(io::Error::other))?;
        Ok(Rows { reader, columns: Vec::new(), num_rows: 0, next: 0 })
    }
}

impl Rows {
    /// The next row: all columns, and its number in them.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[Column], usize)>> {
        while self.next == self.num_rows {
            let batch = decoded(|| self.reader.next().transpose().map_err(io::Error::other))?;
            let Some(batch) = batch else { return Ok(None) };
            self.columns = columns(&batch);
            (self.num_rows, self.next) = (batch.num_rows(), 0);
        }
        self.next += 1;
        Ok(Some((&self.columns, self.next - 1)))
    }
}

fn columns(batch: &RecordBatch) -> Vec<Column> {
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    fields.map(|(field, array)| Column::new(field.name(), array.as_ref() as &dyn Array)).collect()
}

/// Whether every column lies within a file of this `length`.
fn has_sound_places(metadata: &ArrowReaderMetadata, length: u64) -> bool {
    let columns = metadata.metadata().row_groups().iter().flat_map(|group| group.columns());
    columns.into_iter().all(|column| {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        match (u64::try_from(start), u64::try_from(column.compressed_size())) {
            (Ok(start), Ok(size)) => start.checked_add(size).is_some_and(|end| end <= length),
            _ => false,
        }
    })
}

/// What `decode` gives; a panic in it is an error.
fn decoded<T>(decode: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    // What it was at is not used any more after an error.
    let outcome = panic::catch_unwind(AssertUnwindSafe(decode));
    outcome.unwrap_or_else(|_| Err(io::Error::other("the file is damaged")))
}
