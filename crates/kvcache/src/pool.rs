//! One memory tier's blocks: who uses them, and under which hash they are found.
//!
//! A block is held while at least one sequence uses it, and in the free queue otherwise. Full blocks are indexed by
//! hash, one block per hash: indexing a second block under the same hash takes the hash over, and the first one is no
//! longer found. (vLLM keeps all blocks of a hash because its workers need stable block numbers; nothing here does.)
//! So at any time `hash(block) = h` exactly when `index(h) = block`. A free block keeps its hash until it is taken.

use rustc_hash::FxHashMap;

use crate::hash::BlockHash;
use crate::queue::FreeQueue;

/// Blocks, numbered from 0, with their free queue and prefix index.
#[derive(Debug)]
pub(crate) struct BlockPool {
    num_blocks: u32,
    queue: FreeQueue,
    /// Per block ever taken, the hash it is indexed under.
    hashes: Vec<Option<BlockHash>>,
    /// Per block ever taken, the sequences that use it; 0 means that it is in the free queue.
    num_users: Vec<u32>,
    /// Never iterated over, so its order is nobody's business.
    index: FxHashMap<BlockHash, u32>,
    num_held: u32,
    num_cached_free: u32,
}

impl BlockPool {
    /// `num_blocks` free blocks, none of them indexed. Costs nothing: memory grows with the blocks ever taken.
    pub(crate) fn new(num_blocks: u32) -> Self {
        Self {
            num_blocks,
            queue: FreeQueue::new(num_blocks),
            hashes: Vec::new(),
            num_users: Vec::new(),
            index: FxHashMap::default(),
            num_held: 0,
            num_cached_free: 0,
        }
    }

    /// All blocks, held and free.
    pub(crate) fn num_blocks(&self) -> u32 {
        self.num_blocks
    }

    /// Blocks in the free queue.
    pub(crate) fn num_free(&self) -> u32 {
        self.queue.len()
    }

    /// Blocks in use by at least one sequence.
    pub(crate) fn num_held(&self) -> u32 {
        self.num_held
    }

    /// Blocks in the free queue that a look-up can still find.
    pub(crate) fn num_cached_free(&self) -> u32 {
        self.num_cached_free
    }

    /// The block indexed under `hash`.
    pub(crate) fn find(&self, hash: BlockHash) -> Option<u32> {
        self.index.get(&hash).copied()
    }

    /// Whether `block`, which must have been taken before, is in the free queue.
    pub(crate) fn is_free(&self, block: u32) -> bool {
        self.num_users[block as usize] == 0
    }

    /// Takes the block at the head of the free queue for one user and drops its hash.
    ///
    /// # Panics
    /// When no block is free.
    pub(crate) fn take(&mut self) -> u32 {
        let block = self.queue.pop().expect("a block is taken only when one is free");
        if block as usize == self.hashes.len() {
            self.hashes.push(None);
            self.num_users.push(0);
        }
        if let Some(hash) = self.hashes[block as usize].take() {
            let indexed = self.index.remove(&hash);
            assert_eq!(indexed, Some(block), "a block and the index disagree on a hash");
            self.num_cached_free -= 1;
        }
        assert!(self.is_free(block), "block {block} is in the free queue and in use");
        self.num_users[block as usize] = 1;
        self.num_held += 1;
        self.assert_conserved();
        block
    }

    /// Adds a user to the indexed `block`, taking it out of the free queue when it is there.
    pub(crate) fn claim(&mut self, block: u32) {
        if self.is_free(block) {
            self.queue.remove(block);
            self.num_held += 1;
            self.num_cached_free -= 1;
            self.assert_conserved();
        }
        self.num_users[block as usize] += 1;
    }

    /// Takes one user off `block`. Without users it goes to the tail of the free queue, where it keeps its hash.
    pub(crate) fn release(&mut self, block: u32) {
        let num_users = &mut self.num_users[block as usize];
        assert!(*num_users > 0, "block {block} is released more often than taken");
        *num_users -= 1;
        if *num_users == 0 {
            self.queue.push(block);
            self.num_held -= 1;
            self.num_cached_free += u32::from(self.hashes[block as usize].is_some());
            self.assert_conserved();
        }
    }

    /// Indexes the held `block`, which has no hash yet, under `hash`, in place of the block that was found there.
    pub(crate) fn index(&mut self, block: u32, hash: BlockHash) {
        assert!(!self.is_free(block), "block {block} is indexed while free");
        if let Some(former) = self.index.insert(hash, block) {
            self.hashes[former as usize] = None;
            self.num_cached_free -= u32::from(self.is_free(former));
        }
        let former_hash = self.hashes[block as usize].replace(hash);
        assert_eq!(former_hash, None, "block {block} is indexed twice");
    }

    fn assert_conserved(&self) {
        assert_eq!(self.num_held + self.num_free(), self.num_blocks, "blocks held and blocks free are not all blocks");
    }
}
