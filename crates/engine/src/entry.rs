//! What a workload is made of.

use units::{Duration, Instant, RequestId};

/// One line of a workload: a request, or a session of calls that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When its first call arrives.
    pub arrival: Instant,
    /// Id of its first call; the following calls have the following ids.
    pub first_id: RequestId,
    /// Its calls, at least one. A plain request has one.
    pub calls: Vec<Call>,
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
