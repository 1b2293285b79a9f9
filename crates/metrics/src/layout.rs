//! Names and sizes of instances and groups.

use engine::Deployment;
use units::InstanceId;

/// What observers need to know of a [`Deployment`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The instances, by id.
    pub instances: Vec<InstanceLayout>,
    /// The groups, by id.
    pub groups: Vec<GroupLayout>,
}

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceLayout {
    /// The model it serves.
    pub model: String,
    /// Bytes of weights on each NPU.
    pub weight_bytes: u64,
    /// Bytes of KV cache on each NPU.
    pub kv_bytes: u64,
    /// Tokens that its KV cache holds.
    pub kv_tokens: u64,
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

impl Layout {
    /// The layout of `deployment`.
    pub fn of(deployment: &Deployment) -> Self {
        let instance = |instance: &engine::InstanceSpec| InstanceLayout {
            model: instance.model.name.clone(),
            weight_bytes: instance.weight_bytes,
            kv_bytes: u64::from(instance.kv.num_blocks) * instance.kv.bytes_per_block,
            kv_tokens: u64::from(instance.kv.num_blocks) * u64::from(instance.kv.block_size),
        };
        let group = |group: &engine::GroupSpec| GroupLayout {
            name: group.name.clone(),
            members: group.members.clone(),
            is_moe: group.members.iter().any(|member| deployment.instances[member.index()].model.is_moe()),
        };
        Self {
            instances: deployment.instances.iter().map(instance).collect(),
            groups: deployment.groups.iter().map(group).collect(),
        }
    }
}
