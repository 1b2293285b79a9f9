//! KV blocks, the free queue and the prefix index.
//!
//! An engine keeps the keys and values of its sequences in blocks of a fixed number of tokens. Blocks are handed out
//! from the head of one free queue and come back to its tail. A full block whose tokens are computed is indexed under a
//! [`BlockHash`] that stands for the whole prefix up to its end, and a free block stays indexed until it is taken for
//! something else: that is what a later request with the same prefix hits. The rules are those of vLLM V1's
//! `BlockPool`, `FreeKVCacheBlockQueue` and `KVCacheManager` for a model with full attention throughout.
//!
//! [`KvCache`] is what one instance holds on its NPUs, [`BlockTable`] what one sequence holds of it. Neither knows when
//! a sequence runs or why it is preempted. A slower tier below is a [`TierPool`] of larger blocks that uses every n-th
//! hash of the same chain as its key, so [`block_hashes`] serves it too.

mod cache;
mod hash;
mod pool;
mod queue;
mod tier;

pub use cache::{BlockTable, KvCache};
pub use hash::{BlockHash, block_hashes};
pub use tier::{TierHit, TierPool};
