//! What the benchmark programs share: their clock, their runs, and finished requests that can be written again.
//!
//! `cargo xtask bench` runs the programs and judges what they print; docs/performance.md says what is measured.

mod cpu;
mod job;
mod rows;

pub use cpu::{cpu_time, median};
pub use job::{Job, Watch, load, read};
pub use rows::Rows;
