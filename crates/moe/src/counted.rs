//! Loads from what a policy of one's own says of a block.
//!
//! Such a policy says how many tokens each expert gets, or which experts each token takes. Choices are counted. Counts
//! don't say which experts go together, and so not how many tokens reach a rank that holds several; of all choices that
//! fit them, those of maximum entropy are taken, as for recorded shares (module `distinct`):
//!
//! ```text
//! tokens         = round(T · P(hit)),  from the shares p_e = count_e / T
//! active experts = experts of the rank with a count above 0
//! ```
//!
//! Halves round to even. With one expert a token this is exact.

use std::fmt;

use crate::distinct::DistinctChoices;
use crate::gate::Tally;
use crate::{MoeBlock, RankLoad};

/// Why a block can't be routed as a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unroutable {
    /// Not as many counts as experts.
    NumCounts {
        /// Counts.
        found: usize,
        /// Experts.
        num_experts: u32,
    },
    /// An expert has more tokens than there are; a token takes an expert at most once.
    TooManyTokens {
        /// The expert.
        expert: u32,
        /// Its count.
        found: u64,
        /// Tokens of the block.
        tokens: u64,
    },
    /// The counts don't add up to the experts that all tokens take.
    Total {
        /// What they add up to.
        found: u64,
        /// Tokens of the block.
        tokens: u64,
        /// Experts that each takes.
        experts_per_token: u32,
    },
    /// Not as many choices as the tokens have.
    NumChoices {
        /// Choices.
        found: usize,
        /// Tokens of the block.
        tokens: u64,
        /// Experts that each takes.
        experts_per_token: u32,
    },
    /// A token takes an expert that is not there.
    UnknownExpert {
        /// The token, from 0.
        token: u64,
        /// What it takes.
        found: u32,
        /// Experts of the block.
        num_experts: u32,
    },
    /// A token takes an expert twice.
    TwiceTheSame {
        /// The token, from 0.
        token: u64,
        /// The expert.
        expert: u32,
    },
}

impl fmt::Display for Unroutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Unroutable::NumCounts { found, num_experts } => {
                write!(f, "expected a count for each of {num_experts} experts, found {found}")
            }
            Unroutable::TooManyTokens { expert, found, tokens } => {
                write!(f, "expert {expert} gets {found} tokens of a step of {tokens}")
            }
            Unroutable::Total { found, tokens, experts_per_token } => {
                let expected = tokens * u64::from(experts_per_token);
                let each = format!("{tokens} tokens of {experts_per_token} experts each");
                write!(f, "expected counts that add up to {expected} ({each}), found {found}")
            }
            Unroutable::NumChoices { found, tokens, experts_per_token } => {
                write!(f, "expected {experts_per_token} experts for each of {tokens} tokens, found {found} in all")
            }
            Unroutable::UnknownExpert { token, found, num_experts } => {
                write!(f, "token {token} takes expert {found}, and there are {num_experts}")
            }
            Unroutable::TwiceTheSame { token, expert } => write!(f, "token {token} takes expert {expert} twice"),
        }
    }
}

impl std::error::Error for Unroutable {}

impl MoeBlock<'_> {
    /// Writes the load of each rank to `loads`, which has one entry a rank and holds zeros, when each expert gets as many
    /// tokens as `counts` says.
    ///
    /// # Errors
    /// When no choices could come to such counts. The loads are zero then.
    pub fn load_by_counts(&self, counts: &[u64], loads: &mut [RankLoad]) -> Result<(), Unroutable> {
        let Self { tokens, experts_per_token, placement, .. } = *self;
        let num_experts = placement.num_experts();
        if counts.len() != num_experts as usize {
            return Err(Unroutable::NumCounts { found: counts.len(), num_experts });
        }
        if let Some((expert, &found)) = (0..).zip(counts).find(|(_, count)| **count > tokens) {
            return Err(Unroutable::TooManyTokens { expert, found, tokens });
        }
        let found = counts.iter().sum();
        if found != tokens * u64::from(experts_per_token) {
            return Err(Unroutable::Total { found, tokens, experts_per_token });
        }
        if tokens == 0 {
            return Ok(());
        }
        for (expert, _) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
            loads[placement.rank_of(expert) as usize].active_experts += 1;
        }
        let shares: Vec<f64> = counts.iter().map(|&count| count as f64 / tokens as f64).collect();
        let hits = DistinctChoices::fit(&shares, experts_per_token).hit_probabilities(placement);
        for (load, hit) in loads.iter_mut().zip(hits) {
            // An expert that few tokens take is none that nobody takes.
            let least = u64::from(load.active_experts > 0);
            load.tokens = ((tokens as f64 * hit).round_ties_even() as u64).clamp(least, tokens);
        }
        Ok(())
    }

    /// Writes the load of each rank to `loads`, which has one entry a rank and holds zeros, when tokens take the experts
    /// of `choices`, token by token.
    ///
    /// # Errors
    /// When a token takes fewer or more experts than it must, one that is not there, or one twice. The loads mean nothing
    /// then.
    pub fn load_by_choices(&self, choices: &[u32], loads: &mut [RankLoad]) -> Result<(), Unroutable> {
        let Self { tokens, experts_per_token, placement, .. } = *self;
        let num_experts = placement.num_experts();
        if choices.len() as u64 != tokens * u64::from(experts_per_token) {
            return Err(Unroutable::NumChoices { found: choices.len(), tokens, experts_per_token });
        }
        let mut tally = Tally::default();
        tally.clear(placement);
        for (token, experts) in (0..).zip(choices.chunks(experts_per_token as usize)) {
            for (place, &expert) in experts.iter().enumerate() {
                if expert >= num_experts {
                    return Err(Unroutable::UnknownExpert { token, found: expert, num_experts });
                }
                if experts[..place].contains(&expert) {
                    return Err(Unroutable::TwiceTheSame { token, expert });
                }
                tally.add(token + 1, expert, placement, loads);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Placement;

    const fn load(tokens: u64, active_experts: u64) -> RankLoad {
        RankLoad { tokens, active_experts }
    }

    fn by_counts(counts: &[u64], ranks: u32, tokens: u64, per_token: u32) -> Result<Vec<RankLoad>, Unroutable> {
        let placement = &Placement::even(counts.len() as u32, ranks);
        let block = MoeBlock { layer: 0, tokens, experts_per_token: per_token, placement };
        let mut loads = vec![RankLoad::default(); ranks as usize];
        block.load_by_counts(counts, &mut loads).map(|()| loads)
    }

    fn by_choices(choices: &[u32], tokens: u64, per_token: u32) -> Result<Vec<RankLoad>, Unroutable> {
        let placement = &Placement::even(4, 2);
        let block = MoeBlock { layer: 0, tokens, experts_per_token: per_token, placement };
        let mut loads = vec![RankLoad::default(); 2];
        block.load_by_choices(choices, &mut loads).map(|()| loads)
    }

    #[test]
    fn one_expert_a_token_is_counted() {
        assert_eq!(by_counts(&[5, 0, 2, 3], 2, 10, 1), Ok(vec![load(5, 1), load(5, 2)]));
        assert_eq!(by_counts(&[10, 0, 0, 0], 2, 10, 1), Ok(vec![load(10, 1), load(0, 0)]));
        assert_eq!(by_counts(&[0; 4], 2, 0, 1), Ok(vec![load(0, 0); 2]));
    }

    #[test]
    fn several_experts_a_token_are_of_maximum_entropy() {
        // Of two of four equal experts, both are elsewhere with probability 1 of 6.
        assert_eq!(by_counts(&[300; 4], 2, 600, 2), Ok(vec![load(500, 2); 2]));
        // All tokens take the first two experts.
        assert_eq!(by_counts(&[600, 600, 0, 0], 2, 600, 2), Ok(vec![load(600, 2), load(0, 0)]));
        assert_eq!(by_counts(&[600, 599, 1, 0], 2, 600, 2), Ok(vec![load(600, 2), load(1, 1)]));
        assert_eq!(by_counts(&[300; 4], 1, 600, 2), Ok(vec![load(600, 4)]));
    }

    #[test]
    fn choices_are_counted() {
        assert_eq!(by_choices(&[0, 1, 1, 2, 0, 1], 3, 2), Ok(vec![load(3, 2), load(1, 1)]));
        assert_eq!(by_choices(&[], 0, 2), Ok(vec![load(0, 0); 2]));
    }

    #[test]
    fn what_can_not_be_is_told() {
        let told = |outcome: Result<Vec<RankLoad>, Unroutable>| outcome.unwrap_err().to_string();
        let total = "expected counts that add up to 20 (10 tokens of 2 experts each), found 19";
        assert_eq!(told(by_counts(&[10, 9, 0, 0], 2, 10, 2)), total);
        assert_eq!(told(by_counts(&[11, 9, 0, 0], 2, 10, 2)), "expert 0 gets 11 tokens of a step of 10");
        assert_eq!(told(by_choices(&[0, 4], 1, 2)), "token 0 takes expert 4, and there are 4");
        assert_eq!(told(by_choices(&[0, 1, 3, 3], 2, 2)), "token 1 takes expert 3 twice");
        assert_eq!(told(by_choices(&[0], 1, 2)), "expected 2 experts for each of 1 tokens, found 1 in all");
        let placement = &Placement::even(4, 2);
        let block = MoeBlock { layer: 0, tokens: 1, experts_per_token: 1, placement };
        let few = block.load_by_counts(&[1], &mut [RankLoad::default(); 2]).unwrap_err();
        assert_eq!(few.to_string(), "expected a count for each of 4 experts, found 1");
    }
}
