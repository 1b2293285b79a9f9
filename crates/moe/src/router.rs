//! From the tokens of a step to the load of every rank.

use crate::{ExpertGate, ExpertRouting, MoeBlock, Placement, RankLoad};

/// The mixture-of-experts blocks of one instance: where their experts are, and the gate in front of them.
#[derive(Debug)]
pub struct ExpertRouter {
    placement: Placement,
    experts_per_token: u32,
    gate: Box<dyn ExpertGate>,
    loads: Vec<RankLoad>,
    /// The tokens that the loads are for, where that is all they depend on.
    loads_for: Option<u64>,
}

impl ExpertRouter {
    /// A gate of `routing` in front of `num_experts` experts, evenly placed on `num_ranks` ranks. The same `seed` gives
    /// the same loads on any machine.
    ///
    /// `experts_per_token` is taken as at least 1 and at most `num_experts`.
    ///
    /// # Panics
    /// When there is no expert or no rank.
    pub fn new(
        num_experts: u32,
        experts_per_token: u32,
        num_ranks: u32,
        routing: &dyn ExpertRouting,
        seed: u64,
    ) -> Self {
        Self {
            placement: Placement::even(num_experts, num_ranks),
            experts_per_token: experts_per_token.clamp(1, num_experts),
            gate: routing.gate(seed),
            loads: vec![RankLoad::default(); num_ranks as usize],
            loads_for: None,
        }
    }

    /// The load of each rank when `tokens` tokens pass block `layer`. Every call is a block of its own: random gates draw
    /// anew, recorded ones go on.
    ///
    /// # Panics
    /// When the gate gives a rank more tokens than there are, or knows nothing of such a layer.
    pub fn route(&mut self, layer: u32, tokens: u64) -> &[RankLoad] {
        if self.loads_for == Some(tokens) {
            return &self.loads;
        }
        self.loads.fill(RankLoad::default());
        let Self { ref placement, experts_per_token, .. } = *self;
        self.gate.route(&MoeBlock { layer, tokens, experts_per_token, placement }, &mut self.loads);
        assert!(self.loads.iter().all(|load| load.tokens <= tokens), "{:?} gave a rank too many tokens", self.gate);
        self.loads_for = self.gate.is_memoryless().then_some(tokens);
        &self.loads
    }

    /// Whether the loads of a block depend on its tokens alone.
    pub fn is_memoryless(&self) -> bool {
        self.gate.is_memoryless()
    }
}

#[cfg(test)]
mod tests;
