//! What an instance notes of its requests, until somebody can be told.

use units::{InstanceId, Instant, RequestId};

/// Something that happened to a request on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestEvent {
    /// The instance.
    pub instance: InstanceId,
    /// The request.
    pub request: RequestId,
    /// When.
    pub at: Instant,
    /// What.
    pub what: RequestMoment,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestMoment {
    /// It arrived, and was routed to the instance.
    Arrived {
        /// Tokens of its prompt.
        input_tokens: u64,
        /// Tokens to generate.
        output_tokens: u64,
    },
    /// It was put into a batch. Of a sequence that decodes, not every time is told.
    Scheduled {
        /// The batch's number on the instance, from 1.
        batch: u64,
        /// Tokens it computes there.
        tokens: u64,
        /// Tokens it has already.
        history: u64,
        /// Whether it has computed all it has after that, so that the batch yields a token.
        completes: bool,
    },
    /// It lost its blocks to another.
    Preempted,
    /// It was prefilled elsewhere, and waits for room here.
    HandedOver,
    /// There is room for it: its KV has been taken in.
    Admitted,
}

/// What an instance holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadChange {
    /// The instance.
    pub instance: InstanceId,
    /// Since when.
    pub at: Instant,
    /// Sequences running.
    pub running: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// KV blocks that sequences hold.
    pub kv_blocks_held: u32,
}

/// What was noted and not told yet.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// The instant at which things happen.
    pub(crate) now: Instant,
    pub(crate) list: Vec<Note>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Note {
    Request(Instant, RequestId, RequestMoment),
    /// Running, waiting and blocks held.
    Load(Instant, u64, u64, u32),
}
