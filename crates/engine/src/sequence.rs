//! One request on its instance.

use kvcache::{BlockHash, BlockTable};
use units::{Duration, InstanceId, Instant, RequestId};

use crate::batch::{Scheduled, SequenceKey};
use crate::decoding::{Admission, Span};
use crate::entry::Call;
use crate::observer::{FinishedRequest, Stamps};
use crate::router::RoutedRequest;
use crate::tokens::{StepLog, TokenLatencies, TokenRun, TokenRuns};

/// A request's progress through its instance. There is no prefill phase and no decode phase: in every step a sequence
/// catches up, as far as it may, from the tokens it has computed to the length it has reached.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: RequestId,
    pub(crate) arrival: Instant,
    /// Its place among the running; of no meaning before it is admitted.
    pub(crate) admission: Admission,
    /// The batches in which it decodes without being looked at. What they add to the counts below is not in them until
    /// [`settle`](Self::settle).
    pub(crate) span: Option<Span>,
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
    tokens: TokenRuns,
}

impl Sequence {
    pub(crate) fn new(id: RequestId, arrival: Instant, call: &Call, hashes: Vec<BlockHash>) -> Self {
        Self {
            id,
            arrival,
            admission: 0,
            span: None,
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
            tokens: TokenRuns::new(),
        }
    }

    /// Notes that it was put into a batch. Until its first token, the latest time counts as its queuing delay.
    pub(crate) fn scheduled_at(&mut self, now: Instant) {
        self.first_scheduled.get_or_insert(now);
        if !self.has_first_token {
            self.queuing_delay = now - self.arrival;
        }
    }

    /// Notes a token that `step` yielded, the latest in the `log` of its instance; returns the time since the one before,
    /// if there was one.
    pub(crate) fn token_at(&mut self, step: u64, log: &StepLog) -> Option<Duration> {
        let now = log.end(step);
        let before = self.latest_token;
        self.reached_tokens += 1;
        self.latest_token = now;
        if !self.has_first_token {
            self.has_first_token = true;
            self.ttft = now - self.arrival;
            self.tokens.push(TokenRun { lead: None, first: step, more: 0 });
            return None;
        }
        let latency = now - before;
        match self.tokens.last_mut() {
            Some(run) if run.last() + 1 == step => run.more += 1,
            _ => self.tokens.push(TokenRun { lead: Some(latency), first: step, more: 0 }),
        }
        Some(latency)
    }

    /// Takes in what it did unseen in its span, of which batches up to `formed` were formed and those up to `completed`
    /// ended as `log` says; it is looked at from here on.
    pub(crate) fn settle(&mut self, formed: u64, completed: u64, log: &StepLog) {
        let Some(span) = self.span.take() else { return };
        let (num_formed, num_completed) = (span.num_until(formed), span.num_until(completed));
        self.computed_tokens += num_formed;
        // They yield a token each.
        self.batches_in_flight += (num_formed - num_completed) as u32;
        self.tokens_in_flight += num_formed - num_completed;
        if num_completed > 0 {
            self.reached_tokens += num_completed;
            let run = self.tokens.last_mut().expect("what decodes has its first token");
            assert_eq!(run.last() + 1, span.first, "it decodes from its latest token on");
            run.more += num_completed;
            self.latest_token = log.end(run.last());
        }
    }

    /// The oldest step in whose end it has an interest.
    pub(crate) fn oldest_step(&self) -> Option<u64> {
        self.tokens.first().map(|run| run.first)
    }

    /// Leaves what the instance that prefilled it knows of its steps.
    pub(crate) fn hand_over(&mut self) {
        assert!(self.tokens.iter().all(|run| run.lead.is_none() && run.more == 0), "it has its first token only");
        self.tokens.clear();
    }

    /// Its part of a batch that computes `tokens` tokens after the `history` that it has.
    pub(crate) fn scheduled(&self, key: SequenceKey, tokens: u64, history: u64) -> Scheduled {
        Scheduled {
            sequence: key,
            id: self.id,
            admission: self.admission,
            preemptions: self.preemptions,
            tokens,
            history,
            pim_length: None,
            kv_send_tokens: 0,
        }
    }

    /// Whether it has to be looked at for the next batch.
    pub(crate) fn catches_up(&self) -> bool {
        self.span.is_none() && self.missing_tokens() > 0
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

    /// What is told of it, where a token takes `delivery` to its client and `log` is that of its instance.
    pub(crate) fn record<'a>(
        &'a self,
        instance: InstanceId,
        delivery: Duration,
        log: &'a StepLog,
    ) -> FinishedRequest<'a> {
        FinishedRequest {
            instance,
            id: self.id,
            input_tokens: self.input_tokens,
            output_tokens: self.target_tokens - self.input_tokens,
            arrival: self.arrival,
            end: self.latest_token,
            queuing_delay: self.queuing_delay,
            ttft: self.ttft,
            itl: TokenLatencies::Steps { runs: &self.tokens, log },
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
