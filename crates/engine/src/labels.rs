//! What the nodes of a step's graphs are called, where somebody wants to know.
//!
//! LLMServingSim writes a step as a table, a row for each layer of each block, and names nodes after their rows. Rows count
//! through the whole pass, those included that begin and end experts and channels of memory that computes.

use network::{CollectiveKind, Graph, Op};
use units::{Duration, GroupId, InstanceId};

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

/// What the nodes of a graph consist of, by node. Where one layer is computed right after another, both are one node.
pub(crate) type Pieces = Vec<Vec<Piece>>;

/// A node, or what is one layer's of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    /// Its block, outside of prologue and head.
    pub(crate) block: Option<u32>,
    pub(crate) half: u32,
    /// How long it computes, if it does.
    pub(crate) time: Duration,
}

/// Labels as they are collected, if they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    labels: Option<Vec<Label>>,
    pieces: Option<Pieces>,
    block: Option<u32>,
    half: u32,
}

impl Labels {
    pub(crate) fn wanted() -> Self {
        Self { labels: Some(Vec::new()), ..Self::default() }
    }

    /// Those of pieces, which do not tell nodes apart.
    pub(crate) fn of_pieces() -> Self {
        Self { pieces: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.labels.is_some()
    }

    /// What follows is of this block, and of this half of the step.
    pub(crate) fn enter(&mut self, block: Option<usize>, half: usize) {
        (self.block, self.half) = (block.map(|block| block as u32), half as u32);
    }

    pub(crate) fn push(&mut self, stem: Stem, part: Part, op: &Op) {
        if let Some(labels) = &mut self.labels {
            labels.push(Label { stem, part });
        }
        if self.pieces.is_some() {
            let time = if let Op::Compute(time) = *op { time } else { Duration::ZERO };
            let piece = self.piece(stem, part, time);
            self.pieces.iter_mut().for_each(|pieces| pieces.push(vec![piece]));
        }
    }

    /// The latest node computes for `time` more.
    pub(crate) fn lengthen_last(&mut self, stem: Stem, time: Duration) {
        let piece = self.piece(stem, Part::Work, time);
        let latest = self.pieces.as_mut().and_then(|pieces| pieces.last_mut());
        latest.into_iter().for_each(|pieces| pieces.push(piece));
    }

    fn piece(&self, stem: Stem, part: Part, time: Duration) -> Piece {
        Piece { name: stem.name, part, block: self.block, half: self.half, time }
    }

    /// Those of all nodes.
    pub(crate) fn into_labels(self) -> Vec<Label> {
        self.labels.unwrap_or_default()
    }

    /// The pieces of all nodes.
    pub(crate) fn into_pieces(self) -> Pieces {
        self.pieces.unwrap_or_default()
    }
}
