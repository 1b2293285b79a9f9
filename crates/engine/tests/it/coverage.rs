//! What the random cases run into. A law that holds because nothing happens is worth nothing.

use engine::Polling;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::common::{Case, Run, WaveStart, cases, untimed_cases};

const NUM_CASES: usize = 300;

/// Something that can happen in a run.
type Happening = (&'static str, fn(&Case, &Run) -> bool);

const HAPPENINGS: &[Happening] = &[
    ("preemption", |_, run| run.totals.instances.iter().any(|totals| totals.preemptions > 0)),
    ("preemption in a group", |case, run| {
        let mut preempted = run.finished.iter().filter(|request| request.preemptions > 0);
        preempted
            .any(|request| groups_of_several(case).any(|group| instance_is_in(case, request.instance.index(), group)))
    }),
    ("prefix hit", |_, run| run.finished.iter().any(|request| request.prefix_hit_tokens > 0)),
    ("prefix hit after a preemption", |_, run| {
        run.finished.iter().any(|request| request.prefix_hit_tokens > 0 && request.preemptions > 0)
    }),
    ("dummy", |_, run| run.totals.instances.iter().any(|totals| totals.dummy_steps > 0)),
    ("padding of real steps", |_, run| {
        let padded =
            |wave: &WaveStart| wave.members.iter().any(|step| !step.is_dummy() && step.tokens < wave.padded_tokens);
        run.waves.iter().any(padded)
    }),
    ("lone instance beside a group", |case, _| {
        groups_of_several(case).count() > 0 && case.cluster.groups.iter().any(|group| group.members.len() == 1)
    }),
    ("experts across tensor-parallel members", |case, _| {
        let groups = &case.cluster.groups;
        groups.iter().any(|group| group.tp > 1 && group.members.len() > 1 && group.experts.is_some())
    }),
    ("session", |case, _| case.workload.iter().any(|session| session.calls.len() > 1)),
    ("waiting for a turn", |_, run| {
        run.intervals.iter().any(|it| it.groups.iter().any(|group| group.members.iter().any(|at| at.waiting > 0)))
    }),
    ("reference polling", |case, _| case.cluster.options.polling == Polling::Reference),
    ("log interval", |_, run| !run.intervals.is_empty()),
];

fn groups_of_several(case: &Case) -> impl Iterator<Item = usize> {
    (0..case.cluster.groups.len()).filter(|&group| case.cluster.groups[group].members.len() > 1)
}

fn instance_is_in(case: &Case, instance: usize, group: usize) -> bool {
    case.deployment().instances[instance].group.index() == group
}

/// In how many of the same cases each time each happening is seen.
fn counts(strategy: impl Strategy<Value = Case>) -> Vec<usize> {
    let mut runner = TestRunner::deterministic();
    let mut counts = vec![0; HAPPENINGS.len()];
    for _ in 0..NUM_CASES {
        let case = strategy.new_tree(&mut runner).expect("a case").current();
        let run = case.run();
        for (count, (_, happens)) in counts.iter_mut().zip(HAPPENINGS) {
            *count += usize::from(happens(&case, &run));
        }
    }
    counts
}

#[test]
fn random_cases_run_into_everything() {
    for ((name, _), count) in HAPPENINGS.iter().zip(counts(cases())) {
        println!("{name}: {count} of {NUM_CASES} cases");
        assert!(count >= NUM_CASES / 50, "only {count} of {NUM_CASES} cases have: {name}");
    }
}

#[test]
fn untimed_cases_preempt_and_pad_too() {
    let counts = counts(untimed_cases());
    for name in ["preemption", "prefix hit", "dummy", "padding of real steps"] {
        let index = HAPPENINGS.iter().position(|happening| happening.0 == name).expect("a happening");
        println!("{name}: {} of {NUM_CASES} cases", counts[index]);
        assert!(counts[index] >= NUM_CASES / 20, "only {} of {NUM_CASES} cases have: {name}", counts[index]);
    }
}
