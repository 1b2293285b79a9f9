//! What one instance's scheduler makes of a few requests, step by step.

use crate::common::{CallPlan, Case, ClusterPlan, Ids, MemberPlan, Run, SessionPlan};

/// Two prompts of 60 tokens that come together; the first request wants two tokens, the second one. Blocks hold 10.
fn run(member: MemberPlan, ids: Ids) -> Run {
    let mut cluster = ClusterPlan::lone_instances(1);
    cluster.groups[0].members[0] = MemberPlan { block_size: 10, ..member };
    let call = |output_tokens| CallPlan { input_tokens: 60, output_tokens, tool_ns: 0, ids };
    let session = |output_tokens| SessionPlan { arrival_ns: 0, calls: vec![call(output_tokens)] };
    Case { cluster, workload: [2, 1].map(session).to_vec() }.run()
}

/// The number of tokens in each step.
fn steps(run: &Run) -> Vec<u64> {
    run.waves.iter().map(|wave| wave.padded_tokens).collect()
}

#[test]
fn limits_and_switches() {
    let check = |member: MemberPlan, expected: &[u64]| {
        assert_eq!(steps(&run(member, Ids::Unknown)), expected, "{member:?}");
    };
    let plenty = MemberPlan::default();
    check(plenty, &[120, 1]);
    // A budget of 100: the second prompt is split over two steps, or waits for one that has room for all of it.
    check(MemberPlan { step_tokens: 100, ..plenty }, &[60 + 40, 1 + 20]);
    check(MemberPlan { step_tokens: 40, chunked_prefill: false, ..plenty }, &[60, 1 + 60]);
    check(MemberPlan { long_prefill_token_threshold: 40, ..plenty }, &[40 + 40, 20 + 20, 1]);
    check(MemberPlan { long_prefill_token_threshold: 40, step_tokens: 50, ..plenty }, &[40 + 10, 20 + 30, 1 + 20]);
    check(MemberPlan { max_num_seqs: Some(1), ..plenty }, &[60, 1, 60]);
    check(MemberPlan { max_num_seqs: Some(2), ..plenty }, &[120, 1]);
}

/// Nine blocks: each prompt takes six, and the first request a seventh for its second token.
#[test]
fn a_tight_cache() {
    let check = |threshold: u64, reserve_full_isl: bool, expected: &[u64], preemptions: u64| {
        let member = MemberPlan {
            step_tokens: 70,
            long_prefill_token_threshold: threshold,
            spare_kv_blocks: 2,
            reserve_full_isl,
            ..MemberPlan::default()
        };
        let run = run(member, Ids::Unknown);
        let told = (steps(&run), run.totals.instances[0].preemptions);
        assert_eq!(told, (expected.to_vec(), preemptions), "chunks of {threshold}, reserving {reserve_full_isl}");
    };
    // What remains of the budget would fit the cache, all of the prompt does not. Begun nonetheless, it finds no room
    // for its second chunk, and gives way to itself.
    check(0, true, &[60, 1, 60], 0);
    check(0, false, &[60 + 10, 1, 60], 1);
    // Both fit when they begin. In the third step the first needs room and the second gives way; a chunk of it would fit
    // again, but a step that preempts admits nobody.
    check(20, false, &[20 + 20, 20 + 20, 20, 1 + 20, 20, 20], 1);
    check(20, true, &[20 + 20, 20 + 20, 20, 1, 20, 20, 20], 1);
}

/// Tokens count as computed when a batch is formed, so the second prompt finds the first one's in the same step. It
/// finds whole blocks, and never its last token.
#[test]
fn a_shared_prefix_is_computed_once() {
    let check = |shared_tokens: u32, prefix_caching: bool, hit_tokens: u64| {
        let member = MemberPlan { prefix_caching, ..MemberPlan::default() };
        let run = run(member, Ids::Shared { family: 0, tokens: shared_tokens });
        assert_eq!(steps(&run), [120 - hit_tokens, 1], "{shared_tokens} shared tokens, caching {prefix_caching}");
        let hits: Vec<u64> = run.by_id().iter().map(|request| request.prefix_hit_tokens).collect();
        assert_eq!(hits, [0, hit_tokens]);
    };
    check(0, true, 0);
    check(9, true, 0);
    check(10, true, 10);
    check(35, true, 30);
    check(60, true, 50);
    check(60, false, 0);
}
