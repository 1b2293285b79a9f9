//! What a run shows of itself: latencies of its requests, throughput, cache hits, waves.
//!
//! [`RequestStatistics`] is an [`engine::Observer`] that collects while the run goes. [`Summary`] is what it comes to
//! together with the engine's own totals. Both are plain data, in nanoseconds, tokens and bytes where they are counted
//! and in milliseconds and rates where they are derived; how they are shown is not their concern. [`Layout`] is the
//! little that observers need to know of the deployment.

mod itl;
mod layout;
mod spread;
mod statistics;
mod summary;

pub use layout::{GroupLayout, InstanceLayout, Layout};
pub use spread::Spread;
pub use statistics::RequestStatistics;
pub use summary::{InstanceSummary, PrefixSummary, Summary, Throughput, WaveSummary};
