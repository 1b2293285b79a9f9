//! One instance: its queues, its KV cache and its scheduler.
//!
//! The scheduler is vLLM V1's (`Scheduler.schedule` and `update_from_output`): sequences already running are served
//! first, in order of admission, and only they may preempt, from the tail of the running list. Waiting requests are
//! admitted while the budget lasts, first come first served, and never in a step that preempted.

use std::collections::VecDeque;

use kvcache::KvCache;
use slab::Slab;
use units::{Instant, RequestId};

use crate::batch::{Batch, SequenceKey};
use crate::deployment::InstanceSpec;
use crate::entry::Call;
use crate::observer::InstanceTotals;
use crate::sequence::Sequence;

#[derive(Debug)]
pub(crate) struct Instance<'d> {
    spec: &'d InstanceSpec,
    kv: KvCache,
    sequences: Slab<Sequence>,
    /// In order of admission.
    running: Vec<SequenceKey>,
    /// Preempted sequences, latest victim first, then by arrival and id.
    waiting: VecDeque<SequenceKey>,
    pub(crate) totals: InstanceTotals,
}

impl<'d> Instance<'d> {
    pub(crate) fn new(spec: &'d InstanceSpec) -> Self {
        Self {
            spec,
            kv: KvCache::new(spec.kv.num_blocks, spec.kv.block_size, spec.kv.prefix_caching),
            sequences: Slab::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            totals: InstanceTotals::default(),
        }
    }

    pub(crate) fn num_running(&self) -> u64 {
        self.running.len() as u64
    }

    pub(crate) fn num_waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Whether it holds no request and no KV block.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty() && self.kv.is_free()
    }

    /// Bytes in use on each NPU: weights, blocks held, and free blocks that can still be found again.
    pub(crate) fn npu_bytes(&self) -> u64 {
        let blocks = u64::from(self.kv.num_held()) + u64::from(self.kv.num_cached_free());
        self.spec.weight_bytes + blocks * self.spec.kv.bytes_per_block
    }

    /// Puts a request into the waiting queue.
    pub(crate) fn enqueue(&mut self, id: RequestId, arrival: Instant, call: &Call) {
        let hashes = if self.spec.kv.prefix_caching {
            kvcache::block_hashes(&call.input_ids, &call.output_ids, self.spec.kv.block_size)
        } else {
            Vec::new()
        };
        let key = self.sequences.insert(Sequence::new(id, arrival, call, hashes));
        let later = |&waiting: &SequenceKey| {
            let sequence = &self.sequences[waiting];
            (sequence.arrival, sequence.id) > (arrival, id)
        };
        // Requests are routed in order of arrival, so nearly always none is later.
        let num_later = self.waiting.iter().rev().take_while(|key| later(key)).count();
        self.waiting.insert(self.waiting.len() - num_later, key);
    }

    /// Forms the next step's batch, if there is anything to run.
    pub(crate) fn form_batch(&mut self, now: Instant) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut budget = self.spec.scheduler.max_num_batched_tokens;
        let preempted = self.schedule_running(&mut batch, &mut budget);
        if !preempted {
            self.schedule_waiting(now, &mut batch, &mut budget);
        }
        for scheduled in &batch.scheduled {
            self.sequences[scheduled.sequence].scheduled_at(now);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Serves the running sequences; returns whether any was preempted.
    fn schedule_running(&mut self, batch: &mut Batch, budget: &mut u64) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let key = self.running[index];
            let sequence = &self.sequences[key];
            let tokens = self.capped(sequence.reached_tokens - sequence.computed_tokens).min(*budget);
            assert!(tokens > 0, "request {} runs with nothing to compute and would never end", sequence.id);
            let computed = sequence.computed_tokens;
            while !self.allocate(key, computed + tokens, 0) {
                let victim = self.running.pop().expect("the sequence that asks is still running");
                self.preempt(victim);
                preempted = true;
                if victim == key {
                    return true;
                }
            }
            self.advance(key, tokens, batch);
            *budget -= tokens;
            index += 1;
        }
        preempted
    }

    /// Admits waiting requests, in order, up to the first that cannot start.
    fn schedule_waiting(&mut self, now: Instant, batch: &mut Batch, budget: &mut u64) {
        let limits = self.spec.scheduler;
        while let Some(&key) = self.waiting.front() {
            let full = limits.max_num_seqs.is_some_and(|most| self.running.len() as u64 >= most);
            if *budget == 0 || full || self.sequences[key].arrival > now {
                return;
            }
            let sequence = &self.sequences[key];
            // The last token reached must be computed to yield the next one, so it can't come from the cache.
            let hit_blocks = self.kv.lookup(&sequence.hashes, sequence.reached_tokens - 1);
            let hit_tokens = u64::from(hit_blocks) * u64::from(self.spec.kv.block_size);
            let wanted = self.capped(sequence.reached_tokens - hit_tokens);
            // Without chunking a prompt waits for a step that has room for all of it. A preempted sequence may have
            // grown beyond any step; it could never come back unless it is split.
            if !limits.chunked_prefill && wanted > *budget && wanted <= limits.max_num_batched_tokens {
                return;
            }
            let tokens = wanted.min(*budget);
            let all_fit = self.kv.can_hold(&sequence.blocks, &sequence.hashes, hit_blocks, sequence.reached_tokens);
            if limits.reserve_full_isl && !all_fit {
                return;
            }
            if !self.allocate(key, hit_tokens + tokens, hit_blocks) {
                return;
            }
            self.waiting.pop_front();
            self.running.push(key);
            self.admit(key, hit_tokens);
            self.advance(key, tokens, batch);
            *budget -= tokens;
        }
    }

    /// Claims the blocks for a sequence of `tokens` tokens, the first `hit_blocks` from the cache.
    fn allocate(&mut self, key: SequenceKey, tokens: u64, hit_blocks: u32) -> bool {
        let sequence = &mut self.sequences[key];
        self.kv.allocate(&mut sequence.blocks, &sequence.hashes, hit_blocks, tokens, tokens)
    }

    /// Puts `tokens` tokens of a sequence into the batch. They count as computed from here on.
    fn advance(&mut self, key: SequenceKey, tokens: u64, batch: &mut Batch) {
        let sequence = &mut self.sequences[key];
        batch.push(key, tokens, sequence.computed_tokens);
        sequence.computed_tokens += tokens;
    }

    /// Notes that a sequence starts, or starts again, with what the cache has of it.
    fn admit(&mut self, key: SequenceKey, hit_tokens: u64) {
        let sequence = &mut self.sequences[key];
        sequence.computed_tokens = hit_tokens;
        sequence.prefix_hit_tokens = hit_tokens;
        if sequence.preemptions > 0 {
            self.totals.recomputed_tokens += sequence.reached_tokens - hit_tokens;
        }
        if sequence.first_prefix_hit_tokens.is_none() {
            sequence.first_prefix_hit_tokens = Some(hit_tokens);
            if self.spec.kv.prefix_caching {
                self.totals.prefix_lookup_tokens += sequence.input_tokens;
                self.totals.prefix_hit_tokens += hit_tokens;
            }
        }
    }

    /// Takes a running sequence's blocks away. It forgets how far it was; what its blocks hold may be found again.
    fn preempt(&mut self, key: SequenceKey) {
        let sequence = &mut self.sequences[key];
        self.kv.release(&mut sequence.blocks);
        sequence.computed_tokens = 0;
        sequence.preemptions += 1;
        self.totals.preemptions += 1;
        self.waiting.push_front(key);
    }

    fn capped(&self, tokens: u64) -> u64 {
        match self.spec.scheduler.long_prefill_token_threshold {
            0 => tokens,
            threshold => tokens.min(threshold),
        }
    }

    /// Takes in what a batch yielded. Sequences that ended leave the instance and are added to `finished`.
    pub(crate) fn complete(&mut self, batch: &Batch, now: Instant, finished: &mut Vec<Sequence>) {
        self.totals.steps += 1;
        self.totals.dummy_steps += u64::from(batch.is_empty());
        for scheduled in &batch.scheduled {
            let sequence = &mut self.sequences[scheduled.sequence];
            let ends_prefill = !sequence.has_first_token && sequence.computed_tokens >= sequence.input_tokens;
            if ends_prefill {
                self.totals.prompt_tokens += scheduled.tokens + sequence.prefix_hit_tokens;
            } else if scheduled.tokens > 1 {
                self.totals.prompt_tokens += scheduled.tokens;
            }
            if sequence.computed_tokens >= sequence.reached_tokens {
                sequence.token_at(now);
                self.totals.generated_tokens += 1;
            }
            if sequence.is_finished() {
                self.kv.release(&mut sequence.blocks);
                self.totals.finished_requests += 1;
                self.running.retain(|&key| key != scheduled.sequence);
                finished.push(self.sequences.remove(scheduled.sequence));
            }
        }
    }
}
