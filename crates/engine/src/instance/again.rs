//! Batches that are like the one before.
//!
//! Where all sequences of a batch decode, the next one holds the same sequences with a token more each, until one of
//! them has all its tokens, somebody arrives, or blocks run short. How far that goes on is known once a batch is formed,
//! but for arrivals; so the scheduler has nothing to decide for those that follow ([`Formed::Again`]), and they are as
//! quickly formed, timed and taken in.

use units::Instant;

use super::Instance;
use crate::batch::{Batch, Formed};
use crate::observer::Observer;

impl Instance<'_> {
    /// The last batch that will be like this one, which was formed last; 0 if none will. Whatever changes the running or
    /// the waiting sequences ends it before.
    pub(super) fn last_like(&self, batch: &Batch) -> u64 {
        let is_last = !batch.scheduled.is_empty() || !batch.leaving.is_empty() || !self.catching_up.is_empty();
        if is_last || !self.repeats || self.kv.is_caching() || !self.arriving.is_empty() {
            return 0;
        }
        let is_full = || self.spec.scheduler.max_num_seqs.is_some_and(|most| self.running.len() as u64 >= most);
        if !self.waiting.is_empty() && !is_full() {
            return 0;
        }
        // In as many batches as a block has tokens, each sequence takes one.
        let num_rounds = u64::from(self.kv.num_free()) / batch.num_decoding;
        let with_blocks = batch.number + num_rounds * u64::from(self.spec.kv.block_size);
        self.decoding.first_leaving().map_or(0, |leaving| leaving.min(with_blocks))
    }

    /// Forms the next batch if it is like the one before.
    pub(crate) fn form_again(&mut self) -> Option<Formed> {
        let number = self.num_formed + 1;
        if number > self.again_until {
            return None;
        }
        assert!(self.kv.take_ahead(self.decoding.num_takers(number)), "there are blocks for all");
        self.num_formed = number;
        let num_sequences = self.decoding.len() as u64;
        let mut leaving = None;
        while let Some((admission, key)) = self.decoding.next_leaving(number) {
            let span = self.sequences[key].span.expect("it decodes");
            self.decoding.leave(span, admission);
            let batch = leaving.get_or_insert_with(|| self.decoding_batch(number, num_sequences));
            batch.leaving.push((admission, key));
        }
        Some(Formed::Again { num_sequences, leaving })
    }

    /// A batch of so many sequences that decode.
    pub(super) fn decoding_batch(&mut self, number: u64, num_sequences: u64) -> Box<Batch> {
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.begin(number, 0);
        batch.num_decoding = num_sequences;
        batch
    }

    /// Takes in the next token of sequences that decode, of each of which there will be more.
    pub(super) fn complete_again(&mut self, num_sequences: u64, now: Instant, observer: &mut dyn Observer) {
        let number = self.num_ended + 1;
        self.note_end(number, now);
        self.totals.generated_tokens += num_sequences;
        observer.tokens_yielded(self.log.since_last(number), num_sequences);
    }
}
