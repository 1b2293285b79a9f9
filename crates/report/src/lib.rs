//! What a user gets to see of a run: the CSV of its requests, a line now and then while it goes, a summary at its end.
//!
//! [`CsvWriter`] is an observer that writes while the engine runs. [`IntervalLog`] and [`IntervalCsvWriter`] show
//! [`metrics::IntervalResults`], [`summary_table`] and [`summary_json`] a [`metrics::Summary`], [`comparison_text`] and
//! [`comparison_json`] a [`compare::Comparison`], to people and to programs. A [`Page`] draws one run or several. Files replace
//! older ones whole or not at all ([`AtomicFile`]).
//! [`comparison_json`] a [`compare::Comparison`], [`explanation_text`], [`explanation_json`] and [`drawing`] an
//! [`explain::Explanation`], to people and to programs. Files replace older ones whole or not at all
//! [`metrics::IntervalResults`], [`PerfettoWriter`] draws who did what when, [`summary_table`] and [`summary_json`] a [`metrics::Summary`], [`comparison_text`] and
//! [`comparison_json`] a [`compare::Comparison`], to people and to programs. Files replace older ones whole or not at all
//! ([`AtomicFile`]).

mod atomic;
mod collective;
mod column;
mod comparison;
mod comparison_json;
mod csv;
mod drawing;
mod explanation;
mod human;
mod interval;
mod interval_csv;
mod json;
mod metrics;
mod page;
mod perfetto;
mod schema;
mod table;
mod traces;

pub use atomic::AtomicFile;
pub use collective::{CollectiveTime, collective_json, collective_text, finish_json};
pub use column::Column;
pub use comparison::comparison_text;
pub use comparison_json::comparison_json;
pub use csv::{CsvWriter, ITL_COLUMN, REQUEST_COLUMNS, STAMP_COLUMNS};
pub use drawing::drawing;
pub use explanation::{explanation_json, explanation_text};
pub use human::{grouped, percent};
pub use interval::IntervalLog;
pub use interval_csv::{IntervalCsvWriter, interval_columns};
pub use json::summary_json;
pub use metrics::{METRICS, Metric, SPREAD};
pub use page::{Page, PageRecorder, PageRun, PageText};
pub use perfetto::{PerfettoOptions, PerfettoWriter, TraceLevel, TraceWindow};
pub use schema::{document_tables, json_schema};
pub use table::{columns, summary_table};
pub use traces::{Batches, TraceGroup, TraceWriter};
