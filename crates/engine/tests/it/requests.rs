//! What is told of each request.

use engine::{Call, Deployment, InstanceSpec, Role};
use proptest::prelude::*;
use units::{Duration, Instant};

use crate::common::{Case, Finished, Run, cases, config};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_request_finishes_once_as_asked(case in cases()) {
        let run = case.run();
        let deployment = case.deployment();
        let entries = case.entries();
        let calls: Vec<_> = entries.iter().flat_map(|entry| entry.calls()).collect();
        let ids: Vec<u64> = run.by_id().iter().map(|request| request.id.0).collect();
        prop_assert_eq!(ids, (0..calls.len() as u64).collect::<Vec<_>>());
        for (request, call) in run.by_id().into_iter().zip(calls) {
            prop_assert_eq!((request.input_tokens, request.output_tokens), (call.input_tokens, call.output_tokens));
            check_place(request, &deployment)?;
            check_prefix_hit(request, call, &deployment)?;
        }
        prop_assert_eq!(run.totals.end, run.finished.iter().map(|request| request.end).max().unwrap_or_default());
    }

    #[test]
    fn the_times_of_a_request_add_up(case in cases()) {
        for request in case.run().finished {
            prop_assert!(request.queuing_delay < request.ttft, "a step takes time: {:?}", request);
            prop_assert_eq!(request.output_tokens, 1 + request.itl.len() as u64);
            prop_assert!(request.itl.iter().all(|&itl| itl > Duration::ZERO));
            let latency = request.ttft + request.itl.iter().copied().sum();
            prop_assert_eq!(request.arrival + latency, request.end);
        }
    }

    #[test]
    fn a_call_arrives_when_the_tool_after_the_one_before_is_done(case in cases()) {
        let run = case.run();
        let requests = run.by_id();
        for entry in case.entries() {
            let mut arrival = entry.arrival;
            for (call, request) in entry.calls().zip(&requests[entry.first_id.index()..]) {
                prop_assert_eq!(request.arrival, arrival);
                arrival = request.end + call.tool_time;
            }
        }
    }

    #[test]
    fn first_come_first_served(case in cases()) {
        let run = case.run();
        check_order_of_service(&case, &run)?;
    }
}

/// A prefill instance finishes what has one token to yield; everything else that it begins, a decode instance finishes.
fn check_place(request: &Finished, deployment: &Deployment) -> Result<(), TestCaseError> {
    let role = deployment.instances[request.instance.index()].role;
    let fits = match role {
        Role::Whole => true,
        Role::Prefill => request.output_tokens == 1,
        Role::Decode => request.output_tokens > 1,
    };
    prop_assert!(fits, "a {role:?} instance finished {request:?}");
    Ok(())
}

/// Prefixes are found where the request begins, which is not told of those that a decode instance finishes.
fn check_prefix_hit(request: &Finished, call: &Call, deployment: &Deployment) -> Result<(), TestCaseError> {
    let own = &deployment.instances[request.instance.index()];
    let begins = |spec: &&InstanceSpec| match own.role {
        Role::Whole => std::ptr::eq(*spec, own),
        Role::Prefill | Role::Decode => spec.role == Role::Prefill,
    };
    let beginners = || deployment.instances.iter().filter(begins);
    let may_hit = |spec: &InstanceSpec| spec.kv.prefix_caching && !spec.skips_prefill && !call.input_ids.is_empty();
    let hit = request.prefix_hit_tokens;
    prop_assert!(hit < call.input_tokens, "the last token is always computed");
    prop_assert!(hit == 0 || beginners().any(may_hit), "{:?}", request);
    let finds_whole_blocks = beginners().all(|spec| spec.tier.is_none());
    prop_assert!(!finds_whole_blocks || hit.is_multiple_of(u64::from(own.kv.block_size)), "{:?}", request);
    Ok(())
}

/// Who arrived before is scheduled no later, on instances that serve requests whole and neither preempted nor cut long
/// prompts back.
fn check_order_of_service(case: &Case, run: &Run) -> Result<(), TestCaseError> {
    for (index, instance) in case.deployment().instances.iter().enumerate() {
        let cuts_back =
            run.totals.instances[index].preemptions > 0 || instance.scheduler.long_prefill_token_threshold > 0;
        if cuts_back || instance.role != Role::Whole {
            continue;
        }
        let mut requests: Vec<_> = run.on(index).collect();
        requests.sort_by_key(|request| request.arrival);
        let mut latest = Instant::ZERO;
        for together in requests.chunk_by(|a, b| a.arrival == b.arrival) {
            prop_assert!(together.iter().all(|request| latest <= request.scheduled_at()), "{:?}", together);
            latest = together.iter().map(|request| request.scheduled_at()).max().unwrap_or(latest);
        }
    }
    Ok(())
}
