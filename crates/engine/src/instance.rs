//! One instance: its queues, its KV cache and its scheduler.
//!
//! The scheduler is vLLM V1's (`Scheduler.schedule` and `update_from_output`): sequences already running are served
//! first, in order of admission, and only they may preempt, from the tail of the running list. Waiting requests are
//! admitted while the budget lasts, first come first served, and never in a step that preempted.
//!
//! That loop looks at every running sequence, and most of the time it would find that each computes one more token. So
//! sequences that decode are left alone ([`Decoding`]), and only those that catch up with their prompts are looked at
//! ([`Instance::serve_in_step`]), as long as everybody gets what it wants whatever the order: where blocks or budget may
//! run short, and where the batches in flight overlap in other ways than one after the other, all are
//! ([`Instance::serve_one_by_one`]).

use std::collections::VecDeque;
use std::mem;

use kvcache::{KvCache, TierHit, TierPool};
use slab::Slab;
use units::{Instant, RequestId};

use crate::batch::{Batch, Scheduled, SequenceKey};
use crate::decoding::{Admission, Decoding, Span};
use crate::deployment::{InstanceSpec, Polling, Role, RunOptions, TierSpec};
use crate::entry::Call;
use crate::observer::{InstanceTotals, Observer};
use crate::sequence::Sequence;
use crate::tokens::StepLog;

/// Steps in the log before it is looked through for what nobody needs.
const LOG_STEPS_MIN: usize = 1024;

#[derive(Debug)]
pub(crate) struct Instance<'d> {
    spec: &'d InstanceSpec,
    tier: Option<&'d TierSpec>,
    /// Whether tokens of batches in flight count as computed when an earlier one ends, as LLMServingSim has it.
    counts_in_flight: bool,
    /// Whether batches are formed with tokens that batches in flight have yet to yield.
    plans_ahead: bool,
    /// Whether a running sequence takes part in every batch, so that it can be left alone while it decodes.
    keeps_step: bool,
    /// How many of the longest decodes the time of attention depends on.
    longest_max: usize,
    kv: KvCache,
    sequences: Slab<Sequence>,
    /// In order of admission.
    running: Vec<(Admission, SequenceKey)>,
    num_admitted: Admission,
    /// Running sequences that are left alone.
    decoding: Decoding,
    /// The other running ones that have something to compute, in order of admission.
    catching_up: Vec<(Admission, SequenceKey)>,
    /// Those that began to decode with the latest batch.
    joined: Vec<SequenceKey>,
    /// Those whose blocks grow in a batch, for [`Instance::grow_in_order`] to use again.
    growing: Vec<(Admission, SequenceKey, bool)>,
    /// What those that were left alone have in the batch of this number, which was in flight when that ended.
    unsettled: (u64, Vec<Scheduled>),
    /// Batches formed, and those of them that ended.
    num_formed: u64,
    num_ended: u64,
    log: StepLog,
    log_steps_max: usize,
    /// Batches to be used again.
    #[expect(clippy::vec_box, reason = "they are moved from place to place, and would be copied each time")]
    spare: Vec<Box<Batch>>,
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

impl Departures {
    pub(crate) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.prefilled.is_empty()
    }
}

impl<'d> Instance<'d> {
    /// An instance whose attention asks for `longest_max` of the longest decodes of a batch.
    pub(crate) fn new(
        spec: &'d InstanceSpec,
        tier: Option<&'d TierSpec>,
        options: &RunOptions,
        longest_max: usize,
    ) -> Self {
        let counts_in_flight = options.polling == Polling::Reference;
        let plans_ahead = options.engine.is_asynchronous();
        Self {
            spec,
            tier,
            counts_in_flight,
            plans_ahead,
            keeps_step: (spec.pp == 1 || plans_ahead) && !counts_in_flight && spec.pim.is_none(),
            longest_max,
            kv: KvCache::new(spec.kv.num_blocks, spec.kv.block_size, spec.kv.prefix_caching),
            sequences: Slab::new(),
            running: Vec::new(),
            num_admitted: 0,
            decoding: Decoding::new(spec.kv.block_size),
            catching_up: Vec::new(),
            joined: Vec::new(),
            growing: Vec::new(),
            unsettled: (0, Vec::new()),
            num_formed: 0,
            num_ended: 0,
            log: StepLog::starting_at(1),
            log_steps_max: LOG_STEPS_MIN,
            spare: Vec::new(),
            waiting: VecDeque::new(),
            arriving: VecDeque::new(),
            totals: InstanceTotals::default(),
        }
    }

    /// Has blocks only counted, since no request will have token ids.
    pub(crate) fn forget_prefixes(&mut self) {
        assert!(self.kv.is_free() && self.num_formed == 0, "blocks have been taken");
        self.kv = KvCache::new(self.spec.kv.num_blocks, self.spec.kv.block_size, false);
    }

    /// When its steps ended.
    pub(crate) fn log(&self) -> &StepLog {
        &self.log
    }

    pub(crate) fn num_running(&self) -> u64 {
        self.running.len() as u64
    }

    pub(crate) fn num_waiting(&self) -> u64 {
        (self.waiting.len() + self.arriving.len()) as u64
    }

    /// Whether it has a request to work on.
    pub(crate) fn has_work(&self) -> bool {
        !self.sequences.is_empty() || !self.arriving.is_empty()
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
        let hashes = if self.kv.is_caching() {
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
    pub(crate) fn take_over(&mut self, mut sequence: Sequence, tiers: &mut [TierPool]) {
        sequence.hand_over();
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
            self.start_running(key);
        }
    }

    /// Puts a sequence at the end of those that run.
    fn start_running(&mut self, key: SequenceKey) {
        let admission = self.num_admitted;
        self.num_admitted += 1;
        self.sequences[key].admission = admission;
        self.running.push((admission, key));
        self.catching_up.push((admission, key));
    }

    /// Forms the next step's batch, if there is anything to run.
    pub(crate) fn form_batch(&mut self, now: Instant, tiers: &mut [TierPool]) -> Option<Box<Batch>> {
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
        let mut num_blocks = self.decoding.takers(number).len() as u64;
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
            assert!(self.kv.take_ahead(self.decoding.takers(number).len() as u32), "there are blocks for all");
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
    pub(crate) fn complete(
        &mut self,
        mut batch: Box<Batch>,
        now: Instant,
        departures: &mut Departures,
        observer: &mut dyn Observer,
    ) {
        self.totals.steps += 1;
        if batch.is_empty() {
            self.totals.dummy_steps += 1;
            return;
        }
        self.note_end(batch.number, now);
        if self.unsettled.0 == batch.number {
            batch.scheduled.append(&mut self.unsettled.1);
            batch.scheduled.sort_by_key(|scheduled| scheduled.admission);
            batch.leaving.clear();
        } else if batch.num_decoding > 0 {
            self.totals.generated_tokens += batch.num_decoding;
            observer.tokens_yielded(self.log.since_last(batch.number), batch.num_decoding);
        }
        // Both lists are in order of admission, and so do sequences depart.
        let mut leaving = batch.leaving.drain(..).peekable();
        for scheduled in &batch.scheduled {
            while let Some((_, key)) = leaving.next_if(|leaving| leaving.0 < scheduled.admission) {
                self.depart(key, departures);
            }
            if self.yields(scheduled, batch.number, observer) {
                self.depart(scheduled.sequence, departures);
            }
        }
        for (_, key) in leaving {
            self.depart(key, departures);
        }
        self.spare.push(batch);
    }

    /// Notes that a batch ended, and forgets the ends that nobody needs when it has become many.
    fn note_end(&mut self, number: u64, now: Instant) {
        self.num_ended += 1;
        assert_eq!(number, self.num_ended, "batches end in the order in which they were formed");
        if self.log.len() >= self.log_steps_max {
            let wanted = self.sequences.iter().filter_map(|(_, sequence)| sequence.oldest_step());
            self.log.forget_before(wanted.min().unwrap_or(number - 1));
            self.log_steps_max = LOG_STEPS_MIN.max(2 * self.log.len());
        }
        self.log.push(now);
    }

    /// Takes in what a batch yielded for one sequence; returns whether it is through here.
    fn yields(&mut self, scheduled: &Scheduled, step: u64, observer: &mut dyn Observer) -> bool {
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
        if let Some(latency) = sequence.token_at(step, &self.log) {
            observer.tokens_yielded(latency, 1);
        }
        self.totals.generated_tokens += 1;
        sequence.is_finished() || (is_first_token && self.spec.role == Role::Prefill)
    }

    /// Lets a sequence go that is through here.
    fn depart(&mut self, key: SequenceKey, departures: &mut Departures) {
        let mut sequence = self.sequences.remove(key);
        sequence.settle(self.num_formed, self.num_ended, &self.log);
        if !self.kv.is_caching() {
            self.kv.credit(&mut sequence.blocks, sequence.computed_tokens);
        }
        self.kv.release(&mut sequence.blocks);
        match self.running.binary_search_by_key(&sequence.admission, |running| running.0) {
            Ok(place) => drop(self.running.remove(place)),
            // A preempted sequence may have had its last token in flight.
            Err(_) => self.waiting.retain(|&waiting| waiting != key),
        }
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
