//! The document: plain data, whose field names are the keys of its JSON.
//!
//! Names tell the unit last. Bytes are bytes, `gib` is 2^30 bytes, `gb` 10^9. What does not apply is left out.

mod instances;
mod steps;
mod workload;

use engine::{Deployment, Polling};
use network::NetworkModel;
use serde::Serialize;

use crate::Ids;

pub use instances::{
    Axis, Elsewhere, ExpertFacts, InstanceKind, KvFacts, KvFit, MemoryFacts, Operator, SchedulerFacts, WeightFacts,
};
pub use steps::{BatchPiece, DimensionFacts, GroupKind, Npu, Step, StepRow};
pub use workload::{Load, Tokens, WorkloadSection};

/// What a deployment is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// How engines go about a run.
    pub engine: EngineFacts,
    /// Nodes, those that are alike once.
    pub nodes: Vec<NodeKind>,
    /// Memory that every node reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolFacts>,
    /// Prefix caches below the NPUs', those that are alike once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefix_tiers: Vec<TierKind>,
    /// Instances, those that are alike once.
    pub instances: Vec<InstanceKind>,
    /// Groups, those that are alike once.
    pub groups: Vec<GroupKind>,
    /// Every NPU.
    pub npus: Vec<Npu>,
    /// What steps take.
    pub steps: Vec<Step>,
    /// What shall arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadSection>,
    /// What a user should know of how inputs were read.
    pub notes: Vec<String>,
    /// What a result leaves out.
    pub not_modelled: Vec<Limitation>,
}

/// How engines go about a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EngineFacts {
    /// `reference` or `vllm`.
    pub name: &'static str,
    /// The preset of its host times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// When an idle instance sees work.
    pub polling: &'static str,
    /// How requests find an instance.
    pub request_routing: &'static str,
    /// How tokens find experts.
    pub expert_routing: String,
    /// Which collectives carry tokens to experts and back.
    pub all2all_backend: &'static str,
    /// Whether messages slow each other down.
    pub network_model: &'static str,
}

impl EngineFacts {
    pub(crate) fn of(deployment: &Deployment, preset: Option<&str>) -> Self {
        let options = &deployment.options;
        let is_recorded = deployment.instances.iter().any(|instance| instance.expert_routing.is_some());
        Self {
            name: options.engine.name(),
            preset: preset.map(str::to_owned),
            polling: match options.polling {
                Polling::Exact => "exact",
                Polling::Reference => "reference",
            },
            request_routing: options.request_routing.name(),
            expert_routing: if is_recorded { "recorded".to_owned() } else { options.expert_routing.to_string() },
            all2all_backend: options.all2all_backend.name(),
            network_model: match deployment.system.network_model {
                NetworkModel::Unaware => "unaware",
                NetworkModel::Aware => "aware",
            },
        }
    }
}

/// Nodes that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeKind {
    /// Which they are.
    pub nodes: Ids,
    /// Bytes of host memory of each.
    pub host_memory_bytes: u64,
    /// Bandwidth of host memory, as runs take it: the first node's.
    pub host_bandwidth_gb_per_s: u64,
    /// Latency of an access to it.
    pub host_latency_ns: u64,
    /// NPUs of each, peers of prefill instances included.
    pub npus: u32,
    /// The instances on the first of them.
    pub first_instances: Ids,
    /// Whether what it draws is known.
    pub has_power: bool,
}

/// Memory that every node reaches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PoolFacts {
    /// Bytes of it.
    pub memory_bytes: u64,
    /// Bandwidth of each device.
    pub bandwidth_gb_per_s: u64,
    /// Latency of an access.
    pub latency_ns: u64,
    /// Devices that serve accesses beside each other.
    pub devices: u32,
}

/// Prefix caches below the NPUs' that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TierKind {
    /// How many there are.
    pub count: usize,
    /// Instances that have one of them.
    pub instances: Ids,
    /// Tokens of a block.
    pub tokens_per_block: u32,
    /// Blocks of each.
    pub blocks: u32,
    /// Bytes of a block, of all ranks together.
    pub bytes_per_block: u64,
}

/// Something that is not modelled, and what it means here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limitation {
    /// As LIMITATIONS.md calls it.
    pub title: &'static str,
    /// What it means for this deployment.
    pub here: String,
}
