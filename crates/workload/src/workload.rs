//! What reading a workload comes to.

use diagnostics::Fault;
use engine::Entry;

use crate::entries::{Entries, EntriesAgain};

/// What arrives in a run: checked, and in memory or to be read again.
#[derive(Debug)]
pub struct Workload {
    /// Requests, every call of a session counted.
    pub num_requests: u64,
    /// Whether any of them lists the ids of its prompt's tokens, as far as they are kept.
    pub has_token_ids: bool,
    /// What is odd but no fault, in sentences without a full stop.
    pub notes: Vec<String>,
    pub(crate) source: Source,
}

/// Where its entries are.
#[derive(Debug)]
pub(crate) enum Source {
    /// In order of arrival; those that arrive together in order of the file.
    Kept(Vec<Entry>),
    File(EntriesAgain),
}

impl Workload {
    /// Whether its entries are in memory, rather than to be read again.
    pub fn is_kept(&self) -> bool {
        matches!(self.source, Source::Kept(_))
    }

    /// Its entries in order of arrival; those that arrive together in order of the file. Ids are numbered in order of
    /// the file.
    pub fn into_entries(self) -> Entries {
        match self.source {
            Source::Kept(entries) => Entries::kept(entries),
            Source::File(file) => Entries::again(file),
        }
    }

    /// Its entries, which are all in memory from now on, in the order of [`into_entries`](Self::into_entries). They must
    /// be so when they are left.
    ///
    /// # Errors
    /// When they were to be read again and that fails, or the file has changed. The workload has no entries then.
    pub fn keep(&mut self) -> Result<&mut Vec<Entry>, Fault> {
        if let Source::File(_) = self.source {
            let source = std::mem::replace(&mut self.source, Source::Kept(Vec::new()));
            let Source::File(file) = source else { unreachable!("seen above") };
            let mut entries = Entries::again(file);
            let mut kept: Vec<Entry> = entries.by_ref().collect();
            entries.finish()?;
            kept.sort_by_key(|entry| entry.arrival);
            self.source = Source::Kept(kept);
        }
        match &mut self.source {
            Source::Kept(entries) => Ok(entries),
            Source::File(_) => unreachable!("read above"),
        }
    }
}
