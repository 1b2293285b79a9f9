//! What steps are said to consist of, against when they begin and end.

use engine::{Observer, Simulation, StepDetails, StepParts, Wave};
use proptest::prelude::*;
use units::{InstanceId, Instant};

use crate::common::{cases, chain_cases, config};

/// What was told of one member's part of a wave.
#[derive(Clone, Debug)]
struct Told {
    instance: InstanceId,
    start: Instant,
    end: Option<Instant>,
    ready: Instant,
    prefills: (u64, u64),
    decodes: u64,
    tokens: u64,
    sequences: u64,
    running: u64,
    parts: StepParts,
    expert_tokens: Vec<u64>,
}

#[derive(Debug, Default)]
struct Details(Vec<Told>);

impl Observer for Details {
    fn wants_details(&self) -> bool {
        true
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        assert_eq!(wave.members.len(), members.len());
        self.0.extend(wave.members.iter().zip(members).map(|(step, details)| Told {
            instance: step.instance,
            start: wave.start,
            end: None,
            ready: details.ready,
            prefills: details.prefills,
            decodes: details.decodes,
            tokens: step.tokens,
            sequences: step.sequences,
            running: details.running,
            parts: details.parts,
            expert_tokens: details.expert_tokens.to_vec(),
        }));
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        let oldest = self.0.iter_mut().find(|told| told.instance == instance && told.end.is_none());
        oldest.expect("only a step that was told of can end").end = Some(now);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn batches_are_told_whole(case in cases()) {
        let (deployment, mut details) = (case.deployment(), Details::default());
        Simulation::new(&deployment, case.entries().into_iter()).run(&mut details);
        for told in &details.0 {
            prop_assert!(told.ready <= told.start && told.end.is_some(), "{:?}", told);
            let (chunks, chunk_tokens) = told.prefills;
            prop_assert_eq!(chunks + told.decodes, told.sequences);
            prop_assert_eq!((chunk_tokens + told.decodes).max(1), told.tokens);
            let spec = &deployment.instances[told.instance.index()];
            prop_assert!(told.running >= told.sequences || spec.pp > 1, "{:?}", told);
            let ranks = if spec.model.is_moe() { spec.local_ep as usize } else { 0 };
            prop_assert_eq!(told.expert_tokens.len(), ranks);
        }
        let told: u64 = details.0.iter().map(|told| told.tokens).sum();
        prop_assert!(told > 0);
    }

    /// Where an instance has one NPU and all memory to itself, a step is its parts one after the other.
    #[test]
    fn parts_of_a_lone_rank_are_its_step(case in chain_cases()) {
        let case = case.with_nothing_shared();
        let (deployment, mut details) = (case.deployment(), Details::default());
        Simulation::new(&deployment, case.entries().into_iter()).run(&mut details);
        for told in &details.0 {
            let spec = &deployment.instances[told.instance.index()];
            let is_alone = deployment.groups[spec.group.index()].members.len() == 1;
            if is_alone && spec.tp == 1 && spec.pim.is_none() && spec.tier.is_none() {
                prop_assert_eq!(told.parts.total(), told.end.unwrap_or_default() - told.start, "{:?}", told);
            }
        }
    }

    /// On several ranks it takes at least as long as the slowest rank computes.
    #[test]
    fn a_step_takes_no_less_than_its_computing(case in chain_cases()) {
        let (deployment, mut details) = (case.deployment(), Details::default());
        Simulation::new(&deployment, case.entries().into_iter()).run(&mut details);
        for told in details.0.iter().filter(|told| told.parts.memory_attention == units::Duration::ZERO) {
            prop_assert!(told.parts.computing() <= told.end.unwrap_or_default() - told.start, "{:?}", told);
        }
    }
}
