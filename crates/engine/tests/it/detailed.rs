//! Both ways to see exact time agree: the closed form, where every pass is a single chain of ops, and events on NPUs,
//! links and memory, which any instance of another kind asks for.
//!
//! Such an instance, on a node of its own and never chosen, changes nothing but the way of seeing. One thing is left to
//! chance: in which order accesses to one memory device are served that begin in the same nanosecond. So instances share
//! none here.

use engine::{InstanceLoad, RequestRouter, RoutedRequest, RunTotals};
use proptest::prelude::*;

use crate::common::{Case, GroupPlan, MemberPlan, SessionPlan, chain_cases, config};

/// To whom holds least, but never beyond the first few.
#[derive(Debug)]
struct AmongTheFirst(usize);

impl RequestRouter for AmongTheFirst {
    fn choose(&mut self, _: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        let least = (0..self.0).min_by_key(|&index| instances[index].waiting + instances[index].running);
        least.expect("there is a first")
    }
}

/// A case with ties: twins do the same at the same time, and a request comes as another one ends.
fn with_ties(mut case: Case) -> Case {
    let twin = case.cluster.groups[0].clone();
    case.cluster.groups.push(twin);
    let mut case = case.with_nothing_shared();
    let run = case.run_with(Box::new(AmongTheFirst(case.cluster.num_nodes as usize)));
    case.workload.push(SessionPlan::plain(run.finished[0].end.ns(), 3, 2));
    case
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_closed_form_agrees_with_the_events(case in chain_cases()) {
        let case = with_ties(case);
        let num_instances = case.cluster.num_nodes;
        let mut detailed = case.clone();
        let unused = MemberPlan { node: num_instances, ..MemberPlan::default() };
        detailed.cluster.groups.push(GroupPlan { pp: 2, members: vec![unused], ..GroupPlan::default() });
        detailed.cluster.num_nodes += 1;

        let [closed, mut events] =
            [case, detailed].map(|case| case.run_with(Box::new(AmongTheFirst(num_instances as usize))));
        prop_assert_eq!(&closed.finished, &events.finished);
        prop_assert_eq!(&closed.waves, &events.waves);
        prop_assert_eq!(&closed.step_ends, &events.step_ends);
        let RunTotals { instances, groups, .. } = &mut events.totals;
        prop_assert_eq!(instances.pop().map(|totals| totals.steps), Some(0));
        prop_assert_eq!(groups.pop().map(|totals| totals.waves), Some(0));
        prop_assert_eq!(closed.totals, events.totals);
    }
}
