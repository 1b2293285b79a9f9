//! Workloads: made up, taken from traces, and described in numbers.
//!
//! [`Generator`] makes requests up from distributions. [`Trace`] reads the traces that others publish, and
//! [`Converter`] makes workloads of them. [`Stats`] says what is in a workload or trace. All work on one request or
//! session after the other ([`Item`]), so a million of them takes no more memory than a hundred; [`Writer`] puts them
//! into the format of the crate `workload`.
//!
//! Random numbers come from one stream for each purpose: whoever changes the lengths keeps the arrivals.

mod convert;
mod fault_log;
mod formats;
mod generate;
mod item;
mod random;
mod spec;
mod stats;
mod tokens;
mod write;

pub use convert::{Conversion, Converter};
pub use formats::{Conversations, Format, ReadOptions, Trace};
pub use generate::{ArrivalSpec, Generator, LengthSpec, LengthsSpec, PrefixSpec, Recipe, SessionSpec, TimeSpec};
pub use item::Item;
pub use spec::{count as parse_count, positive as parse_positive, seconds as parse_seconds};
pub use stats::{Binned, Counts, PrefixStats, SessionStats, Stats, StatsBuilder, TimeStats, stats_json};
pub use write::Writer;
