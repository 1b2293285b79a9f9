//! From the tokens of a step to the load of every rank.
//!
//! The formulae are those of section 9 of the behaviour contract, on `f64` and in its order of operations, because a
//! rounding that falls the other way is a different latency:
//!
//! - `BALANCED`: a token reaches a rank with the probability that not all of its `k` choices fall elsewhere, so
//!   `tokens = round(T · (1 − ((R − 1) / R)^k))`; the `T · k / R` pairs of token and expert keep
//!   `min(round(T · k / R), E / R)` experts busy. Halves round to even.
//! - `RR`: every token takes experts `0..k`.
//! - `RAND`: `k` distinct experts per token, uniformly.

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;

use crate::{Placement, Policy};

/// What one rank has to do in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankLoad {
    /// Tokens with at least one of their experts on the rank.
    pub tokens: u64,
    /// Experts of the rank that at least one token takes.
    pub active_experts: u64,
}

/// The gate of a mixture-of-experts block, as far as ranks feel it.
#[derive(Clone, Debug)]
pub struct ExpertRouter {
    placement: Placement,
    experts_per_token: u32,
    gate: Gate,
    loads: Vec<RankLoad>,
}

/// What a policy needs from one step to the next.
#[derive(Clone, Debug)]
enum Gate {
    Balanced { hit_probability: f64 },
    RoundRobin,
    Random(Draw),
}

/// The state of random routing: the stream, and scratch that outlives a step so that a token allocates nothing.
#[derive(Clone, Debug)]
struct Draw {
    random: Pcg32,
    /// All experts, in the order the draws so far have left them.
    deck: Vec<u32>,
    /// Per expert, whether a token of this step took it.
    taken: Vec<bool>,
    /// Per rank, the last token of this step that reached it, counted from 1.
    last_token: Vec<u64>,
}

impl ExpertRouter {
    /// A gate in front of `num_experts` experts, evenly placed on `num_ranks` ranks. `seed` matters to
    /// [`Policy::Random`] only: the same seed gives the same loads on any machine.
    ///
    /// `experts_per_token` is taken as at least 1 and at most `num_experts`.
    ///
    /// # Panics
    /// When there is no expert or no rank.
    pub fn new(num_experts: u32, experts_per_token: u32, num_ranks: u32, policy: Policy, seed: u64) -> Self {
        let placement = Placement::even(num_experts, num_ranks);
        let experts_per_token = experts_per_token.clamp(1, num_experts);
        let gate = match policy {
            Policy::Balanced => Gate::Balanced { hit_probability: hit_probability(num_ranks, experts_per_token) },
            Policy::RoundRobin => Gate::RoundRobin,
            Policy::Random => Gate::Random(Draw::new(&placement, seed)),
        };
        Self { placement, experts_per_token, gate, loads: vec![RankLoad::default(); num_ranks as usize] }
    }

    /// The load of each rank when `tokens` tokens pass one block. Every call is a block of its own: random gates draw
    /// anew.
    pub fn route(&mut self, tokens: u64) -> &[RankLoad] {
        self.loads.fill(RankLoad::default());
        match &mut self.gate {
            Gate::Balanced { hit_probability } => {
                let num_ranks = self.placement.num_ranks();
                let pairs = (tokens * u64::from(self.experts_per_token)) as f64 / f64::from(num_ranks);
                let experts_per_rank = u64::from((self.placement.num_experts() / num_ranks).max(1));
                self.loads.fill(RankLoad {
                    tokens: (tokens as f64 * *hit_probability).round_ties_even() as u64,
                    active_experts: (pairs.round_ties_even() as u64).min(experts_per_rank),
                });
            }
            Gate::RoundRobin => {
                if tokens > 0 {
                    for expert in 0..self.experts_per_token {
                        let load = &mut self.loads[self.placement.rank_of(expert) as usize];
                        load.tokens = tokens;
                        load.active_experts += 1;
                    }
                }
            }
            Gate::Random(draw) => {
                draw.route(tokens, self.experts_per_token, &self.placement, &mut self.loads);
            }
        }
        &self.loads
    }
}

/// The probability that a token reaches a given rank when its choices are independent of each other.
fn hit_probability(num_ranks: u32, experts_per_token: u32) -> f64 {
    if num_ranks == 1 {
        return 1.0;
    }
    let miss = f64::from(num_ranks - 1) / f64::from(num_ranks);
    // `powf`, not `powi`: it is the C `pow` that the reference calls, and they differ in the last bit.
    1.0 - miss.powf(f64::from(experts_per_token))
}

impl Draw {
    /// The stream that belongs to expert routing, whatever else shares the seed.
    const STREAM: u64 = 0x6d6f_6520_6761_7465;

    fn new(placement: &Placement, seed: u64) -> Self {
        Self {
            random: Pcg32::new(seed, Self::STREAM),
            deck: (0..placement.num_experts()).collect(),
            taken: vec![false; placement.num_experts() as usize],
            last_token: vec![0; placement.num_ranks() as usize],
        }
    }

    /// Adds the load of `tokens` tokens to `loads`.
    fn route(&mut self, tokens: u64, experts_per_token: u32, placement: &Placement, loads: &mut [RankLoad]) {
        self.taken.fill(false);
        self.last_token.fill(0);
        for token in 1..=tokens {
            for position in 0..experts_per_token {
                let expert = self.next_expert(position);
                let rank = placement.rank_of(expert) as usize;
                if !std::mem::replace(&mut self.taken[expert as usize], true) {
                    loads[rank].active_experts += 1;
                }
                if std::mem::replace(&mut self.last_token[rank], token) != token {
                    loads[rank].tokens += 1;
                }
            }
        }
    }

    /// The expert that a token takes after `position` others.
    ///
    /// A partial Fisher–Yates shuffle: the token's experts are the top of the deck, so they are distinct. The deck need
    /// not be in order before, so it's left as it is for the next token.
    fn next_expert(&mut self, position: u32) -> u32 {
        let drawn = position + self.below(self.deck.len() as u32 - position);
        self.deck.swap(position as usize, drawn as usize);
        self.deck[position as usize]
    }

    /// Uniform in `0..bound`, without bias: Lemire, "Fast random integer generation in an interval" (2019).
    fn below(&mut self, bound: u32) -> u32 {
        loop {
            let scaled = u64::from(self.random.next_u32()) * u64::from(bound);
            // The remainder is dear and wanted only when the draw might lie in the uneven part.
            if scaled as u32 >= bound || scaled as u32 >= bound.wrapping_neg() % bound {
                return (scaled >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests;
