//! What stands in for the crate `columnar` in a build without it: every file is refused.

use std::path::Path;

use diagnostics::{Fault, Faults};
use engine::{Entry, FinishedRequest};
use metrics::{IntervalResults, Layout};
use workload::{ReadOptions, Workload};

/// No file of requests.
pub(crate) enum RequestFile {}

/// No file of log intervals.
pub(crate) enum IntervalFile {}

/// Which columns there would be.
#[expect(dead_code, reason = "no file has them")]
pub(crate) struct RequestColumns {
    pub(crate) itl: bool,
    pub(crate) stamps: bool,
}

impl RequestFile {
    pub(crate) fn create(path: &Path, _: &Layout, _: RequestColumns) -> Result<Self, Fault> {
        Err(refusal(path))
    }

    pub(crate) fn request_finished(&mut self, _: &FinishedRequest<'_>) {
        match *self {}
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        match self {}
    }
}

impl IntervalFile {
    pub(crate) fn create(path: &Path, _: &Layout) -> Result<Self, Fault> {
        Err(refusal(path))
    }

    pub(crate) fn write(&mut self, _: &IntervalResults) {
        match *self {}
    }

    pub(crate) fn commit(self) -> Result<(), Fault> {
        match self {}
    }
}

pub(crate) fn read_workload(path: &Path, _: &ReadOptions, _: &mut dyn FnMut(&Entry)) -> Result<Workload, Faults> {
    Err(refusal(path).into())
}

pub(crate) fn read_table<T>(path: &Path, _: impl FnOnce(&str, &str) -> Result<T, Faults>) -> Result<T, Faults> {
    Err(refusal(path).into())
}

pub(crate) fn table_text(path: &Path) -> Result<String, Fault> {
    Err(refusal(path))
}

pub(crate) fn place_rows(faults: Faults) -> Faults {
    faults
}

fn refusal(path: &Path) -> Fault {
    let fault = Fault::new(path.display().to_string(), "this build of servingsim knows no Parquet files");
    fault.hint("build it with them, `cargo build --release --features parquet`, or name a file with another ending")
}
