//! What is simulated: instances, the groups they step in, the links and memory they share, and how a run goes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use latency::OpLatency;
use model::{Architecture, Model};
use network::{DimMask, MemoryDevices, System, Topology};
use units::{Duration, GroupId, InstanceId, NodeId};

/// A checked cluster, ready to run. Every index in it is valid and every degree fits the next.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The instances, by id. NPU ids run instance by instance.
    pub instances: Vec<InstanceSpec>,
    /// The groups that step together, by id. Every instance is in exactly one.
    pub groups: Vec<GroupSpec>,
    /// What all collectives share.
    pub system: System,
    /// Host memory: one device a node.
    pub host_memory: MemoryDevices,
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
    /// What it serves.
    pub model: Arc<Model>,
    /// How that model's family orders its layers.
    pub architecture: Arc<Architecture>,
    /// How long its operators take.
    pub latency: Arc<dyn OpLatency>,
    /// Tensor-parallel degree, which is also its number of NPUs.
    pub tp: u32,
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
