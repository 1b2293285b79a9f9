//! Parquet files: results written to them, inputs read from them.
//!
//! Results go out as the tables of [`tables`], a row group at a time, while a run goes ([`RequestFile`],
//! [`IntervalFile`]). Inputs come in as text: [`DatasetRows`] gives the rows of a file as the lines of a JSONL workload,
//! [`TableText`] those of any flat table as CSV. What is said of a line is then said of a row, and whoever reads text
//! has nothing new to know or to check. What only a file with a schema can get wrong, the types and names of its columns,
//! is told here, once a column.
//!
//! Everything that reads or writes Parquet is in this crate, so that a build without it has nothing of it.

mod batches;
mod cells;
mod dataset;
mod output;
mod table;

pub use dataset::{DatasetRows, read_workload};
pub use output::{IntervalFile, RequestFile};
pub use table::{TableText, place_rows, read_table, table_text};
pub use tables::RequestColumns;

/// The ending of files that are read and written here.
const ENDING: &str = "parquet";
