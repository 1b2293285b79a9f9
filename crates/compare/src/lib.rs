//! What requests saw in two runs, and how far apart that is.
//!
//! A [`Run`] is a set of requests with the instants at which they passed through a server, simulated or real. [`read`]
//! makes one of a result, of a recording, of what a benchmark client wrote or of a plain table; one in memory does as well. [`compare`] holds run A to run
//! B, which is taken for the truth: errors are A / B − 1. The distributions of latencies are compared first (figures,
//! and the Kolmogorov–Smirnov distance), then what happened over time, then request by request.
//!
//! Where a server's stamps end and a user's begin differs between sources, so nothing is counted from a stamp by
//! silence: a [`Comparison`] names the stamps that each side was counted between.

mod comparison;
mod figures;
mod latencies;
mod pairs;
mod read;
mod run;
mod series;
mod summary;

pub use comparison::{Comparison, Error, Options, Side, compare};
pub use figures::{Figure, Figures};
pub use latencies::{FirstToken, Metric, MetricComparison, Start};
pub use pairs::{ArrivalDrift, ErrorSpread, MatchedBy, Pair, Pairs, RequestComparison};
pub use read::{parse, read};
pub use run::{Request, Run};
pub use series::{Quantity, Series, SeriesComparison};
pub use summary::{FigureComparison, Rate, RateComparison, Summary, Told};
