//! Rows of files with what they route, or with what is wrong in them.

use proptest::prelude::*;

use super::*;
use crate::{ExpertRouter, RankLoad};

const SHAPE: MoeShape = MoeShape { num_layers: 4, num_experts: 4, experts_per_token: 2 };

fn recording(text: &str, shape: &MoeShape) -> RecordedRouting {
    RecordedRouting::read("routing", text, shape).unwrap_or_else(|faults| panic!("{faults}"))
}

fn router(text: &str, shape: &MoeShape, num_ranks: u32) -> ExpertRouter {
    ExpertRouter::new(shape.num_experts, shape.experts_per_token, num_ranks, &recording(text, shape), 0)
}

/// Pairs of tokens and active experts.
fn route(router: &mut ExpertRouter, layer: u32, tokens: u64) -> Vec<(u64, u64)> {
    router.route(layer, tokens).iter().map(|load| (load.tokens, load.active_experts)).collect()
}

#[test]
fn shares_give_expected_loads() {
    let check = |text: &str, num_ranks, layer, tokens, expected: &[(u64, u64)]| {
        let loads = route(&mut router(text, &SHAPE, num_ranks), layer, tokens);
        assert_eq!(loads, expected, "{tokens} tokens in layer {layer} on {num_ranks} ranks, from {text:?}");
    };
    let even = "layer,expert,share\n0,0,0.5\n0,1,0.5\n0,2,0.5\n0,3,0.5\n";
    // Of the six pairs of experts one misses a given rank of two.
    check(even, 2, 0, 0, &[(0, 0); 2]);
    check(even, 2, 0, 1, &[(1, 1); 2]);
    check(even, 2, 0, 6, &[(5, 2); 2]);
    check(even, 2, 0, 600, &[(500, 2); 2]);
    check(even, 1, 0, 600, &[(600, 4)]);
    check(even, 4, 0, 600, &[(300, 1); 4]);
    check(even, 1, 0, 1, &[(1, 2)]);
    // 4 · (1 − 1/4) experts.
    check(even, 1, 0, 2, &[(2, 3)]);
    // Halves to even: 2.5 tokens each.
    check(even, 4, 0, 5, &[(2, 1); 4]);
    // An expert that is always taken, one that never is, in any order of lines and with spaces and empty lines.
    let steep = " layer, expert ,share\r\n\r\n1,3,0.25\r\n1,0,1\r\n1,1,0.75\r\n";
    check(steep, 2, 1, 100, &[(100, 2), (25, 1)]);
    check(steep, 4, 1, 100, &[(100, 1), (75, 1), (0, 0), (25, 1)]);
    // Counts in proportion, with the mark of a spreadsheet.
    let counts = "\u{feff}layer,expert,count\n1,0,400\n1,1,300\n1,3,100\n";
    check(counts, 4, 1, 100, &[(100, 1), (75, 1), (0, 0), (25, 1)]);
    // A rank with tokens has an active expert, although here the mean of its active experts rounds to none.
    let faint = "layer,expert,share\n0,0,0.26\n0,1,0.74\n0,2,0.5\n0,3,0.5\n";
    check(faint, 4, 0, 2, &[(1, 1), (1, 1), (1, 1), (1, 1)]);
    // Layers without lines get the mean: 0.75, 0.75, 0.25, 0.25.
    let two = "layer,expert,share\n0,0,1\n0,1,1\n3,0,0.5\n3,1,0.5\n3,2,0.5\n3,3,0.5\n";
    check(two, 4, 0, 100, &[(100, 1), (100, 1), (0, 0), (0, 0)]);
    check(two, 4, 1, 100, &[(75, 1), (75, 1), (25, 1), (25, 1)]);
    check(two, 4, 2, 100, &[(75, 1), (75, 1), (25, 1), (25, 1)]);
    check(two, 4, 3, 100, &[(50, 1); 4]);
}

#[test]
fn the_latest_answer_is_not_given_to_another_question() {
    let text = "layer,expert,count\n0,0,1\n0,1,1\n1,2,1\n1,3,1\n";
    let mut router = router(text, &SHAPE, 2);
    for (layer, tokens, expected) in [
        (0, 7, [(7, 2), (0, 0)]),
        (1, 7, [(0, 0), (7, 2)]),
        (0, 7, [(7, 2), (0, 0)]),
        (0, 9, [(9, 2), (0, 0)]),
        (0, 0, [(0, 0), (0, 0)]),
        (0, 9, [(9, 2), (0, 0)]),
    ] {
        assert_eq!(route(&mut router, layer, tokens), expected, "{tokens} tokens in layer {layer}");
    }
}

/// Fitted to equal shares, the expectation is the mean of what `RAND` draws.
#[test]
fn equal_shares_are_the_mean_of_random_routing() {
    let shape = MoeShape { num_layers: 1, num_experts: 64, experts_per_token: 6 };
    let lines: String = (0..64).map(|expert| format!("0,{expert},1\n")).collect();
    let mut shares = router(&format!("layer,expert,count\n{lines}"), &shape, 8);
    let mut random = ExpertRouter::new(64, 6, 8, &crate::Policy::Random, 1);
    const STEPS: u64 = 3000;
    for tokens in [1, 4, 16, 64] {
        let expected = shares.route(0, tokens)[0];
        let mut sum = RankLoad::default();
        for _ in 0..STEPS {
            let load = random.route(0, tokens)[0];
            sum.tokens += load.tokens;
            sum.active_experts += load.active_experts;
        }
        let mean = |sum: u64| sum as f64 / STEPS as f64;
        let (mean_tokens, mean_active) = (mean(sum.tokens), mean(sum.active_experts));
        println!("{tokens} tokens: {expected:?}, drawn {mean_tokens:.2} and {mean_active:.2}");
        assert!((mean_tokens - expected.tokens as f64).abs() < 0.6);
        assert!((mean_active - expected.active_experts as f64).abs() < 0.6);
    }
}

#[test]
fn choices_are_taken_in_turn() {
    let text = "{\"layer\": 0, \"experts\": [[0, 1], [1, 3]]}\n\n\
                {\"step\": 4, \"experts\": [[2, 3]], \"layer\": 3}\n\
                {\"layer\": 0, \"experts\": []}\n\
                {\"layer\": 0, \"experts\": [[3, 2]]}\n";
    let mut router = router(text, &SHAPE, 2);
    for (layer, tokens, expected) in [
        (0, 1, [(1, 2), (0, 0)]),
        (0, 1, [(1, 1), (1, 1)]),
        // The third token, and the first one again.
        (0, 2, [(1, 2), (1, 2)]),
        (0, 0, [(0, 0), (0, 0)]),
        (0, 2, [(1, 1), (2, 2)]),
        // More tokens than there are: twice each.
        (0, 6, [(4, 2), (4, 2)]),
        (3, 5, [(0, 0), (5, 2)]),
        // Layer 1 is nearest to layer 0, and goes through its tokens by itself; layer 2 is nearest to layer 3.
        (1, 1, [(1, 2), (0, 0)]),
        (2, 1, [(0, 0), (1, 2)]),
        (1, 1, [(1, 1), (1, 1)]),
    ] {
        assert_eq!(route(&mut router, layer, tokens), expected, "{tokens} tokens in layer {layer}");
    }
}

#[test]
fn a_gate_begins_at_the_start_of_the_recording() {
    let text = "{\"layer\": 0, \"experts\": [[0, 1], [2, 3]]}";
    let routing = recording(text, &SHAPE);
    for seed in [0, 1] {
        let mut router = ExpertRouter::new(4, 2, 2, &routing, seed);
        assert_eq!(route(&mut router, 0, 1), [(1, 2), (0, 0)]);
    }
}

#[track_caller]
fn check_faults(text: &str, expected: &str) {
    let faults = RecordedRouting::read("r", text, &SHAPE).map(|_| ()).expect_err(text);
    let faults: Vec<String> =
        faults.iter().map(|fault| diagnostics::Fault { hint: None, ..fault.clone() }.to_string()).collect();
    assert_eq!(faults.join("\n"), expected, "in {text:?}");
}

#[test]
fn faults_in_shares_are_placed() {
    check_faults("", "r: the file is empty");
    check_faults("\n \n", "r: the file is empty");
    check_faults("0,0,1\n", "r:1:1: expected a header of three columns");
    check_faults("[1]", "r:1:1: expected a header of three columns");
    check_faults("layer,expert,share\n", "r: no expert is listed");
    check_faults(
        "layer,expert,share\n0,0\n4,4,1.5\n 0, 1,x,\n-1,é,nan\n",
        "r:2:1: expected 3 fields, found 2\n\
         r:3:1: `4` is no layer: expected a whole number from 0 to 3\n\
         r:3:3: `4` is no expert: expected a whole number from 0 to 3\n\
         r:3:5: `1.5` is no share: expected a number from 0 to 1\n\
         r:4:1: expected 3 fields, found 4\n\
         r:5:1: `-1` is no layer: expected a whole number from 0 to 3\n\
         r:5:4: `é` is no expert: expected a whole number from 0 to 3\n\
         r:5:6: `nan` is no share: expected a number from 0 to 1",
    );
    check_faults(
        "layer,expert,share\n1,0,1\n1,1,0.5\n2,0,1\n2,1,1\n",
        "r:2:1: the shares of layer 1 sum to 1.500, not to 2, the experts of a token",
    );
    // Where a line is faulty, nothing is said about the sum.
    check_faults(
        "layer,expert,share\n1,0,1\n1,0,1\n1,1,0\n",
        "r:3:1: expert 0 of layer 1 is listed again, after line 2",
    );
    check_faults("layer,expert,count\n1,0,0\n", "r:2:1: the counts of layer 1 are all 0");
    check_faults("layer,expert,count\n1,0,inf\n", "r:2:5: `inf` is no count: expected a number from 0");
    check_faults(
        "layer,expert,count\n1,0,5\n1,1,7\n",
        "r:2:1: expert 1 of layer 1 has more than 1/2 of the counts, which is more than one for each token",
    );
}

#[test]
fn faults_in_choices_are_placed() {
    check_faults("{", "r:1:1: not JSON: unterminated object");
    check_faults(
        "{\"layer\": 0, \"experts\": [[0, 1]]}\n7\n{\"layer\": 1, \"experts\": [[0, 1],]}",
        "r:2:1: expected an object\nr:3:32: not JSON: trailing commas are not allowed",
    );
    check_faults("{\"experts\": [[0, 1]]}", "r:1:1: missing key `layer`");
    check_faults("{\"layer\": 0}", "r:1:1: missing key `experts`");
    check_faults(
        "{\"layer\": 0, \"layer\": 0, \"tokens\": 1, \"experts\": [[0, 1]]}",
        "r:1:14: key `layer` stands here twice\nr:1:26: unknown key `tokens`",
    );
    check_faults(
        "{\"layer\": 4, \"step\": -1, \"experts\": 5}",
        "r:1:11: expected a whole number from 0 to 3, found `4`\n\
         r:1:22: expected a whole number from 0, found `-1`\n\
         r:1:37: expected a list with one list of experts for each token",
    );
    check_faults(
        "{\"layer\": 0, \"experts\": [[0, 1, 2], [0], 3, [1, 1], [0, 4], [\"ééééééééééééééééééééééé\", 0]]}",
        "r:1:26: expected 2 experts for a token, found 3\n\
         r:1:37: expected 2 experts for a token, found 1\n\
         r:1:42: expected a list of experts for each token\n\
         r:1:49: a token takes expert 1 twice\n\
         r:1:57: expected a whole number from 0 to 3, found `4`\n\
         r:1:62: expected a whole number from 0 to 3, found `\"ééééééééééééééééééé`",
    );
    check_faults("{\"layer\": 0, \"experts\": []}", "r: no token has chosen any expert");
    check_faults(
        "{\"layer\": 0, \"step\": 1, \"experts\": [[0, 1]]}\n\
         {\"layer\": 1, \"step\": 0, \"experts\": [[0, 1]]}\n\
         {\"layer\": 0, \"step\": 1, \"experts\": [[0, 1]]}\n\
         {\"layer\": 0, \"step\": 0, \"experts\": [[0, 1]]}",
        "r:4:1: step 0 of layer 0 comes after step 1 in line 3",
    );
}

#[test]
fn many_faults_are_counted() {
    for (num_faulty, last) in
        [(20, "r:21:1: expected 3 fields, found 1"), (21, "r: 1 more fault"), (40, "r: 20 more faults")]
    {
        let text = format!("layer,expert,share\n{}", "x\n".repeat(num_faulty));
        let faults = RecordedRouting::read("r", &text, &SHAPE).expect_err("no shares");
        assert_eq!(faults.iter().count(), num_faulty.min(21));
        assert_eq!(faults.iter().last().map(ToString::to_string).as_deref(), Some(last));
    }
}

proptest! {
    /// Sorting tokens into sets shows the same as the tally.
    #[test]
    fn choices_add_up(
        pool in prop::collection::vec(prop::sample::subsequence(vec![0u32, 1, 2, 3, 4, 5], 3), 1..20),
        num_ranks in 1..7u32,
        steps in prop::collection::vec(0..30u64, 1..6),
    ) {
        let shape = MoeShape { num_layers: 1, num_experts: 6, experts_per_token: 3 };
        let mut router = router(&format!("{{\"layer\": 0, \"experts\": {pool:?}}}"), &shape, num_ranks);
        let mut tokens = pool.iter().cycle();
        let rank_of = |expert: u32| expert * num_ranks / 6;
        for step in steps {
            let taken: Vec<_> = tokens.by_ref().take(step as usize).collect();
            for (rank, load) in (0..).zip(router.route(0, step)) {
                let reached = taken.iter().filter(|token| token.iter().any(|&expert| rank_of(expert) == rank));
                let active = (0..6).filter(|expert| rank_of(*expert) == rank && taken.iter().any(|token| token.contains(expert)));
                prop_assert_eq!((load.tokens, load.active_experts), (reached.count() as u64, active.count() as u64));
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_fall_over(text in "[\\PC\n]{0,80}", choices in any::<bool>()) {
        let start = if choices { "{\"layer\": 0, \"experts\": [[0, " } else { "layer,expert,count\n" };
        let _ = RecordedRouting::read("r", &format!("{start}{text}"), &SHAPE);
        let deep = format!("{{{text}{}", "[".repeat(100_000));
        prop_assert!(RecordedRouting::read("r", &deep, &SHAPE).is_err());
    }
}
