//! All ways to see exact time agree: the closed form of passes that are a single chain of ops, that of pipelines, stage by
//! stage, and events on NPUs, links and memory, which any instance of another kind asks for.
//!
//! Such an instance, on a node of its own and never chosen, changes nothing but the way of seeing. One thing is left to
//! chance: in which order accesses to one memory device are served that begin in the same nanosecond. So instances share
//! none here.

use engine::{InstanceLoad, RequestRouter, RoutedRequest, RunTotals};
use proptest::prelude::*;

use crate::common::{
    Case, GroupPlan, MemberPlan, Place, PlacementPlan, Run, SessionPlan, chain_cases, config, pim_cases, stage_cases,
};

/// To whom holds least, but never beyond the first few.
#[derive(Debug)]
pub(crate) struct AmongTheFirst(pub(crate) usize);

impl RequestRouter for AmongTheFirst {
    fn choose(&mut self, _: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        let least = (0..self.0).min_by_key(|&index| instances[index].waiting + instances[index].running);
        least.expect("there is a first")
    }
}

/// A case with ties: twins do the same at the same time, and a request comes as another one ends.
pub(crate) fn with_ties(mut case: Case) -> Case {
    let twin = case.cluster.groups[0].clone();
    case.cluster.groups.push(twin);
    let mut case = case.with_nothing_shared();
    let run = case.run_with(Box::new(AmongTheFirst(case.cluster.num_nodes as usize)));
    case.workload.push(SessionPlan::plain(run.finished[0].end.ns(), 3, 2));
    case
}

/// Runs a case beside an instance that is never chosen.
fn run_beside(case: &Case, num_instances: usize, unused: Option<GroupPlan>) -> Run {
    let is_beside = unused.is_some();
    let mut case = case.clone();
    case.cluster.num_nodes += u32::from(is_beside);
    case.cluster.groups.extend(unused);
    let mut run = case.run_with(Box::new(AmongTheFirst(num_instances)));
    if is_beside {
        let RunTotals { instances, groups, .. } = &mut run.totals;
        assert_eq!(instances.pop().map(|totals| totals.steps), Some(0));
        assert_eq!(groups.pop().map(|totals| totals.waves), Some(0));
    }
    run
}

/// Checks that the case comes to the same in time of its own and beside each of two instances: one with two stages, and
/// one whose weights are elsewhere.
fn check_ways_agree(case: Case) -> Result<(), TestCaseError> {
    let case = with_ties(case);
    let num_instances = case.cluster.num_nodes;
    let unused = |pp, weights| {
        let placement = PlacementPlan { weights, ..PlacementPlan::default() };
        let member = MemberPlan { node: num_instances, placement, ..MemberPlan::default() };
        Some(GroupPlan { pp, members: vec![member], ..GroupPlan::default() })
    };
    let run = |unused| run_beside(&case, num_instances as usize, unused);
    let events = run(unused(1, Place::Host));
    for closed in [run(None), run(unused(2, Place::Npu))] {
        prop_assert_eq!(&closed.finished, &events.finished);
        prop_assert_eq!(&closed.waves, &events.waves);
        prop_assert_eq!(&closed.step_ends, &events.step_ends);
        prop_assert_eq!(&closed.totals, &events.totals);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_closed_form_agrees_with_the_events(case in chain_cases()) {
        check_ways_agree(case)?;
    }

    #[test]
    fn attention_in_memory_agrees_with_the_events(case in pim_cases()) {
        check_ways_agree(case)?;
    }

    #[test]
    fn stages_agree_with_the_events(case in stage_cases()) {
        check_ways_agree(case)?;
    }
}
