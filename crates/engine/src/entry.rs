//! What a workload is made of.

use units::{Duration, Instant, RequestId};

/// One line of a workload: a request, or a session of calls that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When its first call arrives.
    pub arrival: Instant,
    /// Id of its first call; the following calls have the following ids.
    pub first_id: RequestId,
    /// Its first call, and the only one of a plain request, which so needs no allocation of its own.
    pub first: Call,
    /// The calls that follow, one after the other.
    pub following: Vec<Call>,
}

impl Entry {
    /// A request that is one call.
    pub fn plain(arrival: Instant, first_id: RequestId, call: Call) -> Self {
        Self { arrival, first_id, first: call, following: Vec::new() }
    }

    /// A session of `calls`; `None` when there are none.
    pub fn session(arrival: Instant, first_id: RequestId, calls: impl IntoIterator<Item = Call>) -> Option<Self> {
        let mut calls = calls.into_iter();
        Some(Self { arrival, first_id, first: calls.next()?, following: calls.collect() })
    }

    /// Its calls, at least one.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        std::iter::once(&self.first).chain(&self.following)
    }

    /// How many calls it has.
    pub fn num_calls(&self) -> usize {
        1 + self.following.len()
    }
}

/// One request to a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// Tokens of the prompt, at least one.
    pub input_tokens: u64,
    /// Tokens to generate, at least one.
    pub output_tokens: u64,
    /// Time from its completion to the arrival of the session's next call.
    pub tool_time: Duration,
    /// Token ids of the prompt; empty when unknown, and then no prefix is ever found again.
    pub input_ids: Vec<u32>,
    /// Token ids that will be generated.
    pub output_ids: Vec<u32>,
}
