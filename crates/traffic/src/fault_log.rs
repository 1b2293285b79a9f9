//! The faults of one input, as many as are worth telling.

use diagnostics::{Fault, Faults, Position};

/// Faults told one by one; further ones are only counted.
const FAULTS_MAX: usize = 20;

/// What is wrong in an input so far.
#[derive(Debug)]
pub(crate) struct FaultLog {
    name: String,
    faults: Vec<Fault>,
    num: usize,
}

impl FaultLog {
    /// Of the input that faults call `name`.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), faults: Vec::new(), num: 0 }
    }

    pub(crate) fn push(&mut self, fault: Fault) {
        self.num += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// A fault of the input as a whole.
    pub(crate) fn whole(&mut self, message: impl Into<String>) {
        self.push(Fault::new(&self.name, message));
    }

    /// A fault at a place that also has a name: a column, or a JSON path.
    pub(crate) fn at(&mut self, position: Position, path: &str, message: impl Into<String>) {
        let fault = Fault::new(&self.name, message).at(position);
        self.push(if path.is_empty() { fault } else { fault.path(path) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.num == 0
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Faults> {
        let unlisted = self.num - self.faults.len();
        let mut faults = Faults::new();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if unlisted > 0 {
            let more = if unlisted == 1 { "fault" } else { "faults" };
            faults.push(Fault::new(self.name, format!("{unlisted} more {more}")));
        }
        faults.into_result(value)
    }
}

/// A text as a fault shows it.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(40) {
        _ if text.is_empty() => "nothing".to_owned(),
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
