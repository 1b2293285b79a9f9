//! Runs that must agree, or differ in one direction only.

use std::mem;

use engine::{Entry, RequestRouting, Role, RoutingTable, Stamps};
use proptest::prelude::*;
use proptest::sample::select;
use units::{Duration, Instant, RequestId};

use crate::common::{
    Affine, CallPlan, Case, ClusterPlan, Finished, GroupPlan, Run, SessionPlan, cases, config, exact_cases,
    untimed_cases,
};

/// A part of a cluster that can be made twice as fast.
#[derive(Clone, Copy, Debug)]
enum Part {
    LinkBandwidth,
    LinkLatency,
    HostMemory,
    Operators,
}

impl Part {
    const ALL: &[Part] = &[Part::LinkBandwidth, Part::LinkLatency, Part::HostMemory, Part::Operators];

    fn speed_up(self, cluster: &mut ClusterPlan) {
        match self {
            Part::LinkBandwidth => cluster.link_gib_per_s *= 2.0,
            Part::LinkLatency => cluster.link_latency_ns /= 2.0,
            Part::HostMemory => {
                cluster.host_gb_per_s *= 2.0;
                cluster.host_latency_ns /= 2.0;
            }
            Part::Operators => {
                for member in cluster.groups.iter_mut().flat_map(|group| &mut group.members) {
                    let times = &mut member.latency;
                    for ns in [&mut times.base_ns, &mut times.per_token_ns, &mut times.per_kv_token_ns] {
                        *ns = ns.div_ceil(2);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_faster_part_delays_no_token(case in untimed_cases(), part in select(Part::ALL)) {
        let mut faster = case.clone();
        part.speed_up(&mut faster.cluster);
        let (before, after) = (case.run(), faster.run());
        let shape = |step: &engine::MemberStep| (step.instance, step.sequences, step.tokens);
        let batches = |run: &Run| {
            let members = run.waves.iter().map(|wave| wave.members.iter().map(shape).collect::<Vec<_>>());
            members.collect::<Vec<_>>()
        };
        prop_assert_eq!(batches(&before), batches(&after), "time decided something");
        for (before, after) in before.by_id().into_iter().zip(after.by_id()) {
            let sooner = after.token_times().zip(before.token_times()).all(|(after, before)| after <= before);
            prop_assert!(sooner, "{:?} was {:?}", after, before);
        }
        prop_assert!(after.totals.end <= before.totals.end);
    }

    #[test]
    fn what_comes_later_ends_later_by_as_much(case in exact_cases(), delay_ns in 1..10_000_000u64) {
        let mut later = case.clone();
        later.workload.iter_mut().for_each(|session| session.arrival_ns += delay_ns);
        let (run, mut expected) = (later.run(), case.run());
        let shift = |time: &mut Instant| *time += Duration::from_ns(delay_ns);
        for request in &mut expected.finished {
            shift(&mut request.arrival);
            shift(&mut request.end);
            let Stamps { queued, first_scheduled, first_token, first_delivered } = &mut request.stamps;
            [queued, first_scheduled, first_token, first_delivered].into_iter().for_each(shift);
        }
        expected.waves.iter_mut().for_each(|wave| shift(&mut wave.start));
        prop_assert_eq!(run.finished, expected.finished);
        prop_assert_eq!(run.waves, expected.waves);
    }

    #[test]
    fn groups_that_share_nothing_do_not_delay_each_other(case in exact_cases()) {
        check_apart(case)?;
    }

    /// Blocks without identity, and one after the other, come to the same where nothing is found again.
    #[test]
    fn blocks_need_no_identity_without_token_ids(case in cases()) {
        let mut entries = case.entries();
        for entry in &mut entries {
            for call in [&mut entry.first].into_iter().chain(&mut entry.following) {
                (call.input_ids, call.output_ids) = (Vec::new(), Vec::new());
            }
        }
        let deployment = case.deployment();
        prop_assert_eq!(Run::without_prefixes(&deployment, &entries), Run::of(&deployment, &entries));
    }

    #[test]
    fn routing_each_block_anew_changes_nothing_where_it_comes_out_the_same(case in exact_cases(), balanced: bool) {
        let run = |block_copy: bool| {
            let Case { mut cluster, workload } = case.clone();
            cluster.options.expert_routing =
                if balanced { moe::Policy::Balanced } else { moe::Policy::RoundRobin };
            let members = cluster.groups.iter_mut().flat_map(|group| &mut group.members);
            members.for_each(|member| member.block_copy = block_copy);
            cluster.groups.iter_mut().for_each(|group| group.takes_one_expert = false);
            Case { cluster, workload }.run()
        };
        prop_assert_eq!(run(true), run(false));
    }
}

/// Checks that the requests of each service fare as well without all others.
fn check_apart(case: Case) -> Result<(), TestCaseError> {
    let mut case = case.with_nothing_shared();
    let ClusterPlan { groups, num_nodes, .. } = &mut case.cluster;
    for member in groups.iter_mut().flat_map(|group| &mut group.members) {
        // Channels of different nodes share queues where there are more channels than nodes.
        member.pim = member.pim.filter(|pim| pim.num_channels <= *num_nodes);
    }
    case.cluster.options.request_routing = RequestRouting::RoundRobin;
    // A session would carry delays from one instance to the next.
    let plain = |arrival_ns, calls: Vec<CallPlan>| {
        calls.into_iter().map(move |call| SessionPlan { arrival_ns, calls: vec![call] })
    };
    let sessions = mem::take(&mut case.workload).into_iter();
    case.workload = sessions.flat_map(|session| plain(session.arrival_ns, session.calls)).collect();
    let (deployment, entries) = (case.deployment(), case.entries());
    if deployment.instances.iter().any(|spec| spec.role != Role::Whole) {
        return Ok(());
    }
    let run = case.run();
    for group in &deployment.groups {
        let ours = |request: &&Finished| group.members.contains(&request.instance);
        let table: RoutingTable = run.finished.iter().map(|request| (request.id, request.instance)).collect();
        let ids: Vec<RequestId> = run.finished.iter().filter(ours).map(|request| request.id).collect();
        let entries: Vec<Entry> = entries.iter().filter(|entry| ids.contains(&entry.first_id)).cloned().collect();
        let apart = Run::routed(&deployment, &entries, Box::new(table));
        let together: Vec<&Finished> = run.finished.iter().filter(ours).collect();
        prop_assert_eq!(apart.finished.iter().collect::<Vec<_>>(), together);
    }
    Ok(())
}

/// Where hardly anything but a link takes time, twice the bandwidth is half the time; the endpoints' delay and the
/// reductions are the little that remains.
#[test]
fn a_run_that_only_communicates_takes_half_as_long_on_twice_the_bandwidth() {
    let makespan_ns = |link_gib_per_s: f64| {
        let mut cluster = ClusterPlan::new(vec![GroupPlan::dense(2)]);
        cluster.link_gib_per_s = link_gib_per_s;
        cluster.groups[0].members[0].latency = Affine { base_ns: 0, per_token_ns: 0, per_kv_token_ns: 0 };
        Case { cluster, workload: vec![SessionPlan::plain(0, 4000, 1)] }.run().totals.end.ns() as f64
    };
    let ratio = makespan_ns(0.01) / makespan_ns(0.02);
    println!("ratio of makespans: {ratio}");
    assert!((1.99..2.0).contains(&ratio), "{ratio}");
}
