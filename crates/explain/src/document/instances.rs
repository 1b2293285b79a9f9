//! Instances: memory, KV, operators.

use serde::Serialize;

use crate::Ids;

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
