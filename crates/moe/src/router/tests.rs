use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::Policy;
use crate::gates::Random;

fn loads(num_experts: u32, experts_per_token: u32, num_ranks: u32, policy: Policy, tokens: u64) -> Vec<RankLoad> {
    ExpertRouter::new(num_experts, experts_per_token, num_ranks, &policy, 42).route(0, tokens).to_vec()
}

/// Expected values come from CPython's floats and its `round`; many of them are halves.
#[test]
fn balanced_rounds_as_python_does() {
    #[rustfmt::skip]
    const ROWS: &[(u64, u32, u32, u32, u64, u64)] = &[
        // tokens, experts, experts per token, ranks, tokens of a rank, its active experts
        (0, 8, 1, 2, 0, 0),
        (1, 8, 1, 2, 0, 0),
        (2, 8, 1, 2, 1, 1),
        (3, 8, 1, 2, 2, 2),
        (4, 8, 1, 2, 2, 2),
        (5, 8, 1, 2, 2, 2),
        (6, 8, 1, 2, 3, 3),
        (7, 8, 1, 2, 4, 4),
        (11, 8, 1, 2, 6, 4),
        (2, 16, 1, 4, 0, 0),
        (6, 16, 1, 4, 2, 2),
        (10, 16, 1, 4, 2, 2),
        (14, 16, 1, 4, 4, 4),
        (1022, 16, 1, 4, 256, 4),
        (1, 32, 3, 2, 1, 2),
        (2, 32, 3, 2, 2, 3),
        (3, 32, 3, 2, 3, 4),
        (5, 32, 3, 2, 4, 8),
        (13, 32, 3, 2, 11, 16),
        (1, 128, 8, 4, 1, 2),
        (2, 128, 8, 4, 2, 4),
        (3, 128, 8, 4, 3, 6),
        (10, 128, 8, 4, 9, 20),
        (100, 128, 8, 4, 90, 32),
        (2048, 128, 8, 4, 1843, 32),
        (1, 128, 8, 8, 1, 1),
        (7, 128, 8, 8, 5, 7),
        (64, 128, 8, 8, 42, 16),
        (511, 128, 8, 8, 335, 16),
        (4097, 128, 8, 8, 2689, 16),
        (1, 8, 2, 1, 1, 2),
        (2, 8, 2, 1, 2, 4),
        (9, 8, 2, 1, 9, 8),
        (1000, 8, 2, 1, 1000, 8),
        (8191, 8, 2, 1, 8191, 8),
        (1, 8, 2, 8, 0, 0),
        (3, 8, 2, 8, 1, 1),
        (6, 8, 2, 8, 1, 1),
        (9, 8, 2, 8, 2, 1),
        (31, 8, 2, 8, 7, 1),
        (2047, 8, 2, 8, 480, 1),
        (1, 256, 8, 32, 0, 0),
        (17, 256, 8, 32, 4, 4),
        (333, 256, 8, 32, 75, 8),
        (2049, 256, 8, 32, 460, 8),
        (65535, 256, 8, 32, 14700, 8),
        (5, 60, 4, 6, 3, 3),
        (50, 60, 4, 6, 26, 10),
        (500, 60, 4, 6, 259, 10),
        (5000, 60, 4, 6, 2589, 10),
        (1, 384, 8, 48, 0, 0),
        (10, 384, 8, 48, 2, 2),
        (99, 384, 8, 48, 15, 8),
        (12345, 384, 8, 48, 1914, 8),
        (3, 72, 6, 3, 3, 6),
        (4, 72, 6, 3, 4, 8),
        (1000, 72, 6, 3, 912, 24),
        (4096, 72, 6, 3, 3736, 24),
        (1, 64, 6, 64, 0, 0),
        (8, 64, 6, 64, 1, 1),
        (77777, 64, 6, 64, 7013, 1),
        (1, 4, 9, 2, 1, 2),
        (4, 4, 9, 2, 4, 2),
        (1048576, 4, 9, 2, 983040, 2),
        (9, 2, 1, 4, 2, 1),
    ];
    for &(tokens, num_experts, experts_per_token, num_ranks, rank_tokens, active_experts) in ROWS {
        let expected = vec![RankLoad { tokens: rank_tokens, active_experts }; num_ranks as usize];
        let actual = loads(num_experts, experts_per_token, num_ranks, Policy::Balanced, tokens);
        assert_eq!(actual, expected, "{tokens} tokens, {experts_per_token} of {num_experts} on {num_ranks} ranks");
    }
}

#[test]
fn round_robin_gives_every_token_the_first_experts() {
    let check = |tokens, num_experts, experts_per_token, num_ranks, expected: &[(u64, u64)]| {
        let actual = loads(num_experts, experts_per_token, num_ranks, Policy::RoundRobin, tokens);
        let actual: Vec<(u64, u64)> = actual.iter().map(|load| (load.tokens, load.active_experts)).collect();
        assert_eq!(actual, expected, "{tokens} tokens, {experts_per_token} of {num_experts} on {num_ranks} ranks");
    };
    check(0, 8, 2, 2, &[(0, 0), (0, 0)]);
    check(1, 8, 2, 1, &[(1, 2)]);
    check(7, 8, 2, 2, &[(7, 2), (0, 0)]);
    check(7, 8, 5, 2, &[(7, 4), (7, 1)]);
    check(7, 8, 2, 8, &[(7, 1), (7, 1), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 0)]);
    check(300, 128, 8, 4, &[(300, 8), (0, 0), (0, 0), (0, 0)]);
    check(3, 4, 9, 2, &[(3, 2), (3, 2)]);
    check(3, 4, 0, 2, &[(3, 1), (0, 0)]);
}

/// Counts what a second, equal stream deals, pair by pair.
#[test]
fn random_loads_are_what_the_draws_add_up_to() {
    // Blocks of one token leave the most behind for the next one to trip over.
    let shapes = [(8, 2, 2, 100), (128, 8, 4, 333), (64, 6, 64, 50), (4, 2, 4, 1), (8, 2, 8, 3)];
    for (num_experts, experts_per_token, num_ranks, tokens) in shapes {
        let placement = Placement::even(num_experts, num_ranks);
        let mut router = ExpertRouter::new(num_experts, experts_per_token, num_ranks, &Policy::Random, 7);
        let mut draw = Random::new(7);
        draw.deck.extend(0..num_experts);
        for _block in 0..3 {
            let mut pairs = HashSet::new();
            for token in 0..tokens {
                pairs.extend((0..experts_per_token).map(|position| (token, draw.next_expert(position))));
            }
            assert_eq!(pairs.len() as u64, tokens * u64::from(experts_per_token), "a token's experts are distinct");
            for (rank, load) in router.route(0, tokens).iter().enumerate() {
                let here = pairs.iter().filter(|&&(_, expert)| placement.rank_of(expert) as usize == rank);
                let (reached, active): (HashSet<u64>, HashSet<u32>) = here.copied().unzip();
                assert_eq!((load.tokens, load.active_experts), (reached.len() as u64, active.len() as u64));
            }
        }
    }
}

#[test]
fn random_reaches_each_rank_as_often_as_chance_says() {
    for (num_experts, experts_per_token, num_ranks) in [(128u32, 8u32, 4u32), (60, 4, 6), (8, 2, 8), (256, 8, 32)] {
        let tokens = 200_000;
        let elsewhere = num_experts - num_experts / num_ranks;
        // No expert on the rank: all choices, without repetition, among those elsewhere.
        let miss: f64 = (0..experts_per_token).map(|i| f64::from(elsewhere - i) / f64::from(num_experts - i)).product();
        let mean = tokens as f64 * (1.0 - miss);
        let deviation = (mean * miss).sqrt();
        let loads = loads(num_experts, experts_per_token, num_ranks, Policy::Random, tokens);
        let worst = loads.iter().map(|load| (load.tokens as f64 - mean).abs() / deviation).fold(0.0, f64::max);
        println!("{experts_per_token} of {num_experts} on {num_ranks} ranks: {worst:.2} standard deviations at worst");
        assert!(worst < 4.0);
        assert!(loads.iter().all(|load| load.active_experts == u64::from(num_experts / num_ranks)));
    }
}

/// Means over many blocks of few tokens, where not every expert is active.
#[test]
fn uniform_is_what_random_comes_to() {
    for (num_experts, experts_per_token, num_ranks, tokens) in
        [(128, 8, 2, 28), (128, 8, 4, 5), (60, 4, 7, 9), (8, 2, 8, 3)]
    {
        let blocks = 20_000;
        let mut router = ExpertRouter::new(num_experts, experts_per_token, num_ranks, &Policy::Random, 3);
        let mut sums = vec![(0, 0); num_ranks as usize];
        for _ in 0..blocks {
            for (sum, load) in sums.iter_mut().zip(router.route(0, tokens)) {
                *sum = (sum.0 + load.tokens, sum.1 + load.active_experts);
            }
        }
        let uniform = loads(num_experts, experts_per_token, num_ranks, Policy::Uniform, tokens);
        for (sum, load) in sums.iter().zip(uniform) {
            let mean = |sum: u64| sum as f64 / f64::from(blocks);
            // Rounded to whole tokens and experts.
            assert!((mean(sum.0) - load.tokens as f64).abs() < 0.52, "{sum:?} {load:?}");
            assert!((mean(sum.1) - load.active_experts as f64).abs() < 0.52, "{sum:?} {load:?}");
        }
    }
}

#[test]
fn random_draws_are_the_same_on_every_machine_and_new_in_every_block() {
    let run = |seed| {
        let mut router = ExpertRouter::new(16, 2, 4, &Policy::Random, seed);
        [10, 10, 3].map(|tokens| {
            let loads = router.route(0, tokens).iter();
            loads.map(|load| (load.tokens, load.active_experts)).collect::<Vec<_>>()
        })
    };
    let expected =
        [[(5, 3), (3, 3), (3, 3), (5, 4)], [(3, 3), (4, 3), (5, 4), (4, 3)], [(0, 0), (2, 2), (1, 1), (1, 1)]];
    assert_eq!(run(42), expected);
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
}

proptest! {
    #[test]
    fn loads_stay_within_what_tokens_and_experts_allow(
        experts_per_rank in 1..20u32,
        num_ranks in 1..20u32,
        experts_per_token in 1..20u32,
        tokens in 0..300u64,
        policy in prop::sample::select(&[Policy::Balanced, Policy::Uniform, Policy::RoundRobin, Policy::Random][..]),
    ) {
        let num_experts = experts_per_rank * num_ranks;
        let loads = loads(num_experts, experts_per_token, num_ranks, policy, tokens);
        let experts_per_token = u64::from(experts_per_token.min(num_experts));
        prop_assert_eq!(loads.len(), num_ranks as usize);
        for load in &loads {
            prop_assert!(load.tokens <= tokens);
            prop_assert!(load.active_experts <= u64::from(experts_per_rank));
        }
        if policy != Policy::Balanced && policy != Policy::Uniform {
            let (reached, active) = loads.iter().fold((0, 0), |(a, b), load| (a + load.tokens, b + load.active_experts));
            prop_assert!(loads.iter().all(|load| (load.tokens > 0) == (load.active_experts > 0)));
            prop_assert!((tokens..=tokens * experts_per_token.min(u64::from(num_ranks))).contains(&reached));
            prop_assert!(active <= tokens * experts_per_token);
            prop_assert!(tokens == 0 || active >= experts_per_token);
            // With one expert on a rank each pair is a token that reaches the rank.
            prop_assert!(experts_per_rank > 1 || reached == tokens * experts_per_token);
        }
    }
}
