//! One request on its instance.

use kvcache::{BlockHash, BlockTable};
use units::{Duration, InstanceId, Instant, RequestId};

use crate::entry::Call;
use crate::observer::{FinishedRequest, Stamps};
use crate::router::RoutedRequest;

/// A request's progress through its instance. There is no prefill phase and no decode phase: in every step a sequence
/// catches up, as far as it may, from the tokens it has computed to the length it has reached.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: RequestId,
    pub(crate) arrival: Instant,
    pub(crate) input_tokens: u64,
    /// Length at which it ends: prompt and output.
    pub(crate) target_tokens: u64,
    /// Tokens whose KV has been computed or is being computed.
    pub(crate) computed_tokens: u64,
    /// Length so far: the prompt and what was generated. A preemption does not shorten it.
    pub(crate) reached_tokens: u64,
    pub(crate) has_first_token: bool,
    pub(crate) blocks: BlockTable,
    /// Chained hashes of its full blocks; empty where its token ids are unknown or nothing is cached.
    pub(crate) hashes: Vec<BlockHash>,
    /// Prefix tokens found at its latest admission.
    pub(crate) prefix_hit_tokens: u64,
    /// Prefix tokens found at its first admission; `None` before it.
    pub(crate) first_prefix_hit_tokens: Option<u64>,
    pub(crate) preemptions: u64,
    /// Batches that have some of its tokens and are not done.
    pub(crate) batches_in_flight: u32,
    /// Tokens that batches in flight will yield, where the next batch is formed without waiting for them.
    pub(crate) tokens_in_flight: u64,
    /// When its engine saw it; `None` before.
    pub(crate) queued: Option<Instant>,
    first_scheduled: Option<Instant>,
    queuing_delay: Duration,
    ttft: Duration,
    latest_token: Instant,
    itl: Vec<Duration>,
}

impl Sequence {
    pub(crate) fn new(id: RequestId, arrival: Instant, call: &Call, hashes: Vec<BlockHash>) -> Self {
        Self {
            id,
            arrival,
            input_tokens: call.input_tokens,
            target_tokens: call.input_tokens + call.output_tokens,
            computed_tokens: 0,
            reached_tokens: call.input_tokens,
            has_first_token: false,
            blocks: BlockTable::default(),
            hashes,
            prefix_hit_tokens: 0,
            first_prefix_hit_tokens: None,
            preemptions: 0,
            batches_in_flight: 0,
            tokens_in_flight: 0,
            queued: None,
            first_scheduled: None,
            queuing_delay: Duration::ZERO,
            ttft: Duration::ZERO,
            latest_token: arrival,
            itl: Vec::new(),
        }
    }

    /// Notes that it was put into a batch. Until its first token, the latest time counts as its queuing delay.
    pub(crate) fn scheduled_at(&mut self, now: Instant) {
        self.first_scheduled.get_or_insert(now);
        if !self.has_first_token {
            self.queuing_delay = now - self.arrival;
        }
    }

    /// Notes a token.
    pub(crate) fn token_at(&mut self, now: Instant) {
        self.reached_tokens += 1;
        if self.has_first_token {
            self.itl.push(now - self.latest_token);
        } else {
            self.has_first_token = true;
            self.ttft = now - self.arrival;
        }
        self.latest_token = now;
    }

    /// Tokens that it has yet to compute, those that batches in flight will yield included. The last token of all is never
    /// computed on.
    pub(crate) fn missing_tokens(&self) -> u64 {
        (self.reached_tokens + self.tokens_in_flight).min(self.target_tokens - 1).saturating_sub(self.computed_tokens)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.reached_tokens >= self.target_tokens
    }

    pub(crate) fn request(&self) -> RoutedRequest {
        RoutedRequest {
            id: self.id,
            arrival: self.arrival,
            input_tokens: self.input_tokens,
            output_tokens: self.target_tokens - self.input_tokens,
        }
    }

    /// What is told of it, where a token takes `delivery` to its client.
    pub(crate) fn record(&self, instance: InstanceId, delivery: Duration) -> FinishedRequest<'_> {
        FinishedRequest {
            instance,
            id: self.id,
            input_tokens: self.input_tokens,
            output_tokens: self.target_tokens - self.input_tokens,
            arrival: self.arrival,
            end: self.latest_token,
            queuing_delay: self.queuing_delay,
            ttft: self.ttft,
            itl: &self.itl,
            stamps: Stamps {
                queued: self.queued.unwrap_or(self.arrival),
                first_scheduled: self.first_scheduled.unwrap_or(self.latest_token),
                first_token: self.arrival + self.ttft,
                first_delivered: self.arrival + self.ttft + delivery,
            },
            prefix_hit_tokens: self.first_prefix_hit_tokens.unwrap_or(0),
            preemptions: self.preemptions,
        }
    }
}
