//! One forward pass of one instance, described once as data: a prologue, a block repeated, a head.
//!
//! Each is a short list of [`Op`]s that every rank of the instance runs in order, each op waiting for the one before.
//! Whoever times a pass or writes it out reads this description.
//!
//! A tensor-parallel all-reduce of the full activation follows the row-parallel projections. Around the experts, tokens
//! go to their ranks and back: by all-gather and reduce-scatter (vLLM's default backend, where the gate's logits travel
//! with the hidden state), or by two all-to-alls. A prefill instance sends the KV of each block on as soon as it has
//! been projected.
//!
//! A pass has one [`Lane`], or two where a step is run as two halves that alternate.

mod builder;

use model::{Layer, Model};
use network::{Collective, CollectiveKind, Location};
use units::Duration;

use crate::batch::Batch;
use crate::deployment::InstanceSpec;
use crate::observer::StepWork;
use crate::pim::PimTask;
pub(crate) use builder::{PassBuilder, WaveShape};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// The same work on every rank, and the weights it needs there.
    Compute {
        layer: Layer,
        time: Duration,
        weight_bytes: u64,
    },
    /// Each rank's own experts; how long they take is in [`Lane::expert_time`].
    Experts,
    Collective(Collective),
    /// Attention of decodes in host memory: [`Lane::pim`].
    Pim,
    /// The KV of this block goes to a decode instance, beside what follows.
    SendKv,
}

/// What the sequences of a step, or of half of one, run. Its ops are left out where their sums are enough.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) prologue: Vec<Op>,
    pub(crate) block: Vec<Op>,
    /// How many of the block's ops lead up to and include attention.
    pub(crate) pre_attn: usize,
    pub(crate) head: Vec<Op>,
    /// Bytes each rank loads from host memory before it starts.
    pub(crate) input_bytes: u64,
    /// Bytes each rank stores to host memory at the end.
    pub(crate) output_bytes: u64,
    pub(crate) pim: Vec<PimTask>,
    /// By block and rank; one block's where all are alike.
    expert_times: Vec<Duration>,
    num_ranks: usize,
    /// Bytes of one block's KV that each rank of a prefill instance sends on.
    pub(crate) kv_bytes: u64,
    /// What each rank computes in the whole pass beside its experts, less the attention that stands at `attention_place`.
    computing_beside: Duration,
    attention: Duration,
    /// Where in the block attention is, if it is the only one of the pass.
    attention_place: Option<usize>,
    /// Layers of experts in the whole pass.
    num_expert_layers: u64,
}

impl Lane {
    /// How long each rank computes in a pass of `num_blocks` blocks beside its experts.
    pub(crate) fn computing(&self, num_blocks: usize) -> Duration {
        self.computing_beside + self.attention * num_blocks as u64
    }

    /// How long each rank is in attention in a pass of `num_blocks` blocks, where that is one layer of a block, and how long
    /// it computes beside that and its experts.
    pub(crate) fn computing_parts(&self, num_blocks: usize) -> (Duration, Duration) {
        (self.attention * num_blocks as u64, self.computing_beside)
    }

    /// How long the rank takes whose experts take longest in a pass of `num_blocks` blocks.
    pub(crate) fn slowest_experts(&self, num_blocks: usize) -> Duration {
        let times = self.num_expert_layers;
        let of_rank = |rank| match self.expert_times.len() / self.num_ranks.max(1) {
            0 | 1 => self.expert_time(0, rank) * times,
            _ => (0..num_blocks).map(|block| self.expert_time(block, rank)).sum(),
        };
        if times == 0 { Duration::ZERO } else { (0..self.num_ranks).map(of_rank).max().unwrap_or_default() }
    }

    /// Layers of experts in the whole pass.
    pub(crate) fn num_expert_layers(&self) -> u64 {
        self.num_expert_layers
    }

    /// Has attention, which stands in one place, take another time.
    fn set_attention(&mut self, attention: Duration) {
        self.attention = attention;
        if let Some(place) = self.attention_place {
            let Op::Compute { time, .. } = &mut self.block[place] else { unreachable!("attention is computed") };
            *time = attention;
        }
    }

    /// Leaves its ops out, and has what they come to: `beside` in the whole pass, and `attention` in each block.
    fn sum_up(&mut self, beside: Duration, attention: Duration, num_expert_layers: u64) {
        [&mut self.prologue, &mut self.block, &mut self.head].into_iter().for_each(Vec::clear);
        (self.computing_beside, self.attention, self.attention_place) = (beside, attention, None);
        self.num_expert_layers = num_expert_layers;
    }

    /// Adds up its ops, attention being that of `layer`.
    fn add_up(&mut self, num_blocks: usize, layer: Option<Layer>) {
        let is_attention = |op: &Op| matches!(*op, Op::Compute { layer: this, .. } if Some(this) == layer);
        self.attention_place = self.block.iter().position(is_attention);
        let time = |op: &Op| if let Op::Compute { time, .. } = *op { time } else { Duration::ZERO };
        self.attention = self.attention_place.map_or(Duration::ZERO, |place| time(&self.block[place]));
        let once: Duration = self.prologue.iter().chain(&self.head).map(time).sum();
        let block: Duration = self.block.iter().map(time).sum();
        self.computing_beside = once + (block - self.attention) * num_blocks as u64;
        let num_experts = |ops: &[Op]| ops.iter().filter(|op| matches!(op, Op::Experts)).count() as u64;
        let in_blocks = num_experts(&self.block) * num_blocks as u64;
        self.num_expert_layers = num_experts(&self.prologue) + in_blocks + num_experts(&self.head);
    }

    /// How long `rank`'s experts take in a block; zero for a rank that none of the tokens reached.
    pub(crate) fn expert_time(&self, block: usize, rank: usize) -> Duration {
        let block = if self.expert_times.len() <= self.num_ranks { 0 } else { block };
        self.expert_times[block * self.num_ranks + rank]
    }

    /// All ops, each with whether it is one of a block's.
    fn ops(&self) -> impl Iterator<Item = (&Op, bool)> {
        let parts = [(&self.prologue, false), (&self.block, true), (&self.head, false)];
        parts.into_iter().flat_map(|(ops, is_of_block)| ops.iter().map(move |op| (op, is_of_block)))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardPass {
    /// One, or two that alternate.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) num_blocks: usize,
    /// Bytes of the hidden state, which one pipeline stage hands to the next.
    pub(crate) hidden_bytes: u64,
    /// Bytes of prefixes that each NPU brings back before it starts.
    pub(crate) recall_bytes: u64,
    /// Bytes of one rank's experts in one block.
    pub(crate) expert_weight_bytes: u64,
    /// Whether ranks meet in it at all.
    pub(crate) has_collectives: bool,
}

impl ForwardPass {
    #[cfg(test)]
    pub(crate) fn of_parts(ops: Vec<Op>, num_blocks: usize, expert_times: Vec<Duration>, num_ranks: usize) -> Self {
        let mut lane = Lane {
            prologue: ops.clone(),
            head: ops.iter().rev().copied().collect(),
            block: ops,
            expert_times,
            num_ranks,
            ..Lane::default()
        };
        lane.add_up(num_blocks, None);
        let mut pass = Self { lanes: vec![lane], num_blocks, ..Self::default() };
        let has_collectives = pass.collectives().next().is_some();
        pass.has_collectives = has_collectives;
        pass
    }

    /// Bytes each rank loads from host memory before it starts.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.input_bytes).sum()
    }

    /// Bytes each rank stores to host memory at the end.
    pub(crate) fn output_bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.output_bytes).sum()
    }

    /// Whether every block takes the same time.
    pub(crate) fn blocks_are_alike(&self) -> bool {
        self.lanes.iter().all(|lane| lane.expert_times.len() <= lane.num_ranks)
    }

    /// All collectives of the pass, each with how often it runs.
    pub(crate) fn collectives(&self) -> impl Iterator<Item = (Collective, u64)> {
        self.ops().filter_map(|(op, times)| match op {
            Op::Collective(collective) => Some((*collective, times)),
            _ => None,
        })
    }

    /// All ops with how often each runs.
    fn ops(&self) -> impl Iterator<Item = (&Op, u64)> {
        let times = |is_of_block| if is_of_block { self.num_blocks as u64 } else { 1 };
        self.lanes.iter().flat_map(Lane::ops).map(move |(op, is_of_block)| (op, times(is_of_block)))
    }

    /// What the pass keeps busy on the instance of `spec`, for counting energy. What a batch writes to the tier below comes
    /// on top; one that is like the one before writes nothing.
    pub(crate) fn work(&self, spec: &InstanceSpec, batch: Option<&Batch>) -> StepWork {
        let ranks = u64::from(spec.tp);
        let mut work = StepWork {
            npu_time: Duration::ZERO,
            pim_time: Duration::ZERO,
            memory_bytes: self.recall_bytes * u64::from(spec.num_npus())
                + batch.map_or(0, |batch| batch.write_through_bytes),
            link_bytes: self.hidden_bytes * u64::from(spec.pp - 1) * ranks,
        };
        for lane in &self.lanes {
            for (op, is_of_block) in lane.ops() {
                let times = if is_of_block { self.num_blocks as u64 } else { 1 };
                match *op {
                    Op::Compute { layer, time, weight_bytes } => {
                        work.npu_time += time * times * ranks;
                        work.memory_bytes += self.loaded_weights(spec, layer, weight_bytes, is_of_block);
                    }
                    Op::Experts => {
                        let of_ranks = |block| (0..lane.num_ranks).map(move |rank| lane.expert_time(block, rank));
                        let blocks = 0..self.num_blocks;
                        // As LLMServingSim has it, all ranks are busy while the slowest is; but one that waits for it in
                        // one lane may compute in the other, and must not count twice.
                        work.npu_time += match self.lanes.len() {
                            1 => blocks.filter_map(|block| of_ranks(block).max()).sum::<Duration>() * ranks,
                            _ => blocks.flat_map(of_ranks).sum(),
                        };
                        work.memory_bytes +=
                            self.loaded_weights(spec, Layer::Moe, self.expert_weight_bytes, is_of_block);
                    }
                    Op::Collective(collective) => work.link_bytes += wire_bytes(&collective, spec) * times,
                    Op::Pim => {
                        work.pim_time += lane.pim.iter().map(|task| task.time).sum::<Duration>() * times;
                        work.memory_bytes += lane.pim.iter().map(|task| task.bytes).sum::<u64>() * times;
                    }
                    Op::SendKv => work.link_bytes += lane.kv_bytes * ranks * times,
                }
            }
        }
        work
    }

    /// Bytes that all ranks load of a layer's weights, of every block if it is part of one, from outside the NPU.
    fn loaded_weights(&self, spec: &InstanceSpec, layer: Layer, bytes: u64, is_of_block: bool) -> u64 {
        let is_elsewhere = |block| spec.placement.weights_of(layer, block) != Location::Npu;
        let num_loads = match is_of_block {
            true => (0..self.num_blocks).filter(|&block| is_elsewhere(Some(block))).count(),
            false => usize::from(is_elsewhere(None)),
        };
        bytes * num_loads as u64 * u64::from(spec.tp)
    }
}

/// Bytes that a ring collective moves over the links of one instance's ranks, by the share each rank sends.
fn wire_bytes(collective: &Collective, spec: &InstanceSpec) -> u64 {
    let members = match collective.kind {
        CollectiveKind::AllReduce => spec.tp,
        _ => spec.ep,
    };
    let one_pass = collective.bytes * u64::from(members - 1) / u64::from(members);
    match collective.kind {
        CollectiveKind::AllReduce => 2 * one_pass,
        _ => one_pass,
    }
}

/// Bytes of the hidden state of `tokens` tokens.
pub(crate) fn hidden_state_bytes(model: &Model, tokens: u64, element_bytes: u64) -> u64 {
    tokens * model.hidden_size * element_bytes
}
