//! A file, batch by batch.
//!
//! What other writers keep beside Parquet's own schema (that of Arrow, or of pandas) is left aside, so that columns come
//! as few types: whole numbers of some width, reals, texts, lists and structs.

use std::fs::File;
use std::io;
use std::path::Path;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, SchemaRef};
use diagnostics::Fault;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;

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
        let metadata = ArrowReaderMetadata::load(&file, options)
            .map_err(|error| Fault::new(&name, format!("is not a Parquet file that can be read: {error}")))?;
        Ok(Self { file, metadata })
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
        let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(unreadable)?;
        Ok(Rows { reader, columns: Vec::new(), num_rows: 0, next: 0 })
    }
}

impl Rows {
    /// The next row: all columns, and its number in them.
    pub(crate) fn next(&mut self) -> io::Result<Option<(&[Column], usize)>> {
        while self.next == self.num_rows {
            let Some(batch) = self.reader.next().transpose().map_err(undecodable)? else { return Ok(None) };
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

fn unreadable(error: ParquetError) -> io::Error {
    io::Error::other(error)
}

fn undecodable(error: ArrowError) -> io::Error {
    io::Error::other(error)
}
