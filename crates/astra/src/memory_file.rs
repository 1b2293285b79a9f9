//! `memory.json`: what NPUs load from and store to.
//!
//! Either one memory by itself, with `memory-type` at the top: host memory, unless `memory-location` says otherwise. Or
//! an object that has any of `local_mem` (each NPU's own), `remote_mem` (host memory) and `cxl_mem` (a pool). Types:
//!
//! - `NO_MEMORY_EXPANSION`: there is none.
//! - `PER_NPU_MEMORY_EXPANSION`: each NPU has one to itself. There are no PIM channels in it: ASTRA-Sim makes no queues
//!   for them.
//! - `PER_NODE_MEMORY_EXPANSION`, `MEMORY_POOL`: devices that serve one access at a time. In ASTRA-Sim the two are the
//!   same; which device an access goes to is up to the graph, not to the node.

use std::sync::Arc;

use documents::json::{self, Object};
use documents::{Bounds, Document};
use network::{Memory, MemoryDevices, MemorySpeed};

use crate::report::{Report, count, optional};
use crate::setup::{PimChannels, Setup};

/// Bandwidth is cut to whole bytes a nanosecond, so it begins at 1.
const BANDWIDTH: Bounds = Bounds::From { least: 1.0, most: 1e9 };
const LATENCY: Bounds = Bounds::From { least: 0.0, most: 1e12 };
/// Devices, and PIM channels of one: their product numbers queues.
const MOST_DEVICES: u32 = 1 << 15;

const TYPES: [(&str, Type); 4] = [
    ("NO_MEMORY_EXPANSION", Type::None),
    ("PER_NPU_MEMORY_EXPANSION", Type::PerNpu),
    ("PER_NODE_MEMORY_EXPANSION", Type::Devices),
    ("MEMORY_POOL", Type::Devices),
];
const LEVELS: [Level; 3] = [Level::Npu, Level::Host, Level::Pool];
const KEYS: [&str; 8] = [
    "memory-type",
    "memory-location",
    "mem-latency",
    "mem-bw",
    "num-devices",
    "pim-channels",
    "num-nodes",
    "num-npus-per-node",
];
/// Names of an earlier version, and today's. ASTRA-Sim does not read them any more.
const FORMER: [(&str, &str); 2] = [("remote-mem-latency", "mem-latency"), ("remote-mem-bw", "mem-bw")];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    None,
    PerNpu,
    Devices,
}

#[derive(Clone, Copy)]
enum Level {
    Npu,
    Host,
    Pool,
}

impl Level {
    const fn key(self) -> &'static str {
        match self {
            Level::Npu => "local_mem",
            Level::Host => "remote_mem",
            Level::Pool => "cxl_mem",
        }
    }

    const fn location(self) -> &'static str {
        match self {
            Level::Npu => "LOCAL_MEMORY",
            Level::Host => "REMOTE_MEMORY",
            Level::Pool => "CXL_MEMORY",
        }
    }
}

/// Which memories there are.
#[derive(Debug, Default)]
pub(crate) struct Memories {
    pub(crate) npu: Option<MemorySpeed>,
    pub(crate) host: Option<MemoryDevices>,
    pub(crate) pool: Option<MemoryDevices>,
    pub(crate) pim_channels: PimChannels,
}

/// One memory, and the keys in it that change nothing.
struct Read {
    found: Option<(MemoryDevices, u32)>,
    ignored: Vec<String>,
}

impl Memories {
    fn add(&mut self, level: Level, (devices, pim_channels): (MemoryDevices, u32)) {
        match level {
            Level::Npu => self.npu = Some(devices.speed()),
            Level::Host => (self.host, self.pim_channels.host) = (Some(devices), pim_channels),
            Level::Pool => (self.pool, self.pim_channels.pool) = (Some(devices), pim_channels),
        }
    }
}

pub(crate) fn read(document: &Arc<Document>, report: &mut Report) -> Option<Memories> {
    let (memories, ignored) = json::read(document, &mut report.faults, |root| file(&root.object()?))?;
    report.note_ignored(document, &ignored);
    Some(memories)
}

fn file(object: &Object<'_>) -> Option<(Memories, Vec<String>)> {
    let mut memories = Memories::default();
    if object.get("memory-type").is_some() {
        if let Some(level) = LEVELS.into_iter().find(|level| object.get(level.key()).is_some()) {
            let message = format!("either one memory by itself or `{}`, not both", level.key());
            object.push(object.place_of("memory-type").fault(message));
            return None;
        }
        let level = optional(object, "memory-location", Level::Host, |value| {
            value.name_of(&LEVELS, Level::location).map(|placed| placed.value)
        });
        let Read { found, ignored } = memory(object, level?)?;
        found.into_iter().for_each(|found| memories.add(level.unwrap_or(Level::Host), found));
        return Some((memories, ignored));
    }
    object.reject_unknown(&LEVELS.map(Level::key));
    let mut ignored = Vec::new();
    let mut is_sound = true;
    for level in LEVELS {
        let Some(value) = object.get(level.key()) else { continue };
        match value.object().and_then(|object| memory(&object, level).map(|read| (object, read))) {
            Some((object, read)) => {
                read.found.into_iter().for_each(|found| memories.add(level, found));
                let location = object.get("memory-location").map(|_| "memory-location".to_owned());
                ignored.extend(read.ignored.into_iter().chain(location).map(|key| format!("{}.{key}", level.key())));
            }
            None => is_sound = false,
        }
    }
    is_sound.then_some((memories, ignored))
}

fn memory(object: &Object<'_>, level: Level) -> Option<Read> {
    object.reject_unknown_but(&KEYS, |key| FORMER.iter().any(|(former, _)| *former == key));
    let memory_type = object.require("memory-type").and_then(|value| value.name_of(&TYPES, |(name, _)| name));
    let (_, memory_type) = memory_type?.value;
    if memory_type == Type::None {
        return Some(Read { found: None, ignored: Vec::new() });
    }
    let is_shared = memory_type == Type::Devices;
    if is_shared && matches!(level, Level::Npu) {
        let fault = object.place_of("memory-type").fault("memory of the NPUs' own that they share is not modelled");
        object.push(fault.hint("write `PER_NPU_MEMORY_EXPANSION`"));
    }
    let latency_ns = speed(object, "mem-latency", LATENCY);
    let bandwidth_gb_per_s = speed(object, "mem-bw", BANDWIDTH);
    let num_devices = optional(object, "num-devices", 1, |value| count(value, 1, MOST_DEVICES));
    let pim_channels = optional(object, "pim-channels", 0, |value| count(value, 0, MOST_DEVICES));
    if !is_shared && pim_channels.is_some_and(|channels| channels > 0) {
        let fault = object.place_of("pim-channels").fault("memory that each NPU has to itself has no PIM channels");
        object.push(fault.hint("write `PER_NODE_MEMORY_EXPANSION` or `MEMORY_POOL`, or leave them out"));
    }
    let devices = MemoryDevices::new(latency_ns?, bandwidth_gb_per_s?, num_devices?);
    let devices = if is_shared { devices } else { devices.private() };
    let mut ignored = vec!["num-nodes", "num-npus-per-node"];
    if matches!(level, Level::Npu) {
        ignored.push("num-devices");
    }
    let ignored = ignored.into_iter().filter(|key| object.get(key).is_some()).map(str::to_owned).collect();
    Some(Read { found: Some((devices, pim_channels?)), ignored })
}

/// A latency or a bandwidth, which must be there, under its name of today.
fn speed(object: &Object<'_>, key: &str, bounds: Bounds) -> Option<f64> {
    for (former, _) in FORMER.iter().filter(|(_, today)| *today == key) {
        if let Some(value) = object.get(former) {
            object.push(value.place().fault(format!("unknown key `{former}`")).hint(format!("write `{key}`")));
            return None;
        }
    }
    object.require(key)?.number(bounds).map(|placed| placed.value)
}

/// The file of a setup.
pub(crate) fn text(setup: &Setup) -> String {
    let Memory { host, pool, npu } = setup.fabric.memory;
    let npu = npu.map(|speed| level_text(Level::Npu, TYPES[1].0, speed, None));
    let devices = |level, shared, devices: MemoryDevices, pim_channels| {
        let memory_type = if devices.is_private() { TYPES[1].0 } else { shared };
        level_text(level, memory_type, devices.speed(), Some((devices.num_devices(), pim_channels)))
    };
    let host = Some(host).filter(|host| host.num_devices() > 0);
    let host = host.map(|host| devices(Level::Host, TYPES[2].0, host, setup.pim_channels.host));
    let pool = pool.filter(|pool| pool.num_devices() > 0);
    let pool = pool.map(|pool| devices(Level::Pool, TYPES[3].0, pool, setup.pim_channels.pool));
    let levels: Vec<_> = [npu, host, pool].into_iter().flatten().collect();
    if levels.is_empty() {
        return format!("{{\n  \"memory-type\": {:?}\n}}\n", TYPES[0].0);
    }
    format!("{{\n{}\n}}\n", levels.join(",\n"))
}

fn level_text(level: Level, memory_type: &str, speed: MemorySpeed, devices: Option<(u32, u32)>) -> String {
    let mut lines = vec![
        format!("    \"memory-type\": {memory_type:?}"),
        format!("    \"mem-latency\": {}", speed.latency().ns()),
        format!("    \"mem-bw\": {}", speed.bandwidth_gb_per_s()),
    ];
    if let Some((num_devices, pim_channels)) = devices {
        lines.push(format!("    \"num-devices\": {num_devices}"));
        lines.extend((pim_channels > 0).then(|| format!("    \"pim-channels\": {pim_channels}")));
    }
    format!("  \"{}\": {{\n{}\n  }}", level.key(), lines.join(",\n"))
}
