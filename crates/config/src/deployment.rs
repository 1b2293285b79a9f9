//! Putting a deployment together from its checked parts.

use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use engine::{Deployment, Engine, GroupSpec, InstanceSpec, KvSpec, NodePower, Placement, Polling, Role};
use latency::OpLatency;
use model::{Architecture, Layer};
use network::{Location, Memory, MemoryDevices, MemorySpeed, NetworkModel, System};
use units::{GIB, GroupId, InstanceId, NodeId};

use crate::architectures::Architectures;
use crate::cluster::{self, Cluster, Shared};
use crate::groups::{self, Group, Member};
use crate::instances::Instance;
use crate::latencies::{Latencies, LatencyUsed};
use crate::memory::{self, Capacity, Weights};
use crate::models::Models;
use crate::pim::PimMemory;
use crate::report::Report;
use crate::settings::Settings;
use crate::tiers::Tiers;
use crate::{Inputs, InstanceSummary, Loaded, offloading, parallelism, power, roles, tiers};

/// Handling of a message at each of its ends, in every deployment (behaviour contract, section 2).
const ENDPOINT_DELAY_NS: u64 = 10;

/// What an instance runs on: found for each by itself.
struct Footing {
    architecture: Arc<Architecture>,
    latency: Arc<dyn OpLatency>,
    latency_used: LatencyUsed,
    num_sms: Option<u64>,
    placement: Placement,
    capacity: Capacity,
}

/// A cluster as far as it was read and found sound, and what was made of it.
struct Parts<'c> {
    inputs: &'c Inputs,
    shared: &'c Shared,
    members: Vec<Member<'c>>,
    groups: Vec<Group>,
    footings: Vec<Footing>,
    tiers: Tiers,
    /// Host memory by node, where it computes.
    pim: Option<Vec<PimMemory>>,
    power: Option<Vec<NodePower>>,
}

/// See [`crate::load`].
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let mut report = Report::default();
    inputs.flags.check(&mut report.faults);
    for (flag, folder) in [
        ("--model-dir", &inputs.model_dir),
        ("--architecture-dir", &inputs.architecture_dir),
        ("--pim-dir", &inputs.pim_dir),
    ] {
        check_folder(flag, folder.as_deref(), &mut report);
    }
    let flags_are_sound = report.faults.is_empty();

    let document = Arc::new(inputs.cluster.document()?);
    let Some(cluster) = cluster::read(&document, &mut report.faults) else { return Err(report.faults) };
    let file_is_sound = report.faults.is_empty();
    let members = members(&cluster, inputs, &mut report);
    // Groups and roles are judged only when all instances are known, memory only when the flags make sense: other
    // faults would follow from those already told.
    let mut groups = Vec::new();
    if file_is_sound && members.len() == cluster.instances.len() {
        groups = groups::form(&members, &mut report.faults);
        roles::check(&members, &mut report);
    }
    offloading::check_interleaving(&members, &mut report);
    let Some(shared) = &cluster.shared else {
        // What instances need by themselves is told all the same.
        if flags_are_sound {
            footings(&members, None, inputs, &mut report);
        }
        return Err(report.faults);
    };
    let pim = offloading::pim_memories(&shared.nodes, &members, inputs.pim_dir.as_deref(), &mut report);
    // What memory draws may follow from its type.
    let power = pim.as_ref().and_then(|pim| power::resolve(&shared.nodes, &members, pim.as_deref(), &mut report));
    let footings = if flags_are_sound { footings(&members, Some(shared), inputs, &mut report) } else { Vec::new() };
    let mut tiers = Tiers::default();
    if report.faults.is_empty() {
        tiers = tiers::assign(&members, shared, &inputs.flags, &mut report);
        let num_dims = groups::num_link_dims(&groups, &members);
        groups::check_links(shared, num_dims, &mut report.faults);
        groups::check_link_model(shared, num_dims, &mut report.faults);
        check_layers(&groups, &members, &footings, &mut report);
        if inputs.flags.engine != Engine::Reference {
            check_chains(&members, &footings, inputs, &mut report);
        }
        if inputs.flags.polling == Polling::Reference {
            check_stages(&members, &footings, &mut report);
            check_attention_ranks(&members, &mut report);
        }
    }
    if !report.faults.is_empty() {
        return Err(report.faults);
    }
    if inputs.flags.engine != Engine::Reference {
        groups = groups::without_dense(groups, &members);
        note_capture_sizes(&members, inputs, &mut report);
    }
    let instances = members.iter().zip(&footings).map(|(member, footing)| summary(member, footing)).collect();
    let bytes = |size_gib: f64| (size_gib * GIB as f64) as u64;
    let host_memory_bytes = shared.nodes.iter().map(|node| bytes(node.cpu_memory.size_gib.value)).collect();
    let pool_memory_bytes = shared.cxl_memory.as_ref().map(|pool| bytes(pool.size_gib.value));
    let deployment = Parts { inputs, shared, members, groups, footings, tiers, pim: pim.flatten(), power }.assemble();
    Ok(Loaded { deployment, instances, host_memory_bytes, pool_memory_bytes, notes: report.notes })
}

fn check_folder(flag: &str, folder: Option<&Path>, report: &mut Report) {
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        report.push(Fault::new(flag, format!("{} is not a folder", folder.display())));
    }
}

/// The instances whose model and degrees are sound.
fn members<'c>(cluster: &'c Cluster, inputs: &Inputs, report: &mut Report) -> Vec<Member<'c>> {
    let mut models = Models::new(inputs.model_dir.clone());
    let member = |instance: &'c Instance| {
        let model =
            models.get(&instance.model_name.value, &|message| instance.model_name.place.fault(message), report)?;
        let degrees = parallelism::resolve(instance, &model, &mut report.faults)?;
        let kv_heads = model.num_key_value_heads;
        if u64::from(degrees.tp) > kv_heads {
            report.note(format!(
                "{}: tp_size {} exceeds its {kv_heads} KV heads; engines replicate them then, here they are split",
                model.name, degrees.tp
            ));
        }
        let settings = Settings::of(instance, &inputs.flags, &model);
        Some(Member { instance, model, degrees, settings })
    };
    cluster.instances.iter().filter_map(member).collect()
}

/// Architecture, operator times and memory of each member; fewer than members when there are faults.
fn footings(members: &[Member<'_>], shared: Option<&Shared>, inputs: &Inputs, report: &mut Report) -> Vec<Footing> {
    let mut architectures = Architectures::new(inputs.architecture_dir.clone());
    let (profiles, constants) = (inputs.profile_dir.as_deref(), inputs.gpu_constants.as_deref());
    let mut latencies =
        Latencies::new(inputs.latency_source, profiles, constants, report).with_tables(inputs.other_tables);
    let footing = |member: &Member<'_>| {
        let Member { instance, model, degrees, settings } = member;
        let architecture = architectures.get(model, &|message| instance.model_name.place.fault(message), report);
        let cxl_devices = shared.map(|shared| shared.cxl_memory.as_ref().map_or(0, |cxl| cxl.num_devices));
        let flags = &inputs.flags;
        let placement =
            instance.placement.resolve(instance, model.num_hidden_layers, cxl_devices, (flags, settings), report);
        let architecture = architecture?;
        let weights = Weights { model, architecture: &architecture, placement: &placement };
        let capacity = memory::divide(instance, weights, *degrees, settings, flags, report);
        let (latency, latency_used) = latencies.get(instance, model, &architecture, *degrees, settings, report)?;
        let num_sms = latencies.num_sms(&instance.hardware.value);
        Some(Footing { architecture, latency, latency_used, num_sms, placement, capacity: capacity? })
    };
    members.iter().filter_map(footing).collect()
}

/// Members of a group must run the same layers: a layer whose time one of them lacks takes its collective with it.
fn check_layers(groups: &[Group], members: &[Member<'_>], footings: &[Footing], report: &mut Report) {
    for group in groups {
        let first = &footings[group.members[0]];
        for &index in &group.members[1..] {
            let differs = |layer: &Layer| first.latency.covers(*layer) != footings[index].latency.covers(*layer);
            if let Some(layer) = first.architecture.sequence.layers().find(differs) {
                let name = group.name.as_deref().unwrap_or_default();
                let message = format!("only one of this and the first member of dp_group {name} has times for {layer}");
                let place = &members[index].instance.hardware.place;
                report.push(place.fault(message).hint("use profiles that have the same layers"));
            }
        }
    }
}

/// vLLM's engine core runs passes that are chains of ops alone.
fn check_chains(members: &[Member<'_>], footings: &[Footing], inputs: &Inputs, report: &mut Report) {
    const HINT: &str = "use --engine reference";
    if inputs.flags.network_model == NetworkModel::Aware {
        report.push(Fault::new("--engine", "vllm does not run with --network-model aware").hint(HINT));
    }
    for (member, footing) in members.iter().zip(footings) {
        let what = [
            (member.degrees.pp > 1, "pipeline stages"),
            (member.instance.role() != Role::Whole, "a prefill/decode split"),
            (member.settings.attn_offloading, "attention in memory"),
            (!footing.placement.needs_no_loads(), "weights that are loaded"),
        ];
        for (_, what) in what.iter().filter(|(is_there, _)| *is_there) {
            report.push(member.instance.place.fault(format!("--engine vllm does not run {what}")).hint(HINT));
        }
    }
}

/// Sizes beyond what a step may have are dropped, as vLLM does.
fn note_capture_sizes(members: &[Member<'_>], inputs: &Inputs, report: &mut Report) {
    let largest = inputs.flags.capture_sizes.iter().flatten().max();
    let budget = members.iter().map(|member| member.settings.scheduler.max_num_batched_tokens).min();
    if let (Some(largest), Some(budget)) = (largest, budget)
        && *largest > budget
    {
        report.note(format!(
            "no graph is captured beyond max_num_batched_tokens, {budget}: sizes up to {largest} are given"
        ));
    }
}

/// Where experts are routed block by block, LLMServingSim runs a single block, and refuses to cut it into stages.
fn check_stages(members: &[Member<'_>], footings: &[Footing], report: &mut Report) {
    for (member, footing) in members.iter().zip(footings) {
        let blocks_differ = !member.settings.block_copy && member.model.is_moe();
        let has_one_block = blocks_differ && footing.placement.block_weights.is_empty();
        if has_one_block && member.degrees.pp > 1 {
            let fault =
                member.instance.place.fault("without block copy, LLMServingSim has no blocks for pipeline stages");
            report.push(fault.hint("use --polling exact, or enable block copy"));
        }
    }
}

/// What follows attention in memory waits for nothing else in LLMServingSim's traces, so ranks may reach collectives in
/// different order; where a block has more than those of dense layers, they wait for each other for ever.
fn check_attention_ranks(members: &[Member<'_>], report: &mut Report) {
    for member in members.iter().filter(|member| member.settings.attn_offloading) {
        let (tp, ep) = (member.degrees.tp, member.degrees.ep);
        if ep > 1 || (tp > 1 && member.settings.sub_batch_interleaving) {
            let fault = member.instance.place.fault(
                "with attention in memory, LLMServingSim's ranks can wait for each other for ever in such an instance",
            );
            report.push(fault.hint("use --polling exact"));
        }
    }
}

impl Parts<'_> {
    fn assemble(self) -> Deployment {
        let mut group_of = vec![0; self.members.len()];
        for (id, group) in self.groups.iter().enumerate() {
            group.members.iter().for_each(|&member| group_of[member] = id);
        }
        let instances = group_of.iter().enumerate().map(|(member, &group)| self.instance(member, group)).collect();
        let group_specs = self.groups.iter().map(|group| GroupSpec {
            name: group.name.clone(),
            members: group.members.iter().map(|&member| InstanceId::from(member)).collect(),
            topology: groups::topology(group, &self.shared.link_bandwidth, &self.shared.link_latency),
        });
        let local_memory_gb_per_s = self.local_memory().bandwidth_gb_per_s.trunc();
        let measured = self.shared.link_model.as_ref().map(|model| Arc::new(model.value.0.clone()));
        Deployment {
            instances,
            groups: group_specs.collect(),
            system: System {
                network_model: self.inputs.flags.network_model,
                measured,
                ..System::new(ENDPOINT_DELAY_NS, local_memory_gb_per_s)
            },
            memory: self.memory(),
            tiers: self.tiers.specs,
            power: self.power,
            options: self.inputs.flags.run_options(),
        }
    }

    /// NPU memory of the first instance of the last node that has any: it stands for all.
    fn local_memory(&self) -> &cluster::Memory {
        let last_node = self.members.iter().map(|member| member.instance.node).max();
        let first = self.members.iter().find(|member| Some(member.instance.node) == last_node);
        &first.expect("a cluster has instances").instance.npu_memory
    }

    /// Host memory is that of the first node, on every node.
    fn memory(&self) -> Memory {
        let Shared { nodes, cxl_memory, .. } = self.shared;
        let host = match &self.pim {
            Some(memories) => Some((memories[0].latency_ns, memories[0].bandwidth_gb_per_s)),
            None => nodes[0].cpu_memory.latency_ns.zip(nodes[0].cpu_memory.bandwidth_gb_per_s),
        };
        let (latency_ns, bandwidth) = host.expect("what is missing is a fault");
        let npu_memory_is_used = self
            .footings
            .iter()
            .any(|footing| footing.placement.loads_npu_weights || footing.placement.recall_from == Location::Npu);
        let local = self.local_memory();
        Memory {
            host: MemoryDevices::new(latency_ns, bandwidth, nodes.len() as u32),
            pool: cxl_memory
                .as_ref()
                .map(|pool| MemoryDevices::new(pool.latency_ns, pool.bandwidth_gb_per_s, pool.num_devices)),
            npu: npu_memory_is_used.then(|| MemorySpeed::new(local.latency_ns, local.bandwidth_gb_per_s)),
        }
    }

    fn instance(&self, index: usize, group: usize) -> InstanceSpec {
        let (member, footing) = (&self.members[index], &self.footings[index]);
        let Member { instance, model, degrees, settings } = member;
        let pim = self.pim.as_ref().filter(|_| settings.attn_offloading).map(|memories| &memories[instance.node]);
        let group_spec = &self.groups[group];
        InstanceSpec {
            node: NodeId::from(instance.node),
            group: GroupId::from(group),
            hardware: instance.hardware.value.clone(),
            model: Arc::clone(model),
            architecture: Arc::clone(&footing.architecture),
            latency: Arc::clone(&footing.latency),
            num_sms: footing.num_sms,
            capture_sizes: self.inputs.flags.capture_sizes(&settings.scheduler),
            role: instance.role(),
            tp: degrees.tp,
            pp: degrees.pp,
            ep: degrees.ep,
            local_ep: group_spec.local_ep,
            tp_dims: group_spec.tp_dims,
            ep_dims: group_spec.ep_dims,
            element_bytes: settings.dtype.bytes(),
            weight_bytes: footing.capacity.weights.total(),
            scheduler: settings.scheduler,
            kv: footing.capacity.kv,
            block_copy: settings.block_copy,
            expert_routing: None,
            skips_prefill: self.inputs.flags.skip_prefill,
            placement: footing.placement.clone(),
            tier: self.tiers.of_member[index],
            pim: pim.map(|memory| memory.spec(model, settings.sub_batch_interleaving)),
        }
    }
}

/// The profile that is looked up, as the folders of profiles are called.
fn profile_name(member: &Member<'_>) -> String {
    let Member { instance, model, degrees, settings } = member;
    let variant = settings.kv_cache_dtype.profile_variant(settings.dtype);
    format!("{}/{}/{variant}/tp{}", instance.hardware.value, model.name, degrees.tp)
}

fn summary(member: &Member<'_>, footing: &Footing) -> InstanceSummary {
    let KvSpec { num_blocks, block_size, bytes_per_block, .. } = footing.capacity.kv;
    let blocks = u64::from(num_blocks);
    InstanceSummary {
        hardware: member.instance.hardware.value.clone(),
        latency: footing.latency_used,
        npu_memory_bytes: (member.instance.npu_memory.size_gib.value * GIB as f64) as u64,
        kv_blocks: blocks,
        kv_tokens: blocks * u64::from(block_size),
        kv_bytes: blocks * bytes_per_block,
        kv_basis: footing.capacity.kv_basis,
        weights: footing.capacity.weights,
        profile: (footing.latency_used == LatencyUsed::Profile).then(|| profile_name(member)),
    }
}
