//! Faults of many files, told up to a number.

use diagnostics::{Fault, Faults};

/// Faults told in full; further ones are only counted.
const FAULTS_MAX: usize = 20;

/// Faults of one file, or of several in their order.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    told: Vec<Fault>,
    num_more: usize,
}

impl Collected {
    /// Adds the fault that `tell` makes, or counts it.
    pub(crate) fn push(&mut self, tell: impl FnOnce() -> Fault) {
        if self.told.len() < FAULTS_MAX {
            self.told.push(tell());
        } else {
            self.num_more += 1;
        }
    }

    /// Adds those of a later file.
    pub(crate) fn append(&mut self, later: Self) {
        for fault in later.told {
            self.push(|| fault);
        }
        self.num_more += later.num_more;
    }

    /// All that is wrong with the set of files called `set`.
    pub(crate) fn into_faults(self, set: &str) -> Faults {
        let mut faults = Faults::new();
        for fault in self.told {
            faults.push(fault);
        }
        match self.num_more {
            0 => {}
            1 => faults.push(Fault::new(set, "1 more fault")),
            more => faults.push(Fault::new(set, format!("{more} more faults"))),
        }
        faults
    }
}
