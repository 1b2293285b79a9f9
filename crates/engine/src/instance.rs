//! One instance: its queues, its KV cache and its scheduler.

mod again;
mod noting;
mod serving;

use std::collections::VecDeque;

use kvcache::{KvCache, TierPool};
use slab::Slab;
use units::{Instant, RequestId};

use crate::activity::{Notes, RequestMoment};
use crate::batch::{Batch, Formed, Scheduled, SequenceKey};
use crate::decoding::{Admission, Decoding};
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
    /// Whether a batch may be run again, if nothing speaks against it.
    repeats: bool,
    /// The last batch that is the latest again.
    again_until: u64,
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
    /// What is yet to be told, where anything is.
    notes: Option<Box<Notes>>,
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
    /// An instance whose attention asks for `longest_max` of the longest decodes of a batch, and which may run batches
    /// again, or not.
    pub(crate) fn new(
        spec: &'d InstanceSpec,
        tier: Option<&'d TierSpec>,
        options: &RunOptions,
        longest_max: usize,
        repeats: bool,
    ) -> Self {
        let counts_in_flight = options.polling == Polling::Reference;
        let plans_ahead = options.engine.is_asynchronous();
        let keeps_step = (spec.pp == 1 || plans_ahead) && !counts_in_flight && spec.pim.is_none();
        Self {
            spec,
            tier,
            counts_in_flight,
            plans_ahead,
            keeps_step,
            repeats: repeats && keeps_step,
            again_until: 0,
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
            notes: None,
        }
    }

    /// Has every batch be there for somebody who looks at them.
    pub(crate) fn look_closely(&mut self) {
        self.repeats = false;
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
        self.again_until = 0;
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
        if self.notes.is_some() {
            self.note_arrival(id, arrival, call);
        }
    }

    /// Takes over a sequence that was prefilled elsewhere, as soon as there is room for its KV.
    pub(crate) fn take_over(&mut self, mut sequence: Sequence, tiers: &mut [TierPool]) {
        self.again_until = 0;
        sequence.hand_over();
        self.note(sequence.id, RequestMoment::HandedOver);
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
            self.note(sequence.id, RequestMoment::Admitted);
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

    /// Takes in what a batch yielded.
    pub(crate) fn complete(
        &mut self,
        batch: Formed,
        now: Instant,
        departures: &mut Departures,
        observer: &mut dyn Observer,
    ) {
        self.totals.steps += 1;
        let mut batch = match batch {
            Formed::Again { num_sequences, leaving: None } if self.unsettled.0 != self.num_ended + 1 => {
                return self.complete_again(num_sequences, now, observer);
            }
            Formed::Again { num_sequences, leaving } => {
                leaving.unwrap_or_else(|| self.decoding_batch(self.num_ended + 1, num_sequences))
            }
            Formed::New(batch) => batch,
        };
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
        self.again_until = 0;
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
