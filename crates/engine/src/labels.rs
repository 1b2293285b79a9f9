//! What the nodes of a step's graphs are called, where somebody wants to know.
//!
//! LLMServingSim writes a step as a table, a row for each layer of each block, and names nodes after their rows. Rows count
//! through the whole pass, those included that begin and end experts and channels of memory that computes.

use network::{CollectiveKind, Graph};
use units::{GroupId, InstanceId};

/// What one NPU runs in a step, and what each node is called.
#[derive(Clone, Debug)]
pub struct LabelledGraph {
    /// What it runs.
    pub graph: Graph,
    /// By node.
    pub labels: Vec<Label>,
}

/// What a node is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// The row it comes from.
    pub stem: Stem,
    /// What it does for that row.
    pub part: Part,
}

/// A row by name and number. What has no row of its own has no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stem {
    /// The name of a layer, or of what stands in for one.
    pub name: &'static str,
    /// Its number in the pass.
    pub row: Option<u32>,
}

impl Stem {
    /// Prefixes that are brought back.
    pub const RECALL: Stem = Stem { name: "kv_load", row: Some(0) };
    /// KV that a prefill instance sends on.
    pub const KV: Stem = Stem { name: "kv_proj", row: None };
    /// What carries tokens to their experts.
    pub const EXPERT_START: Stem = Stem { name: "expert_start", row: None };
    /// What brings them back.
    pub const EXPERT_END: Stem = Stem { name: "expert_end", row: None };
}

/// What a node does for its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It computes, in the NPU or in memory, or is the row's collective.
    Work,
    /// It loads the row's weights, or prefixes.
    Weight,
    /// It loads the input of the step.
    Input,
    /// It stores the output of the step.
    Output,
    /// It sends or receives what the row yields or takes in, the row having this collective.
    Message {
        /// The row's collective.
        collective: Option<CollectiveKind>,
    },
}

/// What the NPUs of a group run in one wave.
#[derive(Clone, Copy, Debug)]
pub struct WaveGraphs<'a> {
    /// The group.
    pub group: GroupId,
    /// The wave's number in the group, from 0.
    pub wave: u64,
    /// In order of the group's members.
    pub members: &'a [MemberGraphs],
}

/// What the NPUs of one member run in a wave.
#[derive(Clone, Debug)]
pub struct MemberGraphs {
    /// The member.
    pub instance: InstanceId,
    /// Where its first NPU is in the topology of the group.
    pub first_rank: u32,
    /// How many of its NPUs compute.
    pub num_computing: u32,
    /// By NPU: those that compute, then their peers.
    pub graphs: Vec<LabelledGraph>,
}

/// Labels as they are collected, if they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels(Option<Vec<Label>>);

impl Labels {
    pub(crate) fn wanted() -> Self {
        Self(Some(Vec::new()))
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn push(&mut self, stem: Stem, part: Part) {
        if let Some(labels) = &mut self.0 {
            labels.push(Label { stem, part });
        }
    }

    /// Those of all nodes of `graph`.
    pub(crate) fn of(self, graph: Graph) -> LabelledGraph {
        LabelledGraph { graph, labels: self.0.unwrap_or_default() }
    }
}
