//! What one step is made of, for those who want to know without a run.
//!
//! The description is the one that a run would time ([`ForwardPass`]): all members of a group are given the same batch,
//! padded as in a run, and the pass of the first is told.

use model::Layer;
use network::Collective;
use units::{Duration, GroupId, Instant, RequestId};

use crate::batch::{Batch, Formed, Scheduled};
use crate::deployment::{Deployment, InstanceSpec, Role};
use crate::forward::{ForwardPass, Lane, Op};
use crate::group::Group;
use crate::layer_times::SharedTimes;
use crate::observer::Observer;

/// Sequences that a step advances alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPiece {
    /// How many.
    pub sequences: u64,
    /// Tokens that each computes, at least one; one is a decode.
    pub tokens: u64,
    /// Tokens of KV that each has already.
    pub history: u64,
}

/// A step of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepPreview {
    /// Tokens that layers compute, padding included.
    pub padded_tokens: u64,
    /// One, or two that alternate between NPU and memory.
    pub lanes: Vec<LanePreview>,
    /// How often the block is run, over all pipeline stages.
    pub num_blocks: u64,
    /// Bytes that one pipeline stage hands to the next, for each rank.
    pub hidden_bytes: u64,
}

/// What the sequences of a step, or of half of one, run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LanePreview {
    /// Before the first block.
    pub prologue: Vec<StepOp>,
    /// One block, the first.
    pub block: Vec<StepOp>,
    /// After the last block.
    pub head: Vec<StepOp>,
    /// Bytes that each rank loads from host memory before the step.
    pub input_bytes: u64,
    /// Bytes that each rank stores to host memory after it.
    pub output_bytes: u64,
}

/// One op, which waits for the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOp {
    /// The same work on every rank.
    Layer {
        /// What is computed.
        layer: Layer,
        /// How long it takes.
        time: Duration,
    },
    /// Each rank's own experts.
    Experts {
        /// How long those of each rank of a pipeline stage take.
        times: Vec<Duration>,
    },
    /// Ranks meet.
    Collective(Collective),
    /// Attention of decodes in host memory.
    MemoryAttention {
        /// How long the channel with most work takes.
        time: Duration,
    },
    /// KV of the block goes to a decode instance, beside what follows.
    SendKv {
        /// Bytes that each rank sends.
        bytes: u64,
    },
}

/// Nobody.
struct Unwatched;

impl Observer for Unwatched {}

/// What the first member of `group` runs when all its members step with a batch of these pieces.
///
/// # Panics
/// When there is no such group, or a piece has no tokens.
pub fn preview(deployment: &Deployment, group: GroupId, pieces: &[StepPiece]) -> StepPreview {
    let mut group = Group::new(group, deployment, false, &mut SharedTimes::default());
    for (member, &instance) in group.spec.members.iter().enumerate() {
        let spec = &deployment.instances[instance.index()];
        let batch = batch(pieces, spec, group.num_longest(member));
        group.offer(member, Formed::New(Box::new(batch)));
    }
    group.start(Instant::ZERO, &mut Unwatched);
    let padded_tokens = group.padded_tokens(0);
    let num_ranks = deployment.instances[group.spec.members[0].index()].tp as usize;
    StepPreview::of(&group.passes()[0], padded_tokens, num_ranks)
}

fn batch(pieces: &[StepPiece], spec: &InstanceSpec, longest_max: usize) -> Batch {
    let mut batch = Batch::default();
    batch.begin(1, longest_max);
    let sequences = pieces.iter().flat_map(|&piece| (0..piece.sequences).map(move |_| piece));
    for (index, StepPiece { tokens, history, .. }) in sequences.enumerate() {
        assert!(tokens > 0, "a sequence without tokens is not in a step");
        let kv_send_tokens = if spec.role == Role::Prefill { tokens } else { 0 };
        batch.kv_send_tokens += kv_send_tokens;
        batch.push(Scheduled {
            sequence: index,
            id: RequestId(index as u64),
            admission: index as u64,
            preemptions: 0,
            tokens,
            history,
            pim_length: (tokens == 1).then_some(history + 1),
            kv_send_tokens,
        });
    }
    batch
}

impl StepPreview {
    fn of(pass: &ForwardPass, padded_tokens: u64, num_ranks: usize) -> Self {
        Self {
            padded_tokens,
            lanes: pass.lanes.iter().map(|lane| LanePreview::of(lane, num_ranks)).collect(),
            num_blocks: pass.num_blocks as u64,
            hidden_bytes: pass.hidden_bytes,
        }
    }
}

impl LanePreview {
    fn of(lane: &Lane, num_ranks: usize) -> Self {
        let ops = |ops: &[Op]| ops.iter().map(|op| StepOp::of(op, lane, num_ranks)).collect();
        Self {
            prologue: ops(&lane.prologue),
            block: ops(&lane.block),
            head: ops(&lane.head),
            input_bytes: lane.input_bytes,
            output_bytes: lane.output_bytes,
        }
    }
}

impl StepOp {
    fn of(op: &Op, lane: &Lane, num_ranks: usize) -> Self {
        match *op {
            Op::Compute { layer, time, .. } => StepOp::Layer { layer, time },
            Op::Experts => StepOp::Experts { times: (0..num_ranks).map(|rank| lane.expert_time(0, rank)).collect() },
            Op::Collective(collective) => StepOp::Collective(collective),
            Op::Pim => {
                let channels = lane.pim.chunk_by(|a, b| a.channel == b.channel);
                let time = channels.map(|tasks| tasks.iter().map(|task| task.time).sum::<Duration>()).max();
                StepOp::MemoryAttention { time: time.unwrap_or(Duration::ZERO) }
            }
            Op::SendKv => StepOp::SendKv { bytes: lane.kv_bytes },
        }
    }
}
