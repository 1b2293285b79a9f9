//! Which instance a request goes to.

use engine::{RequestRouting, Role, RoutingTable};
use proptest::prelude::*;

use crate::common::{Case, ClusterPlan, Run, SessionPlan, cases, config};

proptest! {
    #![proptest_config(config())]

    /// Who took a request in is told of those that one instance serves whole.
    #[test]
    fn a_run_repeats_with_its_requests_sent_where_they_went(case in cases()) {
        if case.cluster.groups.iter().any(|group| group.role != Role::Whole) {
            return Ok(());
        }
        let run = case.run();
        let table: RoutingTable = run.finished.iter().map(|request| (request.id, request.instance)).collect();
        prop_assert_eq!(case.run_with(Box::new(table)), run);
    }
}

fn run(policy: RequestRouting, mut cluster: ClusterPlan, workload: Vec<SessionPlan>) -> Run {
    cluster.options.request_routing = policy;
    Case { cluster, workload }.run()
}

/// Requests of ten prompt tokens, one every `gap_ns`.
fn requests(number: u64, gap_ns: u64) -> Vec<SessionPlan> {
    (0..number).map(|index| SessionPlan::plain(index * gap_ns, 10, 3)).collect()
}

fn places(run: &Run) -> Vec<usize> {
    run.by_id().iter().map(|request| request.instance.index()).collect()
}

#[test]
fn round_robin_goes_round() {
    for num_instances in 1..=6 {
        for gap_ns in [0, 1_000, 10_000_000] {
            let run = run(RequestRouting::RoundRobin, ClusterPlan::lone_instances(num_instances), requests(25, gap_ns));
            let expected: Vec<usize> = (0..25).map(|index| index % num_instances).collect();
            assert_eq!(places(&run), expected, "{num_instances} instances, every {gap_ns} ns");
        }
    }
}

#[test]
fn what_comes_together_is_spread_evenly() {
    for num_instances in 1..=6 {
        for max_num_seqs in [None, Some(1), Some(3), Some(128)] {
            let mut cluster = ClusterPlan::lone_instances(num_instances);
            cluster.groups.iter_mut().for_each(|group| group.members[0].max_num_seqs = max_num_seqs);
            let run = run(RequestRouting::Load, cluster, requests(3 * num_instances as u64, 0));
            let expected: Vec<usize> = (0..3 * num_instances).map(|index| index % num_instances).collect();
            assert_eq!(places(&run), expected, "{num_instances} instances of {max_num_seqs:?}");
        }
    }
}

#[test]
fn load_is_relative_to_what_an_instance_may_run() {
    let check = |capacities: [u64; 2], number: u64, expected: [usize; 2]| {
        let mut cluster = ClusterPlan::lone_instances(2);
        for (group, capacity) in cluster.groups.iter_mut().zip(capacities) {
            group.members[0].max_num_seqs = Some(capacity);
        }
        let run = run(RequestRouting::Load, cluster, requests(number, 0));
        assert_eq!([0, 1].map(|instance| run.on(instance).count()), expected, "{number} requests on {capacities:?}");
    };
    check([4, 4], 12, [6, 6]);
    check([8, 4], 12, [8, 4]);
    check([1, 5], 12, [2, 10]);
    check([128, 1], 100, [100 - 1, 1]);
}

/// Instance 0 has room for one request at a time, so it holds one that runs and one that waits, which weigh as much as
/// five that run. Instance 1 starts with two, and takes what comes until it runs five.
#[test]
fn one_waiting_weighs_as_much_as_four_running() {
    let mut cluster = ClusterPlan::lone_instances(2);
    cluster.groups[0].members[0].spare_kv_blocks = 0;
    let first = [0; 4].map(|arrival_ns| SessionPlan::plain(arrival_ns, 300, 200));
    // Far enough apart that what came before runs, near enough that nothing ends.
    let later = (0..9).map(|index| SessionPlan::plain(500_000 + index * 200_000, 300, 200));
    let run = run(RequestRouting::Load, cluster, first.into_iter().chain(later).collect());
    assert!(run.finished[0].end.ns() > 500_000 + 9 * 200_000, "the first has ended too soon");
    assert_eq!(places(&run)[..4], [0, 1, 0, 1]);
    // Five against five is a tie, and the scan starts after the instance chosen last; then it is nine against five.
    assert_eq!(places(&run)[4..], [1, 1, 1, 0, 1, 1, 1, 1, 0]);
}

#[test]
fn random_reaches_all_alike() {
    const NUM_INSTANCES: usize = 5;
    const NUM_REQUESTS: u64 = 2000;
    let run = run(RequestRouting::Random, ClusterPlan::lone_instances(NUM_INSTANCES), requests(NUM_REQUESTS, 0));
    let mean = NUM_REQUESTS as f64 / NUM_INSTANCES as f64;
    let deviation = (mean * (1.0 - 1.0 / NUM_INSTANCES as f64)).sqrt();
    let off = (0..NUM_INSTANCES).map(|instance| (run.on(instance).count() as f64 - mean).abs() / deviation);
    let worst = off.fold(0.0, f64::max);
    println!("the instance that is off most is off by {worst:.2} standard deviations");
    assert!(worst > 0.0 && worst < 4.0, "{worst} standard deviations");
}
