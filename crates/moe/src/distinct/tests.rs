use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn hits(shares: &[f64], experts_per_token: u32, num_ranks: u32) -> Vec<f64> {
    let placement = Placement::even(shares.len() as u32, num_ranks);
    DistinctChoices::fit(shares, experts_per_token).hit_probabilities(&placement)
}

fn check(shares: &[f64], experts_per_token: u32, num_ranks: u32, expected: &[f64]) {
    let actual = hits(shares, experts_per_token, num_ranks);
    let near = actual.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near && actual.len() == expected.len(), "{shares:?} on {num_ranks} ranks: {actual:?}, not {expected:?}");
}

#[test]
fn what_can_be_worked_out_by_hand() {
    // One choice: a rank's share is the sum of its experts'.
    check(&[0.5, 0.2, 0.2, 0.1], 1, 2, &[0.7, 0.3]);
    check(&[1.0, 0.0, 0.0, 0.0], 1, 2, &[1.0, 0.0]);
    // One rank: every token reaches it.
    check(&[0.9, 0.5, 0.4, 0.2], 2, 1, &[1.0]);
    // One expert a rank: the shares themselves.
    check(&[0.9, 0.5, 0.4, 0.2], 2, 4, &[0.9, 0.5, 0.4, 0.2]);
    // A certain expert, and one of three others.
    check(&[1.0, 0.2, 0.3, 0.5], 2, 2, &[1.0, 0.8]);
    check(&[0.2, 0.3, 1.0, 0.5], 2, 2, &[0.5, 1.0]);
    // Certain experts only.
    check(&[1.0, 1.0, 0.0, 0.0], 2, 2, &[1.0, 0.0]);
    check(&[1.0, 0.0, 0.0, 1.0], 2, 4, &[1.0, 0.0, 0.0, 1.0]);
    check(&[1.0; 4], 4, 2, &[1.0, 1.0]);
    // Rounded shares of as many experts as are taken, and rounded shares that are too much for the others.
    check(&[0.99, 0.0, 0.99, 0.0], 2, 4, &[1.0, 0.0, 1.0, 0.0]);
    check(&[1.0, 1.0, 0.01, 0.01], 2, 4, &[1.0, 1.0, 0.0, 0.0]);
    // Two of three, unlike shares: the expert left out is missing with 1 − p, so rank 0 is always hit.
    check(&[0.9, 0.8, 0.3], 2, 2, &[1.0, 0.3]);
    // More ranks than experts.
    check(&[0.6, 0.4], 1, 4, &[0.6, 0.0, 0.4, 0.0]);
}

/// With equal shares a rank is missed as a hand without its cards is dealt.
#[test]
fn equal_shares_are_the_hypergeometric_law() {
    for (num_experts, experts_per_token, num_ranks) in [(8u32, 2u32, 2u32), (128, 8, 4), (60, 4, 6), (256, 8, 32)] {
        let shares = vec![f64::from(experts_per_token) / f64::from(num_experts); num_experts as usize];
        let elsewhere = num_experts - num_experts / num_ranks;
        let miss: f64 = (0..experts_per_token).map(|i| f64::from(elsewhere - i) / f64::from(num_experts - i)).product();
        check(&shares, experts_per_token, num_ranks, &vec![1.0 - miss; num_ranks as usize]);
    }
}

#[test]
fn shares_as_steep_as_they_come_are_met() {
    // A power law over 128 experts, cut where an expert would be taken more than always.
    for exponent in [0.5, 1.0, 1.5, 3.0] {
        let mut shares: Vec<f64> = (1..=128).map(|rank| f64::from(rank).powf(-exponent)).collect();
        for _ in 0..1000 {
            let unit = 8.0 / shares.iter().sum::<f64>();
            shares.iter_mut().for_each(|share| *share = (*share * unit).min(0.99999));
        }
        let hits = hits(&shares, 8, 128);
        let worst = hits.iter().zip(&shares).map(|(hit, share)| (hit - share).abs()).fold(0.0, f64::max);
        println!("exponent {exponent}: the first share {:.5}, worst deviation {worst:.1e}", shares[0]);
        assert!(worst < 1e-6);
    }
}

/// Sets of `size` of the experts, as bits.
fn sets(num_experts: usize, size: u32) -> impl Iterator<Item = u32> {
    (0..1u32 << num_experts).filter(move |set| set.count_ones() == size)
}

proptest! {
    /// The law itself: list every set with its probability, read shares and hits off the list.
    #[test]
    fn hits_are_those_of_the_law_that_the_shares_come_from(
        weights in vec(0.05..1.0f64, 2..10),
        experts_per_token in 1..5u32,
        num_ranks in 1..6u32,
    ) {
        let num_experts = weights.len();
        prop_assume!(experts_per_token < num_experts as u32);
        let members = |set: u32| (0..num_experts).filter(move |expert| set >> expert & 1 == 1);
        let weight = |set: u32| members(set).map(|expert| weights[expert]).product::<f64>();
        let total: f64 = sets(num_experts, experts_per_token).map(weight).sum();
        let probability_that = |holds: &dyn Fn(u32) -> bool| {
            sets(num_experts, experts_per_token).filter(|&set| holds(set)).map(weight).sum::<f64>() / total
        };
        let shares: Vec<f64> =
            (0..num_experts).map(|expert| probability_that(&|set| set >> expert & 1 == 1)).collect();
        let placement = Placement::even(num_experts as u32, num_ranks);
        for (rank, hit) in (0..).zip(hits(&shares, experts_per_token, num_ranks)) {
            let expected =
                probability_that(&|set| members(set).any(|expert| placement.rank_of(expert as u32) == rank));
            prop_assert!((hit - expected).abs() < 1e-5, "rank {}: {}, not {}", rank, hit, expected);
        }
    }
}
