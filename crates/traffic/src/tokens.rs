//! Token ids out of nothing: what is one text has the same ids wherever it stands, and other texts have others.
//!
//! The id at a place of a text is a hash of the text's key and the place, so ids cost no memory and no text shifts
//! another's. Two texts agree in a token once in [`vocabulary`](Texts) times, and in a block of 16 never.

use crate::random::mixed;

/// Where texts get their ids from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Texts {
    seed: u64,
    vocabulary: u64,
}

impl Texts {
    /// Ids below `vocabulary`.
    pub(crate) fn new(seed: u64, vocabulary: u32) -> Self {
        Self { seed: mixed(seed), vocabulary: u64::from(vocabulary.max(1)) }
    }

    /// Adds the first `num` ids of the text that `kind` and `key` name.
    pub(crate) fn extend(&self, ids: &mut Vec<u32>, kind: TextKind, key: u64, num: u64) {
        let text = mixed(self.seed ^ mixed(key.wrapping_mul(8).wrapping_add(kind as u64)));
        ids.extend((0..num).map(|place| self.id(text.wrapping_add(place))));
    }

    /// The id that stands for `hash`.
    pub(crate) fn id(&self, hash: u64) -> u32 {
        // The high half of the product is a number below the vocabulary.
        ((u128::from(mixed(hash)) * u128::from(self.vocabulary)) >> 64) as u32
    }
}

/// Whose text it is; keys of one kind are apart from those of another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TextKind {
    /// A prefix that requests share.
    Prefix,
    /// What a request's user wrote.
    Input,
    /// What the model answers.
    Output,
    /// What a tool gave back.
    Tool,
    /// A block of a trace.
    Block,
}
