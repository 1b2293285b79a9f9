//! Putting a deployment together from its checked parts.

use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use engine::{Deployment, GroupSpec, InstanceSpec, KvSpec};
use latency::OpLatency;
use model::{Architecture, Layer};
use network::{MemoryDevices, System};
use units::{GIB, GroupId, InstanceId, NodeId};

use crate::architectures::Architectures;
use crate::cluster::{self, Cluster, Instance, Shared};
use crate::groups::{self, Group, Member};
use crate::latencies::{Latencies, LatencyUsed};
use crate::memory::{self, Capacity};
use crate::models::Models;
use crate::report::Report;
use crate::settings::Settings;
use crate::{Inputs, InstanceSummary, Loaded, parallelism};

/// Handling of a message at each of its ends, in every deployment (behaviour contract, section 2).
const ENDPOINT_DELAY_NS: u64 = 10;

/// What an instance runs on: found for each by itself.
struct Footing {
    architecture: Arc<Architecture>,
    latency: Arc<dyn OpLatency>,
    latency_used: LatencyUsed,
    capacity: Capacity,
}

/// See [`crate::load`].
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    let mut report = Report::default();
    inputs.flags.check(&mut report.faults);
    for (flag, folder) in [("--model-dir", &inputs.model_dir), ("--architecture-dir", &inputs.architecture_dir)] {
        check_folder(flag, folder.as_deref(), &mut report);
    }
    let flags_are_sound = report.faults.is_empty();

    let document = Arc::new(inputs.cluster.document()?);
    let Some(cluster) = cluster::read(&document, &mut report.faults) else { return Err(report.faults) };
    let file_is_sound = report.faults.is_empty();
    let members = members(&cluster, inputs, &mut report);
    // Groups are judged only when all their members are known, memory only when the flags make sense: other faults
    // would follow from those already told.
    let groups = if file_is_sound && members.len() == cluster.instances.len() {
        groups::form(&members, &mut report.faults)
    } else {
        Vec::new()
    };
    let footings = if flags_are_sound { footings(&members, inputs, &mut report) } else { Vec::new() };
    if let Some(shared) = &cluster.shared
        && report.faults.is_empty()
    {
        groups::check_links(shared, groups::num_link_dims(&groups), &mut report.faults);
        check_layers(&groups, &members, &footings, &mut report);
    }
    if !report.faults.is_empty() {
        return Err(report.faults);
    }

    let shared = cluster.shared.as_ref().expect("what can't be read is a fault");
    let instances = members.iter().zip(&footings).map(|(member, footing)| summary(member, footing)).collect();
    let deployment = assemble(inputs, shared, &members, &footings, &groups);
    Ok(Loaded { deployment, instances, notes: report.notes })
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
fn footings(members: &[Member<'_>], inputs: &Inputs, report: &mut Report) -> Vec<Footing> {
    let mut architectures = Architectures::new(inputs.architecture_dir.clone());
    let (profiles, constants) = (inputs.profile_dir.as_deref(), inputs.gpu_constants.as_deref());
    let mut latencies = Latencies::new(inputs.latency_source, profiles, constants, report);
    let footing = |member: &Member<'_>| {
        let Member { instance, model, degrees, settings } = member;
        let architecture = architectures.get(model, &|message| instance.model_name.place.fault(message), report);
        let capacity = memory::divide(instance, model, *degrees, settings, &mut report.faults);
        let architecture = architecture?;
        let (latency, latency_used) = latencies.get(instance, model, &architecture, *degrees, settings, report)?;
        Some(Footing { architecture, latency, latency_used, capacity: capacity? })
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

fn assemble(
    inputs: &Inputs,
    shared: &Shared,
    members: &[Member<'_>],
    footings: &[Footing],
    groups: &[Group],
) -> Deployment {
    let mut group_of = vec![0; members.len()];
    for (id, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|&member| group_of[member] = id);
    }
    let instances = members
        .iter()
        .zip(footings)
        .zip(group_of)
        .map(|((member, footing), group)| instance(member, footing, GroupId::from(group), &groups[group]));
    let group_specs = groups.iter().map(|group| GroupSpec {
        name: group.name.clone(),
        members: group.members.iter().map(|&member| InstanceId::from(member)).collect(),
        topology: groups::topology(group, &shared.link_bandwidth, &shared.link_latency),
    });
    let host = &shared.host_memory;
    Deployment {
        instances: instances.collect(),
        groups: group_specs.collect(),
        system: System { endpoint_delay_ns: ENDPOINT_DELAY_NS, local_memory_gb_per_s: local_memory_gb_per_s(members) },
        host_memory: MemoryDevices::new(host.latency_ns, host.bandwidth_gb_per_s, shared.num_nodes),
        options: inputs.flags.run_options(),
    }
}

/// The whole part of the first instance of the last node that has any.
fn local_memory_gb_per_s(members: &[Member<'_>]) -> f64 {
    let last_node = members.iter().map(|member| member.instance.node).max();
    let first = members.iter().find(|member| Some(member.instance.node) == last_node);
    first.expect("a cluster has instances").instance.npu_memory.bandwidth_gb_per_s.trunc()
}

fn instance(member: &Member<'_>, footing: &Footing, group_id: GroupId, group: &Group) -> InstanceSpec {
    let settings = &member.settings;
    InstanceSpec {
        node: NodeId::from(member.instance.node),
        group: group_id,
        model: Arc::clone(&member.model),
        architecture: Arc::clone(&footing.architecture),
        latency: Arc::clone(&footing.latency),
        tp: member.degrees.tp,
        ep: member.degrees.ep,
        local_ep: group.local_ep,
        tp_dims: group.tp_dims,
        ep_dims: group.ep_dims,
        element_bytes: settings.dtype.bytes(),
        weight_bytes: footing.capacity.weight_bytes,
        scheduler: settings.scheduler,
        kv: footing.capacity.kv,
        block_copy: settings.block_copy,
    }
}

fn summary(member: &Member<'_>, footing: &Footing) -> InstanceSummary {
    let KvSpec { num_blocks, block_size, bytes_per_block, .. } = footing.capacity.kv;
    let blocks = u64::from(num_blocks);
    InstanceSummary {
        hardware: member.instance.hardware.value.clone(),
        latency: footing.latency_used,
        memory_utilization: member.settings.memory_utilization,
        npu_memory_bytes: (member.instance.npu_memory.size_gib.value * GIB as f64) as u64,
        kv_blocks: blocks,
        kv_tokens: blocks * u64::from(block_size),
        kv_bytes: blocks * bytes_per_block,
    }
}
