//! What a deployment is made of, and what its steps take, told without running it.
//!
//! [`explain`] takes a checked [`Deployment`](engine::Deployment) and the facts that whoever read it found out beside it,
//! and makes an [`Explanation`]: a plain document of ranks, memory, links, collectives and load. Nothing of it is a rule
//! of its own. Steps are described by the engine ([`engine::preview`]), collectives timed by the network
//! ([`network::Plan`]), experts placed by [`moe::Placement`]; so what is told is what a run would do.
//!
//! Instances, groups and nodes that are alike are told once, with the numbers of all of them: a cluster of hundreds
//! stays readable.

mod document;
mod groups;
mod ids;
mod instances;
mod limits;
mod nodes;
mod steps;
mod workload;

pub use document::{
    Axis, BatchPiece, DimensionFacts, Elsewhere, EngineFacts, ExpertFacts, Explanation, GroupKind, InstanceKind,
    KvFacts, KvFit, Limitation, Load, MemoryFacts, NodeKind, Npu, Operator, PoolFacts, SchedulerFacts, Step, StepRow,
    TierKind, Tokens, WeightFacts, WorkloadSection,
};
pub use ids::Ids;
pub use limits::TITLES;
pub use workload::WorkloadFacts;

use engine::{Deployment, StepPiece};

/// What is known of a deployment beside itself.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The deployment.
    pub deployment: &'a Deployment,
    /// Of each instance, by id.
    pub instances: Vec<InstanceFacts>,
    /// Bytes of host memory, by node.
    pub host_memory_bytes: &'a [u64],
    /// Bytes of CXL memory, where there is any.
    pub pool_memory_bytes: Option<u64>,
    /// The preset that engines' host times are from.
    pub preset: Option<String>,
    /// What shall arrive, where that is known.
    pub workload: Option<&'a WorkloadFacts>,
    /// Batches whose steps are told; the usual ones where there are none.
    pub batches: &'a [Vec<StepPiece>],
    /// What a user should know, a sentence each.
    pub notes: Vec<String>,
}

/// What is known of one instance beside its [`engine::InstanceSpec`].
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceFacts {
    /// Bytes of memory of each NPU.
    pub npu_memory_bytes: u64,
    /// Weights on each NPU.
    pub weights: model::WeightBytes,
    /// The share of memory that may be used; `None` where the number of KV blocks is given.
    pub utilization: Option<f64>,
    /// The most that activations take at once, where it is counted.
    pub activation_peak_bytes: Option<u64>,
    /// What the runtime takes, where it is counted.
    pub runtime_context_bytes: Option<u64>,
    /// KV blocks that hold nothing: vLLM's null block.
    pub null_blocks: u64,
    /// The profile that operator times are from, or that they are analytic.
    pub profile: Option<String>,
}

/// Explains a deployment.
///
/// # Panics
/// When the facts are of another deployment.
pub fn explain(facts: &Facts<'_>) -> Explanation {
    let deployment = facts.deployment;
    assert_eq!(facts.instances.len(), deployment.instances.len(), "facts of another deployment");
    let instances = instances::kinds(facts);
    let (groups, npus) = groups::kinds(facts);
    let steps = steps::all(facts, &groups);
    let workload = facts.workload.map(|workload| workload.section(deployment, &groups, &steps));
    Explanation {
        engine: EngineFacts::of(deployment, facts.preset.as_deref()),
        nodes: nodes::kinds(facts),
        pool: nodes::pool(facts),
        prefix_tiers: nodes::tiers(deployment),
        instances,
        groups,
        npus,
        steps,
        workload,
        notes: facts.notes.clone(),
        not_modelled: limits::that_apply(facts),
    }
}
