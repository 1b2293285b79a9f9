//! What is simulated: instances, the groups they step in, the links and memory they share, and how a run goes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use latency::OpLatency;
use model::{Architecture, Layer, Model};
use moe::ExpertRouting;
use network::{DimMask, Location, Memory, System, Topology};
use units::{Duration, GroupId, InstanceId, NodeId};

use crate::power::NodePower;
use crate::vllm::{CaptureSizes, HostTimes, Vllm};

/// A checked cluster, ready to run. Every index in it is valid and every degree fits the next.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The instances, by id. NPU ids run instance by instance.
    pub instances: Vec<InstanceSpec>,
    /// The groups that step together, by id. Every instance is in exactly one.
    pub groups: Vec<GroupSpec>,
    /// What all collectives share.
    pub system: System,
    /// Host memory (one device a node), a pool beside it, and the NPUs' own.
    pub memory: Memory,
    /// Prefix caches below the NPUs'.
    pub tiers: Vec<TierSpec>,
    /// What each node draws, where all of them say.
    pub power: Option<Vec<NodePower>>,
    /// How the run goes.
    pub options: RunOptions,
}

/// Instances that step in waves: a data-parallel group, or one instance by itself.
#[derive(Clone, Debug)]
pub struct GroupSpec {
    /// Its name in the cluster file; a lone instance has none.
    pub name: Option<String>,
    /// Its members in order of their ids. They run the same model and agree on all degrees.
    pub members: Vec<InstanceId>,
    /// The links between its NPUs. Rank `m * num_npus + i` is NPU `i` of member `m`.
    pub topology: Topology,
}

/// One instance.
#[derive(Clone, Debug)]
pub struct InstanceSpec {
    /// The node it is on, whose host memory it loads from and stores to.
    pub node: NodeId,
    /// The group it steps in.
    pub group: GroupId,
    /// The type of its NPUs.
    pub hardware: String,
    /// What it serves.
    pub model: Arc<Model>,
    /// How that model's family orders its layers.
    pub architecture: Arc<Architecture>,
    /// How long its operators take.
    pub latency: Arc<dyn OpLatency>,
    /// Streaming multiprocessors of each NPU, where they are known; [`Engine::Vllm`] asks for them.
    pub num_sms: Option<u64>,
    /// Steps that [`Engine::Vllm`] launches as one graph.
    pub capture_sizes: CaptureSizes,
    /// Which part of a request's life it runs.
    pub role: Role,
    /// Tensor-parallel degree.
    pub tp: u32,
    /// Pipeline stages, and so batches in flight. It has `tp * pp` NPUs, stage by stage.
    pub pp: u32,
    /// Expert-parallel ranks over the whole group; 1 for dense models.
    pub ep: u32,
    /// Expert-parallel ranks on this instance's own NPUs.
    pub local_ep: u32,
    /// Dimensions of the group's topology that tensor-parallel collectives involve.
    pub tp_dims: DimMask,
    /// Dimensions of the group's topology that expert-parallel collectives involve.
    pub ep_dims: DimMask,
    /// Bytes of one weight or activation element.
    pub element_bytes: u64,
    /// Bytes of weights on each NPU.
    pub weight_bytes: u64,
    /// Limits and switches of its scheduler.
    pub scheduler: SchedulerSpec,
    /// Its KV cache.
    pub kv: KvSpec,
    /// Whether one block's expert routing serves all blocks.
    pub block_copy: bool,
    /// How its tokens find experts, instead of by the run's policy: recorded routing, or a policy of one's own.
    pub expert_routing: Option<Arc<dyn ExpertRouting>>,
    /// Whether requests bring the KV of their prompts along, all but the last token's.
    pub skips_prefill: bool,
    /// Where weights and KV are when they are not on the NPU.
    pub placement: Placement,
    /// The prefix cache below its KV cache, an index into [`Deployment::tiers`]. Instances may share one.
    pub tier: Option<usize>,
    /// Attention of decodes in its host's memory.
    pub pim: Option<PimSpec>,
}

impl InstanceSpec {
    /// NPUs that compute.
    pub fn num_npus(&self) -> u32 {
        self.tp * self.pp
    }

    /// NPUs that it owns: those of a prefill instance have a peer each, which takes in the KV they send.
    pub fn num_npus_with_peers(&self) -> u32 {
        match self.role {
            Role::Prefill => 2 * self.num_npus(),
            Role::Whole | Role::Decode => self.num_npus(),
        }
    }
}

/// Which part of a request's life an instance runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    #[default]
    Whole,
    /// The prompt and the first token; then the request and its KV go to a decode instance.
    Prefill,
    /// The tokens after the first.
    Decode,
}

/// Where an instance keeps its weights, and from where what is not on the NPU is brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where weights are unless said otherwise.
    pub weights: Location,
    /// By block; empty when blocks are alike. Wins over [`Placement::weights`].
    pub block_weights: Vec<Location>,
    /// By layer. Wins over both.
    pub layer_weights: Vec<(Layer, Location)>,
    /// Whether weights on the NPU are loaded from its memory before each layer too, rather than being part of the
    /// layer's measured time.
    pub loads_npu_weights: bool,
    /// Where prefixes are brought from that the prefix cache on the NPU has lost.
    pub recall_from: Location,
}

impl Placement {
    /// Everything on the NPU; lost prefixes come from host memory of `node`.
    pub fn npu(node: NodeId) -> Self {
        Self {
            weights: Location::Npu,
            block_weights: Vec::new(),
            layer_weights: Vec::new(),
            loads_npu_weights: false,
            recall_from: Location::Host(node.0),
        }
    }

    /// Where the weights of `layer` are, in `block` where it is part of one.
    pub fn weights_of(&self, layer: Layer, block: Option<usize>) -> Location {
        let by_layer = self.layer_weights.iter().find(|entry| entry.0 == layer).map(|entry| entry.1);
        let by_block = || block.and_then(|block| self.block_weights.get(block).copied());
        by_layer.or_else(by_block).unwrap_or(self.weights)
    }

    /// Whether no layer waits for its weights.
    pub fn needs_no_loads(&self) -> bool {
        let elsewhere = |location: &Location| *location != Location::Npu;
        let layers = self.layer_weights.iter().map(|entry| &entry.1);
        !self.loads_npu_weights && ![&self.weights].into_iter().chain(&self.block_weights).chain(layers).any(elsewhere)
    }
}

/// Attention of decodes in the channels of its host's memory (processing in memory).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PimSpec {
    /// Channels of the node's memory.
    pub num_channels: u32,
    /// Channels that one sequence's heads are spread over.
    pub channel_split: u32,
    /// Nanoseconds for each token of KV, before the split.
    pub ns_per_token: f64,
    /// Nanoseconds whatever the KV, before the split.
    pub fixed_ns: f64,
    /// Whether a step is run as two halves that alternate between NPU and memory.
    pub interleaves_sub_batches: bool,
}

/// A prefix cache below the NPU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierSpec {
    /// Tokens of one of its blocks.
    pub tokens_per_block: u32,
    /// Tokens of an NPU's block.
    pub npu_block_size: u32,
    /// Blocks it holds.
    pub num_blocks: u32,
    /// Bytes of one block, of all ranks together.
    pub bytes_per_block: u64,
}

/// Limits and switches of one instance's scheduler, named as vLLM names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerSpec {
    /// Most sequences running at once; `None` for no limit.
    pub max_num_seqs: Option<u64>,
    /// Token budget of one step, never above the model's longest sequence.
    pub max_num_batched_tokens: u64,
    /// Most tokens of one prompt in one step; 0 for no limit.
    pub long_prefill_token_threshold: u64,
    /// Whether a prompt may be split over steps.
    pub chunked_prefill: bool,
    /// Whether a request is admitted only when all of it fits.
    pub reserve_full_isl: bool,
}

/// One instance's KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvSpec {
    /// Blocks on each NPU.
    pub num_blocks: u32,
    /// Tokens of one block.
    pub block_size: u32,
    /// Bytes of one element of a key or value.
    pub element_bytes: u64,
    /// Bytes of one block on each NPU.
    pub bytes_per_block: u64,
    /// Whether blocks are found again by what they hold.
    pub prefix_caching: bool,
}

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// How requests find an instance.
    pub request_routing: RequestRouting,
    /// How tokens find experts.
    pub expert_routing: moe::Policy,
    /// Which collectives carry tokens to experts and back.
    pub all2all_backend: All2AllBackend,
    /// When an idle instance sees work.
    pub polling: Polling,
    /// How an engine steps.
    pub engine: Engine,
    /// Simulated time between two [`crate::Interval`]s.
    pub log_interval: Duration,
    /// Seed of every random stream.
    pub seed: u64,
}

macro_rules! names {
    ($type:ident: $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Every value.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self { $($type::$variant => $name),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = ();
            fn from_str(name: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|value| value.name() == name).ok_or(())
            }
        }
    };
}

/// How requests find an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestRouting {
    /// The least loaded, waiting requests counting four times.
    #[default]
    Load,
    /// One after the other.
    RoundRobin,
    /// Any, with equal chance.
    Random,
}
names!(RequestRouting: Load = "LOAD", RoundRobin = "RR", Random = "RAND");

/// Which collectives carry tokens to experts and back, named as vLLM's option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum All2AllBackend {
    /// All-gather to the experts, reduce-scatter back.
    #[default]
    AllGatherReduceScatter,
    /// All-to-all both ways.
    AllToAll,
}
names!(All2AllBackend: AllGatherReduceScatter = "allgather_reducescatter", AllToAll = "alltoall");

/// How an engine steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// It schedules, runs and answers, one after the other. The stages of a pipeline hold a batch each.
    #[default]
    Reference,
    /// As vLLM's engine core (V1) does. With asynchronous scheduling (`step_with_batch_queue`, `AsyncScheduler`) the next
    /// batch is formed while one runs, with the tokens counted that are not known yet. Requests are seen when the core
    /// looks, which it does when it has taken a result in, not while it waits for one.
    Vllm(Vllm),
}

impl Engine {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Engine::Reference => "reference",
            Engine::Vllm(_) => "vllm",
        }
    }

    /// Whether the next batch is formed while one runs.
    pub fn is_asynchronous(self) -> bool {
        self.vllm().is_some_and(|vllm| vllm.async_scheduling)
    }

    /// How vLLM's core goes about it, where it is the engine.
    pub fn vllm(self) -> Option<Vllm> {
        match self {
            Engine::Reference => None,
            Engine::Vllm(vllm) => Some(vllm),
        }
    }

    /// What the host takes.
    pub(crate) fn host(self) -> HostTimes {
        self.vllm().map_or_else(HostTimes::default, |vllm| vllm.host)
    }
}

/// When an idle instance sees work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polling {
    /// At once, and all ranks of an instance start together.
    #[default]
    Exact,
    /// As LLMServingSim asks for work: at events of any NPU, each millisecond when there are none, an instance's last
    /// NPU before its first. For comparing results with its own.
    Reference,
}
names!(Polling: Exact = "exact", Reference = "reference");
