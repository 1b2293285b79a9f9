//! What steps keep busy.

use engine::{InstanceSpec, Role, StepWork};
use network::Location;
use proptest::prelude::*;
use units::Duration;

use crate::common::{
    Case, ClusterPlan, GroupPlan, MemberPlan, Place, PlacementPlan, SessionPlan, cases, config, exact_cases,
};

proptest! {
    #![proptest_config(config())]

    /// No NPU computes for longer than its step takes. Where the reference has it, ranks start apart and some do not
    /// wait for each other, so this is for exact time.
    #[test]
    fn npus_compute_while_their_step_runs(case in exact_cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for (index, spec) in deployment.instances.iter().enumerate() {
            for step in run.steps_of(index) {
                let available = (step.end - step.start) * u64::from(spec.tp);
                let npu_time = step.part.work.npu_time;
                prop_assert!(Duration::ZERO < npu_time && npu_time <= available, "{:?} of {}", step, available);
            }
        }
    }

    #[test]
    fn only_what_is_there_is_kept_busy(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        for part in run.waves.iter().flat_map(|wave| &wave.members) {
            let spec = &deployment.instances[part.instance.index()];
            let StepWork { pim_time, memory_bytes, link_bytes, .. } = part.work;
            prop_assert!(pim_time == Duration::ZERO || (spec.pim.is_some() && !part.is_dummy()), "{:?}", part);
            prop_assert!(memory_bytes == 0 || uses_memory(spec), "{:?}", part);
            prop_assert_eq!(link_bytes > 0, uses_links(spec), "{:?}", part);
        }
    }
}

/// Whether anything but input and output goes through the memory of hosts or of the pool.
fn uses_memory(spec: &InstanceSpec) -> bool {
    let placement = &spec.placement;
    let by_layer = placement.layer_weights.iter().map(|(_, location)| location);
    let mut weights = [&placement.weights].into_iter().chain(&placement.block_weights).chain(by_layer);
    spec.pim.is_some() || spec.tier.is_some() || weights.any(|&location| location != Location::Npu)
}

/// Whether its NPUs have anything to tell each other, or anyone else.
fn uses_links(spec: &InstanceSpec) -> bool {
    spec.tp > 1 || spec.pp > 1 || spec.ep > 1 || spec.role == Role::Prefill
}

/// Bytes of the only step of a request on one instance of this plan.
fn memory_bytes(group: GroupPlan) -> u64 {
    let run = Case { cluster: ClusterPlan::new(vec![group]), workload: vec![SessionPlan::plain(0, 10, 1)] }.run();
    run.waves[0].members[0].work.memory_bytes
}

#[test]
fn weights_of_blocks_are_loaded_block_by_block() {
    let bytes = |num_blocks| {
        let placement = PlacementPlan { blocks: Some([Place::Host; 2]), ..PlacementPlan::default() };
        let members = vec![MemberPlan { placement, ..MemberPlan::default() }];
        memory_bytes(GroupPlan { num_blocks, members, ..GroupPlan::default() })
    };
    assert!(bytes(4) > 0);
    assert_eq!([bytes(1), bytes(2), bytes(3)].map(|bytes| 4 * bytes), [1, 2, 3].map(|blocks| blocks * bytes(4)));
}
