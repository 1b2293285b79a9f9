//! Rows for the sentences of the contract, and random operations beside a slow model that is written from it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::hash::block_hashes;

const BLOCK_SIZE: u32 = 2;

/// Plays a script of whitespace-separated operations on a cache of 6 blocks and compares what is left.
///
/// A letter is a sequence; its upper case is another one with the same tokens. `a+3` looks up and allocates 3 blocks,
/// all indexed; `a?3` does neither look-up nor indexing; `a=2` indexes 2 blocks; `a-` releases. The result lists the
/// blocks of each sequence and then the free queue from its head, with a star after blocks that can still be hit; `!` is
/// a refusal.
fn check(script: &str, expected: &str) {
    let mut cache = KvCache::new(6, BLOCK_SIZE, true);
    let mut tables: BTreeMap<char, BlockTable> = BTreeMap::new();
    let mut actual = String::new();
    for operation in script.split_whitespace() {
        let mut chars = operation.chars();
        let (Some(name), Some(verb)) = (chars.next(), chars.next()) else { panic!("no operation: {operation}") };
        let num_tokens = chars.as_str().parse().unwrap_or(0) * u64::from(BLOCK_SIZE);
        let tokens: Vec<u32> = (0..100).map(|position| name.to_ascii_lowercase() as u32 * 1000 + position).collect();
        let hashes = block_hashes(&tokens, &[], BLOCK_SIZE);
        let table = tables.entry(name).or_default();
        let allocated = match verb {
            '+' => {
                let hits = if table.blocks.is_empty() { cache.lookup(&hashes, num_tokens) } else { 0 };
                cache.allocate(table, &hashes, hits, num_tokens, num_tokens)
            }
            '?' => cache.allocate(table, &hashes, 0, num_tokens, 0),
            '=' => {
                cache.index(table, &hashes, num_tokens);
                true
            }
            '-' => {
                cache.release(table);
                true
            }
            _ => panic!("no operation: {operation}"),
        };
        if !allocated {
            actual += &format!("{name}! ");
        }
    }
    for (name, table) in tables.iter().filter(|(_, table)| !table.blocks.is_empty()) {
        actual += &format!("{name}{:?} ", table.blocks);
    }
    actual += "free";
    // Emptying the queue is the one way to see it.
    while cache.num_free() > 0 {
        let num_cached = cache.num_cached_free();
        let block = cache.pool.take();
        let star = if cache.num_cached_free() < num_cached { "*" } else { "" };
        actual += &format!(" {block}{star}");
    }
    assert_eq!(actual, expected, "after {script}");
}

#[test]
fn blocks_are_taken_from_the_head_and_return_to_the_tail_in_reverse() {
    check("", "free 0 1 2 3 4 5");
    check("a+2", "a[0, 1] free 2 3 4 5");
    check("a?2 a-", "free 2 3 4 5 1 0");
    check("a+2 a-", "free 2 3 4 5 1* 0*");
    check("a+2 b+2 b- a-", "free 4 5 3* 2* 1* 0*");
    check("a+2 a- b+5", "b[2, 3, 4, 5, 1] free 0*");
    check("a+2 b+4 a- c+1 b-", "c[1] free 0* 5* 4* 3* 2*");
    check("a+2 b+1 a+3", "a[0, 1, 3] b[2] free 4 5");
}

#[test]
fn a_hit_shares_a_held_block_and_takes_a_free_one_out_of_the_queue() {
    check("a+2 A+3", "A[0, 1, 2] a[0, 1] free 3 4 5");
    check("a+2 A+3 a-", "A[0, 1, 2] free 3 4 5");
    check("a+2 A+3 a- A-", "free 3 4 5 2* 1* 0*");
    check("a+3 a- A+2", "A[0, 1] free 3 4 5 2*");
    // The middle of the queue: block 1 goes, its neighbours close the gap.
    check("a+1 b+1 c+1 a- b- c- B+1", "B[1] free 3 4 5 0* 2*");
    // A hit covers the prefix up to the first miss, even where later blocks are still there.
    check("a+3 a- b+5 A+1", "A[0] b[3, 4, 5, 2, 1] free");
}

#[test]
fn allocation_is_all_or_nothing() {
    check("a+7", "a! free 0 1 2 3 4 5");
    check("a+4 b+3", "b! a[0, 1, 2, 3] free 4 5");
    check("a+4 a+7", "a! a[0, 1, 2, 3] free 4 5");
    check("a+4 a+6", "a[0, 1, 2, 3, 4, 5] free");
    check("a+6 A+6", "A[0, 1, 2, 3, 4, 5] a[0, 1, 2, 3, 4, 5] free");
    // Three free hits and three more blocks are six, and only five are free.
    check("a+3 a- b?1 A+6", "A! b[3] free 4 5 2* 1* 0*");
    check("a+3 a- b?1 A+5", "A[0, 1, 2, 4, 5] b[3] free");
}

#[test]
fn the_newest_block_of_a_hash_is_the_one_that_is_found() {
    check("a?2 A?2 a=2 A=2 a-", "A[2, 3] free 4 5 1 0");
    check("a?2 A?2 a=2 A=2 A-", "a[0, 1] free 4 5 3* 2*");
    check("a?2 A?2 a=2 a- A=1", "A[2, 3] free 4 5 1* 0");
    check("a?2 A?2 a=2 a- A=2 A-", "free 4 5 1 0 3* 2*");
    // Taking the block that lost its hash leaves the index alone.
    check("a?1 A?1 a=1 A=1 a- b+5 A- A+1", "A[1] b[2, 3, 4, 5, 0] free");
}

#[test]
fn indexing_goes_on_where_it_stopped() {
    check("a?4 a=1 a-", "free 4 5 3 2 1 0*");
    check("a?4 a=1 a=3 a=2 a-", "free 4 5 3 2* 1* 0*");
    check("a+2 A+2 a- A=2 A-", "free 2 3 4 5 1* 0*");
}

#[test]
fn a_lookup_counts_whole_blocks_below_its_limit() {
    let mut cache = KvCache::new(8, 16, true);
    let mut table = BlockTable::default();
    let hashes = block_hashes(&[7; 100], &[], 16);
    assert!(cache.allocate(&mut table, &hashes, 0, 100, 64));
    assert_eq!(table.num_blocks(), 7);
    for (max_tokens, expected) in [(0, 0), (15, 0), (16, 1), (63, 3), (64, 4), (99, 4), (1000, 4)] {
        assert_eq!(cache.lookup(&hashes, max_tokens), expected, "of {max_tokens} tokens");
    }
    assert_eq!(cache.lookup(&[], 1000), 0);
}

#[test]
#[should_panic(expected = "no blocks yet")]
fn a_running_sequence_has_no_hits() {
    let mut cache = KvCache::new(8, 1, true);
    let mut table = BlockTable::default();
    let hashes = block_hashes(&[1, 2, 3], &[], 1);
    assert!(cache.allocate(&mut table, &hashes, 0, 2, 2));
    cache.can_hold(&table, &hashes, 1, 3);
}

/// The contract as plainly as it can be written: keys are whole prefixes, and every question walks everything.
struct SlowCache {
    block_size: usize,
    caching: bool,
    free: VecDeque<usize>,
    users: Vec<usize>,
    keys: Vec<Option<Vec<u32>>>,
    index: HashMap<Vec<u32>, usize>,
}

#[derive(Default)]
struct SlowTable {
    blocks: Vec<usize>,
    num_indexed: usize,
}

impl SlowCache {
    fn new(num_blocks: usize, block_size: usize, caching: bool) -> Self {
        let (free, keys) = ((0..num_blocks).collect(), vec![None; num_blocks]);
        Self { block_size, caching, free, users: vec![0; num_blocks], keys, index: HashMap::new() }
    }

    fn hits(&self, tokens: &[u32], max_tokens: usize) -> Vec<usize> {
        let limit = tokens.len().min(max_tokens);
        let ends = (1..).map(|block| block * self.block_size).take_while(|&end| end <= limit);
        ends.map_while(|end| self.index.get(&tokens[..end]).copied()).collect()
    }

    fn allocate(&mut self, table: &mut SlowTable, hits: &[usize], total_tokens: usize) -> bool {
        let num_required = total_tokens.div_ceil(self.block_size);
        let num_new = num_required.saturating_sub(table.blocks.len() + hits.len());
        let num_free_hits = self.free.iter().filter(|block| hits.contains(block)).count();
        if num_new + num_free_hits > self.free.len() {
            return false;
        }
        self.free.retain(|block| !hits.contains(block));
        table.num_indexed += hits.len();
        table.blocks.extend(hits);
        for _ in 0..num_new {
            let block = self.free.pop_front().expect("counted above");
            if let Some(key) = self.keys[block].take()
                && self.index.get(&key) == Some(&block)
            {
                self.index.remove(&key);
            }
            table.blocks.push(block);
        }
        for &block in &table.blocks[table.blocks.len() - num_new - hits.len()..] {
            self.users[block] += 1;
        }
        true
    }

    fn index(&mut self, table: &mut SlowTable, tokens: &[u32], num_tokens: usize) {
        if !self.caching {
            return;
        }
        let num_full = num_tokens.min(tokens.len()) / self.block_size;
        for position in table.num_indexed..num_full {
            let block = table.blocks[position];
            let key = tokens[..(position + 1) * self.block_size].to_vec();
            if self.keys[block].is_none() {
                self.keys[block] = Some(key.clone());
                self.index.insert(key, block);
            }
        }
        table.num_indexed = table.num_indexed.max(num_full);
    }

    fn release(&mut self, table: &mut SlowTable) {
        for block in std::mem::take(table).blocks.into_iter().rev() {
            self.users[block] -= 1;
            if self.users[block] == 0 {
                self.free.push_back(block);
            }
        }
    }

    fn num_cached_free(&self) -> usize {
        self.index.values().filter(|&&block| self.users[block] == 0).count()
    }
}

/// What may happen to one of the sequences.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Allocate { total_tokens: u32, index: bool },
    Index { num_tokens: u32 },
    Release,
}

fn operations() -> impl Strategy<Value = Vec<(usize, Operation)>> {
    let operation = prop_oneof![
        4 => (1..30u32, any::<bool>()).prop_map(|(total_tokens, index)| Operation::Allocate { total_tokens, index }),
        2 => (1..30u32).prop_map(|num_tokens| Operation::Index { num_tokens }),
        2 => Just(Operation::Release),
    ];
    vec((0..SEQUENCES, operation), 1..80)
}

const SEQUENCES: usize = 6;

/// Both caches with the sequences on them.
struct Pair {
    fast: KvCache,
    slow: SlowCache,
    sequences: Vec<(Vec<u32>, Vec<BlockHash>, BlockTable, SlowTable)>,
}

impl Pair {
    fn apply(&mut self, sequence: usize, operation: Operation) {
        let block_size = self.fast.block_size();
        let (tokens, hashes, table, slow_table) = &mut self.sequences[sequence];
        match operation {
            Operation::Allocate { total_tokens, index } => {
                let first = table.num_blocks() == 0;
                let hits = if first { self.slow.hits(tokens, total_tokens as usize - 1) } else { Vec::new() };
                let num_hits = if first { self.fast.lookup(hashes, u64::from(total_tokens) - 1) } else { 0 };
                assert_eq!(num_hits as usize, hits.len());
                let could = self.fast.can_hold(table, hashes, num_hits, u64::from(total_tokens));
                let index_tokens = if index { total_tokens } else { 0 };
                let did = self.fast.allocate(table, hashes, num_hits, u64::from(total_tokens), u64::from(index_tokens));
                assert_eq!((could, did), (did, self.slow.allocate(slow_table, &hits, total_tokens as usize)));
                if did {
                    self.slow.index(slow_table, tokens, index_tokens as usize);
                }
            }
            Operation::Index { num_tokens } => {
                let num_tokens = num_tokens.min(table.num_blocks() * block_size);
                self.fast.index(table, hashes, u64::from(num_tokens));
                self.slow.index(slow_table, tokens, num_tokens as usize);
            }
            Operation::Release => {
                self.fast.release(table);
                self.slow.release(slow_table);
            }
        }
    }

    fn assert_same(&self) {
        for (tokens, hashes, table, slow_table) in &self.sequences {
            assert_eq!(table.num_blocks() as usize, slow_table.blocks.len());
            // Without caching blocks have no identity.
            if self.fast.is_caching() {
                assert!(table.blocks.iter().map(|&block| block as usize).eq(slow_table.blocks.iter().copied()));
            }
            assert_eq!(self.fast.lookup(hashes, u64::MAX) as usize, self.slow.hits(tokens, usize::MAX).len());
        }
        assert_eq!(self.fast.num_free() as usize, self.slow.free.len());
        assert_eq!(self.fast.num_held() as usize, self.slow.users.iter().filter(|&&users| users > 0).count());
        assert_eq!(self.fast.num_cached_free() as usize, self.slow.num_cached_free());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Two different tokens and short sequences make shared prefixes, takeovers and full pools common.
    #[test]
    fn any_operations_leave_the_same_as_the_slow_model(
        num_blocks in 1..24u32,
        block_size in 1..5u32,
        caching in prop::bool::weighted(0.9),
        prompts in vec(vec(0..2u32, 0..24), SEQUENCES),
        operations in operations(),
    ) {
        let sequences = prompts.into_iter().map(|tokens| {
            let hashes = block_hashes(&tokens, &[], block_size);
            (tokens, hashes, BlockTable::default(), SlowTable::default())
        });
        let mut pair = Pair {
            fast: KvCache::new(num_blocks, block_size, caching),
            slow: SlowCache::new(num_blocks as usize, block_size as usize, caching),
            sequences: sequences.collect(),
        };
        for (sequence, operation) in operations {
            pair.apply(sequence, operation);
            pair.assert_same();
        }
        for sequence in 0..SEQUENCES {
            pair.apply(sequence, Operation::Release);
        }
        pair.assert_same();
        prop_assert!(pair.fast.is_free());
        if !caching {
            return Ok(());
        }
        // What is left in the queue, from head to tail.
        let left: Vec<usize> = (0..pair.fast.num_free()).map(|_| pair.fast.pool.take() as usize).collect();
        prop_assert!(left.iter().eq(&pair.slow.free));
    }
}

#[test]
fn blocks_taken_ahead_belong_to_their_sequences_in_the_end() {
    let mut cache = KvCache::new(6, BLOCK_SIZE, false);
    let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
    assert!(cache.allocate(&mut a, &[], 0, 2, 2) && cache.allocate(&mut b, &[], 0, 3, 3));
    assert!(cache.take_ahead(2) && !cache.take_ahead(2));
    assert_eq!((cache.num_held(), cache.num_free()), (5, 1));
    cache.credit(&mut a, 5);
    cache.credit(&mut b, 4);
    assert_eq!((a.num_blocks(), b.num_blocks(), cache.num_missing(&b, 5)), (3, 2, 1));
    cache.release(&mut a);
    cache.release(&mut b);
    assert!(cache.is_free());
}
