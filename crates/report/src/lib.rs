//! What a user gets to see of a run: the CSV of its requests, a line now and then while it goes, a summary at its end.
//!
//! [`CsvWriter`] is an observer that writes while the engine runs. [`IntervalLog`] and [`IntervalCsvWriter`] show
//! [`metrics::IntervalResults`], [`PerfettoWriter`] draws who did what when, [`summary_table`] and [`summary_json`] a [`metrics::Summary`], [`comparison_text`] and
//! [`comparison_json`] a [`compare::Comparison`], to people and to programs. Files replace older ones whole or not at all
//! ([`AtomicFile`]).

mod atomic;
mod collective;
mod comparison;
mod comparison_json;
mod csv;
mod human;
mod interval;
mod interval_csv;
mod json;
mod perfetto;
mod table;
mod traces;

pub use atomic::AtomicFile;
pub use collective::{CollectiveTime, collective_json, collective_text, finish_json};
pub use comparison::comparison_text;
pub use comparison_json::comparison_json;
pub use csv::CsvWriter;
pub use interval::IntervalLog;
pub use interval_csv::IntervalCsvWriter;
pub use json::summary_json;
pub use perfetto::{PerfettoOptions, PerfettoWriter, TraceLevel, TraceWindow};
pub use table::summary_table;
pub use traces::{Batches, TraceGroup, TraceWriter};
