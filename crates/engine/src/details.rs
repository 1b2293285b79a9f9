//! What steps consist of, for those who ask: who waited when a wave began, and where the time of a step goes.
//!
//! A step's parts are those of one rank's way through the pass, each as long as it takes where nobody is waited for:
//! collectives as when all enter at once, host memory as when nobody else uses it. What a step takes beyond their sum,
//! its ranks waited, for each other or for a link or memory that somebody else had. Where ops overlap (two halves of a
//! step, weights that are fetched ahead), the sum may come to more than the step.

use std::rc::Rc;

use model::Layer;
use network::{
    Collective, CollectiveKind, Fabric, Graph, Location, Memory, MemoryDevices, Outcome, Plan, System, Topology, replay,
};
use rustc_hash::FxHashMap;
use units::{Duration, Instant};

use crate::batch::Batch;
use crate::deployment::InstanceSpec;
use crate::forward::{ForwardPass, Op};

/// One member's part of a wave, in detail.
#[derive(Clone, Copy, Debug)]
pub struct StepDetails<'a> {
    /// When its batch was ready. Where it waits for other members, the wave starts later.
    pub ready: Instant,
    /// Sequences that compute more than one token, and those tokens.
    pub prefills: (u64, u64),
    /// Sequences that compute one token.
    pub decodes: u64,
    /// Its batch's number on the instance, from 1; a dummy has none.
    pub batch: Option<u64>,
    /// Tokens of KV of the sequences that decode, of all together and of the one that has most.
    pub kv_decode_tokens: (u64, u64),
    /// Sequences running, those of the batch included.
    pub running: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// KV blocks that sequences hold.
    pub kv_blocks_held: u32,
    /// Where the time of its step goes.
    pub parts: StepParts,
    /// Tokens that reach each of its ranks' experts, added up over all blocks. Empty without experts.
    pub expert_tokens: &'a [u64],
}

/// Where the time of a step goes, over the whole pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepParts {
    /// Attention on the NPU.
    pub attention: Duration,
    /// Attention of decodes in host memory.
    pub memory_attention: Duration,
    /// All other layers but experts.
    pub dense: Duration,
    /// Experts of the rank on which they take longest.
    pub experts: Duration,
    /// NPUs wait for their host to launch what comes next.
    pub launches: Duration,
    /// Collectives by kind, in the order of [`CollectiveKind::ALL`].
    pub collectives: [Duration; CollectiveKind::ALL.len()],
    /// Weights that are loaded from outside the NPU, by the device that is busy with them longest. Computing may go on beside
    /// it.
    pub weights: Duration,
    /// Input and output of the step, and prefixes that are brought back.
    pub host_memory: Duration,
}

impl StepParts {
    /// What the member computes by itself, on its slowest rank.
    pub fn computing(&self) -> Duration {
        self.attention + self.memory_attention + self.dense + self.experts + self.launches
    }

    /// All parts together.
    pub fn total(&self) -> Duration {
        self.computing() + self.collectives.iter().copied().sum() + self.weights + self.host_memory
    }

    /// Those of `pass`, less weights and host memory; `gap` is what each block waits for its launch.
    pub(crate) fn of(pass: &ForwardPass, gap: Duration, mut time: impl FnMut(Collective) -> Duration) -> Self {
        let mut parts = Self::default();
        for lane in &pass.lanes {
            let (attention, beside) = lane.computing_parts(pass.num_blocks);
            let launches = (gap * pass.num_blocks as u64).min(attention);
            parts.launches += launches;
            parts.attention += attention - launches;
            parts.dense += beside;
            parts.experts += lane.slowest_experts(pass.num_blocks);
            let in_memory = lane.pim.iter().map(|task| task.time).max().unwrap_or_default();
            parts.memory_attention += in_memory * pass.num_blocks as u64;
        }
        for (collective, times) in pass.collectives() {
            let kind = CollectiveKind::ALL.iter().position(|&kind| kind == collective.kind);
            parts.collectives[kind.expect("ALL has every kind")] += time(collective) * times;
        }
        parts
    }
}

/// Sequences that prefill and their tokens, and sequences that decode. A dummy has none.
pub(crate) fn composition(batch: &Batch) -> ((u64, u64), u64) {
    let chunks = || batch.scheduled.iter().filter(|scheduled| scheduled.tokens > 1);
    let num_chunks = chunks().count() as u64;
    ((num_chunks, chunks().map(|chunk| chunk.tokens).sum()), batch.num_sequences() - num_chunks)
}

/// How long each rank of an instance is at host memory in `pass`, and at the memory that prefixes come from.
pub(crate) fn host_memory(pass: &ForwardPass, spec: &InstanceSpec, memory: &Memory) -> Duration {
    let host = Location::Host(spec.node.0);
    let recalled = match pass.recall_bytes {
        0 => Duration::ZERO,
        bytes => memory.access_time(spec.placement.recall_from, bytes),
    };
    recalled + memory.access_time(host, pass.input_bytes()) + memory.access_time(host, pass.output_bytes())
}

/// How long the device is busy with one rank's weights in `pass` that is busy with them longest. Devices load side by
/// side.
pub(crate) fn weight_loads(pass: &ForwardPass, spec: &InstanceSpec, memory: &Memory) -> Duration {
    if spec.placement.needs_no_loads() {
        return Duration::ZERO;
    }
    let mut busy: FxHashMap<Location, Duration> = FxHashMap::default();
    let mut load = |op: &Op, block| {
        let (layer, bytes) = match *op {
            Op::Compute { layer, weight_bytes, .. } => (layer, weight_bytes),
            Op::Experts => (Layer::Moe, pass.expert_weight_bytes),
            _ => return,
        };
        let location = spec.placement.weights_of(layer, block);
        if bytes > 0 && (location != Location::Npu || spec.placement.loads_npu_weights) {
            *busy.entry(location).or_default() += memory.access_time(location, bytes);
        }
    };
    // Two halves of a step share what is loaded.
    if let Some(lane) = pass.lanes.first() {
        lane.prologue.iter().chain(&lane.head).for_each(|op| load(op, None));
        (0..pass.num_blocks).for_each(|block| lane.block.iter().for_each(|op| load(op, Some(block))));
    }
    busy.into_values().max().unwrap_or_default()
}

/// How long collectives take when all their members enter at once, each found once.
#[derive(Debug, Default)]
pub(crate) struct CollectiveTimes(FxHashMap<Collective, Duration>);

impl CollectiveTimes {
    pub(crate) fn of(&mut self, collective: Collective, topology: &Topology, system: &System) -> Duration {
        *self.0.entry(collective).or_insert_with(|| time_alone(collective, topology, system))
    }
}

fn time_alone(collective: Collective, topology: &Topology, system: &System) -> Duration {
    let plan = Plan::new(topology, system, collective).expect("a checked deployment has no collective that never ends");
    let mut at = vec![Instant::ZERO; topology.num_npus()];
    if !plan.advance(&mut at) {
        let mut graph = Graph::with_capacity(1);
        graph.then(network::Op::Collective(collective));
        let graph = Rc::new(graph);
        let graphs = vec![graph; topology.num_npus()];
        let memory = MemoryDevices::new(0.0, 1.0, 0).into();
        let fabric = Fabric { topology: topology.clone(), system: system.clone(), memory };
        let Outcome::Finished(finished) = replay(&fabric, &graphs) else {
            unreachable!("a checked deployment has no collective that never ends")
        };
        at = finished;
    }
    at.into_iter().max().unwrap_or(Instant::ZERO) - Instant::ZERO
}
