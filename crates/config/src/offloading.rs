//! Work that leaves the NPU: attention of decodes in host memory, and steps in two halves that alternate with it.
//!
//! Where any instance offloads attention, the memory of every node must be of a type that computes: nodes share one
//! description of host memory, the first one's (behaviour contract, sections 2 and 13).

use std::path::Path;

use diagnostics::Fault;

use crate::cluster::Node;
use crate::groups::Member;
use crate::pim::PimMemory;
use crate::report::Report;

/// The memory of each node, where an instance computes attention in it; nothing where none does. `None` when it should
/// and can't.
pub(crate) fn pim_memories(
    nodes: &[Node],
    members: &[Member<'_>],
    folder: Option<&Path>,
    report: &mut Report,
) -> Option<Option<Vec<PimMemory>>> {
    if !members.iter().any(|member| member.settings.attn_offloading) {
        check_unused(nodes, report);
        return Some(None);
    }
    let memory = |node: &Node| {
        let memory = &node.cpu_memory;
        let Some(name) = &memory.pim_config else {
            let fault = memory.place.fault("missing key `pim_config`, which attention offloading needs on every node");
            report.push(fault.hint("name the type of memory, or don't enable attention offloading"));
            return None;
        };
        PimMemory::read(memory, name, folder, report)
    };
    // All are read before any is given up, so that each faulty one is told.
    let memories: Vec<_> = nodes.iter().map(memory).collect();
    Some(Some(memories.into_iter().collect::<Option<_>>()?))
}

/// Memory that could compute and does not is memory like any other.
fn check_unused(nodes: &[Node], report: &mut Report) {
    for memory in nodes.iter().map(|node| &node.cpu_memory).filter(|memory| memory.pim_config.is_some()) {
        report.note("`pim_config` has no effect: no instance has `enable_attn_offloading`".to_owned());
        for (key, value) in [("mem_bw", memory.bandwidth_gb_per_s), ("mem_latency", memory.latency_ns)] {
            if value.is_none() {
                let hint = "it can be left out only where attention is offloaded to this memory";
                report.push(memory.place.fault(format!("missing key `{key}`")).hint(hint));
            }
        }
    }
}

/// Tells the instances that can't run steps in two halves.
pub(crate) fn check_interleaving(members: &[Member<'_>], report: &mut Report) {
    for member in members.iter().filter(|member| member.settings.sub_batch_interleaving) {
        let own = member.instance.overrides.sub_batch_interleaving.as_ref();
        let fault = |message: &str| match own {
            Some(switch) => switch.place.fault(message),
            None => Fault::new("--enable-sub-batch-interleaving", message),
        };
        let reason = if !member.settings.attn_offloading {
            "halves of a step alternate between NPU and memory: attention must be offloaded too"
        } else if member.degrees.pp > 1 {
            "a step in two halves can't be cut into pipeline stages: between blocks, one of them is at attention"
        } else if group_size(member, members) > 1 {
            "a step in two halves meets the other members of a dp_group twice as often as a step that is whole"
        } else {
            continue;
        };
        // The flag is at fault once, whatever the number of instances.
        let fault = fault(reason).hint("leave sub-batch interleaving out here");
        if report.faults.iter().all(|other| *other != fault) {
            report.push(fault);
        }
    }
}

/// Members of the data-parallel group of `member`, itself included; 0 outside of groups.
fn group_size(member: &Member<'_>, members: &[Member<'_>]) -> usize {
    let name = |member: &Member<'_>| member.instance.dp_group.as_ref().map(|group| group.value.clone());
    let Some(group) = name(member) else { return 0 };
    members.iter().filter(|other| name(other).as_ref() == Some(&group)).count()
}
