//! One forward pass of one instance, described once as data: a prologue, a block repeated, a head.
//!
//! Each is a short list of [`Op`]s that every rank of the instance runs in order, each op waiting for the one before.
//! Whoever times a pass or writes it out reads this description.
//!
//! A tensor-parallel all-reduce of the full activation follows the row-parallel projections. Around the experts, tokens
//! go to their ranks and back: by all-gather and reduce-scatter (vLLM's default backend, where the gate's logits travel
//! with the hidden state), or by two all-to-alls.

use model::{Layer, Model, Table};
use moe::ExpertRouter;
use network::{Collective, CollectiveKind};
use units::Duration;

use crate::batch::StepShape;
use crate::deployment::{All2AllBackend, InstanceSpec};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// The same work on every rank.
    Compute(Duration),
    /// Each rank's own experts; how long they take is in [`ForwardPass::expert_time`].
    Experts,
    Collective(Collective),
}

#[derive(Clone, Debug)]
pub(crate) struct ForwardPass {
    /// Bytes each rank loads from host memory before it starts.
    pub(crate) input_bytes: u64,
    /// Bytes each rank stores to host memory at the end.
    pub(crate) output_bytes: u64,
    pub(crate) prologue: Vec<Op>,
    pub(crate) block: Vec<Op>,
    pub(crate) head: Vec<Op>,
    pub(crate) num_blocks: usize,
    /// By block and rank; one block's where all are alike.
    expert_times: Vec<Duration>,
    num_ranks: usize,
}

impl ForwardPass {
    #[cfg(test)]
    pub(crate) fn of_parts(ops: Vec<Op>, num_blocks: usize, expert_times: Vec<Duration>, num_ranks: usize) -> Self {
        let (prologue, head) = (ops.clone(), ops.iter().rev().copied().collect());
        Self { input_bytes: 0, output_bytes: 0, prologue, block: ops, head, num_blocks, expert_times, num_ranks }
    }

    /// Whether every block takes the same time.
    pub(crate) fn blocks_are_alike(&self) -> bool {
        self.expert_times.len() <= self.num_ranks
    }

    /// How long `rank`'s experts take in a block; zero for a rank that none of the tokens reached.
    pub(crate) fn expert_time(&self, block: usize, rank: usize) -> Duration {
        let block = if self.blocks_are_alike() { 0 } else { block };
        self.expert_times[block * self.num_ranks + rank]
    }

    /// All collectives of the pass, each with how often it runs.
    pub(crate) fn collectives(&self) -> impl Iterator<Item = (Collective, u64)> {
        let parts = [(&self.prologue, 1), (&self.block, self.num_blocks as u64), (&self.head, 1)];
        parts.into_iter().flat_map(|(ops, times)| {
            ops.iter().filter_map(move |op| match op {
                Op::Collective(collective) => Some((*collective, times)),
                _ => None,
            })
        })
    }
}

/// Describes the passes of one instance.
#[derive(Debug)]
pub(crate) struct PassBuilder<'d> {
    spec: &'d InstanceSpec,
    backend: All2AllBackend,
    experts: Option<ExpertRouter>,
    /// The first of the group's expert-parallel ranks that is on this instance.
    first_expert_rank: usize,
}

impl<'d> PassBuilder<'d> {
    pub(crate) fn new(
        spec: &'d InstanceSpec,
        backend: All2AllBackend,
        policy: moe::Policy,
        seed: u64,
        first_expert_rank: usize,
    ) -> Self {
        let experts = spec
            .model
            .experts
            .map(|experts| ExpertRouter::new(experts.count, experts.per_token, spec.ep, &policy, seed));
        Self { spec, backend, experts, first_expert_rank }
    }

    pub(crate) fn spec(&self) -> &'d InstanceSpec {
        self.spec
    }

    /// The pass that computes a step. `group_tokens` is the largest token count in the group, which sizes what goes to
    /// the experts and back.
    pub(crate) fn build(&mut self, shape: &StepShape, group_tokens: u64) -> ForwardPass {
        let spec = self.spec;
        let sequence = &spec.architecture.sequence;
        let mut block = Vec::with_capacity(16);
        self.push_layers(&sequence.pre_attn, shape, group_tokens, &mut block);
        self.push_layers(&sequence.post_attn, shape, group_tokens, &mut block);
        let feed_forward = if spec.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
        self.push_layers(feed_forward, shape, group_tokens, &mut block);
        let mut prologue = Vec::with_capacity(2);
        self.push_layers(&sequence.prologue, shape, group_tokens, &mut prologue);
        let mut head = Vec::with_capacity(4);
        self.push_layers(&sequence.head, shape, group_tokens, &mut head);

        let num_blocks = spec.model.num_hidden_layers as usize;
        let num_ranks = spec.tp as usize;
        let expert_times = self.expert_times(shape.tokens, if spec.block_copy { 1 } else { num_blocks });
        let sizes = |layer: Option<&Layer>| {
            layer.map(|&layer| spec.model.sizes(layer, shape.tokens, 0, u64::from(spec.tp), spec.element_bytes))
        };
        ForwardPass {
            input_bytes: sizes(sequence.prologue.first()).map_or(0, |sizes| sizes.input),
            output_bytes: sizes(sequence.head.last()).map_or(0, |sizes| sizes.output),
            prologue,
            block,
            head,
            num_blocks,
            expert_times,
            num_ranks,
        }
    }

    fn push_layers(&self, layers: &[Layer], shape: &StepShape, group_tokens: u64, ops: &mut Vec<Op>) {
        let spec = self.spec;
        for &layer in layers {
            // A layer that was not measured takes no time, but its place in the pass stays: members must agree on it.
            match spec.architecture.table(layer).filter(|_| spec.latency.covers(layer)) {
                None => ops.push(Op::Compute(Duration::ZERO)),
                Some(Table::Dense) => ops.push(Op::Compute(spec.latency.dense(layer, shape.tokens))),
                Some(Table::PerSequence) => ops.push(Op::Compute(spec.latency.per_sequence(layer, shape.sequences))),
                Some(Table::Attention) => ops.push(Op::Compute(spec.latency.attention(&shape.attention()))),
                Some(Table::Moe) => self.push_experts(group_tokens, ops),
            }
            if spec.tp > 1 && layer.is_row_parallel() {
                let bytes = spec.model.sizes(layer, shape.tokens, 0, u64::from(spec.tp), spec.element_bytes).output;
                let kind = CollectiveKind::AllReduce;
                ops.push(Op::Collective(Collective { kind, bytes, dims: spec.tp_dims }));
            }
        }
    }

    fn push_experts(&self, group_tokens: u64, ops: &mut Vec<Op>) {
        if self.spec.ep <= 1 {
            ops.push(Op::Experts);
            return;
        }
        let (dispatch, combine) = self.expert_collectives(group_tokens);
        ops.extend([Op::Collective(dispatch), Op::Experts, Op::Collective(combine)]);
    }

    /// What carries `tokens` tokens to the experts, and what brings them back.
    fn expert_collectives(&self, tokens: u64) -> (Collective, Collective) {
        let InstanceSpec { ref model, ep, ep_dims: dims, element_bytes, .. } = *self.spec;
        let hidden_bytes = hidden_state_bytes(model, tokens, element_bytes);
        match self.backend {
            All2AllBackend::AllGatherReduceScatter => {
                let num_experts = model.experts.map_or(0, |experts| u64::from(experts.count));
                let share = (tokens / u64::from(ep)).max(1);
                let gathered = share * (model.hidden_size + num_experts) * element_bytes;
                (
                    Collective { kind: CollectiveKind::AllGather, bytes: gathered, dims },
                    Collective { kind: CollectiveKind::ReduceScatter, bytes: hidden_bytes, dims },
                )
            }
            All2AllBackend::AllToAll => {
                let all_to_all = Collective { kind: CollectiveKind::AllToAll, bytes: hidden_bytes, dims };
                (all_to_all, all_to_all)
            }
        }
    }

    fn expert_times(&mut self, tokens: u64, num_routings: usize) -> Vec<Duration> {
        let Some(router) = &mut self.experts else { return Vec::new() };
        let (num_ranks, local_ranks) = (self.spec.tp as usize, self.spec.local_ep as usize);
        let mut times = vec![Duration::ZERO; num_routings * num_ranks];
        for (layer, block) in (0..).zip(times.chunks_mut(num_ranks)) {
            let loads = &router.route(layer, tokens)[self.first_expert_rank..][..local_ranks];
            for (time, load) in block.iter_mut().zip(loads) {
                if load.tokens > 0 {
                    *time = self.spec.latency.experts(load.tokens, load.active_experts.max(1));
                }
            }
        }
        times
    }
}

/// Bytes of the hidden state of `tokens` tokens.
pub(crate) fn hidden_state_bytes(model: &Model, tokens: u64, element_bytes: u64) -> u64 {
    tokens * model.hidden_size * element_bytes
}
