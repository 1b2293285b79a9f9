//! What a user gets to see of a run: the CSV of its requests, a line now and then while it goes, a summary at its end.
//!
//! [`CsvWriter`] and [`IntervalLog`] are observers that write while the engine runs. [`summary_table`] and
//! [`summary_json`] show a [`metrics::Summary`], to people and to programs. Files replace older ones whole or not at
//! all ([`AtomicFile`]).

mod atomic;
mod csv;
mod human;
mod interval;
mod json;
mod table;

pub use atomic::AtomicFile;
pub use csv::CsvWriter;
pub use interval::IntervalLog;
pub use json::summary_json;
pub use table::summary_table;
