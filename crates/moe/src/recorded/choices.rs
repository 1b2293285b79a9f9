//! Counted loads from the recorded choices of tokens.
//!
//! Each layer has a pool of tokens with the experts they chose, in the order of the recording. A step of `T` tokens takes
//! the next `T` of them, and the pool starts again when it ends. So the layers of a recording of whole steps stay in
//! step with each other, and a run is the same each time.

use std::sync::Arc;

use crate::gate::Tally;
use crate::{ExpertGate, MoeBlock, RankLoad};

/// The pools of all layers.
#[derive(Debug)]
pub(super) struct Choices {
    num_experts: u32,
    experts_per_token: usize,
    /// By layer, which of the pools it draws from.
    pool_of: Vec<usize>,
    /// The experts of token after token.
    pools: Vec<Vec<u32>>,
}

impl Choices {
    /// From the experts of each layer's tokens, one token after the other. Layers without any use the pool of the nearest
    /// layer that has some, the lower one of two; at least one layer has.
    pub(super) fn new(recorded: Vec<Vec<u32>>, num_experts: u32, experts_per_token: u32) -> Self {
        let present: Vec<usize> = (0..recorded.len()).filter(|&layer| !recorded[layer].is_empty()).collect();
        let nearest = |layer: usize| (0..present.len()).min_by_key(|&pool| present[pool].abs_diff(layer));
        let pool_of = (0..recorded.len()).filter_map(nearest).collect();
        let pools = recorded.into_iter().filter(|experts| !experts.is_empty()).collect();
        Self { num_experts, experts_per_token: experts_per_token as usize, pool_of, pools }
    }
}

/// The gate of one instance.
#[derive(Debug)]
pub(super) struct ChoiceGate {
    choices: Arc<Choices>,
    /// By layer, where the next token's experts begin in its pool.
    next: Vec<usize>,
    tally: Tally,
}

impl ChoiceGate {
    pub(super) fn new(choices: Arc<Choices>) -> Self {
        let next = vec![0; choices.pool_of.len()];
        Self { choices, next, tally: Tally::default() }
    }
}

impl ExpertGate for ChoiceGate {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        let layer = block.layer as usize;
        assert!(layer < self.next.len(), "layer {layer} of a recording for {} layers", self.next.len());
        assert_eq!(self.choices.num_experts, block.placement.num_experts(), "a recording is of another model");
        let pool = &self.choices.pools[self.choices.pool_of[layer]];
        let next = &mut self.next[layer];
        self.tally.clear(block.placement);
        for token in 1..=block.tokens {
            let end = *next + self.choices.experts_per_token;
            for &expert in &pool[*next..end] {
                self.tally.add(token, expert, block.placement, loads);
            }
            *next = if end == pool.len() { 0 } else { end };
        }
    }
}
