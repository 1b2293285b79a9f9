//! The cluster file as it stands: each value checked by itself, not yet against the others.
//!
//! The keys are those of section 1 of the behaviour contract; others are faults. What nodes share is here, the rest of
//! them in [`crate::instances`], [`crate::placement`] and [`crate::power`].

use std::sync::Arc;

use diagnostics::Faults;
use documents::json::{Cursor, Object, Place, Placed};
use documents::{Bounds, Document, json};

use crate::instances::{self, Instance};
use crate::link_model::{self, LinkModel};
use crate::power::{self, PowerFile};
use crate::schema;

/// Most of anything that is counted one by one: nodes, instances, NPUs, sequences.
pub(crate) const MOST: u64 = 1 << 20;
/// Largest memory in GiB, so that bytes stay exact in a double.
pub(crate) const MOST_GIB: f64 = (1u64 << 22) as f64;
/// Bandwidth is cut to whole bytes a nanosecond where it is used, so it begins at 1.
pub(crate) const BANDWIDTH: Bounds = Bounds::From { least: 1.0, most: 1e9 };
/// Far below any link; keeps the time of a message within 64 bits.
pub(crate) const LINK_BANDWIDTH: Bounds = Bounds::From { least: 1e-3, most: 1e9 };
pub(crate) const LATENCY: Bounds = Bounds::From { least: 0.0, most: 1e12 };

/// What one cluster file says.
pub(crate) struct Cluster {
    /// Every instance that could be read, in order.
    pub(crate) instances: Vec<Instance>,
    /// What instances share, if it could be read.
    pub(crate) shared: Option<Shared>,
}

/// What instances share.
pub(crate) struct Shared {
    /// The nodes, in order.
    pub(crate) nodes: Vec<Node>,
    /// Link bandwidth in GiB/s.
    pub(crate) link_bandwidth: LinkSetting,
    /// Link latency in ns.
    pub(crate) link_latency: LinkSetting,
    /// Measured collectives, by dimension, where the file has any.
    pub(crate) link_model: Option<LinkModel>,
    /// Memory that every node reaches.
    pub(crate) cxl_memory: Option<CxlMemory>,
}

/// What the instances of one node share.
pub(crate) struct Node {
    /// Host memory.
    pub(crate) cpu_memory: CpuMemory,
    /// What its parts draw, where the file says so.
    pub(crate) power: Option<PowerFile>,
}

/// A setting of links: one for all dimensions of the topology, or one for each.
pub(crate) struct LinkSetting {
    /// Where it stands.
    pub(crate) place: Place,
    values: Vec<f64>,
    is_list: bool,
}

impl LinkSetting {
    /// The number of dimensions it is given for, unless one value serves all.
    pub(crate) fn num_dims(&self) -> Option<usize> {
        self.is_list.then_some(self.values.len())
    }

    /// The setting of dimension `dim`.
    pub(crate) fn at(&self, dim: usize) -> f64 {
        if self.is_list { self.values[dim] } else { self.values[0] }
    }
}

/// Memory of an NPU.
pub(crate) struct Memory {
    /// Size in GiB.
    pub(crate) size_gib: Placed<f64>,
    /// Bandwidth in GB/s.
    pub(crate) bandwidth_gb_per_s: f64,
    /// Latency of an access in ns.
    pub(crate) latency_ns: f64,
    /// The share of it that may be used, where the file says so.
    pub(crate) utilisation: Option<f64>,
    /// The most that activations take at once, where the file says so.
    pub(crate) activation_peak: Option<Overhead>,
    /// What CUDA, cuBLAS and NCCL take, where the file says so.
    pub(crate) runtime_context: Option<Overhead>,
}

/// Memory beside weights and KV.
#[derive(Clone, Copy)]
pub(crate) enum Overhead {
    /// `"estimate"`: what follows from the model and the limits of a step.
    Estimate,
    /// This many GiB.
    Gib(f64),
}

/// Host memory of a node. Its speed may be left to the type of memory it computes in.
pub(crate) struct CpuMemory {
    /// Where it begins.
    pub(crate) place: Place,
    /// Size in GiB.
    pub(crate) size_gib: Placed<f64>,
    /// Bandwidth in GB/s.
    pub(crate) bandwidth_gb_per_s: Option<f64>,
    /// Latency of an access in ns.
    pub(crate) latency_ns: Option<f64>,
    /// The type of memory where it computes itself.
    pub(crate) pim_config: Option<Placed<String>>,
}

/// A pool of memory that every node reaches.
pub(crate) struct CxlMemory {
    /// Size in GiB.
    pub(crate) size_gib: Placed<f64>,
    /// Bandwidth of each device in GB/s.
    pub(crate) bandwidth_gb_per_s: f64,
    /// Latency of an access in ns.
    pub(crate) latency_ns: f64,
    /// Devices that serve accesses beside each other.
    pub(crate) num_devices: u32,
}

/// Reads a cluster file. `None` when it has no nodes to speak of; everything wrong is in `faults`.
pub(crate) fn read(document: &Arc<Document>, faults: &mut Faults) -> Option<Cluster> {
    json::read(document, faults, |root| cluster(&root.object()?))
}

fn cluster(root: &Object<'_>) -> Option<Cluster> {
    root.reject_unknown_in(&schema::ROOT);
    let link_bandwidth = root.require("link_bw").and_then(|value| link_setting(&value, LINK_BANDWIDTH));
    let link_latency = root.require("link_latency").and_then(|value| link_setting(&value, LATENCY));
    let link_model = readable(root, "link_model", link_model::read);
    let cxl_memory = readable(root, "cxl_mem", cxl_memory);
    let nodes = root.require("nodes");
    let elements = nodes.as_ref().and_then(|nodes| nodes.array());
    check_length(root, "num_nodes", "nodes", elements.as_ref().map(Vec::len));
    let (nodes, elements) = (nodes?, elements?);

    let (mut read_nodes, mut instances) = (Vec::new(), Vec::new());
    let mut num_instances = 0;
    for (index, element) in elements.iter().enumerate() {
        let Some(object) = element.object() else { continue };
        object.reject_unknown_in(&schema::NODE);
        read_nodes.extend(node(&object));
        let elements = object.require("instances").and_then(|value| value.array());
        check_length(&object, "num_instances", "instances", elements.as_ref().map(Vec::len));
        let elements = elements.unwrap_or_default();
        num_instances += elements.len();
        instances.extend(elements.iter().filter_map(|element| instances::read(&element.object()?, index)));
    }
    if elements.is_empty() {
        nodes.push(nodes.place().fault("a cluster needs at least one node"));
    } else if num_instances == 0 {
        nodes.push(nodes.place().fault("a cluster needs at least one instance"));
    }

    let all_read = !elements.is_empty() && read_nodes.len() == elements.len();
    let shared = || {
        Some(Shared {
            nodes: read_nodes,
            link_bandwidth: link_bandwidth?,
            link_latency: link_latency?,
            link_model: link_model?,
            cxl_memory: cxl_memory?,
        })
    };
    Some(Cluster { instances, shared: all_read.then(shared).flatten() })
}

fn node(object: &Object<'_>) -> Option<Node> {
    let cpu_memory = object.require("cpu_mem").and_then(|value| cpu_memory(&value));
    let power = optional(object, "power", power::read);
    Some(Node { cpu_memory: cpu_memory?, power })
}

/// Holds the count under `key` against the length of `list`, unless that could not be read.
fn check_length(object: &Object<'_>, key: &str, list: &str, length: Option<usize>) {
    let count = object.require(key).and_then(|value| value.count(0, MOST));
    let (Some(count), Some(length)) = (count, length) else { return };
    if count.value != length as u64 {
        let message = format!("`{key}` is {}, but `{list}` has {length}", count.value);
        object.push(count.place.fault(message).hint(format!("write {length}")));
    }
}

fn link_setting(value: &Cursor<'_>, bounds: Bounds) -> Option<LinkSetting> {
    let elements = if value.is_array() { value.array()? } else { vec![value.clone()] };
    // All are read before any is given up, so that each faulty one is told.
    let values: Vec<_> = elements.iter().map(|element| element.number(bounds)).collect();
    let values = values.into_iter().map(|number| Some(number?.value)).collect::<Option<Vec<_>>>()?;
    Some(LinkSetting { place: value.place(), values, is_list: value.is_array() })
}

/// Reads the memory of an NPU.
pub(crate) fn npu_memory(value: &Cursor<'_>) -> Option<Memory> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::NPU_MEMORY);
    let [size, bandwidth, latency] = memory(|key| object.require(key));
    let utilisation = optional(&object, "mem_util", |value| value.number(Bounds::FRACTION));
    let [activation_peak, runtime_context] =
        ["activation_peak", "runtime_context"].map(|key| optional(&object, key, overhead));
    Some(Memory {
        size_gib: size?,
        bandwidth_gb_per_s: bandwidth?.value,
        latency_ns: latency?.value,
        utilisation: utilisation.map(|share| share.value),
        activation_peak,
        runtime_context,
    })
}

fn overhead(value: &Cursor<'_>) -> Option<Overhead> {
    if !value.is_string() {
        return value.number(Bounds::From { least: 0.0, most: MOST_GIB }).map(|gib| Overhead::Gib(gib.value));
    }
    let word = value.string()?;
    if word.value != "estimate" {
        value.push(word.place.fault(format!("expected a number or `estimate`, found {:?}", word.value)));
        return None;
    }
    Some(Overhead::Estimate)
}

fn cpu_memory(value: &Cursor<'_>) -> Option<CpuMemory> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::CPU_MEMORY);
    let pim_config = optional(&object, "pim_config", |value| value.string());
    // Its speed is that of the memory type, if it is one that computes.
    let may_lack = |key: &str| pim_config.is_some() && key != "mem_size";
    let [size, bandwidth, latency] = memory(|key| if may_lack(key) { object.get(key) } else { object.require(key) });
    Some(CpuMemory {
        place: object.place(),
        size_gib: size?,
        bandwidth_gb_per_s: bandwidth.map(|bandwidth| bandwidth.value),
        latency_ns: latency.map(|latency| latency.value),
        pim_config,
    })
}

fn cxl_memory(value: &Cursor<'_>) -> Option<CxlMemory> {
    let object = value.object()?;
    object.reject_unknown_in(&schema::CXL_MEMORY);
    let [size, bandwidth, latency] = memory(|key| object.require(key));
    let num_devices = match object.get("num_devices") {
        Some(value) => value.count(1, MOST).map(|count| count.value as u32),
        None => Some(1),
    };
    Some(CxlMemory {
        size_gib: size?,
        bandwidth_gb_per_s: bandwidth?.value,
        latency_ns: latency?.value,
        num_devices: num_devices?,
    })
}

/// Size, bandwidth and latency of a memory, as far as `get` finds them.
fn memory<'r>(get: impl Fn(&'static str) -> Option<Cursor<'r>>) -> [Option<Placed<f64>>; 3] {
    let size = Bounds::Positive { most: MOST_GIB };
    [("mem_size", size), ("mem_bw", BANDWIDTH), ("mem_latency", LATENCY)]
        .map(|(key, bounds)| get(key).and_then(|value| value.number(bounds)))
}

/// Reads `key` if it is there.
pub(crate) fn optional<T>(object: &Object<'_>, key: &str, read: impl FnOnce(&Cursor<'_>) -> Option<T>) -> Option<T> {
    object.get(key).and_then(|value| read(&value))
}

/// Reads `key` if it is there. `None` when it is there and can't be read: what follows from it is not to be judged.
pub(crate) fn readable<T>(
    object: &Object<'_>,
    key: &str,
    read: impl FnOnce(&Cursor<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match object.get(key) {
        Some(value) => read(&value).map(Some),
        None => Some(None),
    }
}
