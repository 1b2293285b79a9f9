//! Groups with their links, NPUs, and what steps take.

use serde::Serialize;

use crate::Ids;

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
