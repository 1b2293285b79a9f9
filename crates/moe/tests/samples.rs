//! The sample files that `docs/routing-files.md` goes through, with the numbers it gives.

use std::path::Path;

use moe::{ExpertRouter, MoeShape, RecordedRouting};

fn router(file: &str, num_ranks: u32) -> ExpertRouter {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let shape = MoeShape { num_layers: 4, num_experts: 8, experts_per_token: 2 };
    let routing = RecordedRouting::read(file, &text, &shape).unwrap_or_else(|faults| panic!("{faults}"));
    ExpertRouter::new(shape.num_experts, shape.experts_per_token, num_ranks, &routing, 0)
}

fn check(router: &mut ExpertRouter, layer: u32, tokens: u64, expected: &[(u64, u64)]) {
    let loads: Vec<_> = router.route(layer, tokens).iter().map(|load| (load.tokens, load.active_experts)).collect();
    assert_eq!(loads, expected, "{tokens} tokens in layer {layer}");
}

#[test]
fn shares() {
    let mut two_ranks = router("expert-shares.csv", 2);
    check(&mut two_ranks, 0, 100, &[(79, 4), (79, 4)]);
    check(&mut two_ranks, 1, 100, &[(96, 4), (46, 4)]);
    check(&mut two_ranks, 2, 100, &[(88, 4), (68, 4)]);
    check(&mut two_ranks, 3, 100, &[(94, 4), (84, 4)]);
    check(&mut two_ranks, 3, 4, &[(4, 2), (3, 2)]);
    check(&mut router("expert-shares.csv", 1), 3, 100, &[(100, 8)]);
}

#[test]
fn choices() {
    let mut two_ranks = router("expert-choices.jsonl", 2);
    check(&mut two_ranks, 3, 4, &[(3, 2), (3, 3)]);
    check(&mut two_ranks, 3, 4, &[(4, 3), (3, 3)]);
    check(&mut two_ranks, 3, 4, &[(3, 2), (4, 3)]);
}
