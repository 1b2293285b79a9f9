//! What the random cases run into. A law that holds because nothing happens is worth nothing.

use engine::{InstanceSpec, MemberStep, Polling, Role, StepWork};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use units::Duration;

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
    ("hand-over from prefill to decode", |case, run| {
        let deployment = case.deployment();
        run.finished.iter().any(|request| deployment.instances[request.instance.index()].role == Role::Decode)
    }),
    ("wait for room after a hand-over", |_, run| run.totals.instances.iter().any(|totals| totals.handoff_waits > 0)),
    ("preemption of what was handed over", |case, run| {
        let deployment = case.deployment();
        let decodes = deployment.instances.iter().zip(&run.totals.instances);
        decodes.filter(|(spec, _)| spec.role == Role::Decode).any(|(_, totals)| totals.preemptions > 0)
    }),
    ("several batches in flight", |case, run| in_flight_together(case, run, |spec| spec.pp > 1)),
    ("several batches of a group in flight", |case, run| {
        in_flight_together(case, run, |spec| spec.pp > 1 && spec.role == Role::Whole && spec.ep > spec.tp)
    }),
    ("preemption with several batches in flight", |case, run| {
        let deployment = case.deployment();
        let mut instances = deployment.instances.iter().zip(&run.totals.instances);
        instances.any(|(spec, totals)| spec.pp > 1 && totals.preemptions > 0)
    }),
    ("hit in a tier", |_, run| run.totals.instances.iter().any(|totals| totals.tier_hit_tokens > 0)),
    ("tier of several instances", |case, _| {
        let tiers = || case.deployment().instances.into_iter().filter_map(|spec| spec.tier);
        tiers().any(|tier| tiers().filter(|&other| other == tier).count() > 1)
    }),
    ("weights elsewhere", |case, _| case.deployment().instances.iter().any(|spec| !spec.placement.needs_no_loads())),
    ("attention in memory", |_, run| works(run, |work| work.pim_time > Duration::ZERO)),
    ("steps in halves", |case, run| {
        let deployment = case.deployment();
        let halved = |part: &MemberStep| {
            let pim = deployment.instances[part.instance.index()].pim;
            pim.is_some_and(|pim| pim.interleaves_sub_batches) && part.sequences > 1
        };
        run.waves.iter().flat_map(|wave| &wave.members).any(halved)
    }),
    ("prefill skipped", |case, _| case.cluster.skips_prefill),
    ("routing of one's own", |case, _| {
        case.cluster.groups.iter().any(|group| group.takes_one_expert && group.experts.is_some())
    }),
];

fn works(run: &Run, how: fn(&StepWork) -> bool) -> bool {
    run.waves.iter().flat_map(|wave| &wave.members).any(|part| how(&part.work))
}

/// Whether a step of one of these instances began while another was under way.
fn in_flight_together(case: &Case, run: &Run, which: fn(&InstanceSpec) -> bool) -> bool {
    let deployment = case.deployment();
    let instances = deployment.instances.iter().enumerate().filter(|(_, spec)| which(spec));
    instances
        .map(|(index, _)| run.steps_of(index))
        .any(|steps| steps.windows(2).any(|pair| pair[1].start < pair[0].end))
}

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
    let counts = counts(cases());
    for ((name, _), count) in HAPPENINGS.iter().zip(&counts) {
        println!("{name}: {count} of {NUM_CASES} cases");
    }
    for ((name, _), &count) in HAPPENINGS.iter().zip(&counts) {
        assert!(count >= NUM_CASES / 100, "only {count} of {NUM_CASES} cases have: {name}");
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
