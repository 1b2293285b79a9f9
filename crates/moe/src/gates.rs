//! The gates of the named policies.
//!
//! The formulae are those of section 9 of the behaviour contract, on `f64` and in its order of operations, because a
//! rounding that falls the other way is a different latency:
//!
//! - `BALANCED`: a token reaches a rank with the probability that not all of its `k` choices fall elsewhere, so
//!   `tokens = round(T · (1 − ((R − 1) / R)^k))`; the `T · k / R` pairs of token and expert keep
//!   `min(round(T · k / R), E / R)` experts busy. Halves round to even.
//! - `RR`: every token takes experts `0..k`.
//! - `RAND`: `k` distinct experts per token, uniformly.
//!
//! `UNIFORM` is not of the contract: it is what `RAND` comes to on average. A rank of `n` experts is missed by a token
//! with probability `C(E − n, k) / C(E, k)`, and an expert by all `T` tokens with probability `(1 − k / E)^T`.

use rand_pcg::Pcg32;
use rand_pcg::rand_core::Rng;

use crate::gate::Tally;
use crate::{ExpertGate, MoeBlock, RankLoad};

/// The gate of [`Policy::Balanced`](crate::Policy::Balanced).
#[derive(Debug)]
pub(crate) struct Balanced;

impl ExpertGate for Balanced {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        let (num_ranks, num_experts) = (block.placement.num_ranks(), block.placement.num_experts());
        let pairs = (block.tokens * u64::from(block.experts_per_token)) as f64 / f64::from(num_ranks);
        let experts_per_rank = u64::from((num_experts / num_ranks).max(1));
        let tokens = block.tokens as f64 * hit_probability(num_ranks, block.experts_per_token);
        loads.fill(RankLoad {
            tokens: tokens.round_ties_even() as u64,
            active_experts: (pairs.round_ties_even() as u64).min(experts_per_rank),
        });
    }

    fn is_memoryless(&self) -> bool {
        true
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

/// The gate of [`Policy::Uniform`](crate::Policy::Uniform).
#[derive(Debug)]
pub(crate) struct Uniform;

impl ExpertGate for Uniform {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        let placement = block.placement;
        let (num_experts, per_token) = (f64::from(placement.num_experts()), f64::from(block.experts_per_token));
        let is_active = 1.0 - (1.0 - per_token / num_experts).powf(block.tokens as f64);
        let load_of = |num_held: u32| {
            let elsewhere = f64::from(placement.num_experts() - num_held);
            let misses = (0..block.experts_per_token).map(f64::from);
            let miss: f64 = misses.map(|taken| (elsewhere - taken).max(0.0) / (num_experts - taken)).product();
            RankLoad {
                tokens: (block.tokens as f64 * (1.0 - miss)).round_ties_even() as u64,
                active_experts: (f64::from(num_held) * is_active).round_ties_even() as u64,
            }
        };
        // Ranks with as many experts have the same load, and neighbours nearly always do.
        let mut latest = (u32::MAX, RankLoad::default());
        for (rank, load) in (0..).zip(loads.iter_mut()) {
            let num_held = placement.num_experts_of(rank);
            if latest.0 != num_held {
                latest = (num_held, load_of(num_held));
            }
            *load = latest.1;
        }
    }

    fn is_memoryless(&self) -> bool {
        true
    }
}

/// The gate of [`Policy::RoundRobin`](crate::Policy::RoundRobin).
#[derive(Debug)]
pub(crate) struct RoundRobin;

impl ExpertGate for RoundRobin {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        if block.tokens > 0 {
            for expert in 0..block.experts_per_token {
                let load = &mut loads[block.placement.rank_of(expert) as usize];
                load.tokens = block.tokens;
                load.active_experts += 1;
            }
        }
    }

    fn is_memoryless(&self) -> bool {
        true
    }
}

/// The gate of [`Policy::Random`](crate::Policy::Random).
#[derive(Debug)]
pub(crate) struct Random {
    random: Pcg32,
    /// All experts, in the order the draws so far have left them.
    pub(crate) deck: Vec<u32>,
    tally: Tally,
}

impl ExpertGate for Random {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        if self.deck.is_empty() {
            self.deck.extend(0..block.placement.num_experts());
        }
        self.tally.clear(block.placement);
        for token in 1..=block.tokens {
            for position in 0..block.experts_per_token {
                let expert = self.next_expert(position);
                self.tally.add(token, expert, block.placement, loads);
            }
        }
    }
}

impl Random {
    /// The stream that belongs to expert routing, whatever else shares the seed.
    const STREAM: u64 = 0x6d6f_6520_6761_7465;

    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Pcg32::new(seed, Self::STREAM), deck: Vec::new(), tally: Tally::default() }
    }

    /// The expert that a token takes after `position` others.
    ///
    /// A partial Fisher–Yates shuffle: the token's experts are the top of the deck, so they are distinct. The deck need
    /// not be in order before, so it's left as it is for the next token.
    pub(crate) fn next_expert(&mut self, position: u32) -> u32 {
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
