//! Lines to entries, and a workload's entries as a run takes them.

use diagnostics::Fault;
use engine::Entry;
use units::RequestId;

use crate::lines::{Again, Lines, changed};
use crate::read::ReadOptions;
use crate::scan::{Problem, Result as Scanned};
use crate::{line, usual};

/// The entries of an input, line by line.
#[derive(Debug)]
pub(crate) struct EntryLines<'a> {
    lines: Lines<'a>,
    options: ReadOptions,
    /// Lines so far.
    num_lines: usize,
    /// Requests so far, every call of a session counted.
    num_requests: u64,
}

/// A line that is not blank, and what it says.
pub(crate) struct EntryLine<'a> {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) text: &'a [u8],
    /// `None` for a session without calls.
    pub(crate) entry: Scanned<Option<Entry>>,
}

impl<'a> EntryLines<'a> {
    pub(crate) fn new(lines: Lines<'a>, options: &ReadOptions) -> Self {
        Self { lines, options: *options, num_lines: 0, num_requests: 0 }
    }

    /// The next line; `None` at the end, or when there were as many as are wanted.
    ///
    /// # Errors
    /// As [`Lines::next`].
    pub(crate) fn next(&mut self) -> Result<Option<EntryLine<'_>>, Fault> {
        if self.options.limit.is_some_and(|limit| self.num_lines >= limit) {
            return Ok(None);
        }
        let Some((number, text)) = self.lines.next()? else { return Ok(None) };
        self.num_lines += 1;
        let entry = parse(text, RequestId(self.num_requests), self.options.token_ids);
        if let Ok(Some(entry)) = &entry {
            self.num_requests += entry.num_calls() as u64;
        }
        Ok(Some(EntryLine { number, text, entry }))
    }
}

impl EntryLines<'static> {
    /// What it takes to read them once more.
    pub(crate) fn again(self) -> Option<EntriesAgain> {
        Some(EntriesAgain { again: self.lines.again()?, options: self.options })
    }
}

fn parse(text: &[u8], first_id: RequestId, token_ids: bool) -> Scanned<Option<Entry>> {
    if let Some(entry) = usual::parse(text, first_id) {
        return Ok(Some(entry));
    }
    match std::str::from_utf8(text) {
        Ok(_) => line::parse(text, first_id, token_ids),
        Err(error) => Err(Problem::new(error.valid_up_to(), "not UTF-8 text")),
    }
}

/// The entries of a file that has been checked, to be read again.
#[derive(Debug)]
pub(crate) struct EntriesAgain {
    again: Again,
    options: ReadOptions,
}

/// The entries of a [`Workload`](crate::Workload), in order of arrival.
///
/// Those of a long file are read from it as they are asked for. The file may have changed since it was checked; the
/// entries end there, and [`finish`](Self::finish) tells.
#[derive(Debug)]
pub struct Entries(Source);

#[derive(Debug)]
enum Source {
    Kept(std::vec::IntoIter<Entry>),
    File(Box<EntryLines<'static>>),
    Failed(Fault),
}

impl Entries {
    pub(crate) fn kept(entries: Vec<Entry>) -> Self {
        Self(Source::Kept(entries.into_iter()))
    }

    pub(crate) fn again(file: EntriesAgain) -> Self {
        match file.again.lines() {
            Ok(lines) => Self(Source::File(Box::new(EntryLines::new(lines, &file.options)))),
            Err(fault) => Self(Source::Failed(fault)),
        }
    }

    /// To be asked after the last entry: whether it was the workload's last.
    ///
    /// # Errors
    /// When the file could not be read again, or has changed.
    pub fn finish(self) -> Result<(), Fault> {
        match self.0 {
            Source::Failed(fault) => Err(fault),
            _ => Ok(()),
        }
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        match &mut self.0 {
            Source::Kept(entries) => entries.next(),
            Source::Failed(_) => None,
            Source::File(lines) => next_entry(lines).unwrap_or_else(|fault| {
                self.0 = Source::Failed(fault);
                None
            }),
        }
    }
}

fn next_entry(lines: &mut EntryLines<'static>) -> Result<Option<Entry>, Fault> {
    while let Some(line) = lines.next()? {
        match line.entry {
            Ok(Some(entry)) => return Ok(Some(entry)),
            Ok(None) => {}
            Err(_) => return Err(changed(lines.lines.name())),
        }
    }
    Ok(None)
}
