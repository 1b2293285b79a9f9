//! What a run shows of itself: latencies of its requests, throughput, cache hits, waves, power.
//!
//! [`RequestStatistics`], [`PowerMeter`], [`IntervalMeter`], [`Timeline`] and [`RequestRecords`] are [`engine::Observer`]s that collect while the run
//! goes. [`IntervalResults`] is what a log interval comes to, [`Summary`] what the whole run does together with the
//! engine's own totals. Both are plain data, in nanoseconds, tokens and bytes where they are counted and in
//! milliseconds, rates and joules where they are derived; how they are shown is not their concern. [`Layout`] is the
//! little that observers need to know of the deployment.

mod distribution;
mod energy;
mod intervals;
mod itl;
mod layout;
mod power;
mod requests;
mod spread;
mod statistics;
mod summary;
mod timeline;

pub use distribution::Distribution;
pub use energy::{Component, Energy, PowerReading};
pub use intervals::{GroupResults, InstanceResults, IntervalMeter, IntervalResults};
pub use layout::{EngineLayout, GroupLayout, InstanceLayout, Layout, NetworkLayout, NodeLayout};
pub use power::PowerMeter;
pub use requests::{RequestRecord, RequestRecords};
pub use spread::Spread;
pub use statistics::{Latency, RequestStatistics};
pub use summary::{InstanceSummary, PowerSummary, PrefixSummary, Summary, Throughput, WaveSummary};
pub use timeline::{BINS_MAX, Bin, Bins, Breakdown, GroupWaves, InstanceTimeline, Timeline, WaveMember, WorstWave};
