//! From a batch to the description of its pass.
//!
//! What a pass consists of is the same in every step of an instance, so it is resolved once ([`Plan`]); a step adds sizes
//! and times. Where it is of the same size as the one before, the description stays as it is but for attention.

use std::rc::Rc;

use latency::{AttentionCursor, VarlenAttention};
use model::{Experts, Layer, Table, TensorSizes};
use moe::{ExpertRouter, ExpertRouting};
use network::{Collective, CollectiveKind};
use units::Duration;

use super::{ForwardPass, Lane, Op, hidden_state_bytes};
use crate::batch::{Batch, StepShape};
use crate::deployment::{All2AllBackend, InstanceSpec, Polling, Role, RunOptions};
use crate::layer_times::{GrowsWith, LayerTimes, SharedTimes};
use crate::pim;

/// What the members of a wave have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaveShape {
    /// The largest token count in the group, which sizes what goes to the experts and back.
    pub(crate) tokens: u64,
    /// Tokens that pass the experts, of all members together, where that is how they are counted.
    pub(crate) expert_tokens: Option<u64>,
    /// Whether the pass is launched as one graph, captured for so many tokens.
    pub(crate) is_captured: bool,
    /// For which NPUs wait in each block, where it is not.
    pub(crate) launch_gap: Duration,
}

/// Describes the passes of one instance.
#[derive(Debug)]
pub(crate) struct PassBuilder<'d> {
    spec: &'d InstanceSpec,
    backend: All2AllBackend,
    polling: Polling,
    experts: Option<ExpertRouter>,
    /// The first of the group's expert-parallel ranks that is on this instance.
    first_expert_rank: usize,
    num_blocks: usize,
    /// Attention as vLLM's kernels run it, where that is asked for.
    varlen: Option<VarlenAttention>,
    cursor: AttentionCursor,
    plan: Plan,
    /// What layers take by tokens and by sequences, and what they take in the step at hand, in order of their slots.
    by_tokens: Rc<LayerTimes>,
    by_sequences: Rc<LayerTimes>,
    token_times: Vec<Duration>,
    sequence_times: Vec<Duration>,
    /// What the latest pass was described for, but for its attention, where it can be kept.
    latest: Option<StepSize>,
    /// The tokens that the experts' times were found for, where that is all they depend on.
    latest_routed: Option<u64>,
    /// Tokens that reach each rank in the step at hand, over all blocks.
    expert_tokens: Vec<u64>,
    expert_weight_bytes: u64,
}

/// All that the ops of a pass depend on but the time of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StepSize {
    tokens: u64,
    sequences: u64,
    wave_tokens: u64,
}

/// The layers of a pass, resolved once.
#[derive(Debug, Default)]
struct Plan {
    prologue: Vec<LayerPlan>,
    /// The first `pre_attn` of these lead up to attention.
    block: Vec<LayerPlan>,
    pre_attn: usize,
    head: Vec<LayerPlan>,
    /// The layer of a block that is attention, where nothing else of a pass is.
    attention: Option<Layer>,
    /// Whether any is attention.
    has_attention: bool,
    /// Whether ranks meet.
    has_collectives: bool,
}

#[derive(Clone, Copy, Debug)]
struct LayerPlan {
    layer: Layer,
    time: LayerTime,
    weight_bytes: u64,
}

/// How the time of a layer is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LayerTime {
    /// A layer that was not measured takes no time, but its place in the pass stays: members must agree on it.
    None,
    /// Slot among the layers that grow with tokens.
    Tokens(usize),
    /// Slot among the layers that grow with sequences.
    Sequences(usize),
    Attention,
    Experts,
}

impl Plan {
    fn new(spec: &InstanceSpec, token_layers: &mut Vec<Layer>, sequence_layers: &mut Vec<Layer>) -> Self {
        let sequence = &spec.architecture.sequence;
        let feed_forward = if spec.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
        let mut plan = |layers: &mut dyn Iterator<Item = &Layer>| {
            layers.map(|&layer| LayerPlan::new(layer, spec, token_layers, sequence_layers)).collect::<Vec<_>>()
        };
        let prologue = plan(&mut sequence.prologue.iter());
        let pre_attn = plan(&mut sequence.pre_attn.iter());
        let post_attn = plan(&mut sequence.post_attn.iter().chain(feed_forward));
        let head = plan(&mut sequence.head.iter());
        let (num_before, block) = (pre_attn.len(), [pre_attn, post_attn].concat());
        let is_attention = |plan: &&LayerPlan| plan.time == LayerTime::Attention;
        let all: Vec<Layer> =
            [&prologue, &block, &head].into_iter().flatten().filter(is_attention).map(|plan| plan.layer).collect();
        let in_block: Vec<Layer> = block.iter().filter(is_attention).map(|plan| plan.layer).collect();
        let attention = in_block.first().copied().filter(|_| in_block.len() == 1 && all.len() == 1);
        let has_collectives = spec.tp > 1 || spec.ep > 1;
        Self { prologue, pre_attn: num_before, block, head, attention, has_attention: !all.is_empty(), has_collectives }
    }
}

impl LayerPlan {
    fn new(layer: Layer, spec: &InstanceSpec, token_layers: &mut Vec<Layer>, sequence_layers: &mut Vec<Layer>) -> Self {
        let slot = |layers: &mut Vec<Layer>| {
            layers.iter().position(|&known| known == layer).unwrap_or_else(|| {
                layers.push(layer);
                layers.len() - 1
            })
        };
        let time = match spec.architecture.table(layer).filter(|_| spec.latency.covers(layer)) {
            None => LayerTime::None,
            Some(Table::Dense) => LayerTime::Tokens(slot(token_layers)),
            Some(Table::PerSequence) => LayerTime::Sequences(slot(sequence_layers)),
            Some(Table::Attention) => LayerTime::Attention,
            Some(Table::Moe) => LayerTime::Experts,
        };
        Self { layer, time, weight_bytes: sizes(spec, layer, 1).weight }
    }
}

impl<'d> PassBuilder<'d> {
    pub(crate) fn new(
        spec: &'d InstanceSpec,
        options: &RunOptions,
        seed: u64,
        member: usize,
        shared: &mut SharedTimes,
    ) -> Self {
        let routing: &dyn ExpertRouting = spec.expert_routing.as_deref().unwrap_or(&options.expert_routing);
        let router = |experts: Experts| ExpertRouter::new(experts.count, experts.per_token, spec.ep, routing, seed);
        let experts = spec.model.experts.map(router);
        let first_expert_rank = match options.polling {
            Polling::Exact => member * spec.local_ep as usize,
            // LLMServingSim takes the load of the group's first ranks for every member.
            Polling::Reference => 0,
        };
        let num_blocks = spec.model.num_hidden_layers as usize;
        let RunOptions { all2all_backend: backend, polling, .. } = *options;
        let kv_heads = spec.model.num_key_value_heads / u64::from(spec.tp);
        let is_varlen = options.engine.vllm().is_some_and(|vllm| vllm.kernels.varlen_attention);
        let varlen = is_varlen.then(|| VarlenAttention::new(spec.latency.as_ref(), spec.num_sms, kv_heads));
        let (mut token_layers, mut sequence_layers) = (Vec::new(), Vec::new());
        let plan = Plan::new(spec, &mut token_layers, &mut sequence_layers);
        let expert_sizes = spec.model.sizes(Layer::Moe, 1, 0, u64::from(spec.ep), spec.element_bytes);
        Self {
            spec,
            backend,
            polling,
            experts,
            first_expert_rank,
            num_blocks,
            varlen,
            cursor: AttentionCursor::default(),
            plan,
            by_tokens: shared.get(&spec.latency, GrowsWith::Tokens, token_layers),
            by_sequences: shared.get(&spec.latency, GrowsWith::Sequences, sequence_layers),
            token_times: Vec::new(),
            sequence_times: Vec::new(),
            latest: None,
            latest_routed: None,
            expert_tokens: Vec::new(),
            expert_weight_bytes: if spec.model.is_moe() { expert_sizes.weight } else { 0 },
        }
    }

    /// Describes models of one block, as LLMServingSim has them where experts are routed block by block.
    pub(crate) fn with_one_block(mut self) -> Self {
        self.num_blocks = 1;
        self
    }

    pub(crate) fn spec(&self) -> &'d InstanceSpec {
        self.spec
    }

    /// Tokens that reach each of the instance's ranks in the latest pass, over all blocks; none without experts.
    pub(crate) fn expert_tokens(&self) -> &[u64] {
        &self.expert_tokens
    }

    /// How many of the longest decodes of a batch it looks at.
    pub(crate) fn num_longest(&self) -> usize {
        self.varlen.map_or(0, |varlen| varlen.num_longest())
    }

    /// Describes the pass that computes a batch, in place of what was in `pass`.
    pub(crate) fn build(&mut self, batch: &Batch, wave: WaveShape, pass: &mut ForwardPass) {
        let spec = self.spec;
        let halves = spec.pim.filter(|pim| pim.interleaves_sub_batches).and_then(|_| pim::halves(batch));
        match halves {
            Some(halves) => {
                pass.lanes.resize_with(halves.len(), Lane::default);
                for (half, lane) in halves.iter().zip(&mut pass.lanes) {
                    self.build_lane(half, WaveShape { tokens: half.shape.tokens, ..wave }, lane);
                }
            }
            None => {
                pass.lanes.resize_with(1, Lane::default);
                self.build_lane(batch, wave, &mut pass.lanes[0]);
            }
        }
        pass.num_blocks = self.num_blocks;
        pass.hidden_bytes = hidden_state_bytes(&spec.model, batch.shape.tokens, spec.element_bytes);
        pass.recall_bytes = match self.polling {
            Polling::Exact => batch.recall_bytes.div_ceil(u64::from(spec.num_npus())),
            // In LLMServingSim each NPU brings back what is there for all.
            Polling::Reference => batch.recall_bytes,
        };
        pass.expert_weight_bytes = self.expert_weight_bytes;
        pass.has_collectives = self.plan.has_collectives;
    }

    fn build_lane(&mut self, batch: &Batch, wave: WaveShape, lane: &mut Lane) {
        let spec = self.spec;
        let StepShape { tokens, sequences, .. } = batch.shape;
        let size = StepSize { tokens, sequences, wave_tokens: wave.tokens };
        let asks = spec.pim.is_none() && self.plan.has_attention;
        let attention = if asks { self.attention(batch, wave) + wave.launch_gap } else { Duration::ZERO };
        if self.latest == Some(size) {
            lane.set_attention(attention);
        } else {
            self.describe(batch, wave, attention, lane);
            // Steps with attention in memory differ in their ops too.
            self.latest = (spec.pim.is_none() && self.plan.attention.is_some()).then_some(size);
        }
        lane.kv_bytes = match batch.kv_send_tokens {
            0 => 0,
            tokens => 2 * spec.model.kv_width() * tokens * spec.kv.element_bytes / u64::from(spec.tp),
        };
        let num_routings = if spec.block_copy { 1 } else { self.num_blocks };
        self.route_experts(wave.expert_tokens.unwrap_or(tokens), num_routings, &mut lane.expert_times);
    }

    /// Describes everything but the experts' times and the KV that is sent on.
    fn describe(&mut self, batch: &Batch, wave: WaveShape, attention: Duration, lane: &mut Lane) {
        let (spec, shape) = (self.spec, &batch.shape);
        self.by_tokens.write(shape.tokens, &mut self.token_times);
        self.by_sequences.write(shape.sequences, &mut self.sequence_times);
        let (pre_attn, post_attn) = self.plan.block.split_at(self.plan.pre_attn);
        lane.block.clear();
        self.push_layers(pre_attn, batch, wave, attention, &mut lane.block);
        lane.pre_attn = lane.block.len();
        self.push_layers(post_attn, batch, wave, attention, &mut lane.block);
        lane.prologue.clear();
        self.push_layers(&self.plan.prologue, batch, wave, attention, &mut lane.prologue);
        lane.head.clear();
        self.push_layers(&self.plan.head, batch, wave, attention, &mut lane.head);
        let sizes = |plan: Option<&LayerPlan>| plan.map(|plan| sizes(spec, plan.layer, shape.tokens));
        lane.input_bytes = sizes(self.plan.prologue.first()).map_or(0, |sizes| sizes.input);
        lane.output_bytes = sizes(self.plan.head.last()).map_or(0, |sizes| sizes.output);
        lane.pim = spec.pim.map_or_else(Vec::new, |pim| pim::tasks(spec, &pim, batch));
        lane.num_ranks = spec.tp as usize;
        lane.add_up(self.num_blocks, self.plan.attention);
    }

    /// Pushes the ops of some layers; `attention` is how long that takes.
    fn push_layers(
        &self,
        layers: &[LayerPlan],
        batch: &Batch,
        wave: WaveShape,
        attention: Duration,
        ops: &mut Vec<Op>,
    ) {
        let (spec, shape) = (self.spec, &batch.shape);
        for &LayerPlan { layer, time, weight_bytes } in layers {
            let time = match time {
                LayerTime::None => Duration::ZERO,
                LayerTime::Tokens(slot) => self.token_times[slot],
                LayerTime::Sequences(slot) => self.sequence_times[slot],
                LayerTime::Attention if spec.pim.is_some() => {
                    ops.push(Op::Pim);
                    let prefill = shape.without_decodes().attention();
                    if prefill.prefill_tokens == 0 {
                        continue;
                    }
                    spec.latency.attention(&prefill)
                }
                LayerTime::Attention => attention,
                LayerTime::Experts => {
                    self.push_experts(wave.tokens, ops);
                    continue;
                }
            };
            ops.push(Op::Compute { layer, time, weight_bytes });
            if spec.role == Role::Prefill && layer == Layer::QkvProj {
                ops.push(Op::SendKv);
            }
            if spec.tp > 1 && layer.is_row_parallel() {
                let bytes = sizes(spec, layer, shape.tokens).output;
                ops.push(Op::Collective(Collective { kind: CollectiveKind::AllReduce, bytes, dims: spec.tp_dims }));
            }
        }
    }

    fn attention(&mut self, batch: &Batch, wave: WaveShape) -> Duration {
        let (latency, cursor) = (self.spec.latency.as_ref(), &mut self.cursor);
        let Some(varlen) = self.varlen.as_ref().filter(|_| !batch.is_empty()) else {
            return latency.attention_from(&batch.shape.attention(), cursor);
        };
        let chunks = batch.scheduled.iter().filter(|scheduled| scheduled.tokens > 1);
        let chunks = chunks.map(|scheduled| (scheduled.tokens, scheduled.history));
        let decodes = batch.decodes();
        let launched = if wave.is_captured { wave.tokens } else { decodes.count };
        varlen.time(latency, chunks, &decodes, launched, cursor)
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

    fn route_experts(&mut self, tokens: u64, num_routings: usize, times: &mut Vec<Duration>) {
        let Some(router) = &mut self.experts else { return };
        if self.latest_routed == Some(tokens) {
            return;
        }
        self.latest_routed = (router.is_memoryless() && self.spec.pim.is_none()).then_some(tokens);
        times.clear();
        self.expert_tokens.clear();
        self.expert_tokens.resize(self.spec.local_ep as usize, 0);
        let blocks_alike = (self.num_blocks / num_routings) as u64;
        let (num_ranks, local_ranks) = (self.spec.tp as usize, self.spec.local_ep as usize);
        times.resize(num_routings * num_ranks, Duration::ZERO);
        for (layer, block) in (0..).zip(times.chunks_mut(num_ranks)) {
            let loads = &router.route(layer, tokens)[self.first_expert_rank..][..local_ranks];
            for ((time, sum), load) in block.iter_mut().zip(&mut self.expert_tokens).zip(loads) {
                *sum += load.tokens * blocks_alike;
                if load.tokens > 0 {
                    *time = self.spec.latency.experts(load.tokens, load.active_experts.max(1));
                }
            }
        }
    }
}

/// Tensor sizes of a layer of `spec` in a step of `tokens` tokens.
fn sizes(spec: &InstanceSpec, layer: Layer, tokens: u64) -> TensorSizes {
    spec.model.sizes(layer, tokens, 0, u64::from(spec.tp), spec.element_bytes)
}
