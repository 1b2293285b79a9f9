//! The free queue: which block is taken next.
//!
//! vLLM's `FreeKVCacheBlockQueue`: a doubly linked list through the blocks themselves, because a prefix hit takes a
//! block out of the middle. It starts with all blocks in the order of their numbers. Blocks that come back join the
//! tail, so those never taken so far are always the front of the queue, still in that order; they need no links, and a
//! pool of a million blocks costs nothing until they are used.

/// No block: the end of a list.
const NONE: u32 = u32::MAX;

/// The neighbours of a block in the queue; meaningless while the block is out of it.
#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

/// Free blocks, in the order they will be taken.
#[derive(Debug)]
pub(crate) struct FreeQueue {
    num_blocks: u32,
    /// One per block ever taken; the blocks from `links.len()` on are the front of the queue.
    links: Vec<Links>,
    /// First and last of the blocks that came back.
    head: u32,
    tail: u32,
    num_returned: u32,
}

impl FreeQueue {
    /// Blocks `0..num_blocks`, in this order.
    pub(crate) fn new(num_blocks: u32) -> Self {
        Self { num_blocks, links: Vec::new(), head: NONE, tail: NONE, num_returned: 0 }
    }

    /// Blocks in the queue.
    pub(crate) fn len(&self) -> u32 {
        self.num_blocks - self.links.len() as u32 + self.num_returned
    }

    /// Takes the block at the front, `None` when no block is free.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let first_unused = self.links.len() as u32;
        if first_unused < self.num_blocks {
            self.links.push(Links { previous: NONE, next: NONE });
            return Some(first_unused);
        }
        let block = self.head;
        if block == NONE {
            return None;
        }
        self.remove(block);
        Some(block)
    }

    /// Takes `block`, which must be in the queue and have been taken before, out of it.
    pub(crate) fn remove(&mut self, block: u32) {
        let Links { previous, next } = self.links[block as usize];
        match previous {
            NONE => self.head = next,
            _ => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.tail = previous,
            _ => self.links[next as usize].previous = previous,
        }
        self.num_returned -= 1;
    }

    /// Puts `block`, which must not be in the queue, at its end.
    pub(crate) fn push(&mut self, block: u32) {
        self.links[block as usize] = Links { previous: self.tail, next: NONE };
        match self.tail {
            NONE => self.head = block,
            tail => self.links[tail as usize].next = block,
        }
        self.tail = block;
        self.num_returned += 1;
    }
}
