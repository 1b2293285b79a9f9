//! Instances: degrees, memory, KV, and where each operator's times are from.

use std::collections::BTreeMap;

use engine::{Deployment, InstanceSpec, Role};
use latency::Extent;
use model::{Layer, Table};
use network::Location;

use crate::{
    Axis, Elsewhere, ExpertFacts, Facts, Ids, InstanceFacts, InstanceKind, KvFacts, KvFit, MemoryFacts, Operator,
    SchedulerFacts, WeightFacts, WorkloadFacts,
};

/// Sequences that a step can have where nothing limits them but its tokens.
pub(crate) fn most_sequences(spec: &InstanceSpec) -> u64 {
    let budget = spec.scheduler.max_num_batched_tokens;
    spec.scheduler.max_num_seqs.map_or(budget, |most| most.min(budget))
}

/// The name of a role.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Whole => "whole",
        Role::Prefill => "prefill",
        Role::Decode => "decode",
    }
}

/// The instances, those that are alike once.
pub(crate) fn kinds(facts: &Facts<'_>) -> Vec<InstanceKind> {
    let mut kinds: Vec<InstanceKind> = Vec::new();
    // Instances come in runs of equals, so the kind of the one before is nearly always the one.
    for (index, (spec, own)) in (0..).zip(facts.deployment.instances.iter().zip(&facts.instances)) {
        let kind = kind(spec, own, facts);
        let is_alike = |known: &InstanceKind| InstanceKind { instances: Ids::default(), ..known.clone() } == kind;
        match kinds.iter().rposition(is_alike) {
            Some(known) => kinds[known].instances.push(index),
            None => kinds.push(InstanceKind { instances: [index].into_iter().collect(), ..kind }),
        }
    }
    kinds
}

fn kind(spec: &InstanceSpec, own: &InstanceFacts, facts: &Facts<'_>) -> InstanceKind {
    let scheduler = &spec.scheduler;
    InstanceKind {
        instances: Ids::default(),
        model: spec.model.name.clone(),
        hardware: spec.hardware.clone(),
        role: role_name(spec.role),
        tp: spec.tp,
        pp: spec.pp,
        ep: spec.ep,
        local_ep: spec.local_ep,
        npus: spec.num_npus(),
        peer_npus: spec.num_npus_with_peers() - spec.num_npus(),
        blocks_by_stage: blocks_by_stage(spec),
        experts: spec.model.experts.map(|experts| ExpertFacts {
            count: experts.count,
            per_token: experts.per_token,
            per_rank: experts.count.div_ceil(spec.ep),
        }),
        scheduler: SchedulerFacts {
            max_num_seqs: scheduler.max_num_seqs,
            max_num_batched_tokens: scheduler.max_num_batched_tokens,
            long_prefill_token_threshold: scheduler.long_prefill_token_threshold,
            chunked_prefill: scheduler.chunked_prefill,
            reserve_full_isl: scheduler.reserve_full_isl,
            prefix_caching: spec.kv.prefix_caching,
        },
        memory: memory(spec, own),
        weights_elsewhere: weights_elsewhere(spec),
        kv: kv(spec, own, facts.workload),
        attention_in_memory: spec.pim.is_some(),
        operators: operators(spec, own, facts),
    }
}

/// The first and the last block of each pipeline stage.
pub(crate) fn blocks_by_stage(spec: &InstanceSpec) -> Vec<[u64; 2]> {
    let stages = engine::stage_blocks(spec.model.num_hidden_layers as usize, spec.pp as usize);
    stages.map(|blocks| [blocks.start as u64, blocks.end as u64 - 1]).collect()
}

fn memory(spec: &InstanceSpec, own: &InstanceFacts) -> MemoryFacts {
    let weights = own.weights;
    let total_bytes = own.npu_memory_bytes;
    let usable_bytes = own.utilization.map_or(total_bytes, |share| (total_bytes as f64 * share) as u64);
    let kv_bytes = u64::from(spec.kv.num_blocks) * spec.kv.bytes_per_block;
    let null_block_bytes = own.null_blocks * spec.kv.bytes_per_block;
    let activation_peak_bytes = own.activation_peak_bytes.unwrap_or(0);
    let runtime_context_bytes = own.runtime_context_bytes.unwrap_or(0);
    let taken = spec.weight_bytes + kv_bytes + null_block_bytes + activation_peak_bytes + runtime_context_bytes;
    MemoryFacts {
        total_bytes,
        weight_bytes: spec.weight_bytes,
        weights: WeightFacts {
            embeddings_bytes: weights.embeddings,
            attention_bytes: weights.attention,
            norms_bytes: weights.norms,
            feed_forward_bytes: weights.feed_forward,
            experts_bytes: weights.experts,
        },
        kv_bytes,
        null_block_bytes,
        activation_peak_bytes,
        runtime_context_bytes,
        withheld_bytes: total_bytes - usable_bytes,
        free_bytes: usable_bytes.saturating_sub(taken),
    }
}

/// Weights that are not on the NPU, by memory.
fn weights_elsewhere(spec: &InstanceSpec) -> Vec<Elsewhere> {
    if spec.placement.needs_no_loads() {
        return Vec::new();
    }
    let sequence = &spec.architecture.sequence;
    let feed_forward = if spec.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
    let block: Vec<Layer> =
        [&sequence.pre_attn, &sequence.post_attn, feed_forward].into_iter().flatten().copied().collect();
    let ends = sequence.prologue.iter().chain(&sequence.head).map(|&layer| (layer, None));
    let blocks = (0..spec.model.num_hidden_layers as usize)
        .flat_map(|index| block.iter().map(move |&layer| (layer, Some(index))));
    let mut by_memory: BTreeMap<String, u64> = BTreeMap::new();
    for (layer, index) in ends.chain(blocks) {
        let memory = match spec.placement.weights_of(layer, index) {
            Location::Npu => continue,
            Location::Host(_) => "host".to_owned(),
            Location::Pool(device) => format!("cxl:{device}"),
        };
        let parallel = if layer == Layer::Moe { spec.ep } else { spec.tp };
        let bytes = spec.model.sizes(layer, 1, 0, u64::from(parallel), spec.element_bytes).weight;
        *by_memory.entry(memory).or_default() += bytes * u64::from(spec.tp);
    }
    by_memory.into_iter().map(|(memory, bytes)| Elsewhere { memory, bytes }).collect()
}

fn kv(spec: &InstanceSpec, own: &InstanceFacts, workload: Option<&WorkloadFacts>) -> KvFacts {
    let (blocks, block_size) = (u64::from(spec.kv.num_blocks), u64::from(spec.kv.block_size));
    let fit = |tokens: u64| blocks / tokens.div_ceil(block_size).max(1);
    let requests = workload.filter(|workload| workload.requests() > 0).map(|workload| {
        let (mean_tokens, longest_tokens) = workload.kv_tokens(spec.role);
        KvFit { mean_tokens, of_mean: fit(mean_tokens), longest_tokens, of_longest: fit(longest_tokens) }
    });
    KvFacts {
        tokens: blocks * block_size,
        blocks,
        block_size: spec.kv.block_size,
        bytes_per_block: spec.kv.bytes_per_block,
        utilization: own.utilization,
        requests,
    }
}

fn operators(spec: &InstanceSpec, own: &InstanceFacts, facts: &Facts<'_>) -> Vec<Operator> {
    let sequence = &spec.architecture.sequence;
    let feed_forward = if spec.model.is_moe() { &sequence.mlp_moe } else { &sequence.mlp_dense };
    let parts = [
        ("prologue", &sequence.prologue),
        ("block", &sequence.pre_attn),
        ("block", &sequence.post_attn),
        ("block", feed_forward),
        ("head", &sequence.head),
    ];
    let mut operators: Vec<Operator> = Vec::new();
    for (part, &layer) in parts.into_iter().flat_map(|(part, layers)| layers.iter().map(move |layer| (part, layer))) {
        if operators.iter().any(|known| (known.part, known.layer) == (part, layer.name())) {
            continue;
        }
        let axes = spec.latency.extent(layer).map_or_else(Vec::new, |extent| axes(extent, spec, facts));
        let is_timed = spec.architecture.table(layer).is_some() && spec.latency.covers(layer);
        operators.push(Operator {
            layer: layer.name(),
            part,
            table: spec.architecture.table(layer).map(table_name),
            source: match (&own.profile, is_timed) {
                (_, false) => "none",
                (Some(_), true) => "measured",
                (None, true) => "analytic",
            },
            can_be_beyond: axes.iter().any(|axis| axis.reachable > axis.measured),
            axes,
        });
    }
    operators
}

const fn table_name(table: Table) -> &'static str {
    match table {
        Table::Dense => "dense",
        Table::PerSequence => "per_sequence",
        Table::Attention => "attention",
        Table::Moe => "moe",
    }
}

/// How far measurements go, and how far the limits of steps let them be asked.
fn axes(extent: Extent, spec: &InstanceSpec, facts: &Facts<'_>) -> Vec<Axis> {
    let budget = spec.scheduler.max_num_batched_tokens;
    let sequences = most_sequences(spec);
    let axis = |name, measured, reachable| Axis { name, measured, reachable };
    let longest = longest_sequence(spec, facts);
    match extent {
        Extent::Tokens(tokens) => vec![axis("tokens", tokens, budget)],
        Extent::Sequences(most) => vec![axis("sequences", most, sequences)],
        Extent::Attention { prefill_tokens, prefill_history, num_decodes, kv_decode } => vec![
            axis("prefill tokens", prefill_tokens, budget),
            axis("prefill history", prefill_history, longest.saturating_sub(1)),
            axis("decodes", num_decodes, sequences),
            axis("KV of a decode", kv_decode, longest),
        ],
        Extent::Experts { tokens, active_experts } => {
            let members = tokens_of_members(spec, facts.deployment);
            let per_rank = spec.model.experts.map_or(0, |experts| experts.count.div_ceil(spec.ep));
            vec![
                axis("tokens of a rank", tokens, budget * members),
                axis("active experts", active_experts, u64::from(per_rank)),
            ]
        }
    }
}

/// The longest sequence that comes about: of the workload, or else that the model and the KV cache can hold.
fn longest_sequence(spec: &InstanceSpec, facts: &Facts<'_>) -> u64 {
    let held = u64::from(spec.kv.num_blocks) * u64::from(spec.kv.block_size);
    let possible = spec.model.max_position_embeddings.min(held);
    let asked =
        facts.workload.filter(|workload| workload.requests() > 0).map(|workload| workload.kv_tokens(spec.role).1);
    asked.map_or(possible, |longest| longest.min(possible))
}

/// How many members' tokens the experts of one rank may compute.
fn tokens_of_members(spec: &InstanceSpec, deployment: &Deployment) -> u64 {
    let shares_experts = deployment.options.engine.vllm().is_some_and(|vllm| vllm.kernels.group_experts);
    let is_spread = spec.ep > spec.local_ep && spec.expert_routing.is_none();
    if shares_experts && is_spread { deployment.groups[spec.group.index()].members.len() as u64 } else { 1 }
}
