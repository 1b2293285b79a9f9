//! What comes up while inputs are read.

use diagnostics::{Fault, Faults};

/// Makes a message a fault, at the place in question.
pub(crate) type PlaceFault<'p> = dyn Fn(String) -> Fault + 'p;

/// What is wrong, and what is worth knowing.
#[derive(Default)]
pub(crate) struct Report {
    /// What is wrong.
    pub(crate) faults: Faults,
    /// What is worth knowing, each once.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Adds a fault.
    pub(crate) fn push(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds a note, unless it is there already.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// `result`'s value, its faults added.
    pub(crate) fn take<T>(&mut self, result: Result<T, impl Into<Faults>>) -> Option<T> {
        result.map_err(|faults| self.faults.extend(faults.into())).ok()
    }
}
