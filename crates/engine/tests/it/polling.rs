//! Where both ways to see time must agree to the nanosecond.
//!
//! Polling asks an idle instance at the first event, which is the first arrival if that comes within the first log
//! interval, and asks a busy one when its step ends. Ranks of one instance start apart only when there are several. So
//! one instance of one NPU that never runs out of work, from its first request to its last, leaves polling nothing to
//! be late for.

use engine::Polling;
use proptest::prelude::*;
use units::Duration;

use crate::common::{Case, ClusterPlan, Run, SessionPlan, chain_cases, config};

/// One instance of one NPU; `others` arrive while the first request runs, each at its share of that time.
fn never_idle(mut case: Case, first_ns: u64, others: &[(u64, u64, u64)], first_output_tokens: u64) -> Case {
    case.cluster.groups.truncate(1);
    case.cluster.groups[0].tp = 1;
    case.cluster.groups[0].members.truncate(1);
    // Where blocks are routed one by one, LLMServingSim runs one block only.
    case.cluster.groups[0].members[0].block_copy = true;
    case.cluster.options.log_interval = Duration::from_ns(1_000_000);
    case.workload = vec![SessionPlan::plain(first_ns, 20, first_output_tokens)];
    // By itself it is through soonest, but for experts drawn at random: company makes its steps longer, and it is never
    // preempted.
    let alone = case.run().finished[0].end.ns() - first_ns;
    let later = |&(percent, input_tokens, output_tokens): &(u64, u64, u64)| {
        SessionPlan::plain(first_ns + alone * percent / 100, input_tokens, output_tokens)
    };
    case.workload.extend(others.iter().map(later));
    case
}

fn in_reference_time(case: &Case) -> Run {
    let mut case = case.clone();
    case.cluster.options.polling = Polling::Reference;
    case.run()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn polling_is_exact_for_one_npu_that_is_never_idle(
        case in chain_cases(),
        first_ns in prop_oneof![Just(1), 1..=1_000_000u64],
        others in prop::collection::vec((0..=100u64, 1..=40u64, 1..=12u64), 0..12),
        first_output_tokens in 1..=20u64,
    ) {
        let case = never_idle(case, first_ns, &others, first_output_tokens);
        let (exact, reference) = (case.run(), in_reference_time(&case));
        let steps = exact.steps_of(0);
        // Company changes which experts are drawn, and so may hurry the first request after all.
        prop_assume!(steps.windows(2).all(|pair| pair[1].start == pair[0].end));
        prop_assert_eq!(&exact.finished, &reference.finished);
        prop_assert_eq!(&exact.waves, &reference.waves);
        prop_assert_eq!(&exact.totals, &reference.totals);
        if others.iter().all(|&(percent, ..)| percent == 0) {
            prop_assert_eq!(exact, reference);
        }
    }
}

/// What polling is late by where it is: the oddities that the reference has, in numbers.
#[test]
fn polling_is_late_by_the_idle_step() {
    let check = |arrival_ns: u64, log_interval_ns: u64, start_ns: u64| {
        let mut cluster = ClusterPlan::lone_instances(1);
        cluster.options.log_interval = Duration::from_ns(log_interval_ns);
        let case = Case { cluster, workload: vec![SessionPlan::plain(arrival_ns, 10, 1)] };
        assert_eq!(case.run().waves[0].start.ns(), arrival_ns, "exact time has no idle step");
        let run = in_reference_time(&case);
        assert_eq!(run.waves[0].start.ns(), start_ns, "arrival at {arrival_ns}, intervals of {log_interval_ns}");
        assert_eq!(run.finished[0].arrival.ns(), arrival_ns);
    };
    // The first event is the end of a wait for the first arrival, of at least a nanosecond and at most an interval.
    check(0, 1_000_000_000, 1);
    check(123, 1_000_000_000, 123);
    check(1_000_000_000, 1_000_000_000, 1_000_000_000);
    // After it, the clock goes on by whole milliseconds.
    check(123, 100, 1_000_100);
    check(1_000_101, 100, 2_000_100);
    check(2_000_100, 100, 2_000_100);
}
