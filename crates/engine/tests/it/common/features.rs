//! What an instance may have beyond NPUs that compute: memory elsewhere, caches in it, attention in it, its own routing.

use engine::{PimSpec, Placement};
use model::Layer;
use moe::{ExpertGate, ExpertRouting, MoeBlock, RankLoad};
use network::{Location, MemoryDevices, MemorySpeed};
use units::NodeId;

/// Devices of the memory pool; nodes use them in turn.
pub(crate) const NUM_POOL_DEVICES: u32 = 2;

/// The pool beside host memory.
pub(crate) fn pool() -> MemoryDevices {
    MemoryDevices::new(250.0, 8.0, NUM_POOL_DEVICES)
}

/// Each NPU's own memory.
pub(crate) fn npu_memory() -> MemorySpeed {
    MemorySpeed::new(5.0, 400.0)
}

/// Where something is kept, seen from an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Npu,
    Host,
    Pool,
}

impl Place {
    pub(crate) fn location(self, node: NodeId) -> Location {
        match self {
            Place::Npu => Location::Npu,
            Place::Host => Location::Host(node.0),
            Place::Pool => Location::Pool(node.0 % NUM_POOL_DEVICES),
        }
    }
}

/// Where weights are, and prefixes that the NPU has lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlacementPlan {
    pub(crate) weights: Place,
    /// Of blocks in turn.
    pub(crate) blocks: Option<[Place; 2]>,
    pub(crate) layer: Option<(Layer, Place)>,
    pub(crate) loads_npu_weights: bool,
    pub(crate) recall_from: Place,
}

impl Default for PlacementPlan {
    fn default() -> Self {
        Self { weights: Place::Npu, blocks: None, layer: None, loads_npu_weights: false, recall_from: Place::Host }
    }
}

impl PlacementPlan {
    pub(crate) fn placement(&self, node: NodeId, num_blocks: u64) -> Placement {
        let of_blocks = |places: [Place; 2]| {
            let place = |block: u64| places[(block % 2) as usize].location(node);
            (0..num_blocks).map(place).collect()
        };
        Placement {
            weights: self.weights.location(node),
            block_weights: self.blocks.map_or_else(Vec::new, of_blocks),
            layer_weights: self.layer.iter().map(|&(layer, place)| (layer, place.location(node))).collect(),
            loads_npu_weights: self.loads_npu_weights,
            recall_from: self.recall_from.location(node),
        }
    }
}

/// A prefix cache below the NPU's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TierPlan {
    /// Blocks of the NPU in one of its own.
    pub(crate) factor: u32,
    pub(crate) num_blocks: u32,
}

/// Who shares a tier. Only instances with blocks of the same size can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TierSharing {
    Nobody,
    Node,
    Cluster,
}

/// Attention in host memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PimPlan {
    pub(crate) num_channels: u32,
    /// Cut to the number of channels.
    pub(crate) channel_split: u32,
    pub(crate) ns_per_token: f64,
    pub(crate) fixed_ns: f64,
    /// Without effect in groups and on pipelines, where steps can't be halved.
    pub(crate) interleaves: bool,
}

impl PimPlan {
    pub(crate) fn spec(&self, can_interleave: bool) -> PimSpec {
        PimSpec {
            num_channels: self.num_channels,
            channel_split: self.channel_split.min(self.num_channels),
            ns_per_token: self.ns_per_token,
            fixed_ns: self.fixed_ns,
            interleaves_sub_batches: self.interleaves && can_interleave,
        }
    }
}

/// All tokens of a layer go to one expert, another one in each layer.
#[derive(Debug)]
pub(crate) struct OneExpert;

impl ExpertRouting for OneExpert {
    fn gate(&self, _: u64) -> Box<dyn ExpertGate> {
        Box::new(OneExpert)
    }
}

impl ExpertGate for OneExpert {
    fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
        let rank = block.placement.rank_of(block.layer % block.placement.num_experts());
        loads[rank as usize] = RankLoad { tokens: block.tokens, active_experts: 1 };
    }
}
