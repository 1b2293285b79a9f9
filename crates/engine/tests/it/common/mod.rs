//! Clusters, workloads and runs for tests.

mod cases;
mod cluster;
mod draws;
mod features;
mod latency;
mod run;
mod workload;

pub(crate) use cases::{Case, cases, chain_cases, config, exact_cases, pim_cases, stage_cases, untimed_cases};
pub(crate) use cluster::{
    ClusterPlan, ELEMENT_BYTES, ENDPOINT_DELAY_NS, ExpertPlan, GroupPlan, HIDDEN_SIZE, LOCAL_MEMORY_GB_PER_S,
    MemberPlan,
};
pub(crate) use features::{PimPlan, Place, PlacementPlan, TierPlan};
pub(crate) use latency::Affine;
pub(crate) use run::{Finished, Run, Step, WaveStart, services};
pub(crate) use workload::{CallPlan, Ids, SessionPlan, entries};
