//! What a collective is, and how the NPUs go about it, apart from when it runs.

use crate::{DimMask, Measured};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use units::Duration;

/// What a collective does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectiveKind {
    /// Every member ends with the sum of all members' data.
    AllReduce,
    /// Every member ends with the concatenation of all members' data.
    AllGather,
    /// Every member ends with its share of the sum of all members' data.
    ReduceScatter,
    /// Every member ends with its share of each member's data.
    AllToAll,
}

impl CollectiveKind {
    /// Every kind.
    pub const ALL: [CollectiveKind; 4] =
        [CollectiveKind::AllReduce, CollectiveKind::AllGather, CollectiveKind::ReduceScatter, CollectiveKind::AllToAll];

    /// Its name on the command line and in files.
    pub const fn name(self) -> &'static str {
        match self {
            CollectiveKind::AllReduce => "all_reduce",
            CollectiveKind::AllGather => "all_gather",
            CollectiveKind::ReduceScatter => "reduce_scatter",
            CollectiveKind::AllToAll => "all_to_all",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A collective as one of its members sees it: every member passes an equal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Collective {
    /// What it does.
    pub kind: CollectiveKind,
    /// Bytes each member brings.
    pub bytes: u64,
    /// The dimensions it runs over. Its members are the NPUs that differ in these alone.
    pub dims: DimMask,
}

/// How members of a collective pass their data in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Each to the next one, in a circle.
    Ring,
    /// Each to every other.
    Direct {
        /// Messages that a member has under way at once; `None` for all.
        window: Option<u32>,
    },
    /// Between partners 1, 2, 4, … apart, of halves, quarters, …, and back. Needs a power of two.
    HalvingDoubling,
    /// Up a binary tree and down again; two trees take turns. An all-reduce whatever the kind. Needs a power of two.
    DoubleBinaryTree,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Algorithm::Ring => f.write_str("ring"),
            Algorithm::Direct { window: None } => f.write_str("direct"),
            Algorithm::Direct { window: Some(window) } => write!(f, "direct{window}"),
            Algorithm::HalvingDoubling => f.write_str("halvingDoubling"),
            Algorithm::DoubleBinaryTree => f.write_str("doubleBinaryTree"),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    /// ASTRA-Sim's names, with a window behind `direct` if there is one.
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "ring" => Ok(Algorithm::Ring),
            "direct" => Ok(Algorithm::Direct { window: None }),
            "halvingDoubling" => Ok(Algorithm::HalvingDoubling),
            "doubleBinaryTree" => Ok(Algorithm::DoubleBinaryTree),
            _ => {
                let window = name.strip_prefix("direct").and_then(|window| window.parse().ok()).filter(|&n| n > 0);
                window.map(|window| Algorithm::Direct { window: Some(window) }).ok_or(())
            }
        }
    }
}

/// The algorithm of each kind of collective in each dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Algorithms([Vec<Algorithm>; 4]);

impl Algorithms {
    /// The same one for every kind; a ring in dimensions beyond the end of the list.
    pub fn of_all_kinds(by_dim: Vec<Algorithm>) -> Self {
        Self([by_dim.clone(), by_dim.clone(), by_dim.clone(), by_dim])
    }

    /// Sets those of one kind; a ring in dimensions beyond the end of the list.
    pub fn set(&mut self, kind: CollectiveKind, by_dim: Vec<Algorithm>) {
        self.0[kind.index()] = by_dim;
    }

    /// The one of a kind in a dimension.
    pub fn get(&self, kind: CollectiveKind, dim: usize) -> Algorithm {
        self.0[kind.index()].get(dim).copied().unwrap_or(Algorithm::Ring)
    }
}

/// How an all-reduce over several dimensions is made up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimization {
    /// Reduce-scatter through all dimensions but the last, all-reduce in the last, all-gather back.
    #[default]
    LocalBandwidthAware,
    /// All-reduce in each dimension in turn.
    Baseline,
}

/// Whether messages slow each other down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkModel {
    /// Never: each message has the links to itself.
    #[default]
    Unaware,
    /// A link carries one message at a time, first come, first served, and messages are stored and forwarded.
    Aware,
}

impl NetworkModel {
    /// Every model.
    pub const ALL: [NetworkModel; 2] = [NetworkModel::Unaware, NetworkModel::Aware];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            NetworkModel::Unaware => "unaware",
            NetworkModel::Aware => "aware",
        }
    }
}

impl FromStr for NetworkModel {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|model| model.name() == name).ok_or(())
    }
}

/// How collectives are run: what an NPU adds on its own side, and how they are split up.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// Paid before the first message leaves and after each that arrives, in nanoseconds. The reference uses 10.
    pub endpoint_delay_ns: u64,
    /// Bandwidth of the NPU's own memory in GB/s (10^9), above 0: reductions go through it.
    pub local_memory_gb_per_s: f64,
    /// Which algorithm runs where.
    pub algorithms: Algorithms,
    /// How an all-reduce over several dimensions is made up.
    pub optimization: Optimization,
    /// Chunks a collective is split into, at least 1; they follow each other through the dimensions.
    pub num_chunks: u64,
    /// Chunks under way at once in a dimension, at least 1.
    pub active_chunks_per_dim: u32,
    /// Queues that the chunks of a dimension are spread over, at least 1.
    pub queues_per_dim: u32,
    /// Whether each message waits for a token of its receiver, 8,192 bytes long.
    pub has_rendezvous: bool,
    /// Whether messages slow each other down.
    pub network_model: NetworkModel,
    /// Measured times that stand in for computed ones.
    pub measured: Option<Arc<Measured>>,
}

impl System {
    /// Ring algorithms, one chunk, one queue, links that are never shared: what LLMServingSim runs.
    pub fn new(endpoint_delay_ns: u64, local_memory_gb_per_s: f64) -> Self {
        Self {
            endpoint_delay_ns,
            local_memory_gb_per_s,
            algorithms: Algorithms::default(),
            optimization: Optimization::default(),
            num_chunks: 1,
            active_chunks_per_dim: 1,
            queues_per_dim: 1,
            has_rendezvous: false,
            network_model: NetworkModel::default(),
            measured: None,
        }
    }

    pub(crate) fn endpoint_delay(&self) -> Duration {
        Duration::from_ns(self.endpoint_delay_ns)
    }

    /// Chunks under way at once in one queue.
    pub(crate) fn active_chunks_per_queue(&self) -> u32 {
        self.active_chunks_per_dim.div_ceil(self.queues_per_dim)
    }
}

/// How long adding `bytes` that arrived to what is here takes: two reads and a write, each cut to whole nanoseconds.
pub(crate) fn reduction_time(local_memory_gb_per_s: f64, bytes: u64) -> Duration {
    let pass_ns = (bytes as f64 / (local_memory_gb_per_s * 1e9) * 1e9) as u64;
    Duration::from_ns(pass_ns) * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduction_is_three_passes_each_cut() {
        let check = |local_memory_gb_per_s, bytes, ns| {
            let time = reduction_time(local_memory_gb_per_s, bytes);
            assert_eq!(time.ns(), ns, "{bytes} bytes at {local_memory_gb_per_s} GB/s");
        };
        check(100.0, 0, 0);
        check(100.0, 99, 0);
        check(100.0, 150, 3);
        check(100.0, 1250, 36);
        check(0.5, 10, 60);
    }

    #[test]
    fn algorithms_by_name() {
        for name in ["ring", "direct", "direct4", "halvingDoubling", "doubleBinaryTree"] {
            assert_eq!(name.parse::<Algorithm>().map(|algorithm| algorithm.to_string()).as_deref(), Ok(name));
        }
        for name in ["", "Ring", "direct0", "direct-1", "directx", "oneRing"] {
            assert_eq!(name.parse::<Algorithm>(), Err(()), "{name}");
        }
    }
}
