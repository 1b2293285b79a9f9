//! Names and sizes of instances, groups and nodes.

use engine::{Deployment, Engine, GroupSpec, InstanceSpec, NodePower, Role};
use network::{CollectiveKind, NetworkModel};
use units::InstanceId;

/// What observers need to know of a [`Deployment`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// The instances, by id.
    pub instances: Vec<InstanceLayout>,
    /// The groups, by id.
    pub groups: Vec<GroupLayout>,
    /// The nodes, by id.
    pub nodes: Vec<NodeLayout>,
    /// How collectives come by their times.
    pub network: NetworkLayout,
    /// How engines step.
    pub engine: EngineLayout,
}

/// How engines step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineLayout {
    /// How they do.
    pub engine: Engine,
    /// Where their host's times are from; a deployment does not know.
    pub preset: Option<String>,
    /// Whether any step can be launched as one captured graph.
    pub captures_graphs: bool,
}

/// How collectives come by their times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkLayout {
    /// Whether messages slow each other down.
    pub model: NetworkModel,
    /// Dimensions, counted from the innermost, and kinds of collective whose times are measured, not computed.
    pub measured: Vec<(usize, CollectiveKind)>,
}

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceLayout {
    /// The model it serves.
    pub model: String,
    /// The type of its NPUs.
    pub hardware: String,
    /// Tensor-parallel degree: NPUs that compute one step at a time.
    pub tp: u32,
    /// NPUs that compute.
    pub num_npus: u32,
    /// NPUs that it owns, those that only take in what a prefill instance sends included.
    pub num_npus_with_peers: u32,
    /// Bytes of weights on each NPU.
    pub weight_bytes: u64,
    /// Bytes of KV cache on each NPU.
    pub kv_bytes: u64,
    /// Blocks that its KV cache holds.
    pub kv_blocks: u32,
    /// Tokens that its KV cache holds.
    pub kv_tokens: u64,
    /// Whether there is a prefix cache below the NPUs'.
    pub has_tier: bool,
    /// Whether it takes requests over from prefill instances.
    pub is_decode: bool,
}

/// One group of instances that step together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLayout {
    /// Its name in the cluster file; a lone instance has none.
    pub name: Option<String>,
    /// Its members, in order.
    pub members: Vec<InstanceId>,
    /// Whether it serves a mixture-of-experts model.
    pub is_moe: bool,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeLayout {
    /// The instances on it.
    pub instances: Vec<InstanceId>,
    /// What it draws, where power is modelled.
    pub power: Option<NodePower>,
}

impl Layout {
    /// The layout of `deployment`.
    pub fn of(deployment: &Deployment) -> Self {
        let group = |group: &GroupSpec| GroupLayout {
            name: group.name.clone(),
            members: group.members.clone(),
            is_moe: group.members.iter().any(|member| deployment.instances[member.index()].model.is_moe()),
        };
        Self {
            instances: deployment.instances.iter().map(InstanceLayout::of).collect(),
            groups: deployment.groups.iter().map(group).collect(),
            nodes: nodes(deployment),
            network: NetworkLayout {
                model: deployment.system.network_model,
                measured: deployment.system.measured.iter().flat_map(|measured| measured.curves()).collect(),
            },
            engine: EngineLayout {
                engine: deployment.options.engine,
                preset: None,
                captures_graphs: deployment.instances.iter().any(|instance| !instance.capture_sizes.is_empty()),
            },
        }
    }
}

impl InstanceLayout {
    fn of(instance: &InstanceSpec) -> Self {
        Self {
            model: instance.model.name.clone(),
            hardware: instance.hardware.clone(),
            tp: instance.tp,
            num_npus: instance.num_npus(),
            num_npus_with_peers: instance.num_npus_with_peers(),
            weight_bytes: instance.weight_bytes,
            kv_bytes: u64::from(instance.kv.num_blocks) * instance.kv.bytes_per_block,
            kv_blocks: instance.kv.num_blocks,
            kv_tokens: u64::from(instance.kv.num_blocks) * u64::from(instance.kv.block_size),
            has_tier: instance.tier.is_some(),
            is_decode: instance.role == Role::Decode,
        }
    }
}

fn nodes(deployment: &Deployment) -> Vec<NodeLayout> {
    let mut nodes: Vec<NodeLayout> = match &deployment.power {
        Some(power) => {
            power.iter().map(|power| NodeLayout { power: Some(power.clone()), ..NodeLayout::default() }).collect()
        }
        None => Vec::new(),
    };
    for (index, instance) in deployment.instances.iter().enumerate() {
        let node = instance.node.index();
        nodes.resize_with(nodes.len().max(node + 1), NodeLayout::default);
        nodes[node].instances.push(index.into());
    }
    nodes
}
