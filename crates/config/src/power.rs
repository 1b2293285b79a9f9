//! What the parts of each node draw: `power` of the nodes in a cluster file.
//!
//! Power is counted when every node says what it draws (behaviour contract, section 14). A node's host memory draws by
//! module (DIMM); where it computes, a module is a channel, and its power is that of the memory type. Of a prefill
//! instance, the peers that only take in KV are not counted.

use documents::Bounds;
use documents::json::{Cursor, Object, Place, Placed};
use documents::schema::Shape;
use engine::{CpuPower, DramPower, NodePower, NpuPower};

use crate::cluster::{Node, optional};
use crate::groups::Member;
use crate::pim::PimMemory;
use crate::report::Report;
use crate::schema;

/// Any power, energy or duration.
pub(crate) const AMOUNT: Bounds = Bounds::From { least: 0.0, most: 1e9 };
pub(crate) const SHARE: Bounds = Bounds::From { least: 0.0, most: 1.0 };
pub(crate) const MODULE_GIB: Bounds = Bounds::From { least: 1e-3, most: 1e9 };
pub(crate) const MOST_PARTS: u64 = 1 << 20;

/// `power` of one node as it stands.
pub(crate) struct PowerFile {
    /// What it draws, but for what follows from its instances and its memory, which is 0 here.
    node: NodePower,
    npus_place: Place,
    dram_place: Place,
    /// W of one module.
    module_idle_w: Option<f64>,
    module_gib: Option<f64>,
}

/// Reads `power` of one node.
pub(crate) fn read(value: &Cursor<'_>) -> Option<PowerFile> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::POWER);
    let part = |key| object.require(key).and_then(|value| value.object());
    let base_w = amount(&object, "base_node_power");
    let npus = part("npu");
    let types = npus.as_ref().map(|npus| npus.entries().filter_map(|(name, value)| npu(name, &value)).collect());
    let cpu = part("cpu").and_then(|cpu| {
        cpu.reject_unknown_in(&schema::POWER_CPU);
        let [idle_w, active_w] = ["idle_power", "active_power"].map(|key| amount(&cpu, key));
        let utilization = required(&cpu, "util", SHARE);
        Some(CpuPower { idle_w: idle_w?, active_w: active_w?, utilization: utilization? })
    });
    let dram = part("dram");
    let pj_per_bit = dram.as_ref().and_then(|dram| {
        dram.reject_unknown_in(&schema::POWER_DRAM);
        amount(dram, "energy_per_bit")
    });
    let link = part("link").and_then(|link| {
        let idle_w = all_of(&link, "num_links", &schema::POWER_LINK);
        let pj_per_bit = amount(&link, "energy_per_bit");
        Some((idle_w?, pj_per_bit?))
    });
    let nic_w = part("nic").and_then(|nic| all_of(&nic, "num_nics", &schema::POWER_NIC));
    let storage_w = part("storage").and_then(|storage| all_of(&storage, "num_devices", &schema::POWER_STORAGE));
    let (npus, dram, (link_idle_w, link_pj_per_bit)) = (npus?, dram?, link?);
    let given =
        |key, bounds| optional(&dram, key, |value| value.number(bounds)).map(|number: Placed<f64>| number.value);
    Some(PowerFile {
        npus_place: npus.place(),
        dram_place: dram.place(),
        module_idle_w: given("idle_power", AMOUNT),
        module_gib: given("dimm_size", MODULE_GIB),
        node: NodePower {
            base_w: base_w?,
            npus: types?,
            cpu: cpu?,
            dram: DramPower { idle_w: 0.0, pj_per_bit: pj_per_bit?, pim_active_w: 0.0 },
            link_idle_w,
            link_pj_per_bit,
            nic_w: nic_w?,
            storage_w: storage_w?,
        },
    })
}

fn npu(hardware: &str, value: &Cursor<'_>) -> Option<NpuPower> {
    const KEYS: [&str; 4] = ["idle_power", "standby_power", "active_power", "standby_duration"];
    let object = value.object()?;
    object.reject_unknown_in(&schema::POWER_NPU);
    let [idle_w, standby_w, active_w, standby_s] = KEYS.map(|key| amount(&object, key));
    Some(NpuPower {
        hardware: hardware.to_owned(),
        count: 0,
        idle_w: idle_w?,
        standby_w: standby_w?,
        active_w: active_w?,
        standby_s: standby_s?,
    })
}

/// W of all parts of one kind at rest.
fn all_of(object: &Object<'_>, count_key: &'static str, shape: &Shape) -> Option<f64> {
    object.reject_unknown_in(shape);
    let count = object.require(count_key).and_then(|value| value.count(0, MOST_PARTS));
    let idle_w = amount(object, "idle_power");
    Some(idle_w? * count?.value as f64)
}

fn amount(object: &Object<'_>, key: &str) -> Option<f64> {
    required(object, key, AMOUNT)
}

fn required(object: &Object<'_>, key: &str, bounds: Bounds) -> Option<f64> {
    object.require(key).and_then(|value| value.number(bounds)).map(|number| number.value)
}

/// What each node draws, if every node says so. `pim` is the memory of each node, where it computes.
pub(crate) fn resolve(
    nodes: &[Node],
    members: &[Member<'_>],
    pim: Option<&[PimMemory]>,
    report: &mut Report,
) -> Option<Vec<NodePower>> {
    let resolved: Vec<Option<NodePower>> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let here: Vec<_> = members.iter().filter(|member| member.instance.node == index).collect();
            node_power(node, node.power.as_ref()?, &here, pim.map(|memories| &memories[index]), report)
        })
        .collect();
    let num_told = nodes.iter().filter(|node| node.power.is_some()).count();
    if num_told > 0 && num_told < nodes.len() {
        report.note(format!("power is not counted: {num_told} of {} nodes have `power`", nodes.len()));
    }
    resolved.into_iter().collect()
}

fn node_power(
    node: &Node,
    file: &PowerFile,
    members: &[&Member<'_>],
    pim: Option<&PimMemory>,
    report: &mut Report,
) -> Option<NodePower> {
    let mut power = file.node.clone();
    for member in members {
        let hardware = &member.instance.hardware.value;
        let Some(npu) = power.npus.iter_mut().find(|npu| npu.hardware == *hardware) else {
            let message = format!("what `{hardware}` draws is missing, which instances of this node are on");
            let fault = file.npus_place.fault(message);
            if report.faults.iter().all(|other| *other != fault) {
                report.push(fault);
            }
            continue;
        };
        npu.count += member.degrees.num_npus();
    }
    let hint = "it can be left out only where attention is offloaded to host memory";
    let mut required = |key: &str, value: Option<f64>| {
        if value.is_none() {
            report.push(file.dram_place.fault(format!("missing key `{key}`")).hint(hint));
        }
        value
    };
    let (module_idle_w, module_gib) = match pim {
        Some(pim) => (Some(pim.idle_w), Some(pim.channel_gib)),
        None => (required("idle_power", file.module_idle_w), required("dimm_size", file.module_gib)),
    };
    power.dram.idle_w = module_idle_w? * (node.cpu_memory.size_gib.value / module_gib?).floor();
    power.dram.pim_active_w = pim.map_or(0.0, |pim| pim.active_w - pim.idle_w);
    Some(power)
}
