//! The same deployment, workload and seed give the same bytes.

use std::thread;

use engine::RequestRouting;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::common::{Case, Run, cases, config};

/// Everything a run told, as text.
fn bytes(case: &Case) -> String {
    format!("{:?}", case.run())
}

fn with_another_seed(case: &Case) -> Case {
    let mut other = case.clone();
    other.cluster.options.seed ^= 0x5eed;
    other
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_run_repeats_to_the_byte_on_any_thread(case in cases()) {
        let here = bytes(&case);
        prop_assert_eq!(&here, &bytes(&case));
        let there = thread::scope(|scope| scope.spawn(|| bytes(&case)).join());
        prop_assert_eq!(here, there.expect("a run does not panic"));
    }

    #[test]
    fn the_seed_is_for_random_policies_alone(mut case in cases(), balanced: bool, load: bool) {
        let options = &mut case.cluster.options;
        options.expert_routing = if balanced { moe::Policy::Balanced } else { moe::Policy::RoundRobin };
        options.request_routing = if load { RequestRouting::Load } else { RequestRouting::RoundRobin };
        prop_assert_eq!(case.run(), with_another_seed(&case).run());
    }
}

/// Not in every case, since a random choice may come out the same or not matter.
#[test]
fn another_seed_changes_something_somewhere() {
    let num_changed = |random: fn(&mut Case), differ: fn(&Run, &Run) -> bool| {
        let mut runner = TestRunner::deterministic();
        let mut changed = |_: &u32| {
            let mut case = cases().new_tree(&mut runner).expect("a case").current();
            random(&mut case);
            differ(&case.run(), &with_another_seed(&case).run())
        };
        (0..60).filter(|number| changed(number)).count()
    };
    let placed = num_changed(
        |case| case.cluster.options.request_routing = RequestRouting::Random,
        |run, other| {
            let places = |run: &Run| run.by_id().iter().map(|request| request.instance).collect::<Vec<_>>();
            places(run) != places(other)
        },
    );
    let timed = num_changed(
        |case| {
            case.cluster.options.request_routing = RequestRouting::RoundRobin;
            case.cluster.options.expert_routing = moe::Policy::Random;
        },
        |run, other| run.finished != other.finished,
    );
    println!("of 60 runs another seed places {placed} otherwise, and times {timed} otherwise");
    assert!(placed >= 20 && timed >= 10, "placed {placed}, timed {timed}");
}
