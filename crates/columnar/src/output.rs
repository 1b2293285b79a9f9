//! Results to files.

use std::path::Path;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use diagnostics::Fault;
use engine::{FinishedRequest, Observer};
use metrics::{IntervalResults, Layout};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use report::AtomicFile;
use tables::{IntervalTable, RequestColumns, RequestTable};

/// Most rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// Bytes, encoded and compressed, at which a row group ends. It is in memory until then.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Finished requests as a file.
pub struct RequestFile {
    table: RequestTable,
    file: TableFile,
}

/// Log intervals as a file.
pub struct IntervalFile {
    table: IntervalTable,
    file: TableFile,
}

impl RequestFile {
    /// Begins a file at `path`, of a run of a deployment with this `layout`. [`commit`](Self::commit) puts it in its
    /// place.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(path: &Path, layout: &Layout, columns: RequestColumns) -> Result<Self, Fault> {
        let table = RequestTable::new(layout, columns);
        Ok(Self { file: TableFile::create(path, table.schema())?, table })
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// When anything at all could not be written; an older file is then left as it was.
    pub fn commit(self) -> Result<(), Fault> {
        self.file.commit(self.table.finish())
    }
}

impl Observer for RequestFile {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.table.push(request);
        self.file.write(self.table.take());
    }

    fn wants_work(&self) -> bool {
        false
    }
}

impl IntervalFile {
    /// Begins a file at `path`, of a run of a deployment with this `layout`. [`commit`](Self::commit) puts it in its
    /// place.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(path: &Path, layout: &Layout) -> Result<Self, Fault> {
        let table = IntervalTable::new(layout);
        Ok(Self { file: TableFile::create(path, table.schema())?, table })
    }

    /// Writes the rows of one interval: its instances, its groups, and its nodes where power is modelled.
    pub fn write(&mut self, results: &IntervalResults) {
        self.table.push(results);
        self.file.write(self.table.take());
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// When anything at all could not be written; an older file is then left as it was.
    pub fn commit(self) -> Result<(), Fault> {
        self.file.commit(self.table.finish())
    }
}

/// A table that goes to a file, batch by batch.
struct TableFile {
    writer: ArrowWriter<AtomicFile>,
    /// The first failure. Nothing more is written after it.
    error: Option<ParquetError>,
}

impl TableFile {
    fn create(path: &Path, schema: SchemaRef) -> Result<Self, Fault> {
        let file = AtomicFile::create(path)?;
        let properties = properties(&schema);
        let writer = ArrowWriter::try_new(file, schema, Some(properties));
        let writer = writer.map_err(|error| Fault::new(path.display().to_string(), unwritable(&error)))?;
        Ok(Self { writer, error: None })
    }

    fn write(&mut self, batches: Vec<RecordBatch>) {
        for batch in batches {
            if self.error.is_none() {
                self.error = self.writer.write(&batch).err();
            }
        }
    }

    fn commit(mut self, batches: Vec<RecordBatch>) -> Result<(), Fault> {
        self.write(batches);
        let name = self.writer.inner().name().to_owned();
        let failed = |error: ParquetError| Fault::new(name, unwritable(&error));
        match self.error {
            Some(error) => Err(failed(error)),
            None => self.writer.into_inner().map_err(failed)?.commit(),
        }
    }
}

/// Dictionaries are for names. Few numbers are alike over a whole row group, and zstd finds those that are alike nearby,
/// such as the steps that several requests decoded in: files come out smaller, and in less time.
fn properties(schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder().set_dictionary_enabled(false);
    for field in schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::Dictionary(..))) {
        properties = properties.set_column_dictionary_enabled(field.name().as_str().into(), true);
    }
    properties
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build()
}

fn unwritable(error: &ParquetError) -> String {
    format!("can't be written: {error}")
}
