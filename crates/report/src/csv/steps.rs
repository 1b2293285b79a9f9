//! How long steps took, as it stands in rows.

use engine::{StepLog, TokenLatencies};
use units::Duration;

use super::row::Columns;
use super::write_number;

/// What stands before each latency but the first of a row.
pub(super) const SEPARATOR: &[u8] = b", ";

/// The steps of an instance, each as `, <nanoseconds>`: a request that decoded in successive steps has a stretch of it.
#[derive(Debug, Default)]
pub(super) struct StepTexts {
    /// Number of the first step that is here.
    first: u64,
    /// By step, where its text ends.
    ends: Vec<usize>,
    text: Vec<u8>,
}

impl StepTexts {
    /// Takes in the steps up to the latest, and drops those that nobody can ask for any more.
    pub(super) fn follow(&mut self, latencies: &TokenLatencies<'_>, columns: Columns) {
        let TokenLatencies::Steps { log, .. } = latencies else { return };
        if !columns.itl {
            return;
        }
        self.forget_up_to(log.first());
        for step in self.next()..log.next() {
            self.push(log.since_last(step));
        }
    }

    /// The texts of the steps from `first` to `last`.
    pub(super) fn of(&self, first: u64, last: u64) -> &[u8] {
        if first > last {
            return &[];
        }
        let start = self.start(first);
        &self.text[start..self.ends[(last - self.first) as usize]]
    }

    fn start(&self, step: u64) -> usize {
        if step == self.first { 0 } else { self.ends[(step - 1 - self.first) as usize] }
    }

    fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    fn push(&mut self, time: Duration) {
        self.text.extend_from_slice(SEPARATOR);
        write_number(&mut self.text, time.ns());
        self.ends.push(self.text.len());
    }

    /// Drops the steps up to `step`.
    fn forget_up_to(&mut self, step: u64) {
        if step < self.first {
            return;
        }
        let num_dropped = (step + 1 - self.first).min(self.ends.len() as u64);
        let bytes = self.start(self.first + num_dropped);
        self.ends.drain(..num_dropped as usize);
        self.ends.iter_mut().for_each(|end| *end -= bytes);
        self.text.drain(..bytes);
        self.first = step + 1;
    }
}

/// The same in short, of all steps of an instance.
#[derive(Clone, Debug, Default)]
pub(super) struct StepTimes {
    /// By the step's number.
    times: Vec<Duration>,
}

impl StepTimes {
    /// Takes in the steps up to the latest.
    pub(super) fn follow(&mut self, latencies: &TokenLatencies<'_>, columns: Columns) {
        let TokenLatencies::Steps { log, .. } = latencies else { return };
        if columns.itl {
            self.take_in(log);
        }
    }

    fn take_in(&mut self, log: &StepLog) {
        // Of steps that nobody asked for in time nobody will.
        let first = log.first() as usize + 1;
        if self.times.len() < first {
            self.times.resize(first, Duration::ZERO);
        }
        self.times.extend((self.times.len() as u64..log.next()).map(|step| log.since_last(step)));
    }

    /// All of them as texts.
    pub(super) fn into_texts(self) -> StepTexts {
        let mut texts = StepTexts::default();
        self.times.into_iter().for_each(|time| texts.push(time));
        texts
    }
}
