//! What an instance runs next.
//!
//! The scheduler is vLLM V1's (`Scheduler.schedule` and `update_from_output`): sequences already running are served
//! first, in order of admission, and only they may preempt, from the tail of the running list. Waiting requests are
//! admitted while the budget lasts, first come first served, and never in a step that preempted.
//!
//! That loop looks at every running sequence, and most of the time it would find that each computes one more token. So
//! sequences that decode are left alone ([`crate::decoding`]), and only those that catch up with their prompts are looked
//! at (`serve_in_step`), as long as everybody gets what it wants whatever the order. Where blocks or budget may run
//! short, and where the batches in flight overlap in other ways than one after the other, all are (`serve_one_by_one`).

use std::mem;

use kvcache::{TierHit, TierPool};
use units::Instant;

use super::Instance;
use crate::activity::RequestMoment;
use crate::batch::{Batch, Scheduled, SequenceKey};
use crate::decoding::Span;
use crate::deployment::Role;
use crate::sequence::Sequence;

impl Instance<'_> {
    /// Forms the next step's batch, if there is anything to run.
    pub(crate) fn form_batch(&mut self, now: Instant, tiers: &mut [TierPool]) -> Option<Box<Batch>> {
        self.note_time(now);
        self.admit_arriving(tiers);
        self.see_waiting(now);
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.begin(self.num_formed + 1, self.longest_max);
        let mut budget = self.spec.scheduler.max_num_batched_tokens;
        let preempted = !self.serve_in_step(now, &mut batch, &mut budget, tiers)
            && self.serve_one_by_one(&mut batch, &mut budget, tiers);
        if !preempted {
            self.schedule_waiting(now, &mut batch, &mut budget, tiers);
        }
        self.catching_up.retain(|&(_, key)| self.sequences[key].catches_up());
        for scheduled in &batch.scheduled {
            self.sequences[scheduled.sequence].scheduled_at(now);
        }
        if batch.is_empty() {
            self.spare.push(batch);
            return None;
        }
        self.num_formed += 1;
        self.again_until = self.last_like(&batch);
        Some(batch)
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

    /// Serves the running sequences without looking at those that decode; returns whether it could.
    fn serve_in_step(&mut self, now: Instant, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) -> bool {
        let number = batch.number;
        let num_decoding = self.decoding.len() as u64;
        if !self.keeps_step || num_decoding > *budget {
            return false;
        }
        let mut left = *budget - num_decoding;
        let num_takers = self.decoding.num_takers(number);
        let mut num_blocks = u64::from(num_takers);
        let mut wanted = 0;
        for &(_, key) in &self.catching_up {
            let sequence = &self.sequences[key];
            let tokens = self.capped(sequence.missing_tokens());
            wanted += tokens;
            let tokens = tokens.min(left);
            left -= tokens;
            num_blocks += self.kv.num_missing(&sequence.blocks, sequence.computed_tokens + tokens);
        }
        let comes_last = || self.running[self.running.len() - self.catching_up.len()..] == self.catching_up[..];
        if num_blocks > u64::from(self.kv.num_free()) || (wanted > *budget - num_decoding && !comes_last()) {
            return false;
        }
        *budget -= num_decoding;
        // A batch that is formed before another has ended may hold sequences without a first token.
        for key in self.joined.drain(..) {
            self.sequences[key].scheduled_at(now);
        }
        batch.push_decoding(self.decoding.lengths(number), self.decoding.longest(number));
        if self.kv.is_caching() {
            self.grow_in_order(batch, budget, tiers);
        } else {
            assert!(self.kv.take_ahead(num_takers), "there are blocks for all");
            for index in 0..self.catching_up.len() {
                self.catch_up(self.catching_up[index].1, batch, budget, tiers);
            }
        }
        while let Some((admission, key)) = self.decoding.next_leaving(number) {
            let span = self.sequences[key].span.expect("it decodes");
            self.decoding.leave(span, admission);
            batch.leaving.push((admission, key));
        }
        true
    }

    /// Gives blocks to those that take or fill one in this batch, and to those that catch up, in order of admission: what
    /// is indexed last under a hash is what is found.
    fn grow_in_order(&mut self, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) {
        let number = batch.number;
        let mut growing = mem::take(&mut self.growing);
        growing.extend(self.decoding.takers(number).iter().map(|&(admission, key)| (admission, key, true)));
        if self.spec.kv.block_size > 1 {
            growing.extend(self.decoding.fillers(number).iter().map(|&(admission, key)| (admission, key, true)));
        }
        growing.extend(self.catching_up.iter().map(|&(admission, key)| (admission, key, false)));
        growing.sort_unstable();
        for (_, key, decodes) in growing.drain(..) {
            if !decodes {
                self.catch_up(key, batch, budget, tiers);
                continue;
            }
            let sequence = &self.sequences[key];
            let tokens = sequence.computed_tokens + sequence.span.map_or(0, |span| span.num_until(number));
            assert!(self.allocate(key, tokens, 0, batch, tiers), "there are blocks for all");
        }
        self.growing = growing;
    }

    /// Serves a sequence that catches up, for which there are blocks.
    fn catch_up(&mut self, key: SequenceKey, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) {
        let sequence = &self.sequences[key];
        let computed = sequence.computed_tokens;
        let tokens = self.capped(sequence.missing_tokens()).min(*budget);
        if tokens > 0 {
            assert!(self.allocate(key, computed + tokens, 0, batch, tiers), "there are blocks for all");
            self.advance(key, tokens, 0, batch);
            *budget -= tokens;
        }
    }

    /// Serves the running sequences one by one; returns whether any was preempted.
    fn serve_one_by_one(&mut self, batch: &mut Batch, budget: &mut u64, tiers: &mut [TierPool]) -> bool {
        self.settle_all();
        let mut preempted = false;
        let mut index = 0;
        'served: while index < self.running.len() && *budget > 0 {
            let (_, key) = self.running[index];
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
                let (_, victim) = self.running.pop().expect("the sequence that asks is still running");
                self.preempt(victim);
                preempted = true;
                if victim == key {
                    break 'served;
                }
            }
            self.advance(key, tokens, 0, batch);
            *budget -= tokens;
            index += 1;
        }
        self.catching_up.clone_from(&self.running);
        preempted
    }

    /// Ends that sequences are left alone.
    fn settle_all(&mut self) {
        self.joined.clear();
        if self.decoding.is_empty() && self.num_formed == self.num_ended {
            return;
        }
        self.decoding.clear();
        let number = self.num_formed;
        for &(_, key) in &self.running {
            let sequence = &mut self.sequences[key];
            let Some(span) = sequence.span else { continue };
            sequence.settle(self.num_formed, self.num_ended, &self.log);
            if !self.kv.is_caching() {
                self.kv.credit(&mut sequence.blocks, sequence.computed_tokens);
            }
            if number > self.num_ended && (span.first..=span.last).contains(&number) {
                if self.unsettled.0 != number {
                    self.unsettled.1.clear();
                    self.unsettled.0 = number;
                }
                self.unsettled.1.push(sequence.scheduled(key, 1, sequence.computed_tokens - 1));
            }
        }
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
            self.start_running(key);
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
    pub(super) fn write_through(&mut self, key: SequenceKey, indexed: u32, tiers: &mut [TierPool]) -> u64 {
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
            pim_length: match self.counts_in_flight {
                // LLMServingSim takes the prompt's length, whatever has been generated since.
                true => sequence.has_first_token.then_some(sequence.input_tokens),
                false => (tokens == 1).then_some(history + 1),
            },
            // LLMServingSim forgets them where it halves a batch.
            kv_send_tokens: if self.counts_in_flight { 0 } else { kv_send_tokens },
            ..sequence.scheduled(key, tokens, history)
        });
        sequence.computed_tokens += tokens;
        sequence.batches_in_flight += 1;
        let yields = sequence.computed_tokens == sequence.reached_tokens + sequence.tokens_in_flight;
        if yields && self.plans_ahead {
            sequence.tokens_in_flight += 1;
        }
        if yields && self.keeps_step && self.spec.role != Role::Prefill {
            self.leave_alone(key, batch.number);
        }
        if self.notes.is_some() {
            let what = RequestMoment::Scheduled { batch: batch.number, tokens, history, completes: yields };
            self.note(self.sequences[key].id, what);
        }
    }

    /// Leaves a sequence alone from the batch after `number` on, up to its last, if there is one.
    fn leave_alone(&mut self, key: SequenceKey, number: u64) {
        let sequence = &mut self.sequences[key];
        let num_batches = sequence.target_tokens - 1 - sequence.computed_tokens;
        if num_batches > 0 {
            let span = Span::new(number + 1, number + num_batches, sequence.computed_tokens);
            sequence.span = Some(span);
            self.decoding.join(span, sequence.admission, key);
            self.joined.push(key);
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
        let id = sequence.id;
        self.totals.preemptions += 1;
        self.waiting.push_front(key);
        self.note(id, RequestMoment::Preempted);
    }

    fn capped(&self, tokens: u64) -> u64 {
        match self.spec.scheduler.long_prefill_token_threshold {
            0 => tokens,
            threshold => tokens.min(threshold),
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
