//! Tokens are conserved.
//!
//! A request of `i` prompt and `o` output tokens computes `i + o − 1` tokens less those it found in the prefix cache:
//! the last one generated is never computed. One that brings the KV of its prompt along computes `o`. A preemption loses
//! what was computed; the sequence then computes the length it had reached anew, again less what it finds. It had
//! computed at least one token less than it had reached, or it would not have asked for the block that was not there,
//! unless it is in a pipeline: there its last token may still be on the way.
//!
//! Where prefill and decode are split, all this holds of the instances of both kinds together.

use engine::{Deployment, Role};
use proptest::prelude::*;

use crate::common::{Finished, Run, cases, config, services};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_instances_count_is_what_requests_tell(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for service in services(&deployment) {
            let sum = |count: fn(&Finished) -> u64| run.on_any(&service).map(count).sum::<u64>();
            prop_assert_eq!(run.total(&service, |totals| totals.finished_requests), run.on_any(&service).count() as u64);
            prop_assert_eq!(run.total(&service, |totals| totals.generated_tokens), sum(|request| request.output_tokens));
            prop_assert_eq!(run.total(&service, |totals| totals.preemptions), sum(|request| request.preemptions));
            let hits = run.total(&service, |totals| totals.prefix_hit_tokens + totals.tier_hit_tokens);
            prop_assert_eq!(hits, sum(|request| request.prefix_hit_tokens));
            let lookups = run.total(&service, |totals| totals.prefix_lookup_tokens);
            let caches = || service.iter().filter(|&&index| takes_in(&deployment, index)).map(|&index| {
                deployment.instances[index].kv.prefix_caching
            });
            let prompts = sum(|request| request.input_tokens);
            prop_assert!(!caches().all(|caches| caches) || lookups == prompts, "{lookups} of {prompts} looked up");
            prop_assert!(caches().any(|caches| caches) || lookups == 0, "{lookups} looked up in no cache");
        }
        for (totals, spec) in run.totals.instances.iter().zip(&deployment.instances) {
            prop_assert_eq!(totals.preemptions > 0, totals.recomputed_tokens > 0);
            prop_assert!(totals.tier_hit_tokens == 0 || spec.tier.is_some());
            prop_assert!(totals.handoff_waits == 0 || spec.role == Role::Decode);
        }
    }

    #[test]
    fn tokens_computed_are_tokens_needed_and_tokens_lost(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for service in services(&deployment) {
            let needed = run.on_any(&service).map(|request| {
                let given = if case.cluster.skips_prefill { request.input_tokens - 1 } else { request.prefix_hit_tokens };
                request.input_tokens + request.output_tokens - 1 - given
            });
            let needed: u64 = needed.sum();
            let computed = computed_tokens(&run, &service);
            let preemptions = run.total(&service, |totals| totals.preemptions);
            let recomputed = run.total(&service, |totals| totals.recomputed_tokens);
            let has_stages = service.iter().any(|&index| deployment.instances[index].pp > 1);
            let lost_at_most = recomputed - if has_stages { 0 } else { preemptions };
            prop_assert!(computed <= needed + lost_at_most, "{computed} of {needed}, {recomputed} again");
            if preemptions == 0 || (!has_stages && never_splits(&run, &service, &deployment)) {
                prop_assert_eq!(computed, needed + lost_at_most, "{} again", recomputed);
            } else if service.iter().all(|&index| !deployment.instances[index].kv.prefix_caching) {
                prop_assert!(computed >= needed, "{computed} of {needed}, {recomputed} again");
            }
        }
    }

    #[test]
    fn prompts_go_through_prefill_whole(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for service in services(&deployment) {
            // A chunk of one token counts as a decode, so only prompts that are not split are counted exactly.
            if never_splits(&run, &service, &deployment) {
                let in_prefill = |request: &Finished| if case.cluster.skips_prefill { 1 } else { request.input_tokens };
                let prompts: u64 = run.on_any(&service).map(in_prefill).sum();
                let prompt_tokens = run.total(&service, |totals| totals.prompt_tokens);
                let recomputed = run.total(&service, |totals| totals.recomputed_tokens);
                prop_assert!((prompts..=prompts + recomputed).contains(&prompt_tokens), "{prompt_tokens} of {prompts}");
            }
        }
    }

    #[test]
    fn nobody_waits_for_room_that_is_there(mut case in cases()) {
        let members = case.cluster.groups.iter_mut().flat_map(|group| &mut group.members);
        members.for_each(|member| member.spare_kv_blocks = 10_000);
        for totals in case.run().totals.instances {
            prop_assert_eq!((totals.preemptions, totals.handoff_waits), (0, 0));
        }
    }
}

/// Whether requests arrive at an instance.
fn takes_in(deployment: &Deployment, instance: usize) -> bool {
    deployment.instances[instance].role != Role::Decode
}

/// Tokens in all batches of these instances, padding and dummies left out.
fn computed_tokens(run: &Run, instances: &[usize]) -> u64 {
    let steps = run.waves.iter().flat_map(|wave| &wave.members);
    let steps = steps.filter(|step| instances.contains(&step.instance.index()) && !step.is_dummy());
    steps.map(|step| step.tokens).sum()
}

/// Whether every prompt, and every sequence that comes back, is computed in one step.
fn never_splits(run: &Run, instances: &[usize], deployment: &Deployment) -> bool {
    let longest = run.on_any(instances).map(|request| request.input_tokens + request.output_tokens).max().unwrap_or(0);
    instances.iter().all(|&index| {
        let limits = deployment.instances[index].scheduler;
        !limits.chunked_prefill && limits.long_prefill_token_threshold == 0 && limits.max_num_batched_tokens >= longest
    })
}
