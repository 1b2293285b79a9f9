//! What an engine's host takes, fitted to measured runs.
//!
//! An [`Experiment`] is a measured run and the deployment that stands for it. [`fit`] looks for the times of the host
//! with which the simulated runs come nearest to the measured ones, all together: the mean of their mean errors, over
//! mean, median, P90, P95 and P99 of TTFT, TPOT and latency. One set of times serves them all, whatever their models
//! and their hardware.
//!
//! A run of a few hundred requests is chaotic: a request that is seen one step later may change what waits behind it.
//! So the error at a point is the mean over several runs in which requests arrive up to a millisecond later, each in
//! its own way, the same at every point.

mod experiment;
mod search;

pub use experiment::Experiment;
pub use search::{Fit, fit, leave_one_out};
