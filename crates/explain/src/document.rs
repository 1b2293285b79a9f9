//! The document: plain data, whose field names are the keys of its JSON.
//!
//! Names tell the unit last. Bytes are bytes, `gib` is 2^30 bytes, `gb` 10^9. What does not apply is left out.

use engine::{Deployment, Polling};
use network::NetworkModel;
use serde::Serialize;

use crate::Ids;

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

/// Instances that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceKind {
    /// Which they are.
    pub instances: Ids,
    /// The model they serve.
    pub model: String,
    /// The type of their NPUs.
    pub hardware: String,
    /// `whole`, `prefill` or `decode`.
    pub role: &'static str,
    /// Tensor-parallel degree.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Expert-parallel ranks over the whole group.
    pub ep: u32,
    /// Expert-parallel ranks on each stage of one instance.
    pub local_ep: u32,
    /// NPUs that compute.
    pub npus: u32,
    /// NPUs that only take in what a prefill instance sends.
    pub peer_npus: u32,
    /// The first and the last block of each pipeline stage.
    pub blocks_by_stage: Vec<[u64; 2]>,
    /// Its experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertFacts>,
    /// Its scheduler.
    pub scheduler: SchedulerFacts,
    /// The memory of each NPU, the one that holds most.
    pub memory: MemoryFacts,
    /// Weights that are not on the NPU, of all ranks together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub weights_elsewhere: Vec<Elsewhere>,
    /// Its KV cache.
    pub kv: KvFacts,
    /// Whether attention of decodes is computed in host memory.
    pub attention_in_memory: bool,
    /// Where each operator's times are from.
    pub operators: Vec<Operator>,
}

/// Experts of a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExpertFacts {
    /// In all.
    pub count: u32,
    /// That each token is sent to.
    pub per_token: u32,
    /// That one rank holds, the most.
    pub per_rank: u32,
}

/// Limits and switches of a scheduler.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SchedulerFacts {
    /// Most sequences running; `null` for no limit.
    pub max_num_seqs: Option<u64>,
    /// Most tokens of a step.
    pub max_num_batched_tokens: u64,
    /// Most tokens of one prompt in a step; 0 for no limit.
    pub long_prefill_token_threshold: u64,
    /// Whether prompts may be split.
    pub chunked_prefill: bool,
    /// Whether a request is admitted only when all of it fits.
    pub reserve_full_isl: bool,
    /// Whether prefixes are found again.
    pub prefix_caching: bool,
}

/// The memory of one NPU in bytes. All but the kinds of weights add up to `total_bytes`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemoryFacts {
    /// All of it.
    pub total_bytes: u64,
    /// Weights.
    pub weight_bytes: u64,
    /// These by kind.
    pub weights: WeightFacts,
    /// KV blocks that requests can have.
    pub kv_bytes: u64,
    /// vLLM's null block.
    pub null_block_bytes: u64,
    /// The most that activations take at once.
    pub activation_peak_bytes: u64,
    /// What CUDA, cuBLAS and NCCL take.
    pub runtime_context_bytes: u64,
    /// The share that is not to be used.
    pub withheld_bytes: u64,
    /// What is left: less than a block, unless the number of blocks is given.
    pub free_bytes: u64,
}

/// Weights by kind, in bytes on one NPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightFacts {
    /// Embedding and head.
    pub embeddings_bytes: u64,
    /// Projections around attention.
    pub attention_bytes: u64,
    /// Norms.
    pub norms_bytes: u64,
    /// Feed-forward layers that are not experts.
    pub feed_forward_bytes: u64,
    /// Experts and their gates.
    pub experts_bytes: u64,
}

/// Weights in another memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Elsewhere {
    /// `host` or `cxl:N`.
    pub memory: String,
    /// Bytes of all ranks together.
    pub bytes: u64,
}

/// A KV cache.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KvFacts {
    /// Tokens it holds.
    pub tokens: u64,
    /// Blocks it holds.
    pub blocks: u64,
    /// Tokens of a block.
    pub block_size: u32,
    /// Bytes of a block on each NPU.
    pub bytes_per_block: u64,
    /// The share of NPU memory for weights and KV; left out where the number of blocks is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// How many requests of the workload fit at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<KvFit>,
}

/// Requests that fit a KV cache at once, by blocks alone and whatever `max_num_seqs`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KvFit {
    /// Tokens whose KV the mean request holds at its end.
    pub mean_tokens: u64,
    /// How many of them fit.
    pub of_mean: u64,
    /// Tokens whose KV the longest request holds at its end.
    pub longest_tokens: u64,
    /// How many of them fit.
    pub of_longest: u64,
}

/// An operator of a forward pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operator {
    /// Its name.
    pub layer: &'static str,
    /// `prologue`, `block` or `head`.
    pub part: &'static str,
    /// The table it is measured in; left out where the family's catalogue has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// `measured`, `analytic`, or `none`: then it takes no time.
    pub source: &'static str,
    /// How far measurements go, and how far steps can.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub axes: Vec<Axis>,
    /// Whether a step can be beyond what is measured: times are extrapolated there.
    pub can_be_beyond: bool,
}

/// What an operator's time depends on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Axis {
    /// What it counts.
    pub name: &'static str,
    /// The largest value measured.
    pub measured: u64,
    /// The largest value that a step can have.
    pub reachable: u64,
}

/// Groups that are alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupKind {
    /// Which they are.
    pub groups: Ids,
    /// Their names in the cluster file; none for lone instances.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// All instances in them.
    pub instances: Ids,
    /// The members of the first of them.
    pub first_members: Ids,
    /// NPUs of each.
    pub npus: u32,
    /// Their links, dimension by dimension, innermost first.
    pub dimensions: Vec<DimensionFacts>,
}

/// One dimension of a group's links.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DimensionFacts {
    /// How NPUs along it are joined.
    pub block: &'static str,
    /// NPUs along it.
    pub npus: u32,
    /// Bandwidth of a link.
    pub bandwidth_gib_per_s: f64,
    /// Latency of a link.
    pub latency_ns: f64,
    /// In what NPUs along it differ: `tp`, `pp`, `dp`, `peer`.
    pub joins: Vec<&'static str>,
    /// Which collectives run over it: `tp`, `ep`.
    pub carries: Vec<&'static str>,
    /// Collectives whose times are measured here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<&'static str>,
}

/// One NPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Npu {
    /// Its number; they run instance by instance.
    pub npu: u32,
    /// Its node.
    pub node: u32,
    /// Its instance.
    pub instance: u32,
    /// Its group.
    pub group: u32,
    /// Its place among the NPUs of the group, by which links are found.
    pub rank: u32,
    /// Which member of its group the instance is.
    pub dp: u32,
    /// Its pipeline stage.
    pub pp: u32,
    /// Its tensor-parallel rank.
    pub tp: u32,
    /// Its expert-parallel rank in the group, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ep: Option<u32>,
    /// The first and the last expert that it computes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<[u32; 2]>,
    /// The first and the last block that it computes.
    pub blocks: [u64; 2],
    /// The NPU whose KV it takes in, where it is the peer of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_of: Option<u32>,
}

/// A step, and what it takes where nothing else is under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The groups that run it.
    pub groups: Ids,
    /// What it is: `decode`, `prefill`, or `as asked`.
    pub name: &'static str,
    /// What each member has in it.
    pub batch: Vec<BatchPiece>,
    /// Tokens of a member.
    pub tokens: u64,
    /// Sequences of a member.
    pub sequences: u64,
    /// Tokens that layers compute, padding included.
    pub padded_tokens: u64,
    /// How long it takes: ranks enter together, and nobody waits. Input and output of host memory left out.
    pub time_ns: u64,
    /// Of this, in layers and experts.
    pub compute_ns: u64,
    /// Of this, in collectives, and between pipeline stages.
    pub network_ns: u64,
    /// Bytes that each rank loads from host memory before it.
    pub input_bytes: u64,
    /// Bytes that each rank stores to host memory after it.
    pub output_bytes: u64,
    /// Its ops in order.
    pub ops: Vec<StepRow>,
}

/// Sequences that a step advances alike.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchPiece {
    /// How many.
    pub sequences: u64,
    /// Tokens that each computes.
    pub tokens: u64,
    /// Tokens of KV that each has already.
    pub history: u64,
}

/// An op of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRow {
    /// `prologue`, `block` or `head`, or `stages` for what goes from stage to stage.
    pub part: &'static str,
    /// Which half of the step, where it is run as two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half: Option<u32>,
    /// `layer`, `experts`, `collective`, `memory` (attention there), `message`.
    pub kind: &'static str,
    /// The layer, or the kind of collective.
    pub name: &'static str,
    /// How often it runs.
    pub times: u64,
    /// How long it takes once.
    pub time_ns: u64,
    /// Bytes that each member brings, or that are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// NPUs that meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
    /// The dimensions that it involves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<Vec<usize>>,
    /// Bytes that the member sends that sends most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Whether it goes on beside what follows, and so adds nothing to the step's time here.
    pub is_beside: bool,
}

/// What shall arrive.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadSection {
    /// Requests, every call of a session counted.
    pub requests: u64,
    /// Sessions of several calls.
    pub sessions: u64,
    /// Prompt tokens.
    pub prompt: Tokens,
    /// Tokens to generate.
    pub output: Tokens,
    /// When the first arrives.
    pub first_arrival_s: f64,
    /// When the last arrives; later calls of sessions follow.
    pub last_arrival_s: f64,
    /// All requests by the time between the two; left out where no time passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// The same of prompt tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s: Option<f64>,
    /// The same of generated tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s: Option<f64>,
    /// Time that tools of sessions take.
    pub tool_time_s: f64,
    /// Whether prompts list token ids, without which no prefix is found.
    pub has_token_ids: bool,
    /// How much of what instances can do is asked of them.
    pub load: Vec<Load>,
}

/// Tokens of requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tokens {
    /// Of all.
    pub total: u64,
    /// Of one on average.
    pub mean: f64,
    /// Of the shortest.
    pub min: u64,
    /// Of the longest.
    pub max: u64,
}

/// What is asked of the instances of one role.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// `whole`, `prefill` or `decode`.
    pub role: &'static str,
    /// Prompt tokens that they could compute in full steps and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens_per_s_max: Option<f64>,
    /// Tokens that they could generate in the largest decode steps and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_s_max: Option<f64>,
    /// The time that the workload's tokens take at these rates, by the time in which they arrive. Above 1, requests pile
    /// up. Prefix hits are not counted, nor is that steps mix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// Something that is not modelled, and what it means here.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limitation {
    /// As LIMITATIONS.md calls it.
    pub title: &'static str,
    /// What it means for this deployment.
    pub here: String,
}
