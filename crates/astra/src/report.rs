//! What comes up while files are read.

use diagnostics::{Fault, Faults};
use documents::json::{Cursor, Object};
use documents::{Document, suggest};

/// What is wrong, and what is worth knowing.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What is wrong.
    pub(crate) faults: Faults,
    /// What is worth knowing.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// `result`'s value, its fault added.
    pub(crate) fn take<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    /// Notes keys that change nothing, if there are any.
    pub(crate) fn note_ignored(&mut self, document: &Document, keys: &[String]) {
        let verb = match keys.len() {
            0 => return,
            1 => "changes",
            _ => "change",
        };
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        self.notes.push(format!("{}: {} {verb} nothing", document.name, suggest::listed(&keys)));
    }
}

/// What `read` makes of the value of `key`, or `default` where it is absent.
pub(crate) fn optional<'r, T>(
    object: &Object<'r>,
    key: &str,
    default: T,
    read: impl FnOnce(&Cursor<'r>) -> Option<T>,
) -> Option<T> {
    object.get(key).map_or(Some(default), |value| read(&value))
}

/// A whole number from `least` to `most`.
pub(crate) fn count(value: &Cursor<'_>, least: u32, most: u32) -> Option<u32> {
    value.whole(least, most).map(|placed| placed.value)
}
