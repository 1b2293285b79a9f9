//! Engines that step as vLLM's engine core does.

use engine::Engine;
use proptest::prelude::*;
use units::{Duration, Instant};

use crate::common::{Case, ClusterPlan, Run, SessionPlan, chain_cases, config};

fn run(case: &Case, engine: Engine) -> Run {
    let mut case = case.clone();
    case.cluster.options.engine = engine;
    case.run()
}

proptest! {
    #![proptest_config(config())]

    /// One batch at a time, and no time between steps, is what the reference engine does.
    #[test]
    fn one_batch_at_a_time_is_the_reference_engine(case in chain_cases()) {
        prop_assert_eq!(run(&case, Engine::VllmSynchronous), run(&case, Engine::Reference));
    }

    /// Forming batches ahead changes when tokens come, not how many: each request gets all of its own, one a step, and is
    /// seen, scheduled and answered in this order. The laws of conservation are the engine's own to keep.
    #[test]
    fn batches_formed_ahead_yield_every_token_once(case in chain_cases()) {
        let run = run(&case, Engine::Vllm);
        let calls: u64 = case.workload.iter().map(|session| session.calls.len() as u64).sum();
        prop_assert_eq!(run.finished.len() as u64, calls);
        for request in &run.finished {
            prop_assert_eq!(request.itl.len() as u64, request.output_tokens - 1);
            prop_assert!(request.itl.iter().all(|&itl| itl > Duration::ZERO), "two tokens of a step: {:?}", request);
            let stamps = request.stamps;
            let times = [request.arrival, stamps.queued, stamps.first_scheduled, stamps.first_token, request.end];
            prop_assert!(times.is_sorted() && stamps.first_scheduled < stamps.first_token, "{:?}", request);
        }
        for index in 0..case.deployment().instances.len() {
            let ends: Vec<Instant> = run.steps_of(index).iter().map(|step| step.end).collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "steps of one instance end one by one");
        }
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
    for (engine, first_token) in [(Engine::Reference, 2), (Engine::Vllm, 3)] {
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
    let [ahead, reference] = [Engine::Vllm, Engine::Reference].map(|engine| run(&case, engine));
    assert_eq!(ahead.finished, reference.finished);
}
