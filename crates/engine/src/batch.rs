//! What one step computes.

use latency::{AttentionShape, Decodes};
use units::RequestId;

use crate::decoding::{Admission, KvLengths};

/// Key of a sequence in its instance's table.
pub(crate) type SequenceKey = usize;

/// One step's work on one instance: which sequences advance by how many tokens, and the shape that gives its kernels.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Among the batches of its instance, from 1; dummies have no number.
    pub(crate) number: u64,
    /// All sequences but those that [`Decoding`](crate::decoding::Decoding) knows of.
    pub(crate) scheduled: Vec<Scheduled>,
    /// How many of those there are.
    pub(crate) num_decoding: u64,
    /// Those of them for which it is the last, in order of admission.
    pub(crate) leaving: Vec<(Admission, SequenceKey)>,
    pub(crate) shape: StepShape,
    /// The longest KV lengths of its decodes, longest first: up to so many as attention asks for.
    pub(crate) longest: Vec<u64>,
    longest_max: usize,
    /// Tokens whose KV a prefill instance sends on.
    pub(crate) kv_send_tokens: u64,
    /// Requests that start in it.
    pub(crate) new_requests: u64,
    /// Bytes of prefixes brought back from the tier below.
    pub(crate) recall_bytes: u64,
    /// Bytes of prefixes written to it, beside everything else.
    pub(crate) write_through_bytes: u64,
}

/// What an instance runs next.
#[derive(Debug)]
pub(crate) enum Formed {
    /// The sequences of the batch before, each with one token more: they all decode.
    Again {
        num_sequences: u64,
        /// Those for which it is the last, if there are any.
        leaving: Option<Box<Batch>>,
    },
    /// A batch that is not like the one before.
    New(Box<Batch>),
}

impl Formed {
    /// Sequences in it; none in a dummy.
    pub(crate) fn num_sequences(&self) -> u64 {
        match self {
            Formed::Again { num_sequences, .. } => *num_sequences,
            Formed::New(batch) => batch.num_sequences(),
        }
    }

    /// Requests that start in it.
    pub(crate) fn new_requests(&self) -> u64 {
        self.batch().map_or(0, |batch| batch.new_requests)
    }

    /// What it computes, where that does not follow from the one before.
    pub(crate) fn batch(&self) -> Option<&Batch> {
        match self {
            Formed::Again { .. } => None,
            Formed::New(batch) => Some(batch),
        }
    }

    /// The same, to be padded.
    pub(crate) fn batch_mut(&mut self) -> Option<&mut Batch> {
        match self {
            Formed::Again { .. } => None,
            Formed::New(batch) => Some(batch),
        }
    }
}

/// One sequence's part of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    pub(crate) sequence: SequenceKey,
    pub(crate) id: RequestId,
    pub(crate) admission: Admission,
    /// How often the sequence had been preempted: if it is once more, this part is void.
    pub(crate) preemptions: u64,
    pub(crate) tokens: u64,
    /// Tokens of KV it has already.
    pub(crate) history: u64,
    /// KV length that its attention in memory works on, where it is done there.
    pub(crate) pim_length: Option<u64>,
    /// Its part of [`Batch::kv_send_tokens`], if the batch is halved.
    pub(crate) kv_send_tokens: u64,
}

/// What the time of a step depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepShape {
    /// Tokens computed, padding included.
    pub(crate) tokens: u64,
    /// Sequences that get logits, padding included.
    pub(crate) sequences: u64,
    prefill_tokens: u64,
    prefill_history: u64,
    num_decodes: u64,
    kv_decode_sum: u64,
    kv_decode_max: u64,
    kv_decode_min: u64,
}

impl StepShape {
    /// Adds `tokens` tokens of a sequence that has `history` tokens of KV. One token is a decode, more are a prefill
    /// chunk, whatever the sequence's phase: that is how kernels see them.
    fn add(&mut self, tokens: u64, history: u64) {
        self.tokens += tokens;
        self.sequences += 1;
        if tokens > 1 {
            self.prefill_tokens += tokens;
            self.prefill_history += history;
            return;
        }
        self.kv_decode_min = if self.num_decodes == 0 { history } else { self.kv_decode_min.min(history) };
        self.kv_decode_max = self.kv_decode_max.max(history);
        self.kv_decode_sum += history;
        self.num_decodes += 1;
    }

    /// Adds sequences that decode.
    fn add_decodes(&mut self, lengths: KvLengths) {
        let KvLengths { count, sum, max, min } = lengths;
        self.tokens += count;
        self.sequences += count;
        self.kv_decode_min = if self.num_decodes == 0 { min } else { self.kv_decode_min.min(min) };
        self.kv_decode_max = self.kv_decode_max.max(max);
        self.kv_decode_sum += sum;
        self.num_decodes += count;
    }

    /// Grows the step to `tokens` tokens, as a group pads all its members to the largest. Dense layers and logits grow;
    /// attention does not, since padded entries have no KV to read.
    pub(crate) fn pad_to(&mut self, tokens: u64) {
        self.sequences += tokens - self.tokens;
        self.tokens = tokens;
    }

    /// Grows the step to `tokens` tokens, but not by logits: those of padding are never taken.
    pub(crate) fn pad_tokens_to(&mut self, tokens: u64) {
        self.tokens = tokens;
    }

    /// Whether every sequence computes one token.
    pub(crate) fn is_decode_only(&self) -> bool {
        self.prefill_tokens == 0
    }

    /// The same step where attention of the decodes happens elsewhere.
    pub(crate) fn without_decodes(&self) -> Self {
        Self { num_decodes: 0, kv_decode_sum: 0, kv_decode_max: 0, kv_decode_min: 0, ..*self }
    }

    pub(crate) fn attention(&self) -> AttentionShape {
        AttentionShape {
            prefill_tokens: self.prefill_tokens,
            prefill_history: self.prefill_history,
            num_decodes: self.num_decodes,
            kv_decode_mean: self.kv_decode_sum.checked_div(self.num_decodes).unwrap_or(0),
            kv_decode_max: self.kv_decode_max,
            kv_decode_min: self.kv_decode_min,
        }
    }
}

impl Batch {
    /// The step of a member with nothing to run: one decode with one token of KV.
    pub(crate) fn dummy() -> Self {
        let mut batch = Self::default();
        batch.shape.add(1, 1);
        batch
    }

    /// Empties it, so that it may serve as batch `number`, and has it remember up to `longest_max` of the longest decodes.
    pub(crate) fn begin(&mut self, number: u64, longest_max: usize) {
        self.scheduled.clear();
        self.leaving.clear();
        self.longest.clear();
        self.shape = StepShape::default();
        (self.number, self.longest_max, self.num_decoding) = (number, longest_max, 0);
        (self.kv_send_tokens, self.new_requests, self.recall_bytes, self.write_through_bytes) = (0, 0, 0, 0);
    }

    pub(crate) fn push(&mut self, scheduled: Scheduled) {
        self.scheduled.push(scheduled);
        self.shape.add(scheduled.tokens, scheduled.history);
        if scheduled.tokens == 1 && self.longest_max > 0 {
            let place = self.longest.partition_point(|&length| length >= scheduled.history);
            self.longest.insert(place, scheduled.history);
            self.longest.truncate(self.longest_max);
        }
    }

    /// Adds the sequences that decode; nothing may be in it before.
    pub(crate) fn push_decoding(&mut self, lengths: KvLengths, longest: impl Iterator<Item = u64>) {
        assert!(self.is_empty(), "those that decode come first");
        self.num_decoding = lengths.count;
        self.shape.add_decodes(lengths);
        self.longest.extend(longest.take(self.longest_max));
    }

    /// What attention needs to know of its decodes.
    pub(crate) fn decodes(&self) -> Decodes<'_> {
        let StepShape { num_decodes, kv_decode_sum, kv_decode_max, kv_decode_min, .. } = self.shape;
        Decodes {
            count: num_decodes,
            sum: kv_decode_sum,
            max: kv_decode_max,
            min: kv_decode_min,
            longest: &self.longest,
        }
    }

    /// Tokens of KV of its decodes, of all together and of the one that has most.
    pub(crate) fn kv_decode_tokens(&self) -> (u64, u64) {
        (self.shape.kv_decode_sum, self.shape.kv_decode_max)
    }

    /// Sequences in it; none in a dummy.
    pub(crate) fn num_sequences(&self) -> u64 {
        self.num_decoding + self.scheduled.len() as u64
    }

    /// Tokens before padding; 1 for a dummy.
    pub(crate) fn num_tokens(&self) -> u64 {
        (self.num_decoding + self.scheduled.iter().map(|scheduled| scheduled.tokens).sum::<u64>()).max(1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.num_sequences() == 0
    }
}
