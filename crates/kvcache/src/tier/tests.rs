//! Rows for the boundaries, and random operations beside a slow model that lists whole prefixes in order of writing.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{BlockTable, KvCache, block_hashes};

const FINE: u32 = 2;
const COARSE: u32 = 8;

fn hashes_of(tokens: u32) -> Vec<BlockHash> {
    block_hashes(&(0..tokens).collect::<Vec<_>>(), &[], FINE)
}

#[test]
fn a_hit_gains_whole_coarse_blocks_or_nothing() {
    let hashes = hashes_of(100);
    // Coarse blocks end at 8, 16, 24, 32, ...; which of them are in the tier is given by their place, from 0.
    let check = |written: &[u32], npu_hit_tokens, reached_tokens, tokens, blocks| {
        let mut tier = TierPool::new(20, COARSE, FINE);
        for block in written {
            assert_eq!(tier.write_through(&hashes, block * 4, block * 4 + 4), 1);
        }
        let hit = tier.lookup(&hashes, npu_hit_tokens, reached_tokens);
        assert_eq!(hit, TierHit { tokens, blocks }, "{written:?}, {npu_hit_tokens} of {reached_tokens} on the NPU");
    };
    check(&[], 0, 100, 0, 0);
    // From nothing on the NPU; the last block counts from its last token on.
    check(&[0, 1, 2], 0, 100, 24, 3);
    check(&[0, 1, 2], 0, 24, 24, 3);
    check(&[0, 1, 2], 0, 23, 16, 2);
    check(&[0, 1, 2], 0, 8, 8, 1);
    check(&[0, 1, 2], 0, 7, 0, 0);
    check(&[0, 1, 2], 0, 0, 0, 0);
    // The first miss ends it.
    check(&[0, 2], 0, 100, 8, 1);
    check(&[1, 2], 0, 100, 0, 0);
    // An NPU hit up to a boundary needs nothing before it.
    check(&[1, 2], 8, 100, 16, 2);
    check(&[2], 16, 100, 8, 1);
    check(&[2], 24, 100, 0, 0);
    // An NPU hit within a coarse block moves all of it, for less gain.
    check(&[0, 1], 2, 100, 14, 2);
    check(&[0, 1], 6, 100, 10, 2);
    check(&[1, 2], 14, 100, 10, 2);
    check(&[1, 2], 6, 100, 0, 0);
    // Less than a whole coarse block gained.
    check(&[0], 2, 100, 0, 0);
    check(&[0, 1], 10, 100, 0, 0);
    check(&[0, 1], 10, 17, 0, 0);
    check(&[0, 1, 2], 14, 21, 0, 0);
    // Everything is on the NPU.
    check(&[0, 1, 2], 24, 24, 0, 0);
    check(&[0, 1, 2], 22, 24, 0, 0);
}

#[test]
fn a_coarse_block_is_written_once_when_all_of_it_is_indexed() {
    let hashes = hashes_of(100);
    let mut tier = TierPool::new(20, COARSE, FINE);
    let mut check = |before, after, written, used| {
        assert_eq!(tier.write_through(&hashes, before, after), written, "from {before} to {after} fine blocks");
        assert_eq!(tier.num_used(), used, "from {before} to {after} fine blocks");
    };
    check(0, 3, 0, 0);
    check(3, 4, 1, 1);
    check(0, 4, 0, 1);
    check(2, 7, 0, 1);
    check(7, 12, 2, 3);
    check(12, 12, 0, 3);
    // A hit that ends within a coarse block, which the sequence completes.
    check(18, 20, 1, 4);
    // Nothing that was hit as a whole is written, though block 3 never was.
    check(16, 23, 0, 4);
    // The chain ends after 50 fine blocks, so only 12 coarse blocks have a key.
    check(44, 80, 1, 5);
    assert_eq!(tier.write_through(&[], 0, 40), 0);
}

#[test]
fn the_copy_written_longest_ago_goes_first_whatever_was_hit() {
    let hashes = hashes_of(100);
    let mut tier = TierPool::new(3, COARSE, FINE);
    assert_eq!(tier.write_through(&hashes, 0, 12), 3);
    assert_eq!(tier.lookup(&hashes, 0, 100).blocks, 3);
    // Neither the hit nor the second write makes the first copy younger.
    assert_eq!(tier.write_through(&hashes, 0, 4), 0);
    assert_eq!(tier.write_through(&hashes, 12, 16), 1);
    assert_eq!(tier.lookup(&hashes, 0, 100), TierHit::default());
    assert_eq!(tier.lookup(&hashes, 8, 100), TierHit { tokens: 24, blocks: 3 });
    assert_eq!((tier.num_used(), tier.num_blocks(), tier.tokens_per_block()), (3, 3, 8));
    // One write through a tier smaller than the sequence keeps its end.
    assert_eq!(tier.write_through(&hashes, 16, 40), 6);
    assert_eq!(tier.lookup(&hashes, 56, 100), TierHit { tokens: 24, blocks: 3 });
    assert_eq!(tier.lookup(&hashes, 48, 100), TierHit::default());
}

#[test]
#[should_panic(expected = "no key")]
fn a_coarse_block_is_a_multiple_of_a_fine_one() {
    TierPool::new(1, 256, 48);
}

#[test]
fn recalled_tokens_are_allocated_and_indexed_like_computed_ones() {
    let mut cache = KvCache::new(12, FINE, true);
    let mut tier = TierPool::new(4, COARSE, FINE);
    let hashes = hashes_of(20);
    let mut first = BlockTable::default();
    assert!(cache.allocate(&mut first, &hashes, 0, 20, 20));
    assert_eq!(tier.write_through(&hashes, 0, first.num_indexed()), 2);
    cache.release(&mut first);
    // Other sequences take 11 of the 12 blocks; of the first one only the first block is left.
    let mut other = BlockTable::default();
    assert!(cache.allocate(&mut other, &[], 0, 22, 22));
    cache.release(&mut other);

    let hit_blocks = cache.lookup(&hashes, 19);
    let hit_tokens = u64::from(hit_blocks * FINE);
    let recalled = tier.lookup(&hashes, hit_tokens, 20);
    assert_eq!((hit_blocks, recalled), (1, TierHit { tokens: 14, blocks: 2 }));
    // Hit and recall make 16 tokens, and 4 are to compute.
    let total_tokens = hit_tokens + recalled.tokens + 4;
    let mut again = BlockTable::default();
    assert!(cache.allocate(&mut again, &hashes, hit_blocks, total_tokens, total_tokens));
    assert_eq!((again.num_blocks(), again.num_indexed()), (10, 10));
    assert_eq!(tier.write_through(&hashes, hit_blocks, again.num_indexed()), 0);
    assert_eq!(cache.lookup(&hashes, 20), 10);
    cache.release(&mut again);
    assert!(cache.is_free());
}

/// The decode side of a split: 15 tokens come computed, the 16th is the first one yielded.
#[test]
fn a_sequence_that_arrives_computed_claims_all_its_blocks_at_once() {
    let hashes = hashes_of(16);
    for num_cached in [0, 3, 7] {
        let mut cache = KvCache::new(16, FINE, true);
        let mut earlier = BlockTable::default();
        assert!(cache.allocate(&mut earlier, &hashes, 0, num_cached * u64::from(FINE), num_cached * u64::from(FINE)));
        cache.release(&mut earlier);
        let hit_blocks = cache.lookup(&hashes, 15);
        assert_eq!(u64::from(hit_blocks), num_cached);
        let mut table = BlockTable::default();
        assert!(cache.allocate(&mut table, &hashes, hit_blocks, 16, 16));
        assert_eq!((table.num_blocks(), table.num_indexed(), cache.num_held()), (8, 8, 8));
        // The next token needs a block of its own; a chain that ends before it leaves it out of the index.
        assert!(cache.allocate(&mut table, &hashes, 0, 17, 17));
        assert_eq!((table.num_blocks(), table.num_indexed(), cache.num_held()), (9, 8, 9));
    }
}

/// The tier as plainly as it can be written: whole prefixes, in the order they were written.
struct SlowTier {
    num_blocks: usize,
    factor: usize,
    coarse: usize,
    prefixes: Vec<Vec<u32>>,
}

impl SlowTier {
    fn lookup(&self, tokens: &[u32], npu_hit: usize, reached: usize) -> TierHit {
        let mut end = npu_hit - npu_hit % self.coarse;
        let mut blocks = 0;
        while end + self.coarse <= reached
            && tokens.get(..end + self.coarse).is_some_and(|prefix| self.prefixes.iter().any(|here| here == prefix))
        {
            end += self.coarse;
            blocks += 1;
        }
        if end < npu_hit + self.coarse {
            return TierHit::default();
        }
        TierHit { tokens: (end - npu_hit) as u64, blocks }
    }

    fn write_through(&mut self, tokens: &[u32], before: usize, after: usize) -> u64 {
        let mut written = 0;
        for block in before / self.factor..after / self.factor {
            let Some(prefix) = tokens.get(..(block + 1) * self.coarse) else { break };
            if self.prefixes.iter().any(|here| here == prefix) {
                continue;
            }
            if self.prefixes.len() == self.num_blocks {
                self.prefixes.remove(0);
            }
            self.prefixes.push(prefix.to_vec());
            written += 1;
        }
        written
    }
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Lookup { npu_hit: u32, reached: u32 },
    Write { before: u32, after: u32 },
}

const PROMPTS: usize = 5;
const LONGEST: u32 = 40;

fn operations() -> impl Strategy<Value = Vec<(usize, Operation)>> {
    let lookup =
        (0..=LONGEST, 0..=LONGEST).prop_map(|(a, b)| Operation::Lookup { npu_hit: a.min(b), reached: a.max(b) });
    let write = (0..=LONGEST, 0..=LONGEST).prop_map(|(a, b)| Operation::Write { before: a.min(b), after: a.max(b) });
    vec((0..PROMPTS, prop_oneof![lookup, write]), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Prompts are few, and two different tokens make shared prefixes common.
    #[test]
    fn any_operations_leave_the_same_as_the_slow_model(
        num_blocks in 1..8u32,
        fine in 1..4u32,
        factor in 1..5u32,
        prompts in vec(vec(0..2u32, 0..LONGEST as usize), PROMPTS),
        operations in operations(),
    ) {
        let coarse = fine * factor;
        let mut tier = TierPool::new(num_blocks, coarse, fine);
        let (num_blocks, factor, coarse) = (num_blocks as usize, factor as usize, coarse as usize);
        let mut slow = SlowTier { num_blocks, factor, coarse, prefixes: Vec::new() };
        for (prompt, operation) in operations {
            let tokens = &prompts[prompt];
            let hashes = block_hashes(tokens, &[], fine);
            match operation {
                Operation::Lookup { npu_hit, reached } => {
                    let npu_hit = npu_hit / fine * fine;
                    let expected = slow.lookup(tokens, npu_hit as usize, reached as usize);
                    prop_assert_eq!(tier.lookup(&hashes, u64::from(npu_hit), u64::from(reached)), expected);
                    prop_assert!(expected.tokens <= expected.blocks * coarse as u64);
                }
                Operation::Write { before, after } => {
                    let expected = slow.write_through(tokens, before as usize, after as usize);
                    prop_assert_eq!(tier.write_through(&hashes, before, after), expected);
                }
            }
            prop_assert_eq!(tier.num_used() as usize, slow.prefixes.len());
        }
    }
}
