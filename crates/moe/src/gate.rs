//! What a gate is asked and what it answers.

use std::fmt;

use crate::Placement;

/// What one rank has to do in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankLoad {
    /// Tokens with at least one of their experts on the rank.
    pub tokens: u64,
    /// Experts of the rank that at least one token takes.
    pub active_experts: u64,
}

/// One mixture-of-experts block in one step.
#[derive(Clone, Copy, Debug)]
pub struct MoeBlock<'a> {
    /// Which of the model's blocks it is, from 0.
    pub layer: u32,
    /// Tokens of the step.
    pub tokens: u64,
    /// Experts that each token takes: at least 1, at most all.
    pub experts_per_token: u32,
    /// Where the block's experts are. The same in all calls of one gate.
    pub placement: &'a Placement,
}

/// How the tokens of one instance choose their experts, as far as ranks feel it.
///
/// A gate may keep what it needs from one call to the next: random streams, places in a recording, scratch. Blocks come
/// in order of the layers within a step; when one block's routing serves all of them, only layer 0 is asked for.
pub trait ExpertGate: fmt::Debug {
    /// Writes the load of each rank to `loads`, which has one entry a rank and holds zeros.
    ///
    /// No rank can get more tokens than the block has. What a call yields may depend on the calls before and on the
    /// seed, and on nothing else: equal runs must give equal results.
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]);

    /// Whether what a call yields depends on nothing but the block's tokens, neither on its layer nor on earlier calls.
    fn is_memoryless(&self) -> bool {
        false
    }
}

/// Where gates come from. It is shared by the instances of a run, each of which has a gate of its own.
pub trait ExpertRouting: fmt::Debug + Send + Sync {
    /// A gate that has not routed anything yet. `seed` is for its random streams, if it has any.
    fn gate(&self, seed: u64) -> Box<dyn ExpertGate>;
}

/// Adds up loads from the choices of single tokens. Outlives a step so that a token allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Per expert, whether a token of this block took it.
    taken: Vec<bool>,
    /// Per rank, the last token of this block that reached it, counted from 1.
    last_token: Vec<u64>,
}

impl Tally {
    /// Forgets the block before.
    pub(crate) fn clear(&mut self, placement: &Placement) {
        self.taken.clear();
        self.taken.resize(placement.num_experts() as usize, false);
        self.last_token.clear();
        self.last_token.resize(placement.num_ranks() as usize, 0);
    }

    /// Token number `token` of the block, counted from 1, takes `expert`.
    pub(crate) fn add(&mut self, token: u64, expert: u32, placement: &Placement, loads: &mut [RankLoad]) {
        let rank = placement.rank_of(expert) as usize;
        if !std::mem::replace(&mut self.taken[expert as usize], true) {
            loads[rank].active_experts += 1;
        }
        if std::mem::replace(&mut self.last_token[rank], token) != token {
            loads[rank].tokens += 1;
        }
    }
}
