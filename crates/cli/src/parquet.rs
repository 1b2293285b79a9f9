//! Files that are Parquet, as their ending says.
//!
//! What reads and writes them is the crate `columnar`, which the feature `parquet` brings in. A build without it knows
//! such a file by its ending still, and says what it lacks.

#[cfg(not(feature = "parquet"))]
mod absent;

use std::fs;
use std::path::Path;

#[cfg(not(feature = "parquet"))]
use absent as columnar;
use columnar::{IntervalFile, RequestColumns, RequestFile};
use compare::Run;
use diagnostics::{Fault, Faults};
use engine::{Entry, FinishedRequest, Observer};
use latency::OtherTables;
use metrics::{IntervalResults, Layout};
use report::{AtomicFile, CsvWriter, IntervalCsvWriter};
use workload::{ReadOptions, Workload};

use crate::args::OutputArgs;

/// Whether the file at `path` is one, by its ending.
pub(crate) fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// The file of finished requests.
pub(crate) enum RequestRows {
    Csv(Box<CsvWriter<AtomicFile>>),
    Parquet(Box<RequestFile>),
}

/// The file of log intervals.
pub(crate) enum IntervalRows {
    Csv(Box<IntervalCsvWriter<AtomicFile>>),
    Parquet(Box<IntervalFile>),
}

impl RequestRows {
    /// Begins the file at `path`, with the columns that `args` ask for.
    pub(crate) fn create(path: &Path, args: &OutputArgs, layout: &Layout) -> Result<Self, Fault> {
        if is_parquet(path) {
            let columns = RequestColumns { itl: !args.no_itl, stamps: args.output_stamps };
            return Ok(RequestRows::Parquet(Box::new(RequestFile::create(path, layout, columns)?)));
        }
        let mut writer = CsvWriter::create(path, layout)?;
        if args.output_stamps {
            writer = writer.with_stamps();
        }
        Ok(RequestRows::Csv(Box::new(if args.no_itl { writer.without_itl() } else { writer })))
    }

    pub(crate) fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        match self {
            RequestRows::Csv(file) => file.request_finished(request),
            RequestRows::Parquet(file) => file.request_finished(request),
        }
    }

    /// Puts the file in its place.
    pub(crate) fn commit(self) -> Result<(), Fault> {
        match self {
            RequestRows::Csv(file) => file.commit(),
            RequestRows::Parquet(file) => file.commit(),
        }
    }
}

impl IntervalRows {
    /// Begins the file at `path`.
    pub(crate) fn create(path: &Path, layout: &Layout) -> Result<Self, Fault> {
        if is_parquet(path) {
            return Ok(IntervalRows::Parquet(Box::new(IntervalFile::create(path, layout)?)));
        }
        Ok(IntervalRows::Csv(Box::new(IntervalCsvWriter::create(path, layout)?)))
    }

    pub(crate) fn write(&mut self, results: &IntervalResults) {
        match self {
            IntervalRows::Csv(file) => file.write(results),
            IntervalRows::Parquet(file) => file.write(results),
        }
    }

    /// Puts the file in its place.
    pub(crate) fn commit(self) -> Result<(), Fault> {
        match self {
            IntervalRows::Csv(file) => file.commit(),
            IntervalRows::Parquet(file) => file.commit(),
        }
    }
}

/// Reads the workload at `path`, and shows every entry to `each`.
pub(crate) fn read_workload(
    path: &Path,
    options: &ReadOptions,
    each: &mut dyn FnMut(&Entry),
) -> Result<Workload, Faults> {
    if is_parquet(path) {
        return columnar::read_workload(path, options, each);
    }
    workload::read_file(path, options, each)
}

/// Tables of profiles that are Parquet files.
pub(crate) const TABLES: OtherTables = OtherTables { ending: "parquet", read: columnar::table_text };

/// Faults with the rows of such tables in place of the lines of their text.
pub(crate) fn place_rows(faults: Faults) -> Faults {
    columnar::place_rows(faults)
}

/// Reads a result, or what was measured, at `path`.
pub(crate) fn read_run(path: &Path) -> Result<Run, Faults> {
    if is_parquet(path) { columnar::read_table(path, compare::parse) } else { compare::read(path) }
}

/// Makes something of the table at `path`, which `parse` has as a name for faults and as CSV.
pub(crate) fn read_table<T>(path: &Path, parse: impl FnOnce(&str, &str) -> Result<T, Faults>) -> Result<T, Faults> {
    if is_parquet(path) {
        return columnar::read_table(path, parse);
    }
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| Fault::new(&name, format!("can't be read: {error}")))?;
    parse(&name, &text)
}
