//! Tokens are conserved.
//!
//! A request of `i` prompt and `o` output tokens computes `i + o − 1` tokens less those it found in the prefix cache:
//! the last one generated is never computed. A preemption loses what was computed; the sequence then computes the
//! length it had reached anew, again less what it finds. It had computed at least one token less than it had reached,
//! or it would not have asked for the block that was not there.

use engine::{InstanceSpec, InstanceTotals};
use proptest::prelude::*;

use crate::common::{Finished, Run, cases};

proptest! {
    #[test]
    fn what_instances_count_is_what_requests_tell(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (index, (totals, spec)) in run.totals.instances.iter().zip(&deployment.instances).enumerate() {
            let sum = |count: fn(&Finished) -> u64| run.on(index).map(count).sum::<u64>();
            let looked_up = if spec.kv.prefix_caching { sum(|request| request.input_tokens) } else { 0 };
            prop_assert_eq!(totals.finished_requests, run.on(index).count() as u64);
            prop_assert_eq!(totals.generated_tokens, sum(|request| request.output_tokens));
            prop_assert_eq!(totals.preemptions, sum(|request| request.preemptions));
            prop_assert_eq!(totals.prefix_lookup_tokens, looked_up);
            prop_assert_eq!(totals.prefix_hit_tokens, sum(|request| request.prefix_hit_tokens));
            prop_assert_eq!(totals.preemptions > 0, totals.recomputed_tokens > 0);
        }
    }

    #[test]
    fn tokens_computed_are_tokens_needed_and_tokens_lost(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (index, (totals, spec)) in run.totals.instances.iter().zip(&deployment.instances).enumerate() {
            let needed = run.on(index).map(|request| {
                request.input_tokens + request.output_tokens - 1 - request.prefix_hit_tokens
            });
            let needed: u64 = needed.sum();
            let computed = computed_tokens(&run, index);
            let lost_at_most = totals.recomputed_tokens - totals.preemptions;
            prop_assert!(computed <= needed + lost_at_most, "{computed} of {needed}, {:?}", totals);
            if totals.preemptions == 0 || never_splits(&run, index, spec) {
                prop_assert_eq!(computed, needed + lost_at_most, "{:?}", totals);
            } else if !spec.kv.prefix_caching {
                prop_assert!(computed >= needed, "{computed} of {needed}, {:?}", totals);
            }
        }
    }

    #[test]
    fn prompts_go_through_prefill_whole(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (index, (totals, spec)) in run.totals.instances.iter().zip(&deployment.instances).enumerate() {
            // A chunk of one token counts as a decode, so only prompts that are not split are counted exactly.
            if never_splits(&run, index, spec) {
                let prompts: u64 = run.on(index).map(|request| request.input_tokens).sum();
                let InstanceTotals { prompt_tokens, recomputed_tokens, .. } = *totals;
                prop_assert!((prompts..=prompts + recomputed_tokens).contains(&prompt_tokens), "{:?}", totals);
            }
        }
    }
}

/// Tokens in all batches of `instance`, padding and dummies left out.
fn computed_tokens(run: &Run, instance: usize) -> u64 {
    let steps = run.waves.iter().flat_map(|wave| &wave.members);
    steps.filter(|step| step.instance.index() == instance && !step.is_dummy()).map(|step| step.tokens).sum()
}

/// Whether every prompt, and every sequence that comes back, is computed in one step.
fn never_splits(run: &Run, instance: usize, spec: &InstanceSpec) -> bool {
    let longest = run.on(instance).map(|request| request.input_tokens + request.output_tokens).max().unwrap_or(0);
    let limits = spec.scheduler;
    !limits.chunked_prefill && limits.long_prefill_token_threshold == 0 && limits.max_num_batched_tokens >= longest
}
