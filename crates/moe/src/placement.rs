//! Which rank holds which expert.

/// The rank of each expert of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    rank_of: Vec<u32>,
    /// By rank.
    num_experts_of: Vec<u32>,
}

impl Placement {
    /// Consecutive experts together, as evenly as they divide: expert `e` of `E` lives on rank `⌊e · R / E⌋`.
    ///
    /// # Panics
    /// When there is no expert or no rank.
    pub fn even(num_experts: u32, num_ranks: u32) -> Self {
        assert!(num_experts > 0 && num_ranks > 0, "{num_experts} experts on {num_ranks} ranks");
        let rank_of = |expert| (u64::from(expert) * u64::from(num_ranks) / u64::from(num_experts)) as u32;
        let rank_of: Vec<u32> = (0..num_experts).map(rank_of).collect();
        let mut num_experts_of = vec![0; num_ranks as usize];
        rank_of.iter().for_each(|&rank| num_experts_of[rank as usize] += 1);
        Self { rank_of, num_experts_of }
    }

    /// Experts in the block.
    pub fn num_experts(&self) -> u32 {
        self.rank_of.len() as u32
    }

    /// Expert-parallel ranks.
    pub fn num_ranks(&self) -> u32 {
        self.num_experts_of.len() as u32
    }

    /// Experts on `rank`.
    pub fn num_experts_of(&self, rank: u32) -> u32 {
        self.num_experts_of[rank as usize]
    }

    /// The rank that holds `expert`.
    ///
    /// # Panics
    /// When there is no such expert.
    pub fn rank_of(&self, expert: u32) -> u32 {
        self.rank_of[expert as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_experts_share_a_rank() {
        let check = |num_experts, num_ranks, expected: &[u32]| {
            let placement = Placement::even(num_experts, num_ranks);
            let ranks: Vec<u32> = (0..num_experts).map(|expert| placement.rank_of(expert)).collect();
            assert_eq!(ranks, expected, "{num_experts} experts on {num_ranks} ranks");
        };
        check(1, 1, &[0]);
        check(4, 1, &[0, 0, 0, 0]);
        check(8, 2, &[0, 0, 0, 0, 1, 1, 1, 1]);
        check(8, 4, &[0, 0, 1, 1, 2, 2, 3, 3]);
        check(4, 4, &[0, 1, 2, 3]);
        check(5, 2, &[0, 0, 0, 1, 1]);
        check(2, 4, &[0, 2]);
    }
}
