//! From a batch to the description of its pass.
//!
//! What a pass consists of is the same in every step of an instance, so it is resolved once ([`Plan`]); a step adds sizes
//! and times. Where it is of the same size as the one before, the description stays as it is but for attention.

use std::rc::Rc;

use latency::{AttentionCursor, AttentionShape, VarlenAttention};
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
    /// Attention of the latest batch, if all its sequences decode.
    decodes: DecodeAttention,
    plan: Plan,
    /// What layers take by tokens and by sequences, and what they take in the step at hand, in order of their slots.
    by_tokens: Rc<LayerTimes>,
    by_sequences: Rc<LayerTimes>,
    token_times: Vec<Duration>,
    sequence_times: Vec<Duration>,
    /// What the latest pass was described for, but for its attention, where it can be kept.
    latest: Option<StepSize>,
    /// Whether its ops were described too, and not only their sums.
    has_ops: bool,
    /// The tokens that the experts' times were found for, where that is all they depend on.
    latest_routed: Option<u64>,
    /// Tokens that reach each rank in the step at hand, over all blocks.
    expert_tokens: Vec<u64>,
    expert_weight_bytes: u64,
}

/// How attention of a batch is found in which all sequences decode.
#[derive(Clone, Copy, Debug, Default)]
struct DecodeAttention {
    shape: AttentionShape,
    /// What it takes longer than the shape says.
    more: Duration,
    /// Tokens that the experts see.
    expert_tokens: u64,
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
    /// Layers of experts in a whole pass.
    num_expert_layers: u64,
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
    /// Adds to the layers that grow with tokens, and with sequences, each with how often it runs.
    fn new(spec: &InstanceSpec, token_layers: &mut Vec<(Layer, u64)>, sequence_layers: &mut Vec<(Layer, u64)>) -> Self {
        let num_blocks = spec.model.num_hidden_layers;
        let sequence = &spec.architecture.sequence;
        let feed_forward = if spec.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
        let mut plan = |times: u64, layers: &mut dyn Iterator<Item = &Layer>| {
            layers.map(|&layer| LayerPlan::new(layer, times, spec, token_layers, sequence_layers)).collect::<Vec<_>>()
        };
        let prologue = plan(1, &mut sequence.prologue.iter());
        let pre_attn = plan(num_blocks, &mut sequence.pre_attn.iter());
        let post_attn = plan(num_blocks, &mut sequence.post_attn.iter().chain(feed_forward));
        let head = plan(1, &mut sequence.head.iter());
        let (num_before, block) = (pre_attn.len(), [pre_attn, post_attn].concat());
        let is_attention = |plan: &&LayerPlan| plan.time == LayerTime::Attention;
        let all: Vec<Layer> =
            [&prologue, &block, &head].into_iter().flatten().filter(is_attention).map(|plan| plan.layer).collect();
        let in_block: Vec<Layer> = block.iter().filter(is_attention).map(|plan| plan.layer).collect();
        let attention = in_block.first().copied().filter(|_| in_block.len() == 1 && all.len() == 1);
        let has_collectives = spec.tp > 1 || spec.ep > 1;
        let num_experts =
            |layers: &[LayerPlan]| layers.iter().filter(|plan| plan.time == LayerTime::Experts).count() as u64;
        let num_expert_layers = num_experts(&prologue) + num_experts(&block) * num_blocks + num_experts(&head);
        let has_attention = !all.is_empty();
        let pre_attn = num_before;
        Self { prologue, pre_attn, block, head, attention, has_attention, has_collectives, num_expert_layers }
    }
}

impl LayerPlan {
    fn new(
        layer: Layer,
        times: u64,
        spec: &InstanceSpec,
        token_layers: &mut Vec<(Layer, u64)>,
        sequence_layers: &mut Vec<(Layer, u64)>,
    ) -> Self {
        let slot = |layers: &mut Vec<(Layer, u64)>| {
            let slot = layers.iter().position(|known| known.0 == layer).unwrap_or_else(|| {
                layers.push((layer, 0));
                layers.len() - 1
            });
            layers[slot].1 += times;
            slot
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
            decodes: DecodeAttention::default(),
            plan,
            by_tokens: shared.get(&spec.latency, GrowsWith::Tokens, token_layers),
            by_sequences: shared.get(&spec.latency, GrowsWith::Sequences, sequence_layers),
            token_times: Vec::new(),
            sequence_times: Vec::new(),
            latest: None,
            has_ops: false,
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

    /// Whether a clock that knows of chains alone can do without ops: ranks do not meet, and blocks are alike.
    pub(crate) fn sums_suffice(&self) -> bool {
        self.repeats() && !self.plan.has_collectives && (self.experts.is_none() || self.spec.block_copy)
    }

    /// Describes the pass that computes a batch, in place of what was in `pass`. Its ops are left out unless somebody
    /// `wants_ops`; without them, [`sums_suffice`](Self::sums_suffice) must hold.
    pub(crate) fn build(&mut self, batch: &Batch, wave: WaveShape, wants_ops: bool, pass: &mut ForwardPass) {
        let spec = self.spec;
        let halves = spec.pim.filter(|pim| pim.interleaves_sub_batches).and_then(|_| pim::halves(batch));
        match halves {
            Some(halves) => {
                pass.lanes.resize_with(halves.len(), Lane::default);
                for (half, lane) in halves.iter().zip(&mut pass.lanes) {
                    self.build_lane(half, WaveShape { tokens: half.shape.tokens, ..wave }, wants_ops, lane);
                }
            }
            None => {
                pass.lanes.resize_with(1, Lane::default);
                self.build_lane(batch, wave, wants_ops, &mut pass.lanes[0]);
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

    fn build_lane(&mut self, batch: &Batch, wave: WaveShape, wants_ops: bool, lane: &mut Lane) {
        let spec = self.spec;
        let StepShape { tokens, sequences, .. } = batch.shape;
        let size = StepSize { tokens, sequences, wave_tokens: wave.tokens };
        let asks = spec.pim.is_none() && self.plan.has_attention;
        let attention = if asks { self.attention(batch, wave) } else { Duration::ZERO };
        if self.latest == Some(size) && (self.has_ops || !wants_ops) {
            lane.set_attention(attention);
        } else {
            if wants_ops {
                self.describe(size, Some(batch), attention, lane);
            } else {
                self.sum_up(size, attention, lane);
            }
            // Steps with attention in memory differ in their ops too.
            self.latest = (spec.pim.is_none() && self.plan.attention.is_some()).then_some(size);
            self.has_ops = wants_ops;
        }
        lane.kv_bytes = match batch.kv_send_tokens {
            0 => 0,
            tokens => 2 * spec.model.kv_width() * tokens * spec.kv.element_bytes / u64::from(spec.tp),
        };
        self.decodes.expert_tokens = wave.expert_tokens.unwrap_or(tokens);
        self.route_experts(self.decodes.expert_tokens, &mut lane.expert_times);
    }

    /// Whether [`build_again`](Self::build_again) can be had.
    pub(crate) fn repeats(&self) -> bool {
        self.spec.pim.is_none() && self.plan.attention.is_some()
    }

    /// Describes the pass of a batch with the sequences of the one before, which all decode, and each of which has a token
    /// more; `pass` is that of the one before.
    pub(crate) fn build_again(&mut self, pass: &mut ForwardPass) {
        let [lane] = &mut pass.lanes[..] else { unreachable!("what is not halved has one lane") };
        self.decodes.shape.grow();
        lane.set_attention(self.decode_attention());
        if self.experts.is_some() {
            self.route_experts(self.decodes.expert_tokens, &mut lane.expert_times);
        }
    }

    fn decode_attention(&mut self) -> Duration {
        self.spec.latency.attention_from(&self.decodes.shape, &mut self.cursor) + self.decodes.more
    }

    /// Describes everything but the experts' times and the KV that is sent on. A `batch` is needed where it attends in
    /// memory.
    fn describe(&mut self, size: StepSize, batch: Option<&Batch>, attention: Duration, lane: &mut Lane) {
        let spec = self.spec;
        self.by_tokens.write(size.tokens, &mut self.token_times);
        self.by_sequences.write(size.sequences, &mut self.sequence_times);
        let (pre_attn, post_attn) = self.plan.block.split_at(self.plan.pre_attn);
        lane.block.clear();
        self.push_layers(pre_attn, size, batch, attention, &mut lane.block);
        lane.pre_attn = lane.block.len();
        self.push_layers(post_attn, size, batch, attention, &mut lane.block);
        lane.prologue.clear();
        self.push_layers(&self.plan.prologue, size, batch, attention, &mut lane.prologue);
        lane.head.clear();
        self.push_layers(&self.plan.head, size, batch, attention, &mut lane.head);
        let tasks = spec.pim.zip(batch).map(|(pim, batch)| pim::tasks(spec, &pim, batch));
        lane.pim = tasks.unwrap_or_default();
        self.describe_ends(size, lane);
        lane.add_up(self.num_blocks, self.plan.attention);
    }

    /// Describes what ranks load first and store last.
    fn describe_ends(&self, size: StepSize, lane: &mut Lane) {
        let sizes = |plan: Option<&LayerPlan>| plan.map(|plan| sizes(self.spec, plan.layer, size.tokens));
        lane.input_bytes = sizes(self.plan.prologue.first()).map_or(0, |sizes| sizes.input);
        lane.output_bytes = sizes(self.plan.head.last()).map_or(0, |sizes| sizes.output);
        lane.num_ranks = self.spec.tp as usize;
    }

    /// Describes what [`describe`](Self::describe) does but for ops, of which it adds up the times.
    fn sum_up(&mut self, size: StepSize, attention: Duration, lane: &mut Lane) {
        let beside = self.by_tokens.sum(size.tokens) + self.by_sequences.sum(size.sequences);
        lane.sum_up(beside, attention, self.plan.num_expert_layers);
        self.describe_ends(size, lane);
    }

    /// Describes the ops that were left out of the latest pass.
    pub(crate) fn add_ops(&mut self, pass: &mut ForwardPass) {
        let Some(size) = self.latest.filter(|_| !self.has_ops) else { return };
        let attention = self.decode_attention();
        self.describe(size, None, attention, &mut pass.lanes[0]);
        self.has_ops = true;
    }

    /// Pushes the ops of some layers; `attention` is how long that takes.
    fn push_layers(
        &self,
        layers: &[LayerPlan],
        size: StepSize,
        batch: Option<&Batch>,
        attention: Duration,
        ops: &mut Vec<Op>,
    ) {
        let spec = self.spec;
        for &LayerPlan { layer, time, weight_bytes } in layers {
            let time = match time {
                LayerTime::None => Duration::ZERO,
                LayerTime::Tokens(slot) => self.token_times[slot],
                LayerTime::Sequences(slot) => self.sequence_times[slot],
                LayerTime::Attention if spec.pim.is_some() => {
                    ops.push(Op::Pim);
                    let batch = batch.expect("attention in memory is described with its batch");
                    let prefill = batch.shape.without_decodes().attention();
                    if prefill.prefill_tokens == 0 {
                        continue;
                    }
                    spec.latency.attention(&prefill)
                }
                LayerTime::Attention => attention,
                LayerTime::Experts => {
                    self.push_experts(size.wave_tokens, ops);
                    continue;
                }
            };
            ops.push(Op::Compute { layer, time, weight_bytes });
            if spec.role == Role::Prefill && layer == Layer::QkvProj {
                ops.push(Op::SendKv);
            }
            if spec.tp > 1 && layer.is_row_parallel() {
                let bytes = sizes(spec, layer, size.tokens).output;
                ops.push(Op::Collective(Collective { kind: CollectiveKind::AllReduce, bytes, dims: spec.tp_dims }));
            }
        }
    }

    fn attention(&mut self, batch: &Batch, wave: WaveShape) -> Duration {
        let varlen = self.varlen.as_ref().filter(|_| !batch.is_empty());
        let decodes = batch.decodes();
        let launched = if wave.is_captured { wave.tokens } else { decodes.count };
        if batch.shape.is_decode_only() {
            let split = varlen.map(|varlen| varlen.split(&decodes, launched));
            let (shape, more) = split.unwrap_or((batch.shape.attention(), Duration::ZERO));
            (self.decodes.shape, self.decodes.more) = (shape, more + wave.launch_gap);
            return self.decode_attention();
        }
        let (latency, cursor) = (self.spec.latency.as_ref(), &mut self.cursor);
        let chunks = batch.scheduled.iter().filter(|scheduled| scheduled.tokens > 1);
        let chunks = chunks.map(|scheduled| (scheduled.tokens, scheduled.history));
        wave.launch_gap
            + match varlen {
                Some(varlen) => varlen.time(latency, chunks, &decodes, launched, cursor),
                None => latency.attention_from(&batch.shape.attention(), cursor),
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

    fn route_experts(&mut self, tokens: u64, times: &mut Vec<Duration>) {
        let Some(router) = &mut self.experts else { return };
        if self.latest_routed == Some(tokens) {
            return;
        }
        let num_routings = if self.spec.block_copy { 1 } else { self.num_blocks };
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
