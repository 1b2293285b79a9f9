//! Instances that step together: a data-parallel group, or one instance by itself.
//!
//! A wave starts when every member has a batch. A member with nothing to run contributes a dummy as soon as another
//! has a batch waiting (vLLM's `execute_dummy_batch`), and every step is padded to the largest, as vLLM pads the ranks
//! of a data-parallel group to one CUDA graph.

use std::collections::VecDeque;

use network::CollectiveKind;
use units::{GroupId, InstanceId, Instant};

use crate::batch::Batch;
use crate::deployment::{Deployment, GroupSpec, Polling};
use crate::forward::{ForwardPass, PassBuilder, hidden_state_bytes};
use crate::graphs::{Layout, labelled_graphs};
use crate::labels::{MemberGraphs, WaveGraphs};
use crate::observer::{GroupTotals, MemberStep, Observer, Wave};

#[derive(Debug)]
pub(crate) struct Group<'d> {
    id: GroupId,
    pub(crate) spec: &'d GroupSpec,
    polling: Polling,
    waits_for_results: bool,
    builders: Vec<PassBuilder<'d>>,
    seats: Vec<Seat>,
    pub(crate) totals: GroupTotals,
    /// What each member brought to the latest wave.
    pub(crate) latest: Vec<MemberStep>,
    /// Bytes that one hidden state of the latest wave takes, padding included.
    pub(crate) latest_bytes: u64,
}

/// What a member is to run next, and what it is running.
#[derive(Debug)]
struct Seat {
    /// Batches that may be in flight: one a pipeline stage, or two where they are formed ahead.
    depth: usize,
    /// Formed, and waiting for the other members.
    pending: Option<Batch>,
    /// Oldest first. Batches go through the stages in order, so they end in order.
    running: VecDeque<Batch>,
    /// Whether its engine does nothing until its oldest batch is through: it found nothing to run beside it.
    waits: bool,
}

impl Seat {
    fn has_room(&self) -> bool {
        self.pending.is_none() && self.running.len() < self.depth && !self.waits
    }
}

impl<'d> Group<'d> {
    pub(crate) fn new(id: GroupId, deployment: &'d Deployment) -> Self {
        let spec = &deployment.groups[id.index()];
        let options = &deployment.options;
        let routes_block_by_block = |instance: &InstanceId| {
            let spec = &deployment.instances[instance.index()];
            spec.model.is_moe() && !spec.block_copy && spec.placement.block_weights.is_empty()
        };
        let has_one_block = options.polling == Polling::Reference && spec.members.iter().all(routes_block_by_block);
        let builder = |(member, instance): (usize, &InstanceId)| {
            let instance_spec = &deployment.instances[instance.index()];
            let seed = options.seed.wrapping_add(1 + u64::from(instance.0));
            let builder = PassBuilder::new(instance_spec, options, seed, member);
            if has_one_block { builder.with_one_block() } else { builder }
        };
        let seat = |instance: &InstanceId| {
            let stages = deployment.instances[instance.index()].pp as usize;
            let depth = if options.engine.is_asynchronous() { 2 } else { stages };
            Seat { depth, pending: None, running: VecDeque::with_capacity(depth), waits: false }
        };
        Self {
            id,
            spec,
            polling: options.polling,
            waits_for_results: options.engine.is_asynchronous(),
            builders: spec.members.iter().enumerate().map(builder).collect(),
            seats: spec.members.iter().map(seat).collect(),
            totals: GroupTotals::default(),
            latest: Vec::new(),
            latest_bytes: 0,
        }
    }

    pub(crate) fn num_members(&self) -> usize {
        self.spec.members.len()
    }

    /// Whether a member could take another batch.
    pub(crate) fn has_room(&self, member: usize) -> bool {
        self.seats[member].has_room()
    }

    /// Whether a member has a batch that waits for the others.
    pub(crate) fn is_pending(&self, member: usize) -> bool {
        self.seats[member].pending.is_some()
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.seats.iter().any(|seat| seat.pending.is_some())
    }

    /// Whether every member has a batch to start on.
    pub(crate) fn is_ready(&self) -> bool {
        self.seats.iter().all(|seat| seat.pending.is_some())
    }

    /// Gives a member its next batch.
    pub(crate) fn offer(&mut self, member: usize, batch: Batch) {
        assert!(self.has_room(member), "a batch too many in flight");
        self.seats[member].pending = Some(batch);
    }

    /// Starts the wave that every member is ready for; returns the pass of each member.
    pub(crate) fn start(&mut self, now: Instant, observer: &mut dyn Observer) -> Vec<ForwardPass> {
        let batches: Vec<&mut Batch> = self.seats.iter_mut().filter_map(|seat| seat.pending.as_mut()).collect();
        assert_eq!(batches.len(), self.spec.members.len(), "a member is missing from the wave");
        let padded_tokens = batches.iter().map(|batch| batch.shape.tokens).max().unwrap_or(0);
        let mut passes = Vec::with_capacity(batches.len());
        self.latest.clear();
        for ((batch, builder), &instance) in batches.into_iter().zip(&mut self.builders).zip(&self.spec.members) {
            let (sequences, tokens) = (batch.scheduled.len() as u64, batch.shape.tokens);
            batch.shape.pad_to(padded_tokens);
            let pass = builder.build(batch, padded_tokens);
            self.latest.push(MemberStep { instance, sequences, tokens, work: pass.work(builder.spec(), batch) });
            passes.push(pass);
        }
        for seat in &mut self.seats {
            // A dummy is run to its end before its engine looks again.
            seat.waits = self.waits_for_results && seat.pending.as_ref().is_some_and(Batch::is_empty);
            seat.running.extend(seat.pending.take());
        }
        if observer.wants_graphs(self.id, self.totals.waves) {
            self.tell_graphs(&passes, now, observer);
        }
        self.count(padded_tokens, &passes[0]);
        observer.wave_started(&Wave { group: self.id, start: now, padded_tokens, members: &self.latest });
        passes
    }

    fn tell_graphs(&self, passes: &[ForwardPass], now: Instant, observer: &mut dyn Observer) {
        let layout = match self.polling {
            Polling::Exact => Layout::Physical,
            Polling::Reference => Layout::Converted,
        };
        let mut first_rank = 0;
        let member = |((pass, builder), &instance): ((&ForwardPass, &PassBuilder<'_>), &InstanceId)| {
            let spec = builder.spec();
            let graphs = labelled_graphs(pass, spec, first_rank, layout);
            let member = MemberGraphs { instance, first_rank, num_computing: spec.num_npus(), graphs };
            first_rank += spec.num_npus_with_peers();
            member
        };
        let members: Vec<_> = passes.iter().zip(&self.builders).zip(&self.spec.members).map(member).collect();
        let wave = self.totals.waves;
        observer.wave_graphs(&WaveGraphs { group: self.id, wave, members: &members });
        if self.polling == Polling::Exact {
            for member in &members {
                (0..).zip(&member.graphs).for_each(|(npu, _)| observer.graph_given(member.instance, npu, wave, now));
            }
        }
    }

    /// Has engines that found nothing to run wait for what they have in flight, and take no request in before: so does
    /// vLLM's engine core.
    pub(crate) fn wait_for_results(&mut self) {
        if self.waits_for_results {
            self.seats.iter_mut().for_each(|seat| seat.waits = !seat.running.is_empty());
        }
    }

    /// Ends a member's oldest step.
    pub(crate) fn finish(&mut self, member: usize) -> Batch {
        self.seats[member].waits = false;
        self.seats[member].running.pop_front().expect("only a running step can end")
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
}
