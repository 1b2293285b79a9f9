//! The units everything else counts in: instants and durations in whole nanoseconds, bytes, and dense typed ids.
//!
//! An [`Instant`] is a point on the simulated clock, a [`Duration`] a distance between two of them; mixing them up
//! does not compile. Both hold whole nanoseconds, so no rounding happens when they are added. Where a formula rounds,
//! it does so before it becomes a `Duration`, at a place that says how.

mod ids;
mod time;

pub use ids::{GroupId, InstanceId, NodeId, NpuId, RequestId};
pub use time::{Duration, Instant};

/// Bytes in one GiB, the unit of memory sizes and link bandwidths in cluster files.
pub const GIB: u64 = 1 << 30;
