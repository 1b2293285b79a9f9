//! A lower tier of the prefix cache: host or CXL memory that holds copies of what the NPUs have computed.
//!
//! Its blocks are coarse, `factor` NPU blocks each, and move as a whole. The hash chain of [`block_hashes`] is
//! cumulative, so the last fine hash of a coarse block stands for everything up to its end, and every `factor`-th hash
//! serves as key; there is no second chain. (vLLM's `OffloadingConnector`; section 5 of the behaviour contract.)
//!
//! The tier is inclusive and never in the way: a coarse block is copied down once the NPU cache has indexed all of it
//! ([`TierPool::write_through`]), and it is recalled into new NPU blocks when a sequence starts with more of its prefix
//! here than there ([`TierPool::lookup`]). Copies are not pinned, so a full tier replaces the one written longest ago. A
//! hit does not make a copy younger: LLMServingSim's pool behaves so, vLLM's own would.
//!
//! The pool counts blocks and knows neither bytes nor time. It is plain data, for one instance or shared by several
//! whose NPU blocks are alike: with another block size, or another model, no hash would ever match.
//!
//! [`block_hashes`]: crate::block_hashes

use rustc_hash::FxHashSet;

use crate::BlockHash;

/// The coarse blocks of one memory below the NPUs.
#[derive(Clone, Debug)]
pub struct TierPool {
    num_blocks: u32,
    tokens_per_block: u32,
    fine_block_size: u32,
    /// The copies: those up to `oldest` were written after those from there on.
    copies: Vec<BlockHash>,
    /// The place that is written next once all are in use.
    oldest: usize,
    /// The copies again, to be found. Never iterated over, so its order is nobody's business.
    index: FxHashSet<BlockHash>,
}

/// What a lower tier has of a sequence beyond the NPU cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierHit {
    /// Tokens gained beyond the NPU hit: to be recalled into new NPU blocks instead of computed.
    pub tokens: u64,
    /// Whole coarse blocks that move for it. The first may overlap the NPU hit, so they can hold more than `tokens`.
    pub blocks: u64,
}

impl TierPool {
    /// An empty tier of `num_blocks` blocks of `tokens_per_block` tokens, below NPU blocks of `fine_block_size` tokens.
    ///
    /// Takes no time or memory that grows with `num_blocks`.
    ///
    /// # Panics
    /// When there is no block, or `tokens_per_block` is no multiple of `fine_block_size`.
    pub fn new(num_blocks: u32, tokens_per_block: u32, fine_block_size: u32) -> Self {
        assert!(num_blocks > 0, "a tier holds at least one block");
        assert!(
            tokens_per_block > 0 && tokens_per_block.checked_rem(fine_block_size) == Some(0),
            "a block of {tokens_per_block} tokens has no key in a chain of blocks of {fine_block_size}"
        );
        let (copies, index) = (Vec::new(), FxHashSet::default());
        Self { num_blocks, tokens_per_block, fine_block_size, copies, oldest: 0, index }
    }

    /// What the tier has of a sequence that reached `reached_tokens` tokens with the chain `hashes`, beyond the first
    /// `npu_hit_tokens`, which the NPU cache has.
    ///
    /// Counts consecutive coarse blocks from the one in which the NPU hit ends. A gain of less than a whole coarse block
    /// is not worth the move and counts as none.
    ///
    /// Unlike [`KvCache::lookup`](crate::KvCache::lookup) this may cover every token reached, when they fill coarse
    /// blocks to the last token. To yield the next token the last one must be computed all the same: the caller takes
    /// it as not computed, although its KV is recalled (vLLM's scheduler, on finished KV transfers).
    pub fn lookup(&self, hashes: &[BlockHash], npu_hit_tokens: u64, reached_tokens: u64) -> TierHit {
        let tokens_per_block = u64::from(self.tokens_per_block);
        let first = npu_hit_tokens / tokens_per_block;
        let end = reached_tokens / tokens_per_block;
        let is_here = |&block: &u64| self.key(hashes, block).is_some_and(|key| self.index.contains(&key));
        let blocks = (first..end).take_while(is_here).count() as u64;
        let tokens = ((first + blocks) * tokens_per_block).saturating_sub(npu_hit_tokens);
        if tokens < tokens_per_block { TierHit::default() } else { TierHit { tokens, blocks } }
    }

    /// Copies the coarse blocks that became complete when the indexed NPU blocks of a sequence grew from
    /// `indexed_before` to `indexed_after`; returns how many were not here already, and so were written.
    ///
    /// `indexed_before` is [`BlockTable::num_indexed`](crate::BlockTable::num_indexed) before the operation, or the
    /// number of hit blocks when that operation is the first. What was hit is not written again, even if its copy is
    /// gone, except for the start of a coarse block that the sequence completes.
    pub fn write_through(&mut self, hashes: &[BlockHash], indexed_before: u32, indexed_after: u32) -> u64 {
        let factor = self.factor();
        let complete = u64::from(indexed_before / factor)..u64::from(indexed_after / factor);
        let mut num_written = 0;
        for block in complete {
            let Some(key) = self.key(hashes, block) else { break };
            num_written += u64::from(self.write(key));
        }
        num_written
    }

    /// All blocks, used or not.
    pub fn num_blocks(&self) -> u32 {
        self.num_blocks
    }

    /// Blocks that hold a copy. They never become fewer.
    pub fn num_used(&self) -> u32 {
        self.copies.len() as u32
    }

    /// Tokens in a block.
    pub fn tokens_per_block(&self) -> u32 {
        self.tokens_per_block
    }

    /// NPU blocks in a coarse block.
    fn factor(&self) -> u32 {
        self.tokens_per_block / self.fine_block_size
    }

    /// The hash of coarse block `block` of a sequence: the last one of the NPU blocks in it.
    fn key(&self, hashes: &[BlockHash], block: u64) -> Option<BlockHash> {
        let last_fine = (block + 1) * u64::from(self.factor()) - 1;
        hashes.get(usize::try_from(last_fine).ok()?).copied()
    }

    /// Makes a copy under `key` unless there is one.
    fn write(&mut self, key: BlockHash) -> bool {
        if !self.index.insert(key) {
            return false;
        }
        if self.copies.len() < self.num_blocks as usize {
            self.copies.push(key);
        } else {
            let replaced = std::mem::replace(&mut self.copies[self.oldest], key);
            assert!(self.index.remove(&replaced), "a copy is not in the index");
            self.oldest = (self.oldest + 1) % self.copies.len();
        }
        assert_eq!(self.index.len(), self.copies.len(), "the index is not that of the copies");
        true
    }
}

#[cfg(test)]
mod tests;
