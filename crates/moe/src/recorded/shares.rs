//! Expected loads from the share of each expert.
//!
//! With `p_e` the probability that a token takes expert `e`, and tokens that choose independently of each other, a step
//! of `T` tokens brings a rank
//!
//! ```text
//! tokens         = round(T · P(hit)),  P(hit) as in the module `distinct`
//! active experts = round(Σ (1 − (1 − p_e)^T)) over its experts
//! ```
//!
//! Halves round to even; a rank with tokens has at least one active expert, and one without has none. These are means:
//! every step of `T` tokens is alike, and the most loaded rank of a real step gets somewhat more.

use std::sync::Arc;

use crate::distinct::DistinctChoices;
use crate::{ExpertGate, MoeBlock, Placement, RankLoad};

/// The shares of all layers.
#[derive(Debug)]
pub(super) struct Shares {
    layers: Vec<LayerShares>,
}

/// The shares of one layer's experts, in the forms in which they are needed.
#[derive(Clone, Debug)]
struct LayerShares {
    /// Per expert, `ln (1 − p)`.
    log_misses: Vec<f64>,
    choices: DistinctChoices,
}

impl Shares {
    /// From the shares of each layer's experts. Layers without a recording get the mean of those that have one, of which
    /// there is at least one.
    pub(super) fn new(recorded: &[Option<Vec<f64>>], experts_per_token: u32) -> Self {
        let fit = |shares: &Vec<f64>| LayerShares {
            log_misses: shares.iter().map(|share| (-share).ln_1p()).collect(),
            choices: DistinctChoices::fit(shares, experts_per_token),
        };
        let present: Vec<&Vec<f64>> = recorded.iter().flatten().collect();
        let num_experts = present.first().map_or(0, |shares| shares.len());
        let mean = |expert: usize| present.iter().map(|shares| shares[expert]).sum::<f64>() / present.len() as f64;
        let mean = (present.len() < recorded.len()).then(|| fit(&(0..num_experts).map(mean).collect()));
        let layer = |shares: &Option<Vec<f64>>| shares.as_ref().map(fit).or_else(|| mean.clone());
        Self { layers: recorded.iter().filter_map(layer).collect() }
    }
}

/// The gate of one instance.
#[derive(Debug)]
pub(super) struct ShareGate {
    shares: Arc<Shares>,
    /// By layer; `None` for those not asked for so far.
    layers: Vec<Option<LayerGate>>,
}

#[derive(Debug)]
struct LayerGate {
    /// Per rank.
    hit_probabilities: Vec<f64>,
    /// The latest answer, and to how many tokens. Steps of a steady batch are alike, and active experts are the work.
    latest_tokens: u64,
    latest: Vec<RankLoad>,
}

impl ShareGate {
    pub(super) fn new(shares: Arc<Shares>) -> Self {
        let layers = shares.layers.iter().map(|_| None).collect();
        Self { shares, layers }
    }
}

impl ExpertGate for ShareGate {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        let index = block.layer as usize;
        assert!(index < self.layers.len(), "layer {index} of a recording for {} layers", self.layers.len());
        let shares = &self.shares.layers[index];
        let layer = self.layers[index].get_or_insert_with(|| LayerGate::new(shares, block.placement));
        if layer.latest_tokens != block.tokens {
            layer.route(shares, block);
        }
        loads.copy_from_slice(&layer.latest);
    }
}

impl LayerGate {
    fn new(shares: &LayerShares, placement: &Placement) -> Self {
        let num_experts = shares.log_misses.len();
        assert_eq!(num_experts, placement.num_experts() as usize, "a recording is of another model");
        let hit_probabilities = shares.choices.hit_probabilities(placement);
        let latest = vec![RankLoad::default(); hit_probabilities.len()];
        Self { hit_probabilities, latest_tokens: 0, latest }
    }

    fn route(&mut self, shares: &LayerShares, block: &MoeBlock<'_>) {
        let tokens = block.tokens as f64;
        let mut active = vec![0.0; self.latest.len()];
        if block.tokens > 0 {
            for (expert, log_miss) in (0..).zip(&shares.log_misses) {
                active[block.placement.rank_of(expert) as usize] -= (tokens * log_miss).exp_m1();
            }
        }
        for ((load, hit), active) in self.latest.iter_mut().zip(&self.hit_probabilities).zip(active) {
            load.tokens = (tokens * hit).round_ties_even() as u64;
            load.active_experts = if load.tokens == 0 { 0 } else { (active.round_ties_even() as u64).max(1) };
        }
        self.latest_tokens = block.tokens;
    }
}
