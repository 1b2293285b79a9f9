//! Engines that step as vLLM's engine core does.

use engine::{Engine, HostTimes, Kernels, Vllm};
use proptest::prelude::*;
use units::{Duration, Instant};

use crate::common::{Case, ClusterPlan, ExpertPlan, GroupPlan, MemberPlan, Run, SessionPlan, chain_cases, config};

/// Batches formed ahead, and nothing else.
const AHEAD: Engine = Engine::Vllm(Vllm { async_scheduling: true, ..Vllm::PLAIN });

fn run(case: &Case, engine: Engine) -> Run {
    let mut case = case.clone();
    case.cluster.options.engine = engine;
    case.run()
}

/// Any way of vLLM's to go about a run.
pub(crate) fn ways() -> impl Strategy<Value = Vllm> {
    let time = || prop_oneof![Just(0), 0..2_000_000u64].prop_map(Duration::from_ns);
    let host = (time(), time(), time(), time(), time(), time());
    let host = host.prop_map(|(step, sequence, new_request, block, frontend_request, frontend_token)| HostTimes {
        step,
        sequence,
        new_request,
        block,
        frontend_request,
        frontend_token,
    });
    (any::<[bool; 6]>(), host, time()).prop_map(
        |([async_scheduling, a, b, c, waves, published_loads], host, warm_up)| {
            let kernels = Kernels { varlen_attention: a, graph_padding: b, group_experts: c };
            Vllm { async_scheduling, host, warm_up, kernels, waves, published_loads }
        },
    )
}

proptest! {
    #![proptest_config(config())]

    /// One batch at a time, and no time between steps, is what the reference engine does.
    #[test]
    fn one_batch_at_a_time_is_the_reference_engine(case in chain_cases()) {
        prop_assert_eq!(run(&case, Engine::Vllm(Vllm::PLAIN)), run(&case, Engine::Reference));
    }

    /// Forming batches ahead changes when tokens come, not how many: each request gets all of its own, one a step, and is
    /// seen, scheduled and answered in this order. The laws of conservation are the engine's own to keep.
    #[test]
    fn batches_formed_ahead_yield_every_token_once(case in chain_cases(), way in ways()) {
        let run = run(&case, Engine::Vllm(way));
        let calls: u64 = case.workload.iter().map(|session| session.calls.len() as u64).sum();
        prop_assert_eq!(run.finished.len() as u64, calls);
        for request in &run.finished {
            prop_assert_eq!(request.itl.len() as u64, request.output_tokens - 1);
            prop_assert!(request.itl.iter().all(|&itl| itl > Duration::ZERO), "two tokens of a step: {:?}", request);
            let stamps = request.stamps;
            let times = [request.arrival, stamps.queued, stamps.first_scheduled, stamps.first_token, request.end];
            prop_assert!(times.is_sorted() && stamps.first_scheduled < stamps.first_token, "{:?}", request);
            prop_assert!(stamps.queued >= request.arrival + way.host.frontend_request, "{:?}", request);
            prop_assert_eq!(stamps.first_delivered, stamps.first_token + way.host.frontend_token);
        }
        for index in 0..case.deployment().instances.len() {
            let ends: Vec<Instant> = run.steps_of(index).iter().map(|step| step.end).collect();
            // A host that is busy may take in two results at once.
            prop_assert!(ends.is_sorted(), "steps of one instance end one by one");
        }
    }
}

/// A host that takes longer than a step holds up every one where it forms a batch when the one before is through, and none
/// where it forms them ahead and has the time.
#[test]
fn a_host_s_time_passes_beside_a_step_where_batches_are_formed_ahead() {
    let case = Case { cluster: ClusterPlan::lone_instances(1), workload: vec![SessionPlan::plain(0, 1, 9)] };
    let ends = |async_scheduling: bool, step: u64| {
        let host = HostTimes { step: Duration::from_ns(step), ..HostTimes::default() };
        run(&case, Engine::Vllm(Vllm { async_scheduling, host, ..Vllm::PLAIN })).finished[0].end.ns()
    };
    let step = run(&case, Engine::Reference).finished[0].ttft.ns();
    let free = ends(false, 0);
    assert_eq!(ends(false, step / 2), free + 9 * (step / 2));
    assert_eq!(ends(true, step / 2), free + step / 2, "the first batch alone is waited for");
    // Where it takes longer than the step, it decides over the pace.
    assert!(ends(true, 3 * step) >= 9 * 3 * step, "{}", ends(true, 3 * step));
}

/// Experts that are shared keep a group going until its members agree on being done.
#[test]
fn members_that_share_experts_keep_pace_until_they_agree() {
    let experts = Some(ExpertPlan { local_ep: 1, count: 8, per_token: 2 });
    let group = GroupPlan { experts, members: vec![MemberPlan::default(); 2], ..GroupPlan::default() };
    let mut case = Case { cluster: ClusterPlan::new(vec![group]), workload: vec![SessionPlan::plain(0, 3, 5)] };
    for (waves, passes) in [(false, 5), (true, 32)] {
        case.cluster.options.engine = Engine::Vllm(Vllm { waves, ..Vllm::PLAIN });
        let run = case.run();
        assert_eq!(run.waves.len(), passes);
        assert_eq!(run.finished.len(), 1);
    }
}

/// A request comes while a batch runs and the next one is formed. It is seen when the first is through, goes into the
/// third, and has its first token when that is through: two steps after it was seen. The reference engine takes it into
/// the second.
#[test]
fn a_request_waits_for_the_batch_that_is_formed_already() {
    let alone = Case { cluster: ClusterPlan::lone_instances(1), workload: vec![SessionPlan::plain(0, 1, 4)] };
    let step = run(&alone, Engine::Reference).finished[0].ttft;
    let half = step.ns() / 2;
    assert!(half > 0);
    let workload = vec![SessionPlan::plain(0, 1, 4), SessionPlan::plain(half, 1, 1)];
    let case = Case { workload, ..alone };
    let steps = |number: u64| Instant::ZERO + step * number;
    for (engine, first_token) in [(Engine::Reference, 2), (AHEAD, 3)] {
        let run = run(&case, engine);
        let [first, second] = run.by_id()[..] else { panic!("two requests") };
        assert_eq!(second.stamps.queued, first.stamps.first_token, "{engine:?}");
        assert_eq!(second.stamps.queued, steps(1), "{engine:?}");
        assert!(second.stamps.first_token >= steps(first_token), "{engine:?}: {second:?}");
        assert!(second.stamps.first_token < steps(first_token + 1), "{engine:?}: {second:?}");
    }
}

/// Nothing is gained or lost by forming ahead where there is one request: its steps follow one another.
#[test]
fn one_request_has_its_tokens_step_by_step() {
    let case = Case { cluster: ClusterPlan::lone_instances(1), workload: vec![SessionPlan::plain(0, 5, 6)] };
    let [ahead, reference] = [AHEAD, Engine::Reference].map(|engine| run(&case, engine));
    assert_eq!(ahead.finished, reference.finished);
}
