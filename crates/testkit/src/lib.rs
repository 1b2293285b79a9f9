//! What tests and benchmarks share: where the reference data is, how its absence is told, what recorded runs are in
//! it, and clusters and workloads that are made up.
//!
//! The reference's own configurations, profiles and results are not part of this repository. Tests that compare with
//! them live in test targets whose names begin with `reference_`; `cargo xtask test` counts them as skipped, loudly,
//! where the data is missing, and fails instead when `SERVINGSIM_REFERENCE_REQUIRED` is set.

mod generated;
mod recordings;

use std::path::PathBuf;

pub use generated::{GeneratedCluster, GeneratedRequest, GeneratedWorkload};
pub use recordings::Recording;

/// The folder with the reference data: `SERVINGSIM_REFERENCE`, or `../shared/reference` beside the repository.
///
/// Where it is missing, says so on stderr and returns `None`: the calling test should then return.
///
/// # Panics
/// When the data is missing and `SERVINGSIM_REFERENCE_REQUIRED` is set.
pub fn reference_dir() -> Option<PathBuf> {
    let dir = match std::env::var_os("SERVINGSIM_REFERENCE") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference")),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(
        std::env::var_os("SERVINGSIM_REFERENCE_REQUIRED").is_none(),
        "the reference data is required but {} is not there",
        dir.display()
    );
    eprintln!("SKIPPED: no reference data at {} (set SERVINGSIM_REFERENCE)", dir.display());
    None
}
