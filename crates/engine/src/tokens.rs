//! When tokens were there: kept once a step, and looked up by those that yielded one in it.
//!
//! A sequence that decodes yields a token in every step of its instance, so the times of its tokens are those at which
//! the steps ended. It remembers from which step to which it did so ([`TokenRun`]); a token that came otherwise, after a
//! preemption say, begins another run.

use smallvec::SmallVec;
use units::{Duration, Instant};

/// When the steps of an instance ended, those without sequences left out, as far back as anybody has use for them.
#[derive(Debug, Default)]
pub struct StepLog {
    /// Number of the step at the front.
    first: u64,
    ends: Vec<Instant>,
}

/// The tokens of a sequence in successive steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRun {
    /// From the token before to the first of these, where that was not in the step before; `None` for a request's first
    /// token.
    pub lead: Option<Duration>,
    /// The step that yielded the first.
    pub first: u64,
    /// Tokens after it, one in each of the following steps.
    pub more: u64,
}

/// The inter-token latency of each token of a request after its first.
#[derive(Clone, Copy, Debug)]
pub enum TokenLatencies<'a> {
    /// By the steps that yielded the tokens.
    Steps {
        /// Which steps.
        runs: &'a [TokenRun],
        /// When they ended.
        log: &'a StepLog,
    },
    /// One by one.
    List(&'a [Duration]),
}

/// Runs of one sequence; nearly always one.
pub(crate) type TokenRuns = SmallVec<[TokenRun; 1]>;

impl StepLog {
    /// Number of the oldest step that can be asked for.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the step that ends next.
    pub fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// When a step ended.
    ///
    /// # Panics
    /// When it has not ended, or is older than [`first`](Self::first).
    pub fn end(&self, step: u64) -> Instant {
        self.ends[(step - self.first) as usize]
    }

    /// Time from the end of the step before to the end of this one, which must not be the oldest.
    pub fn since_last(&self, step: u64) -> Duration {
        self.end(step) - self.end(step - 1)
    }

    /// A log of steps numbered from `first`.
    pub(crate) fn starting_at(first: u64) -> Self {
        Self { first, ends: Vec::new() }
    }

    pub(crate) fn push(&mut self, end: Instant) {
        self.ends.push(end);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Forgets the steps before `first`.
    pub(crate) fn forget_before(&mut self, first: u64) {
        self.ends.drain(..(first - self.first) as usize);
        self.first = first;
    }
}

impl TokenRun {
    /// The step that yielded the last.
    pub fn last(&self) -> u64 {
        self.first + self.more
    }

    fn len(&self) -> u64 {
        self.more + u64::from(self.lead.is_some())
    }
}

impl<'a> TokenLatencies<'a> {
    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Steps { runs, .. } => runs.iter().map(TokenRun::len).sum(),
            Self::List(list) => list.len() as u64,
        }
    }

    /// Whether there is none: the request has a single token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Duration> + use<'a> {
        let (steps, list) = match *self {
            Self::Steps { runs, log } => (Some((runs, log)), &[][..]),
            Self::List(list) => (None, list),
        };
        let steps = steps.into_iter().flat_map(|(runs, log)| runs.iter().map(move |run| (run, log)));
        let of_run = |(run, log): (&'a TokenRun, &'a StepLog)| {
            let regular = (run.first + 1..=run.last()).map(|step| log.since_last(step));
            run.lead.into_iter().chain(regular)
        };
        steps.flat_map(of_run).chain(list.iter().copied())
    }
}

impl<'a> From<&'a [Duration]> for TokenLatencies<'a> {
    fn from(list: &'a [Duration]) -> Self {
        Self::List(list)
    }
}
