//! Instances that step together: a data-parallel group, or one instance by itself.
//!
//! A wave starts when every member has a batch. A member with nothing to run contributes a dummy as soon as another
//! has a batch waiting (vLLM's `execute_dummy_batch`), and every step is padded to the largest, as vLLM pads the ranks
//! of a data-parallel group to one CUDA graph.

use network::CollectiveKind;
use units::{GroupId, InstanceId, Instant};

use crate::batch::Batch;
use crate::deployment::{Deployment, GroupSpec, Polling};
use crate::forward::{ForwardPass, PassBuilder, hidden_state_bytes};
use crate::observer::{GroupTotals, MemberStep, Observer, Wave};

#[derive(Debug)]
pub(crate) struct Group<'d> {
    id: GroupId,
    pub(crate) spec: &'d GroupSpec,
    builders: Vec<PassBuilder<'d>>,
    /// What each member is to run next or is running.
    steps: Vec<Step>,
    pub(crate) totals: GroupTotals,
    /// What each member brought to the latest wave.
    pub(crate) latest: Vec<MemberStep>,
    /// Bytes that one hidden state of the latest wave takes, padding included.
    pub(crate) latest_bytes: u64,
}

#[derive(Debug)]
enum Step {
    Idle,
    /// Formed, and waiting for the other members.
    Pending(Batch),
    Running(Batch),
}

impl<'d> Group<'d> {
    pub(crate) fn new(id: GroupId, deployment: &'d Deployment) -> Self {
        let spec = &deployment.groups[id.index()];
        let options = &deployment.options;
        let builder = |(member, instance): (usize, &InstanceId)| {
            let instance_spec = &deployment.instances[instance.index()];
            let first_expert_rank = match options.polling {
                Polling::Exact => member * instance_spec.local_ep as usize,
                // LLMServingSim takes the load of the group's first ranks for every member.
                Polling::Reference => 0,
            };
            let seed = options.seed.wrapping_add(1 + u64::from(instance.0));
            PassBuilder::new(instance_spec, options.all2all_backend, options.expert_routing, seed, first_expert_rank)
        };
        Self {
            id,
            spec,
            builders: spec.members.iter().enumerate().map(builder).collect(),
            steps: spec.members.iter().map(|_| Step::Idle).collect(),
            totals: GroupTotals::default(),
            latest: Vec::new(),
            latest_bytes: 0,
        }
    }

    pub(crate) fn num_members(&self) -> usize {
        self.spec.members.len()
    }

    pub(crate) fn is_idle(&self, member: usize) -> bool {
        matches!(self.steps[member], Step::Idle)
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Pending(_)))
    }

    /// Whether every member has a batch to start on.
    pub(crate) fn is_ready(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Pending(_)))
    }

    /// Gives an idle member its next batch.
    pub(crate) fn offer(&mut self, member: usize, batch: Batch) {
        assert!(self.is_idle(member), "one batch at a time");
        self.steps[member] = Step::Pending(batch);
    }

    /// Starts the wave that every member is ready for; returns the pass of each member.
    pub(crate) fn start(&mut self, now: Instant, observer: &mut dyn Observer) -> Vec<ForwardPass> {
        self.latest.clear();
        for (step, &instance) in self.steps.iter_mut().zip(&self.spec.members) {
            let Step::Pending(batch) = std::mem::replace(step, Step::Idle) else {
                panic!("instance {instance} is missing from the wave")
            };
            let sequences = batch.scheduled.len() as u64;
            self.latest.push(MemberStep { instance, sequences, tokens: batch.shape.tokens });
            *step = Step::Running(batch);
        }
        let padded_tokens = self.latest.iter().map(|member| member.tokens).max().unwrap_or(0);
        let passes = self.build_passes(padded_tokens);
        self.count(padded_tokens, &passes[0]);
        observer.wave_started(&Wave { group: self.id, start: now, padded_tokens, members: &self.latest });
        passes
    }

    fn build_passes(&mut self, padded_tokens: u64) -> Vec<ForwardPass> {
        let build = |(step, builder): (&mut Step, &mut PassBuilder<'d>)| {
            let Step::Running(batch) = step else { panic!("every member of a started wave is running") };
            batch.shape.pad_to(padded_tokens);
            builder.build(&batch.shape, padded_tokens)
        };
        self.steps.iter_mut().zip(&mut self.builders).map(build).collect()
    }

    fn count(&mut self, padded_tokens: u64, pass: &ForwardPass) {
        let spec = self.builders[0].spec();
        self.latest_bytes = hidden_state_bytes(&spec.model, padded_tokens, spec.element_bytes);
        self.totals.waves += 1;
        for (collective, times) in pass.collectives() {
            let kind = CollectiveKind::ALL.iter().position(|&kind| kind == collective.kind);
            self.totals.collective_bytes[kind.expect("ALL has every kind")] += collective.bytes * times;
        }
    }

    /// Ends a member's part of the wave.
    pub(crate) fn finish(&mut self, member: usize) -> Batch {
        match std::mem::replace(&mut self.steps[member], Step::Idle) {
            Step::Running(batch) => batch,
            _ => panic!("only a running step can end"),
        }
    }
}
