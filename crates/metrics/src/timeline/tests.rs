use engine::{MemberStep, StepWork};
use units::GroupId;

use super::*;
use crate::{GroupLayout, InstanceLayout};

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Instant {
    Instant::from_ns(ms * MS)
}

fn parts(attention_ms: u64, experts_ms: u64) -> StepParts {
    StepParts {
        attention: Duration::from_ns(attention_ms * MS),
        experts: Duration::from_ns(experts_ms * MS),
        collectives: [Duration::ZERO, Duration::from_ns(MS), Duration::ZERO, Duration::ZERO],
        ..StepParts::default()
    }
}

fn timeline(num_members: u32) -> Timeline {
    let members: Vec<InstanceId> = (0..num_members).map(InstanceId).collect();
    let instances = vec![InstanceLayout::default(); num_members as usize];
    let groups = vec![GroupLayout { name: None, members, is_moe: true }];
    Timeline::new(&Layout { instances, groups, ..Layout::default() })
}

/// What the members of a wave bring: sequences, tokens, when they were ready (ms), what they consist of.
type Brought = (u64, u64, u64, StepParts);

fn start(timeline: &mut Timeline, at_ms: u64, members: &[Brought]) {
    let steps: Vec<MemberStep> = (0..)
        .zip(members)
        .map(|(instance, &(sequences, tokens, ..))| MemberStep {
            instance: InstanceId(instance),
            sequences,
            tokens,
            work: StepWork::default(),
        })
        .collect();
    let details: Vec<StepDetails<'_>> = members
        .iter()
        .map(|&(sequences, tokens, ready, parts)| StepDetails {
            ready: ms(ready),
            prefills: if tokens > sequences { (1, tokens - sequences + 1) } else { (0, 0) },
            decodes: if tokens > sequences { sequences.saturating_sub(1) } else { sequences },
            running: sequences,
            waiting: 2,
            kv_blocks_held: 10,
            batch: None,
            kv_decode_tokens: (0, 0),
            parts,
            expert_tokens: &[3],
        })
        .collect();
    let padded_tokens = steps.iter().map(|step| step.tokens).max().unwrap_or(0);
    timeline.wave_detailed(&Wave { group: GroupId(0), start: ms(at_ms), padded_tokens, members: &steps }, &details);
}

#[test]
fn a_wave_by_hand() {
    let mut timeline = timeline(2);
    // Member 0 was ready at 2, member 1 at 5; then member 0 computes 6 ms and member 1 two.
    start(&mut timeline, 5, &[(3, 3, 2, parts(4, 2)), (1, 101, 5, parts(1, 1))]);
    timeline.step_finished(InstanceId(0), ms(12));
    timeline.step_finished(InstanceId(1), ms(12));
    timeline.finish();
    let [first, second] = timeline.instances() else { panic!("two instances") };
    // Seven milliseconds, six of its own and one of the collective.
    assert_eq!((first.breakdown.time.ns(), first.breakdown.waiting.ns()), (7 * MS, 0));
    assert_eq!((second.breakdown.waiting.ns(), first.breakdown.before.ns()), (4 * MS, 3 * MS));
    let named = first.breakdown.named();
    assert_eq!(named.iter().map(|(_, time)| time.ns()).sum::<u64>(), 7 * MS);
    let group = &timeline.groups()[0];
    assert_eq!(group.pairs.iter().map(|pair| pair.ns() / MS).collect::<Vec<_>>(), [0, 3, 4, 0]);
    assert_eq!((group.members[0].waited_for.ns(), group.members[1].waited_for.ns()), (4 * MS, 3 * MS));
    assert_eq!((group.members[0].slowest, group.members[0].padded_tokens, group.members[0].tokens), (1, 101, 3));
    assert_eq!((group.expert_tokens, group.expert_tokens_max, group.expert_ranks), (6, 3, 2));
    let worst = group.worst.as_ref().expect("a wave ran");
    assert_eq!((worst.start, worst.waited.ns()), (ms(5), 7 * MS));
}

#[test]
fn states_hold_while_steps_run() {
    let mut timeline = timeline(1);
    start(&mut timeline, 0, &[(3, 3, 0, parts(1, 0))]);
    timeline.step_finished(InstanceId(0), ms(2));
    // Nothing runs for two milliseconds.
    start(&mut timeline, 4, &[(1, 5, 4, parts(1, 0))]);
    timeline.step_finished(InstanceId(0), ms(5));
    timeline.finish();
    let bins = timeline.bins();
    assert_eq!((bins.width().ns(), bins.len()), (MS, 5));
    let of = |value: fn(&Bin) -> u64| bins.of(0).iter().map(value).collect::<Vec<_>>();
    assert_eq!(of(|bin| bin.running_ns / MS), [3, 3, 0, 0, 1]);
    assert_eq!(of(|bin| bin.waiting_ns / MS), [2, 2, 0, 0, 2]);
    assert_eq!(of(|bin| (bin.kv_block_ns / u128::from(MS)) as u64), [10, 10, 0, 0, 10]);
    assert_eq!(of(|bin| bin.step_ns / MS), [1, 1, 0, 0, 1]);
    assert_eq!(of(|bin| bin.decode_tokens), [3, 0, 0, 0, 0]);
    assert_eq!(of(|bin| bin.prefill_tokens), [0, 0, 0, 0, 5]);
}

#[test]
fn bins_grow_with_the_run_and_lose_nothing() {
    let mut timeline = timeline(1);
    let num_steps = 5 * BINS_MAX as u64;
    for step in 0..num_steps {
        start(&mut timeline, step, &[(2, 2, step, parts(0, 0))]);
        timeline.step_finished(InstanceId(0), ms(step + 1));
    }
    timeline.finish();
    let bins = timeline.bins();
    assert_eq!((bins.width().ns(), bins.len()), (8 * MS, num_steps.div_ceil(8) as usize));
    let sum = |value: fn(&Bin) -> u64| bins.of(0).iter().map(value).sum::<u64>();
    assert_eq!((sum(|bin| bin.decode_tokens), sum(|bin| bin.steps)), (2 * num_steps, num_steps));
    assert_eq!((sum(|bin| bin.running_ns), sum(|bin| bin.step_ns)), (2 * num_steps * MS, num_steps * MS));
}
