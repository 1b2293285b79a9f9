//! The KV cache of one instance: what sequences do with the pool.
//!
//! Admission and allocation are one step that happens whole or not at all (vLLM's `KVCacheManager.allocate_slots`). A
//! sequence that grows to `n` tokens needs `⌈n / block_size⌉` blocks. Of these it already has those in its table, and
//! the prefix hits with which it starts; but a hit in the free queue leaves it, so it uses up capacity as a new block
//! does (`get_num_blocks_to_allocate`).
//!
//! # Tokens that are computed elsewhere
//!
//! Only tokens whose blocks are in this cache are hits. Tokens that come from a lower tier are recalled into new blocks,
//! which are then indexed like computed ones: with `h` hit blocks, `r` recalled tokens and `c` tokens to compute,
//! [`KvCache::allocate`] gets `h` and `total_tokens = index_tokens = h · block_size + r + c`. The decode side of a
//! prefill/decode split takes over a sequence in the same way: all its tokens but the last are computed on arrival, so
//! it looks up what it has of them and allocates the length reached, which is one more, at once.
//!
//! # Without caching
//!
//! Where nothing is found again, one block is as good as another: they are counted and have no identity, so that growing
//! and releasing cost the same whatever the length of a sequence.

use crate::hash::BlockHash;
use crate::pool::BlockPool;

/// The KV blocks on the NPUs of one instance. All ranks hold the same blocks, so one pool stands for all of them.
#[derive(Debug)]
pub struct KvCache {
    pool: BlockPool,
    block_size: u32,
    caching: bool,
    /// Blocks held where they are only counted.
    num_counted: u32,
}

/// The blocks that one sequence uses, in the order of its tokens. Belongs to the [`KvCache`] that filled it, and goes
/// back to it with [`KvCache::release`].
#[derive(Debug, Default)]
pub struct BlockTable {
    /// Empty where blocks are only counted.
    blocks: Vec<u32>,
    num_blocks: u32,
    /// How many blocks from the start are indexed, by this sequence or by the one they were hit from.
    num_indexed: u32,
}

impl BlockTable {
    /// Blocks in the table, shared ones included.
    pub fn num_blocks(&self) -> u32 {
        self.num_blocks
    }

    /// Blocks from the start that are indexed: the hits, and the full blocks that were indexed since.
    ///
    /// What an operation changed here is what it wrote through to a lower tier ([`TierPool::write_through`]). A sequence
    /// without blocks has none before it allocates, but its hits were indexed already: count from them.
    ///
    /// [`TierPool::write_through`]: crate::TierPool::write_through
    pub fn num_indexed(&self) -> u32 {
        self.num_indexed
    }
}

impl KvCache {
    /// `num_blocks` free blocks of `block_size` tokens. Without `caching` nothing is indexed and nothing found.
    ///
    /// Takes no time or memory that grows with `num_blocks`.
    ///
    /// # Panics
    /// When `block_size` is 0.
    pub fn new(num_blocks: u32, block_size: u32, caching: bool) -> Self {
        assert!(block_size > 0, "a block holds at least one token");
        Self { pool: BlockPool::new(num_blocks), block_size, caching, num_counted: 0 }
    }

    /// How many blocks of the prefix `hashes` are in the cache: consecutive ones from the start, whole blocks only,
    /// `max_tokens` at most.
    ///
    /// At least one token has to be computed to yield the next one, so `max_tokens` is one less than the length reached.
    pub fn lookup(&self, hashes: &[BlockHash], max_tokens: u64) -> u32 {
        if !self.caching {
            return 0;
        }
        let max_blocks = (max_tokens / u64::from(self.block_size)) as usize;
        let hits = hashes.iter().take(max_blocks).take_while(|&&hash| self.pool.find(hash).is_some());
        hits.count() as u32
    }

    /// Whether the sequence of `table` could grow to `total_tokens` now; `hit_blocks` is what [`lookup`](Self::lookup)
    /// gave for its `hashes`, 0 for a sequence that already has blocks.
    ///
    /// # Panics
    /// When a hit is no longer in the cache, or comes on top of blocks.
    pub fn can_hold(&self, table: &BlockTable, hashes: &[BlockHash], hit_blocks: u32, total_tokens: u64) -> bool {
        assert!(hit_blocks == 0 || table.num_blocks == 0, "a sequence hits the cache only when it has no blocks yet");
        let num_new = self.num_new(table, hit_blocks, total_tokens);
        let num_free = u64::from(self.num_free());
        // At most all hits are free, so most questions are answered without looking at them.
        num_new + u64::from(hit_blocks) <= num_free
            || num_new + u64::from(self.num_free_hits(hashes, hit_blocks)) <= num_free
    }

    /// Grows the sequence of `table` to `total_tokens`, or returns `false` and changes nothing when
    /// [`can_hold`](Self::can_hold) is false for the same arguments.
    ///
    /// The hits come first; the rest is taken from the head of the free queue, whose blocks thereby drop out of the
    /// cache. Then everything up to `index_tokens` is indexed, as [`index`](Self::index) does.
    ///
    /// # Panics
    /// As [`can_hold`](Self::can_hold) and [`index`](Self::index).
    #[must_use = "without the blocks the sequence can't run"]
    pub fn allocate(
        &mut self,
        table: &mut BlockTable,
        hashes: &[BlockHash],
        hit_blocks: u32,
        total_tokens: u64,
        index_tokens: u64,
    ) -> bool {
        if !self.can_hold(table, hashes, hit_blocks, total_tokens) {
            return false;
        }
        let num_new = self.num_new(table, hit_blocks, total_tokens);
        table.num_blocks += hit_blocks + num_new as u32;
        if !self.caching {
            self.num_counted += num_new as u32;
            return true;
        }
        // Hits first: they must be out of the free queue before its head is taken.
        for &hash in &hashes[..hit_blocks as usize] {
            let block = self.find_hit(hash);
            self.pool.claim(block);
            table.blocks.push(block);
        }
        table.num_indexed += hit_blocks;
        table.blocks.extend((0..num_new).map(|_| self.pool.take()));
        self.index(table, hashes, index_tokens);
        true
    }

    /// Takes `num_blocks` blocks for sequences whose tables learn of it later, from [`credit`](Self::credit); or returns
    /// `false` and changes nothing when there are not so many.
    ///
    /// # Panics
    /// Where blocks are not only counted.
    #[must_use = "without the blocks the sequences can't run"]
    pub fn take_ahead(&mut self, num_blocks: u32) -> bool {
        assert!(!self.caching, "blocks that can be found again belong to somebody at once");
        let fits = num_blocks <= self.num_free();
        self.num_counted += if fits { num_blocks } else { 0 };
        fits
    }

    /// Notes in `table` the blocks that were taken ahead for its sequence, which has grown to `total_tokens`.
    pub fn credit(&self, table: &mut BlockTable, total_tokens: u64) {
        table.num_blocks += self.num_new(table, 0, total_tokens) as u32;
    }

    /// Blocks that the sequence of `table` needs beyond its own to grow to `total_tokens`.
    pub fn num_missing(&self, table: &BlockTable, total_tokens: u64) -> u64 {
        self.num_new(table, 0, total_tokens)
    }

    /// Whether blocks can be found again by what they hold.
    pub fn is_caching(&self) -> bool {
        self.caching
    }

    /// Indexes every block that `num_tokens` computed tokens fill and that is not indexed yet.
    ///
    /// `hashes` may be shorter than the sequence, or empty; blocks past its end are not indexed.
    ///
    /// # Panics
    /// When the sequence has fewer blocks than its tokens fill.
    pub fn index(&mut self, table: &mut BlockTable, hashes: &[BlockHash], num_tokens: u64) {
        if !self.caching {
            return;
        }
        let num_full = ((num_tokens / u64::from(self.block_size)) as usize).min(hashes.len());
        let num_indexed = table.num_indexed as usize;
        if num_full <= num_indexed {
            return;
        }
        for (&block, &hash) in table.blocks[num_indexed..num_full].iter().zip(&hashes[num_indexed..num_full]) {
            self.pool.index(block, hash);
        }
        table.num_indexed = num_full as u32;
    }

    /// Gives all blocks of `table` back and leaves it empty; they stay in the cache until they are taken again.
    ///
    /// Blocks without another user join the tail of the free queue, last block first: under pressure the end of a prefix
    /// is lost before its beginning, which is of use to more requests.
    pub fn release(&mut self, table: &mut BlockTable) {
        if !self.caching {
            let left = self.num_counted.checked_sub(table.num_blocks);
            self.num_counted = left.expect("more blocks are given back than were taken");
        }
        for block in table.blocks.drain(..).rev() {
            self.pool.release(block);
        }
        (table.num_blocks, table.num_indexed) = (0, 0);
    }

    /// Tokens in a block.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// All blocks, held and free.
    pub fn num_blocks(&self) -> u32 {
        self.pool.num_blocks()
    }

    /// Blocks that can be had, in the free queue.
    pub fn num_free(&self) -> u32 {
        self.pool.num_free() - self.num_counted
    }

    /// Blocks in use by at least one sequence.
    pub fn num_held(&self) -> u32 {
        self.pool.num_held() + self.num_counted
    }

    /// Blocks in the free queue that a look-up can still find: their contents are worth keeping, and count as memory in
    /// use where the reference reports it.
    pub fn num_cached_free(&self) -> u32 {
        self.pool.num_cached_free()
    }

    /// Whether no sequence holds a block, as must be at the end of a run.
    pub fn is_free(&self) -> bool {
        self.num_held() == 0
    }

    /// Blocks that `total_tokens` need beyond those in the table and the hits.
    fn num_new(&self, table: &BlockTable, hit_blocks: u32, total_tokens: u64) -> u64 {
        total_tokens.div_ceil(u64::from(self.block_size)).saturating_sub(u64::from(table.num_blocks() + hit_blocks))
    }

    /// How many of the hits are in the free queue.
    fn num_free_hits(&self, hashes: &[BlockHash], hit_blocks: u32) -> u32 {
        let hits = &hashes[..hit_blocks as usize];
        hits.iter().filter(|&&hash| self.pool.is_free(self.find_hit(hash))).count() as u32
    }

    fn find_hit(&self, hash: BlockHash) -> u32 {
        self.pool.find(hash).expect("a hit stays in the cache until it is claimed")
    }
}

#[cfg(test)]
mod tests;
