//! Log intervals, against what requests and waves tell.
//!
//! An interval is reported at the first instant after its end, so whatever happens at its end belongs to it.

use engine::{Deployment, Polling};
use proptest::prelude::*;
use units::Instant;

use crate::common::{ELEMENT_BYTES, HIDDEN_SIZE, Run, cases};

proptest! {
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
            check_memory_and_queues(&run, &deployment, group)?;
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
    let requests = run.finished.iter().filter(|request| members.contains(&request.instance));
    let mut tokens: Vec<Instant> = requests.flat_map(|request| request.token_times()).collect();
    tokens.sort_unstable();
    let (mut generated, mut prompt) = (0, 0);
    for interval in &run.intervals {
        let told = &interval.groups[group];
        generated += told.generated_tokens;
        prop_assert_eq!(generated as usize, tokens.partition_point(|&time| time <= interval.end));
        prompt += told.prompt_tokens;

        let waves: Vec<_> = run.waves_of(group).take_while(|wave| wave.start <= interval.end).collect();
        prop_assert_eq!(told.waves, waves.len() as u64);
        let latest = waves.last();
        let bytes = latest.map(|wave| wave.padded_tokens * HIDDEN_SIZE * ELEMENT_BYTES);
        prop_assert_eq!(told.synchronised_bytes, bytes.filter(|_| members.len() > 1));
        let sequences = |member: usize| latest.map_or(0, |wave| wave.members[member].sequences);
        for (member, told) in told.members.iter().enumerate() {
            prop_assert_eq!(told.batch_sequences, sequences(member));
        }
    }
    let in_all: u64 = members.iter().map(|member| run.totals.instances[member.index()].prompt_tokens).sum();
    prop_assert!(prompt <= in_all, "{prompt} of {in_all} prompt tokens");
    Ok(())
}

fn check_memory_and_queues(run: &Run, deployment: &Deployment, group: usize) -> Result<(), TestCaseError> {
    for (member, &instance) in deployment.groups[group].members.iter().enumerate() {
        let spec = &deployment.instances[instance.index()];
        for interval in &run.intervals {
            let told = interval.groups[group].members[member];
            let alive = run.on(instance.index()).filter(|it| it.arrival <= interval.end && interval.end < it.end);
            let alive = alive.count() as u64;
            prop_assert!(told.running <= spec.scheduler.max_num_seqs.unwrap_or(u64::MAX));
            match deployment.options.polling {
                Polling::Exact => prop_assert_eq!(told.running + told.waiting, alive),
                // An arrival is not seen before an NPU asks for work.
                Polling::Reference => prop_assert!(told.running + told.waiting <= alive),
            }
            let kv_bytes = told.npu_bytes.checked_sub(spec.weight_bytes);
            let blocks = kv_bytes.filter(|bytes| bytes % spec.kv.bytes_per_block == 0);
            let blocks = blocks.map(|bytes| bytes / spec.kv.bytes_per_block);
            let at_most = if told.running > 0 || spec.kv.prefix_caching { spec.kv.num_blocks } else { 0 };
            prop_assert!(blocks.is_some_and(|blocks| blocks >= told.running && blocks <= at_most.into()), "{:?}", told);
        }
    }
    Ok(())
}
