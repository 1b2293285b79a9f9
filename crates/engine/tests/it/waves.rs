//! Waves: who takes part, when they run, and what comes of them.

use engine::{Deployment, Role};
use proptest::prelude::*;
use units::{InstanceId, Instant};

use crate::common::{Finished, Step, WaveStart, cases, config, exact_cases};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn time_never_goes_back(case in cases()) {
        let told_at = case.run().told_at;
        prop_assert!(told_at.is_sorted(), "{:?}", told_at);
    }

    #[test]
    fn no_member_is_missing_and_the_largest_sets_the_size(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for wave in &run.waves {
            check_members(wave, &deployment)?;
        }
        for (group, totals) in run.totals.groups.iter().enumerate() {
            let num_waves = run.waves_of(group).count() as u64;
            prop_assert_eq!(totals.waves, num_waves);
            for (member, instance) in deployment.groups[group].members.iter().enumerate() {
                let counted = run.totals.instances[instance.index()];
                let dummies = run.waves_of(group).filter(|wave| wave.members[member].is_dummy()).count() as u64;
                prop_assert_eq!(counted.steps - counted.dummy_steps, num_waves - dummies);
                prop_assert_eq!(counted.dummy_steps, dummies);
            }
        }
    }

    #[test]
    fn as_many_steps_are_under_way_as_there_are_stages(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (index, spec) in deployment.instances.iter().enumerate() {
            let steps = run.steps_of(index);
            prop_assert_eq!(steps.len() as u64, run.totals.instances[index].steps, "every step ends");
            prop_assert!(steps.is_sorted_by_key(|step| step.start));
            prop_assert!(steps.is_sorted_by_key(|step| step.end));
            prop_assert!(steps.iter().all(|step| step.start < step.end), "a step takes time");
            for (step, after) in steps.iter().zip(steps.iter().skip(spec.pp as usize)) {
                prop_assert!(step.end <= after.start, "{} stages, but {:?} and {:?}", spec.pp, step, after);
            }
        }
    }

    #[test]
    fn tokens_come_at_the_end_of_steps(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        let steps: Vec<Vec<Step>> = (0..deployment.instances.len()).map(|index| run.steps_of(index)).collect();
        let instances = &deployment.instances;
        let with_role = |role| (0..steps.len()).filter(move |&index| instances[index].role == role);
        for index in with_role(Role::Whole) {
            check_tokens(run.on(index).flat_map(Finished::token_times), &steps[index..][..1])?;
        }
        for index in with_role(Role::Decode) {
            check_tokens(run.on(index).flat_map(|request| request.token_times().skip(1)), &steps[index..][..1])?;
        }
        // Which prefill instance a request came through is not told.
        let of_prefill: Vec<Vec<Step>> = with_role(Role::Prefill).map(|index| steps[index].clone()).collect();
        let came_through = |request: &&Finished| instances[request.instance.index()].role != Role::Whole;
        let first_tokens = run.finished.iter().filter(came_through).flat_map(|request| request.token_times().take(1));
        check_tokens(first_tokens, &of_prefill)?;
    }

    #[test]
    fn a_lone_instance_never_waits_with_work_at_hand(case in exact_cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (group, spec) in deployment.groups.iter().enumerate().filter(|(_, spec)| spec.members.len() == 1) {
            let instance = &deployment.instances[spec.members[0].index()];
            if instance.role != Role::Whole {
                continue;
            }
            let starts: Vec<Instant> = run.waves_of(group).map(|wave| wave.start).collect();
            let requests: Vec<_> = run.on(spec.members[0].index()).collect();
            for request in &requests {
                prop_assert!(starts.contains(&request.scheduled_at()), "scheduled between waves: {:?}", request);
                // With several stages, all work at hand may be on its way.
                for time in request.token_times().filter(|_| instance.pp == 1) {
                    let has_work = requests.iter().any(|other| other.arrival <= time && time < other.end);
                    prop_assert!(!has_work || starts.contains(&time), "idle at {} with work at hand", time);
                }
                let idle = requests.iter().all(|other| other.arrival >= request.arrival || other.end <= request.arrival);
                prop_assert!(!idle || starts.contains(&request.arrival), "came to an idle instance: {:?}", request);
            }
        }
    }
}

fn check_members(wave: &WaveStart, deployment: &Deployment) -> Result<(), TestCaseError> {
    let members: Vec<InstanceId> = wave.members.iter().map(|step| step.instance).collect();
    prop_assert_eq!(&members, &deployment.groups[wave.group.index()].members);
    prop_assert!(wave.members.iter().any(|step| !step.is_dummy()), "nothing but dummies: {:?}", wave);
    prop_assert_eq!(Some(wave.padded_tokens), wave.members.iter().map(|step| step.tokens).max());
    for step in &wave.members {
        let spec = &deployment.instances[step.instance.index()];
        if step.is_dummy() {
            prop_assert_eq!(step.tokens, 1);
            continue;
        }
        // A decode instance takes over whatever it has room for.
        let num_seqs_max = spec.scheduler.max_num_seqs.filter(|_| spec.role != Role::Decode).unwrap_or(u64::MAX);
        prop_assert!(step.sequences <= num_seqs_max, "{:?}", step);
        prop_assert!((step.sequences..=spec.scheduler.max_num_batched_tokens).contains(&step.tokens), "{:?}", step);
    }
    Ok(())
}

/// Checks that tokens come when a step ends, and at most one for each sequence in the steps that end then. `steps` are
/// those of the instances that the tokens may come from.
fn check_tokens(tokens: impl Iterator<Item = Instant>, steps: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let mut tokens: Vec<Instant> = tokens.collect();
    tokens.sort_unstable();
    for together in tokens.chunk_by(|a, b| a == b) {
        let ending = steps.iter().flatten().filter(|step| step.end == together[0]);
        let sequences: u64 = ending.map(|step| step.part.sequences).sum();
        prop_assert!(together.len() as u64 <= sequences, "{} tokens of {sequences}", together.len());
    }
    Ok(())
}
