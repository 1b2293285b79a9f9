//! Nodes, and the memory beside the NPUs'.

use engine::Deployment;

use crate::{Facts, Ids, NodeKind, PoolFacts, TierKind};

/// The nodes, those that are alike once. Nodes are alike when their memory is and instances of the same kinds are on them.
pub(crate) fn kinds(facts: &Facts<'_>) -> Vec<NodeKind> {
    let deployment = facts.deployment;
    let host = deployment.memory.host.speed();
    let mut on_node: Vec<Ids> = vec![Ids::default(); facts.host_memory_bytes.len()];
    for (index, instance) in (0..).zip(&deployment.instances) {
        on_node[instance.node.index()].push(index);
    }
    let shape = |ids: &Ids| -> Vec<_> {
        let of = |id: u32| {
            let spec = &deployment.instances[id as usize];
            (&spec.model.name, &spec.hardware, spec.role, spec.tp, spec.pp, spec.ep, spec.weight_bytes)
        };
        ids.iter().map(of).collect()
    };
    let mut kinds: Vec<NodeKind> = Vec::new();
    for (index, ids) in on_node.into_iter().enumerate() {
        let host_memory_bytes = facts.host_memory_bytes[index];
        let is_alike = |kind: &&mut NodeKind| {
            kind.host_memory_bytes == host_memory_bytes && shape(&kind.first_instances) == shape(&ids)
        };
        if let Some(kind) = kinds.iter_mut().find(is_alike) {
            kind.nodes.push(index as u32);
            continue;
        }
        kinds.push(NodeKind {
            nodes: [index as u32].into_iter().collect(),
            host_memory_bytes,
            host_bandwidth_gb_per_s: host.bandwidth_gb_per_s(),
            host_latency_ns: host.latency().ns(),
            npus: ids.iter().map(|id| deployment.instances[id as usize].num_npus_with_peers()).sum(),
            first_instances: ids,
            has_power: deployment.power.is_some(),
        });
    }
    kinds
}

/// The memory that every node reaches.
pub(crate) fn pool(facts: &Facts<'_>) -> Option<PoolFacts> {
    let devices = facts.deployment.memory.pool?;
    Some(PoolFacts {
        memory_bytes: facts.pool_memory_bytes?,
        bandwidth_gb_per_s: devices.speed().bandwidth_gb_per_s(),
        latency_ns: devices.speed().latency().ns(),
        devices: devices.num_devices(),
    })
}

/// Prefix caches below the NPUs', those that are alike once.
pub(crate) fn tiers(deployment: &Deployment) -> Vec<TierKind> {
    let mut kinds: Vec<TierKind> = Vec::new();
    let mut kind_of = vec![0; deployment.tiers.len()];
    for (tier, spec) in deployment.tiers.iter().enumerate() {
        let is_alike = |kind: &TierKind| {
            (kind.tokens_per_block, kind.blocks, kind.bytes_per_block)
                == (spec.tokens_per_block, spec.num_blocks, spec.bytes_per_block)
        };
        kind_of[tier] = kinds.iter().position(is_alike).unwrap_or(kinds.len());
        if kind_of[tier] == kinds.len() {
            kinds.push(TierKind {
                count: 0,
                instances: Ids::default(),
                tokens_per_block: spec.tokens_per_block,
                blocks: spec.num_blocks,
                bytes_per_block: spec.bytes_per_block,
            });
        }
        kinds[kind_of[tier]].count += 1;
    }
    for (index, instance) in (0..).zip(&deployment.instances) {
        if let Some(tier) = instance.tier {
            kinds[kind_of[tier]].instances.push(index);
        }
    }
    kinds
}
