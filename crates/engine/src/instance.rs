//! One instance: its queues, its KV cache and its scheduler.
//!
//! The scheduler is vLLM V1's (`Scheduler.schedule` and `update_from_output`): sequences already running are served
//! first, in order of admission, and only they may preempt, from the tail of the running list. Waiting requests are
//! admitted while the budget lasts, first come first served, and never in a step that preempted.

use std::collections::VecDeque;

use kvcache::{KvCache, TierHit, TierPool};
use slab::Slab;
use units::{Instant, RequestId};

use crate::batch::{Batch, Scheduled, SequenceKey};
use crate::deployment::{InstanceSpec, Polling, Role, RunOptions, TierSpec};
use crate::entry::Call;
use crate::observer::InstanceTotals;
use crate::sequence::Sequence;

#[derive(Debug)]
pub(crate) struct Instance<'d> {
    spec: &'d InstanceSpec,
    tier: Option<&'d TierSpec>,
    /// Whether tokens of batches in flight count as computed when an earlier one ends, as LLMServingSim has it.
    counts_in_flight: bool,
    /// Whether batches are formed with tokens that batches in flight have yet to yield.
    plans_ahead: bool,
    kv: KvCache,
    sequences: Slab<Sequence>,
    /// In order of admission.
    running: Vec<SequenceKey>,
    /// Preempted sequences, latest victim first, then by arrival and id.
    waiting: VecDeque<SequenceKey>,
    /// Prefilled elsewhere, and waiting here for room for their KV.
    arriving: VecDeque<Sequence>,
    pub(crate) totals: InstanceTotals,
}

/// What became of the sequences that leave an instance with a batch.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// They have all their tokens.
    pub(crate) finished: Vec<Sequence>,
    /// They go on to a decode instance.
    pub(crate) prefilled: Vec<Sequence>,
}

impl<'d> Instance<'d> {
    pub(crate) fn new(spec: &'d InstanceSpec, tier: Option<&'d TierSpec>, options: &RunOptions) -> Self {
        Self {
            spec,
            tier,
            counts_in_flight: options.polling == Polling::Reference,
            plans_ahead: options.engine.is_asynchronous(),
            kv: KvCache::new(spec.kv.num_blocks, spec.kv.block_size, spec.kv.prefix_caching),
            sequences: Slab::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            arriving: VecDeque::new(),
            totals: InstanceTotals::default(),
        }
    }

    pub(crate) fn num_running(&self) -> u64 {
        self.running.len() as u64
    }

    pub(crate) fn num_waiting(&self) -> u64 {
        (self.waiting.len() + self.arriving.len()) as u64
    }

    /// Whether it holds no request and no KV block.
    pub(crate) fn is_empty(&self) -> bool {
        self.sequences.is_empty() && self.arriving.is_empty() && self.kv.is_free()
    }

    /// KV blocks that sequences hold.
    pub(crate) fn kv_blocks_held(&self) -> u32 {
        self.kv.num_held()
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

    /// Takes over a sequence that was prefilled elsewhere, as soon as there is room for its KV.
    pub(crate) fn take_over(&mut self, sequence: Sequence, tiers: &mut [TierPool]) {
        self.arriving.push_back(sequence);
        self.admit_arriving(tiers);
        // It is the last to be admitted: if any is left, it is.
        self.totals.handoff_waits += u64::from(!self.arriving.is_empty());
    }

    /// Admits what was prefilled elsewhere, in order, up to the first that has no room.
    fn admit_arriving(&mut self, tiers: &mut [TierPool]) {
        while let Some(mut sequence) = self.arriving.pop_front() {
            let hit_blocks = self.kv.lookup(&sequence.hashes, sequence.computed_tokens);
            // Room for what it brings and for the token it computes next.
            let tokens = sequence.computed_tokens + 1;
            if !self.kv.allocate(&mut sequence.blocks, &sequence.hashes, hit_blocks, tokens, tokens) {
                self.arriving.push_front(sequence);
                return;
            }
            let key = self.sequences.insert(sequence);
            self.write_through(key, hit_blocks, tiers);
            self.running.push(key);
        }
    }

    /// Forms the next step's batch, if there is anything to run.
    pub(crate) fn form_batch(&mut self, now: Instant, tiers: &mut [TierPool]) -> Option<Batch> {
        self.admit_arriving(tiers);
        self.see_waiting(now);
        let mut batch = Batch::default();
        let mut budget = self.spec.scheduler.max_num_batched_tokens;
        let preempted = self.schedule_running(&mut batch, &mut budget, tiers);
        if !preempted {
            self.schedule_waiting(now, &mut batch, &mut budget, tiers);
        }
        for scheduled in &batch.scheduled {
            self.sequences[scheduled.sequence].scheduled_at(now);
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Notes which requests are here: the engine looks at them now.
    fn see_waiting(&mut self, now: Instant) {
        for &key in self.waiting.iter().rev() {
            let sequence = &mut self.sequences[key];
            if sequence.queued.is_some() || sequence.arrival > now {
                break;
            }
            sequence.queued = Some(now);
        }
    }

    /// Serves the running sequences; returns whether any was preempted.
    fn schedule_running(&mut self, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) -> bool {
        let mut preempted = false;
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            let key = self.running[index];
            let sequence = &self.sequences[key];
            let (computed, missing) = (sequence.computed_tokens, sequence.missing_tokens());
            if missing == 0 {
                // A batch in flight has yet to yield its next token.
                assert!(sequence.batches_in_flight > 0, "request {} runs with nothing to compute", sequence.id);
                index += 1;
                continue;
            }
            let tokens = self.capped(missing).min(*budget);
            while !self.allocate(key, computed + tokens, 0, batch, tiers) {
                let victim = self.running.pop().expect("the sequence that asks is still running");
                self.preempt(victim);
                preempted = true;
                if victim == key {
                    return true;
                }
            }
            self.advance(key, tokens, 0, batch);
            *budget -= tokens;
            index += 1;
        }
        preempted
    }

    /// Admits waiting requests, in order, up to the first that cannot start.
    fn schedule_waiting(&mut self, now: Instant, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) {
        let limits = self.spec.scheduler;
        while let Some(&key) = self.waiting.front() {
            let full = limits.max_num_seqs.is_some_and(|most| self.running.len() as u64 >= most);
            if *budget == 0 || full || self.sequences[key].arrival > now {
                return;
            }
            let sequence = &self.sequences[key];
            let found = self.find_prefix(sequence, tiers);
            let wanted = self.capped(sequence.reached_tokens - found.tokens());
            // Without chunking a prompt waits for a step that has room for all of it. A preempted sequence may have
            // grown beyond any step; it could never come back unless it is split.
            if !limits.chunked_prefill && wanted > *budget && wanted <= limits.max_num_batched_tokens {
                return;
            }
            let tokens = wanted.min(*budget);
            let full_tokens = sequence.reached_tokens.max(found.tokens());
            let all_fit = self.kv.can_hold(&sequence.blocks, &sequence.hashes, found.npu_blocks, full_tokens);
            if limits.reserve_full_isl && !all_fit {
                return;
            }
            if !self.allocate(key, found.tokens() + tokens, found.npu_blocks, batch, tiers) {
                return;
            }
            self.waiting.pop_front();
            self.running.push(key);
            self.admit(key, found, batch);
            // The decode side needs the KV of what is not computed here just as well.
            let found_tokens = if self.counts_in_flight { 0 } else { found.tokens() };
            self.advance(key, tokens, found_tokens, batch);
            *budget -= tokens;
        }
    }

    /// What the caches have of a sequence that starts.
    fn find_prefix(&self, sequence: &Sequence, tiers: &[TierPool]) -> FoundPrefix {
        if self.spec.skips_prefill && !sequence.has_first_token {
            return FoundPrefix { given_tokens: sequence.input_tokens - 1, ..FoundPrefix::default() };
        }
        // The last token reached must be computed to yield the next one, so it can't come from the cache.
        let npu_blocks = self.kv.lookup(&sequence.hashes, sequence.reached_tokens - 1);
        let npu_tokens = u64::from(npu_blocks) * u64::from(self.spec.kv.block_size);
        let tier = match self.spec.tier {
            Some(tier) => tiers[tier].lookup(&sequence.hashes, npu_tokens, sequence.reached_tokens),
            None => TierHit::default(),
        };
        // The tier may hold the last token too, but it has to be computed all the same.
        let tier_tokens = tier.tokens.min(sequence.reached_tokens - 1 - npu_tokens);
        FoundPrefix { npu_blocks, npu_tokens, tier_tokens, tier_blocks: tier.blocks, given_tokens: 0 }
    }

    /// Claims the blocks for a sequence of `tokens` tokens, the first `hit_blocks` from the cache.
    fn allocate(
        &mut self,
        key: SequenceKey,
        tokens: u64,
        hit_blocks: u32,
        batch: &mut Batch,
        tiers: &mut [TierPool],
    ) -> bool {
        let sequence = &mut self.sequences[key];
        let indexed = sequence.blocks.num_indexed() + hit_blocks;
        let allocated = self.kv.allocate(&mut sequence.blocks, &sequence.hashes, hit_blocks, tokens, tokens);
        if allocated {
            batch.write_through_bytes += self.write_through(key, indexed, tiers);
        }
        allocated
    }

    /// Writes what a sequence has indexed beyond `indexed` blocks to the tier below; returns the bytes.
    fn write_through(&mut self, key: SequenceKey, indexed: u32, tiers: &mut [TierPool]) -> u64 {
        let (Some(tier), Some(spec)) = (self.spec.tier, self.tier) else { return 0 };
        let sequence = &self.sequences[key];
        tiers[tier].write_through(&sequence.hashes, indexed, sequence.blocks.num_indexed()) * spec.bytes_per_block
    }

    /// Puts `tokens` tokens of a sequence into the batch, after the `found_tokens` that it starts with. They count as
    /// computed from here on.
    fn advance(&mut self, key: SequenceKey, tokens: u64, found_tokens: u64, batch: &mut Batch) {
        let kv_send_tokens = if self.spec.role == Role::Prefill { found_tokens + tokens } else { 0 };
        batch.kv_send_tokens += kv_send_tokens;
        let sequence = &mut self.sequences[key];
        let history = sequence.computed_tokens;
        batch.push(Scheduled {
            sequence: key,
            id: sequence.id,
            preemptions: sequence.preemptions,
            tokens,
            history,
            pim_length: match self.counts_in_flight {
                // LLMServingSim takes the prompt's length, whatever has been generated since.
                true => sequence.has_first_token.then_some(sequence.input_tokens),
                false => (tokens == 1).then_some(history + 1),
            },
            // LLMServingSim forgets them where it halves a batch.
            kv_send_tokens: if self.counts_in_flight { 0 } else { kv_send_tokens },
        });
        sequence.computed_tokens += tokens;
        sequence.batches_in_flight += 1;
        if self.plans_ahead && sequence.computed_tokens == sequence.reached_tokens + sequence.tokens_in_flight {
            sequence.tokens_in_flight += 1;
        }
    }

    /// Notes that a sequence starts, or starts again, with what the caches have of it.
    fn admit(&mut self, key: SequenceKey, found: FoundPrefix, batch: &mut Batch) {
        let sequence = &mut self.sequences[key];
        sequence.computed_tokens = found.tokens();
        sequence.prefix_hit_tokens = found.npu_tokens + found.tier_tokens;
        if let Some(tier) = self.tier {
            batch.recall_bytes += found.tier_blocks * tier.bytes_per_block;
        }
        if sequence.preemptions > 0 {
            self.totals.recomputed_tokens += sequence.reached_tokens - found.tokens();
        }
        if sequence.first_prefix_hit_tokens.is_none() {
            batch.new_requests += 1;
            sequence.first_prefix_hit_tokens = Some(sequence.prefix_hit_tokens);
            if self.spec.kv.prefix_caching {
                self.totals.prefix_lookup_tokens += sequence.input_tokens;
                self.totals.prefix_hit_tokens += found.npu_tokens;
                self.totals.tier_hit_tokens += found.tier_tokens;
            }
        }
    }

    /// Takes a running sequence's blocks away. It forgets how far it was; what its blocks hold may be found again.
    fn preempt(&mut self, key: SequenceKey) {
        let sequence = &mut self.sequences[key];
        self.kv.release(&mut sequence.blocks);
        sequence.computed_tokens = 0;
        sequence.batches_in_flight = 0;
        sequence.tokens_in_flight = 0;
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

    /// Takes in what a batch yielded.
    pub(crate) fn complete(&mut self, batch: &Batch, now: Instant, departures: &mut Departures) {
        self.totals.steps += 1;
        self.totals.dummy_steps += u64::from(batch.is_empty());
        let num_sequences = self.sequences.len();
        let mut waiting_departs = false;
        for scheduled in &batch.scheduled {
            if self.yields(scheduled, now) {
                // A preempted sequence may have had its last token in flight.
                waiting_departs |= self.sequences[scheduled.sequence].preemptions != scheduled.preemptions;
                self.depart(scheduled.sequence, departures);
            }
        }
        if self.sequences.len() < num_sequences {
            self.running.retain(|&key| self.sequences.contains(key));
        }
        if waiting_departs && self.plans_ahead {
            self.waiting.retain(|&key| self.sequences.contains(key));
        }
    }

    /// Takes in what a batch yielded for one sequence; returns whether it is through here.
    fn yields(&mut self, scheduled: &Scheduled, now: Instant) -> bool {
        // With several batches in flight, the sequence may have finished with an earlier one, or lost its blocks.
        let Some(sequence) = self.sequences.get_mut(scheduled.sequence).filter(|other| other.id == scheduled.id) else {
            return false;
        };
        let is_void = sequence.preemptions != scheduled.preemptions;
        // vLLM takes in the token of a sequence that has lost its blocks meanwhile: it was computed with them.
        if is_void && !self.counts_in_flight && !self.plans_ahead {
            return false;
        }
        if !is_void {
            sequence.batches_in_flight -= 1;
        }
        let computed =
            if self.counts_in_flight { sequence.computed_tokens } else { scheduled.history + scheduled.tokens };
        if !sequence.has_first_token && computed >= sequence.input_tokens {
            self.totals.prompt_tokens += scheduled.tokens + sequence.prefix_hit_tokens;
        } else if scheduled.tokens > 1 {
            self.totals.prompt_tokens += scheduled.tokens;
        }
        if computed < sequence.reached_tokens {
            return false;
        }
        let is_first_token = !sequence.has_first_token;
        sequence.tokens_in_flight = sequence.tokens_in_flight.saturating_sub(1);
        sequence.token_at(now);
        self.totals.generated_tokens += 1;
        sequence.is_finished() || (is_first_token && self.spec.role == Role::Prefill)
    }

    fn depart(&mut self, key: SequenceKey, departures: &mut Departures) {
        let mut sequence = self.sequences.remove(key);
        self.kv.release(&mut sequence.blocks);
        if sequence.is_finished() {
            self.totals.finished_requests += 1;
            departures.finished.push(sequence);
        } else {
            departures.prefilled.push(sequence);
        }
    }
}

/// What the caches have of a sequence.
#[derive(Clone, Copy, Debug, Default)]
struct FoundPrefix {
    npu_blocks: u32,
    npu_tokens: u64,
    tier_tokens: u64,
    /// Blocks of the tier to bring back.
    tier_blocks: u64,
    /// Tokens whose KV it brings along.
    given_tokens: u64,
}

impl FoundPrefix {
    fn tokens(&self) -> u64 {
        self.npu_tokens + self.tier_tokens + self.given_tokens
    }
}
