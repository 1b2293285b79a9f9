//! Workloads in the format that is written here.

use std::path::Path;

use diagnostics::{Fault, Faults};
use workload::Entries;

use super::{Input, ReadOptions, Source, text};
use crate::fault_log::FaultLog;
use crate::item::Item;

/// The entries of a workload, in order of arrival.
#[derive(Debug)]
pub(super) struct Workload {
    /// `None` after the last.
    entries: Option<Entries>,
    /// Sessions so far.
    num_sessions: u64,
    notes: Vec<String>,
    name: String,
}

impl Workload {
    /// Checks all of the file at `path`. Where `input` can be read only once, it is.
    pub(super) fn open(path: &Path, mut input: Input, options: &ReadOptions) -> Result<Self, Faults> {
        let read = workload::ReadOptions {
            limit: None,
            token_ids: options.token_ids,
            kept_bytes_max: workload::ReadOptions::KEPT_BYTES_MAX,
        };
        let name = path.display().to_string();
        let is_file = input.get_ref().metadata().is_ok_and(|metadata| metadata.is_file());
        let workload = if is_file {
            workload::read_file(path, &read, &mut |_| {})?
        } else {
            workload::read_str(&name, &text(&name, &mut input)?, &read, &mut |_| {})?
        };
        // Notes begin with the name of the file, which whoever asks for them puts in front.
        let prefix = format!("{name}: ");
        let notes = workload.notes.iter().map(|note| note.strip_prefix(&prefix).unwrap_or(note).to_owned()).collect();
        Ok(Self { entries: Some(workload.into_entries()), num_sessions: 0, notes, name })
    }
}

impl Source for Workload {
    fn next(&mut self, faults: &mut FaultLog) -> Option<Item> {
        let Some(entry) = self.entries.as_mut()?.next() else {
            let finished = self.entries.take().map(Entries::finish);
            if let Some(Err(fault)) = finished {
                faults.push(Fault { source: self.name.clone(), ..fault });
            }
            return None;
        };
        let arrival_ns = Some(entry.arrival.ns());
        if entry.following.is_empty() {
            return Some(Item::plain(arrival_ns, entry.first));
        }
        let session_id = Some(format!("s{}", self.num_sessions));
        self.num_sessions += 1;
        let calls = std::iter::once(entry.first).chain(entry.following).collect();
        Some(Item { arrival_ns, session_id, calls })
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }
}
