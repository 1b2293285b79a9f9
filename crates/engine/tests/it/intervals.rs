//! Log intervals, against what requests and waves tell.
//!
//! An interval is reported at the first instant after its end, so whatever happens at its end belongs to it.

use engine::{Deployment, MemberInterval, Polling, Role};
use proptest::prelude::*;
use units::Instant;

use crate::common::{ELEMENT_BYTES, Finished, HIDDEN_SIZE, Run, cases, config, services};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn intervals_tell_what_happened_in_them(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        let length = deployment.options.log_interval;
        let mut told = run.intervals.iter().map(|interval| interval.end).peekable();
        for index in 1..=(run.totals.end.ns() - 1) / length.ns() {
            let end = Instant::ZERO + length * index;
            // One in which nothing happened may be left out, so that long times without requests are passed over.
            prop_assert!(told.next_if_eq(&end).is_some() || is_idle(&run, Instant::ZERO + length * (index - 1), end));
        }
        prop_assert_eq!(told.next(), None, "none comes after the last request");
        prop_assert!(run.intervals.iter().all(|interval| interval.length == length));
        for group in 0..deployment.groups.len() {
            check_group(&run, &deployment, group)?;
            check_memory(&run, &deployment, group)?;
        }
        for service in services(&deployment) {
            check_requests(&run, &deployment, &service)?;
        }
    }
}

/// Whether no wave began and no token came after `start` and up to `end`.
fn is_idle(run: &Run, start: Instant, end: Instant) -> bool {
    let within = |time: Instant| start < time && time <= end;
    let tokens = run.finished.iter().flat_map(|request| request.token_times());
    !tokens.chain(run.waves.iter().map(|wave| wave.start)).any(within)
}

fn check_group(run: &Run, deployment: &Deployment, group: usize) -> Result<(), TestCaseError> {
    let members = &deployment.groups[group].members;
    for interval in &run.intervals {
        let told = &interval.groups[group];
        let waves: Vec<_> = run.waves_of(group).take_while(|wave| wave.start <= interval.end).collect();
        prop_assert_eq!(told.waves, waves.len() as u64);
        let latest = waves.last();
        let bytes = latest.map(|wave| wave.padded_tokens * HIDDEN_SIZE * ELEMENT_BYTES);
        prop_assert_eq!(told.synchronised_bytes, bytes.filter(|_| members.len() > 1));
        for (index, (told, member)) in told.members.iter().zip(members).enumerate() {
            prop_assert_eq!(told.batch_sequences, latest.map_or(0, |wave| wave.members[index].sequences));
            let ended = run.steps_of(member.index()).iter().filter(|step| step.end <= interval.end).count();
            prop_assert_eq!(told.totals.steps, ended as u64);
        }
    }
    Ok(())
}

fn check_memory(run: &Run, deployment: &Deployment, group: usize) -> Result<(), TestCaseError> {
    for (member, &instance) in deployment.groups[group].members.iter().enumerate() {
        let spec = &deployment.instances[instance.index()];
        for interval in &run.intervals {
            let told = interval.groups[group].members[member];
            // A decode instance takes over whatever it has room for.
            let num_seqs_max = spec.scheduler.max_num_seqs.filter(|_| spec.role != Role::Decode);
            prop_assert!(told.running <= num_seqs_max.unwrap_or(u64::MAX), "{:?}", told);
            let kv_bytes = told.npu_bytes.checked_sub(spec.weight_bytes);
            let blocks = kv_bytes.filter(|bytes| bytes % spec.kv.bytes_per_block == 0);
            let blocks = blocks.map(|bytes| bytes / spec.kv.bytes_per_block);
            let at_most = if told.running > 0 || spec.kv.prefix_caching { spec.kv.num_blocks } else { 0 };
            prop_assert!(blocks.is_some_and(|blocks| blocks >= told.running && blocks <= at_most.into()), "{:?}", told);
        }
    }
    Ok(())
}

/// Checks what instances that serve the same requests tell together.
fn check_requests(run: &Run, deployment: &Deployment, service: &[usize]) -> Result<(), TestCaseError> {
    let mut tokens: Vec<Instant> = run.on_any(service).flat_map(Finished::token_times).collect();
    tokens.sort_unstable();
    let mut prompt_tokens = 0;
    for interval in &run.intervals {
        let groups = deployment.groups.iter().zip(&interval.groups);
        let members = groups.flat_map(|(spec, told)| spec.members.iter().zip(&told.members));
        let ours = members.filter(|(member, _)| service.contains(&member.index()));
        let told: Vec<&MemberInterval> = ours.map(|(_, told)| told).collect();
        let sum = |count: fn(&MemberInterval) -> u64| told.iter().copied().map(count).sum::<u64>();
        let generated = sum(|told| told.totals.generated_tokens);
        prop_assert_eq!(generated as usize, tokens.partition_point(|&time| time <= interval.end));
        let prompt_tokens_before = std::mem::replace(&mut prompt_tokens, sum(|told| told.totals.prompt_tokens));
        prop_assert!(prompt_tokens_before <= prompt_tokens);
        let alive = run.on_any(service).filter(|it| it.arrival <= interval.end && interval.end < it.end).count() as u64;
        let held = sum(|told| told.running + told.waiting);
        // Polling does not see an arrival before an NPU asks for work.
        prop_assert!(held == alive || (deployment.options.polling == Polling::Reference && held < alive));
    }
    prop_assert!(prompt_tokens <= run.total(service, |totals| totals.prompt_tokens));
    Ok(())
}
