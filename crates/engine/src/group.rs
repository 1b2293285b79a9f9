//! Instances that step together: a data-parallel group, or one instance by itself.
//!
//! A wave starts when every member has a batch. A member with nothing to run contributes a dummy as soon as another
//! has a batch waiting (vLLM's `execute_dummy_batch`), and every step is padded to the largest, as vLLM pads the ranks
//! of a data-parallel group to one CUDA graph.

use std::collections::VecDeque;
use std::mem;

use network::{CollectiveKind, System};
use units::{Duration, GroupId, InstanceId, Instant};

use crate::batch::{Batch, Formed};
use crate::deployment::{Deployment, Engine, GroupSpec, Polling};
use crate::details::{CollectiveTimes, StepParts};
use crate::forward::{ForwardPass, PassBuilder, WaveShape, hidden_state_bytes};
use crate::graphs::{Layout, labelled_graphs};
use crate::labels::{MemberGraphs, WaveGraphs};
use crate::layer_times::SharedTimes;
use crate::observer::{GroupTotals, MemberStep, Observer, StepWork, Wave};

/// Passes after which members ask each other whether they are done.
const PASSES_TO_AGREE: u64 = 32;

#[derive(Debug)]
pub(crate) struct Group<'d> {
    id: GroupId,
    pub(crate) spec: &'d GroupSpec,
    polling: Polling,
    engine: Engine,
    builders: Vec<PassBuilder<'d>>,
    /// Whether those who time its passes look at no ops.
    sums_suffice: bool,
    /// The pass of each member in the latest wave.
    passes_of_members: Vec<ForwardPass>,
    seats: Vec<Seat>,
    /// Members to which something happened since they last looked for work, each once.
    touched: Vec<usize>,
    /// How many have a batch that waits for the others, and how many could take one.
    num_pending: usize,
    num_with_room: usize,
    pub(crate) totals: GroupTotals,
    /// Passes since the members began to keep pace, where they agree on being done (see [`Group::keeps_pace`]).
    passes: u64,
    /// What each member brought to the latest wave.
    pub(crate) latest: Vec<MemberStep>,
    /// Bytes that one hidden state of the latest wave takes, padding included.
    pub(crate) latest_bytes: u64,
    /// Tokens that its members were padded to.
    latest_tokens: u64,
    /// For which each block of the latest wave waits to be launched.
    launch_gap: Duration,
    system: &'d System,
    collective_times: CollectiveTimes,
    /// Whether somebody looks at all batches and ops.
    is_looked_at: bool,
}

/// What a member is to run next, and what it is running.
#[derive(Debug, Default)]
struct Seat {
    /// Batches that may be in flight: one a pipeline stage, or two where they are formed ahead.
    depth: usize,
    /// Formed, and being made ready by the host.
    preparing: Option<Formed>,
    /// Whether its oldest batch came to its end meanwhile.
    has_late_result: bool,
    /// Ready, and waiting for the other members.
    pending: Option<Formed>,
    /// When the latest batch was.
    ready: Instant,
    /// Oldest first. Batches go through the stages in order, so they end in order.
    running: VecDeque<Formed>,
    /// Whether its engine does nothing until its oldest batch is through: it found nothing to run beside it.
    waits: bool,
    /// Whether it is among the group's touched members.
    is_touched: bool,
}

impl Seat {
    fn has_room(&self) -> bool {
        self.preparing.is_none() && self.pending.is_none() && self.running.len() < self.depth && !self.waits
    }
}

impl<'d> Group<'d> {
    /// The group `id`, which shares what layers take with those made before it. It is `in_chains` where the clock times
    /// passes as chains alone.
    pub(crate) fn new(id: GroupId, deployment: &'d Deployment, in_chains: bool, times: &mut SharedTimes) -> Self {
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
            let builder = PassBuilder::new(instance_spec, options, seed, member, times);
            if has_one_block { builder.with_one_block() } else { builder }
        };
        let seat = |instance: &InstanceId| {
            let stages = deployment.instances[instance.index()].pp as usize;
            let depth = if options.engine.is_asynchronous() { 2 } else { stages };
            Seat { depth, running: VecDeque::with_capacity(depth), ..Seat::default() }
        };
        let builders: Vec<PassBuilder<'d>> = spec.members.iter().enumerate().map(builder).collect();
        Self {
            id,
            spec,
            polling: options.polling,
            engine: options.engine,
            sums_suffice: in_chains && builders.iter().all(PassBuilder::sums_suffice),
            builders,
            passes_of_members: vec![ForwardPass::default(); spec.members.len()],
            seats: spec.members.iter().map(seat).collect(),
            touched: Vec::new(),
            num_pending: 0,
            num_with_room: spec.members.len(),
            totals: GroupTotals::default(),
            passes: 0,
            latest: Vec::new(),
            latest_bytes: 0,
            latest_tokens: 0,
            launch_gap: Duration::ZERO,
            system: &deployment.system,
            collective_times: CollectiveTimes::default(),
            is_looked_at: false,
        }
    }

    pub(crate) fn num_members(&self) -> usize {
        self.spec.members.len()
    }

    /// How many of the longest decodes of a member's batch it looks at.
    pub(crate) fn num_longest(&self, member: usize) -> usize {
        self.builders[member].num_longest()
    }

    /// Whether a member may run a batch [again](Formed::Again): nobody else has to be waited for.
    pub(crate) fn repeats(&self) -> bool {
        self.builders.len() == 1 && self.builders[0].repeats()
    }

    /// The pass of each member in the latest wave.
    pub(crate) fn passes(&self) -> &[ForwardPass] {
        &self.passes_of_members
    }

    /// Tokens that a member computes in its latest wave, padding included.
    pub(crate) fn padded_tokens(&self, member: usize) -> u64 {
        self.seats[member].running.back().and_then(Formed::batch).map_or(0, |batch| batch.shape.tokens)
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
        self.num_pending > 0
    }

    /// Whether every member has a batch to start on.
    pub(crate) fn is_ready(&self) -> bool {
        self.num_pending == self.seats.len()
    }

    /// Whether any member could take another batch.
    pub(crate) fn has_any_room(&self) -> bool {
        self.num_with_room > 0
    }

    /// Notes that something happened to a member.
    pub(crate) fn touch(&mut self, member: usize) {
        if !mem::replace(&mut self.seats[member].is_touched, true) {
            self.touched.push(member);
        }
    }

    /// Takes the touched members, in order; `members` must be empty.
    pub(crate) fn take_touched(&mut self, members: &mut Vec<usize>) {
        mem::swap(members, &mut self.touched);
        if members.len() > 1 {
            members.sort_unstable();
        }
        members.iter().for_each(|&member| self.seats[member].is_touched = false);
    }

    /// Does something to a member's seat.
    fn change<T>(&mut self, member: usize, change: impl FnOnce(&mut Seat) -> T) -> T {
        let seat = &mut self.seats[member];
        let before = (seat.pending.is_some(), seat.has_room());
        let result = change(seat);
        let after = (seat.pending.is_some(), seat.has_room());
        self.num_pending = self.num_pending + usize::from(after.0) - usize::from(before.0);
        self.num_with_room = self.num_with_room + usize::from(after.1) - usize::from(before.1);
        result
    }

    /// Gives a member its next batch, which its host has yet to make ready from `now` on; returns how long that takes.
    pub(crate) fn prepare(&mut self, member: usize, batch: Formed, now: Instant) -> Duration {
        let host = self.engine.host();
        let sequences = host.sequence * batch.num_sequences();
        let time = host.step + sequences + host.new_request * batch.new_requests();
        self.seats[member].ready = now + time;
        match time {
            Duration::ZERO => self.offer(member, batch),
            _ => {
                assert!(self.has_room(member), "a batch too many in flight");
                self.change(member, |seat| seat.preparing = Some(batch));
            }
        }
        time
    }

    /// Notes that a member's host has made its batch ready; returns whether it has a result to take in.
    pub(crate) fn prepared(&mut self, member: usize) -> bool {
        self.change(member, |seat| {
            seat.pending = seat.preparing.take();
            mem::take(&mut seat.has_late_result)
        })
    }

    /// Puts a result off until the member's host is free; returns whether it has to wait.
    pub(crate) fn puts_off_result(&mut self, member: usize) -> bool {
        let seat = &mut self.seats[member];
        seat.has_late_result = seat.preparing.is_some();
        seat.has_late_result
    }

    /// Gives a member its next batch.
    pub(crate) fn offer(&mut self, member: usize, batch: Formed) {
        assert!(self.has_room(member), "a batch too many in flight");
        self.change(member, |seat| seat.pending = Some(batch));
    }

    /// Starts the wave that every member is ready for; [`passes`](Self::passes) says what it runs.
    pub(crate) fn start(&mut self, now: Instant, observer: &mut dyn Observer) {
        match &self.seats[..] {
            [Seat { pending: Some(Formed::Again { .. }), .. }] => self.describe_again(observer),
            _ => self.describe(observer),
        }
        self.passes += 1;
        let is_asynchronous = self.engine.is_asynchronous();
        for seat in &mut self.seats {
            // A dummy is run to its end before its engine looks again.
            seat.waits = is_asynchronous && seat.pending.as_ref().is_some_and(|batch| batch.num_sequences() == 0);
            seat.running.extend(seat.pending.take());
        }
        self.num_pending = 0;
        self.num_with_room = 0;
        for member in 0..self.seats.len() {
            // Where several batches may be in flight, the next one is due.
            if self.seats[member].has_room() {
                self.num_with_room += 1;
                self.touch(member);
            }
        }
        if observer.wants_graphs(self.id, self.totals.waves) {
            self.tell_graphs(&self.passes_of_members, now, observer);
        }
        self.count();
        observer.wave_started(&self.latest_wave(now));
    }

    /// The wave that started `now`.
    pub(crate) fn latest_wave(&self, now: Instant) -> Wave<'_> {
        Wave { group: self.id, start: now, padded_tokens: self.latest_tokens, members: &self.latest }
    }

    /// Has every batch and all ops be there for somebody who looks at them.
    pub(crate) fn look_closely(&mut self) {
        self.is_looked_at = true;
    }

    /// Where the time of a member's part of the latest wave goes, but for host memory.
    pub(crate) fn step_parts(&mut self, member: usize) -> StepParts {
        let (times, topology, system) = (&mut self.collective_times, &self.spec.topology, self.system);
        StepParts::of(&self.passes_of_members[member], self.launch_gap, |collective| {
            times.of(collective, topology, system)
        })
    }

    /// When a member's part of the latest wave was ready, that part, and the tokens that reach each of its ranks' experts.
    pub(crate) fn latest_step(&self, member: usize) -> (Instant, &Batch, &[u64]) {
        let seat = &self.seats[member];
        let batch = seat.running.back().and_then(Formed::batch);
        (seat.ready, batch.expect("batches are looked at"), self.builders[member].expert_tokens())
    }

    /// Describes the passes of the pending batches.
    fn describe(&mut self, observer: &dyn Observer) {
        let wave = self.pad();
        self.launch_gap = wave.launch_gap;
        self.latest.clear();
        let (wants_work, wants_ops) = (observer.wants_work(), self.wants_ops(observer));
        let members = self.seats.iter().zip(&mut self.builders).zip(&mut self.passes_of_members);
        for (((seat, builder), pass), &instance) in members.zip(&self.spec.members) {
            let batch = seat.pending.as_ref().and_then(Formed::batch).expect("every member has a batch");
            builder.build(batch, wave, wants_ops, pass);
            let work = if wants_work { pass.work(builder.spec(), Some(batch)) } else { StepWork::default() };
            self.latest.push(MemberStep {
                instance,
                sequences: batch.num_sequences(),
                tokens: batch.num_tokens(),
                work,
            });
        }
        let spec = self.builders[0].spec();
        self.latest_tokens = wave.tokens;
        self.latest_bytes = hidden_state_bytes(&spec.model, wave.tokens, spec.element_bytes);
    }

    /// Whether anybody looks at the ops of the next wave.
    fn wants_ops(&self, observer: &dyn Observer) -> bool {
        !self.sums_suffice
            || self.is_looked_at
            || observer.wants_work()
            || observer.wants_graphs(self.id, self.totals.waves)
    }

    /// Describes the pass of a batch that is like the one before.
    fn describe_again(&mut self, observer: &dyn Observer) {
        let wants_ops = self.wants_ops(observer);
        let (builder, pass) = (&mut self.builders[0], &mut self.passes_of_members[0]);
        builder.build_again(pass);
        if wants_ops {
            builder.add_ops(pass);
        }
        if observer.wants_work() {
            self.latest[0].work = pass.work(builder.spec(), None);
        }
    }

    /// Pads the pending batches to what they are launched as.
    fn pad(&mut self) -> WaveShape {
        let batches = self.seats.iter().filter_map(|seat| seat.pending.as_ref()?.batch());
        let tokens = batches.map(|batch| batch.shape.tokens).max().unwrap_or(0);
        let mut wave = WaveShape { tokens, expert_tokens: None, is_captured: false, launch_gap: Duration::ZERO };
        let Some(vllm) = self.engine.vllm() else {
            pending(&mut self.seats).for_each(|batch| batch.shape.pad_to(tokens));
            return wave;
        };
        // Members agree on how they launch: one that can't take a captured graph keeps the others from theirs (vLLM's
        // `coordinate_batch_across_dp`).
        let specs = || self.builders.iter().map(PassBuilder::spec);
        let spec = self.builders[0].spec();
        let padded =
            specs().map(|spec| spec.capture_sizes.padded(tokens)).try_fold(0, |most, size| Some(size?.max(most)));
        let most_decodes = specs().filter_map(|spec| spec.scheduler.max_num_seqs).min().unwrap_or(u64::MAX);
        wave.is_captured = pending(&mut self.seats).all(|batch| batch.shape.is_decode_only())
            && padded.is_some_and(|padded| padded <= most_decodes);
        if !wave.is_captured {
            wave.launch_gap = vllm.host.block;
        }
        if vllm.kernels.graph_padding {
            for batch in pending(&mut self.seats) {
                // Without graphs each runs what it has.
                let own = batch.shape.tokens;
                batch.shape.pad_tokens_to(padded.or(spec.capture_sizes.padded(own)).unwrap_or(own));
            }
            wave.tokens = padded.unwrap_or(tokens);
        } else {
            pending(&mut self.seats).for_each(|batch| batch.shape.pad_to(tokens));
        }
        // A recording of experts is of one member's tokens.
        if vllm.kernels.group_experts && spec.ep > spec.local_ep && spec.expert_routing.is_none() {
            wave.expert_tokens = Some(pending(&mut self.seats).map(|batch| batch.shape.tokens).sum());
        }
        wave
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

    /// Whether the members of a group run one more pass of dummies though none has a request: experts that are shared keep
    /// all of them running until they agree on being done, which they do every 32 passes (vLLM's
    /// `_has_global_unfinished_reqs`).
    pub(crate) fn keeps_pace(&self) -> bool {
        let is_idle = |seat: &Seat| seat.preparing.is_none() && seat.pending.is_none() && seat.running.is_empty();
        self.shares_experts() && !self.passes.is_multiple_of(PASSES_TO_AGREE) && self.seats.iter().all(is_idle)
    }

    fn shares_experts(&self) -> bool {
        let spec = self.builders[0].spec();
        self.engine.vllm().is_some_and(|vllm| vllm.waves) && self.seats.len() > 1 && spec.model.is_moe()
    }

    /// Has engines that found nothing to run wait for what they have in flight, and take no request in before: so does
    /// vLLM's engine core.
    pub(crate) fn wait_for_results(&mut self) {
        if self.engine.is_asynchronous() {
            let looking = self.seats.iter_mut().filter(|seat| seat.preparing.is_none());
            looking.for_each(|seat| seat.waits = !seat.running.is_empty());
            self.num_with_room = self.seats.iter().filter(|seat| seat.has_room()).count();
        }
    }

    /// Ends a member's oldest step.
    pub(crate) fn finish(&mut self, member: usize) -> Formed {
        self.change(member, |seat| {
            seat.waits = false;
            seat.running.pop_front().expect("only a running step can end")
        })
    }

    fn count(&mut self) {
        self.totals.waves += 1;
        if !self.passes_of_members[0].has_collectives {
            return;
        }
        for (collective, times) in self.passes_of_members[0].collectives() {
            let kind = CollectiveKind::ALL.iter().position(|&kind| kind == collective.kind);
            self.totals.collective_bytes[kind.expect("ALL has every kind")] += collective.bytes * times;
        }
    }
}

/// The batches that wait for the others.
fn pending(seats: &mut [Seat]) -> impl Iterator<Item = &mut Batch> {
    seats.iter_mut().filter_map(|seat| seat.pending.as_mut()?.batch_mut())
}
