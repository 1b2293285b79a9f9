//! Sequences that decode: one token in every batch, until they have all.
//!
//! Most steps of most runs change nothing but the length of what is running. So a sequence that has computed all it has
//! is not looked at again until something happens to it: it says in which batches it takes part, and what a batch needs
//! to know of all such sequences together is kept up to date as they come and go. In batch `b` a sequence has
//! `offset + b` tokens of KV, so sum, longest and shortest follow from those of the offsets; it takes a block in every
//! `block_size`-th batch, so those that do are found by `b mod block_size`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::batch::SequenceKey;

/// Place in the order of admission to an instance, the order in which running sequences are served.
pub(crate) type Admission = u64;

/// The batches in which a sequence decodes, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// KV length in a batch less the batch's number.
    offset: i64,
}

impl Span {
    /// From batch `first` to batch `last`, with `history` tokens of KV in the first.
    pub(crate) fn new(first: u64, last: u64, history: u64) -> Self {
        Self { first, last, offset: history as i64 - first as i64 }
    }

    /// How many of its batches are not after batch `number`.
    pub(crate) fn num_until(&self, number: u64) -> u64 {
        (number.min(self.last) + 1).saturating_sub(self.first)
    }
}

#[derive(Debug)]
pub(crate) struct Decoding {
    block_size: i64,
    /// One less than the block size, where that is a power of two, as it nearly always is.
    block_mask: Option<u64>,
    /// Of the sequences in the next batch, in ascending order.
    offsets: Vec<i64>,
    sum: i64,
    leaving: BinaryHeap<Reverse<(u64, Admission, SequenceKey)>>,
    /// By the batches, modulo the block size, in which they take a block; each in order of admission.
    takers: Vec<Vec<(Admission, SequenceKey)>>,
}

/// KV lengths of all sequences that decode in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvLengths {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) max: u64,
    pub(crate) min: u64,
}

impl Decoding {
    pub(crate) fn new(block_size: u32) -> Self {
        Self {
            block_size: i64::from(block_size),
            block_mask: block_size.is_power_of_two().then(|| u64::from(block_size) - 1),
            offsets: Vec::new(),
            sum: 0,
            leaving: BinaryHeap::new(),
            takers: vec![Vec::new(); block_size as usize],
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn join(&mut self, span: Span, admission: Admission, key: SequenceKey) {
        let place = self.offsets.partition_point(|&offset| offset < span.offset);
        self.offsets.insert(place, span.offset);
        self.sum += span.offset;
        self.leaving.push(Reverse((span.last, admission, key)));
        let takers = &mut self.takers[span.offset.wrapping_neg().rem_euclid(self.block_size) as usize];
        let place = takers.partition_point(|taker| taker.0 < admission);
        takers.insert(place, (admission, key));
    }

    /// The next of those whose last batch is `number`, in order of admission; [`leave`](Self::leave) must follow.
    pub(crate) fn next_leaving(&mut self, number: u64) -> Option<(Admission, SequenceKey)> {
        let &Reverse((last, admission, key)) = self.leaving.peek()?;
        assert!(last >= number, "a sequence has decoded all it can");
        (last == number).then(|| {
            self.leaving.pop();
            (admission, key)
        })
    }

    /// The first batch that is the last for somebody.
    pub(crate) fn first_leaving(&self) -> Option<u64> {
        self.leaving.peek().map(|&Reverse((last, ..))| last)
    }

    /// Takes a sequence out.
    pub(crate) fn leave(&mut self, span: Span, admission: Admission) {
        let place = self.offsets.partition_point(|&offset| offset < span.offset);
        assert_eq!(self.offsets.remove(place), span.offset, "only what has joined can leave");
        self.sum -= span.offset;
        let takers = &mut self.takers[span.offset.wrapping_neg().rem_euclid(self.block_size) as usize];
        let place = takers.binary_search_by_key(&admission, |taker| taker.0);
        takers.remove(place.expect("what has joined takes blocks"));
    }

    /// Takes all out.
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
        self.sum = 0;
        self.leaving.clear();
        self.takers.iter_mut().for_each(Vec::clear);
    }

    /// Those that take a block in batch `number`, in order of admission.
    pub(crate) fn takers(&self, number: u64) -> &[(Admission, SequenceKey)] {
        let place = self.block_mask.map_or_else(|| number % self.block_size as u64, |mask| number & mask);
        &self.takers[place as usize]
    }

    /// How many those are.
    pub(crate) fn num_takers(&self, number: u64) -> u32 {
        self.takers(number).len() as u32
    }

    /// Those that fill a block in batch `number`, in order of admission.
    pub(crate) fn fillers(&self, number: u64) -> &[(Admission, SequenceKey)] {
        self.takers(number + 1)
    }

    /// KV lengths in batch `number`.
    pub(crate) fn lengths(&self, number: u64) -> KvLengths {
        let (count, number) = (self.offsets.len() as u64, number as i64);
        let length = |offset: Option<&i64>| offset.map_or(0, |offset| (offset + number) as u64);
        KvLengths {
            count,
            sum: (self.sum + number * count as i64) as u64,
            max: length(self.offsets.last()),
            min: length(self.offsets.first()),
        }
    }

    /// The longest KV lengths in batch `number`, longest first.
    pub(crate) fn longest(&self, number: u64) -> impl Iterator<Item = u64> {
        self.offsets.iter().rev().map(move |offset| (offset + number as i64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_sees_of_those_that_decode() {
        let mut decoding = Decoding::new(4);
        let spans = [(Span::new(3, 9, 10), 5, 0), (Span::new(3, 7, 7), 2, 1), (Span::new(4, 7, 12), 9, 2)];
        spans.iter().for_each(|&(span, admission, key)| decoding.join(span, admission, key));
        // In batch 4 they have 11, 8 and 12 tokens, so the last two take a block.
        assert_eq!(decoding.lengths(4), KvLengths { count: 3, sum: 31, max: 12, min: 8 });
        assert_eq!(decoding.longest(4).collect::<Vec<_>>(), [12, 11, 8]);
        assert_eq!(decoding.takers(4), [(2, 1), (9, 2)]);
        assert_eq!(decoding.fillers(4), [(5, 0)]);
        assert_eq!(decoding.next_leaving(6), None);
        for (span, admission, key) in [spans[1], spans[2]] {
            assert_eq!(decoding.next_leaving(7), Some((admission, key)));
            decoding.leave(span, admission);
        }
        assert_eq!(decoding.next_leaving(7), None);
        assert_eq!(decoding.lengths(8), KvLengths { count: 1, sum: 15, max: 15, min: 15 });
        assert_eq!((spans[0].0.num_until(2), spans[0].0.num_until(4), spans[0].0.num_until(20)), (0, 2, 7));
        decoding.clear();
        assert_eq!(decoding.lengths(8), KvLengths { count: 0, sum: 0, max: 0, min: 0 });
    }
}
