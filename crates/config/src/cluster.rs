//! The cluster file as it stands: each value checked by itself, not yet against the others.
//!
//! The keys are those of section 1 of the behaviour contract. Keys that ask for something this simulator can't do yet
//! are refused by name unless they hold their harmless value; leaving them out of account would give wrong results.

use std::sync::Arc;

use diagnostics::Faults;
use model::{Dtype, KvCacheDtype};

use crate::json::{self, Bounds, Cursor, Document, Object, Place, Placed};
use crate::placement;
use crate::settings::BLOCK_SIZE_MOST;

/// Most of anything that is counted one by one: nodes, instances, NPUs, sequences.
const MOST: u64 = 1 << 20;
/// Tokens that any limit may give.
const MOST_TOKENS: u64 = 1 << 40;
/// Largest memory in GiB, so that bytes stay exact in a double.
const MOST_GIB: f64 = (1u64 << 22) as f64;
/// Bandwidth is cut to whole bytes a nanosecond where it is used, so it begins at 1.
const BANDWIDTH: Bounds = Bounds::From { least: 1.0, most: 1e9 };
/// Far below any link; keeps the time of a message within 64 bits.
const LINK_BANDWIDTH: Bounds = Bounds::From { least: 1e-3, most: 1e9 };
const LATENCY: Bounds = Bounds::From { least: 0.0, most: 1e12 };

/// What one cluster file says.
pub(crate) struct Cluster {
    /// Every instance that could be read, in order.
    pub(crate) instances: Vec<Instance>,
    /// What instances share, if it could be read.
    pub(crate) shared: Option<Shared>,
}

/// What instances share.
pub(crate) struct Shared {
    /// Number of nodes.
    pub(crate) num_nodes: u32,
    /// Link bandwidth in GiB/s.
    pub(crate) link_bandwidth: LinkSetting,
    /// Link latency in ns.
    pub(crate) link_latency: LinkSetting,
    /// Host memory of the first node, which stands for all nodes.
    pub(crate) host_memory: Memory,
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

/// One memory.
pub(crate) struct Memory {
    /// Size in GiB.
    pub(crate) size_gib: Placed<f64>,
    /// Bandwidth in GB/s.
    pub(crate) bandwidth_gb_per_s: f64,
    /// Latency of an access in ns.
    pub(crate) latency_ns: f64,
    /// The share of it that may be used, where the file says so.
    pub(crate) utilisation: Option<f64>,
}

/// One instance.
pub(crate) struct Instance {
    /// Where it begins.
    pub(crate) place: Place,
    /// Index of its node.
    pub(crate) node: usize,
    /// The model it serves.
    pub(crate) model_name: Placed<String>,
    /// The type of its NPUs.
    pub(crate) hardware: Placed<String>,
    /// Memory of each NPU.
    pub(crate) npu_memory: Memory,
    /// Number of NPUs.
    pub(crate) num_npus: Option<Placed<u64>>,
    /// Tensor-parallel degree.
    pub(crate) tp_size: Option<Placed<u64>>,
    /// Pipeline-parallel degree.
    pub(crate) pp_size: Option<Placed<u64>>,
    /// Expert-parallel degree over the whole group.
    pub(crate) ep_size: Option<Placed<u64>>,
    /// The data-parallel group it steps with.
    pub(crate) dp_group: Option<Placed<String>>,
    /// What it says instead of the flags.
    pub(crate) overrides: Overrides,
}

/// Run-time flags that an instance sets for itself.
#[derive(Default)]
pub(crate) struct Overrides {
    pub(crate) max_num_seqs: Option<u64>,
    pub(crate) max_num_batched_tokens: Option<u64>,
    pub(crate) long_prefill_token_threshold: Option<u64>,
    pub(crate) block_size: Option<u64>,
    pub(crate) dtype: Option<Dtype>,
    pub(crate) kv_cache_dtype: Option<KvCacheDtype>,
    pub(crate) chunked_prefill: Option<bool>,
    pub(crate) prefix_caching: Option<bool>,
    pub(crate) reserve_full_isl: Option<bool>,
    pub(crate) block_copy: Option<bool>,
}

/// Reads a cluster file. `None` when it has no nodes to speak of; everything wrong is in `faults`.
pub(crate) fn read(document: &Arc<Document>, faults: &mut Faults) -> Option<Cluster> {
    json::read(document, faults, |root| cluster(&root.object()?))
}

fn cluster(root: &Object<'_>) -> Option<Cluster> {
    root.reject_unknown(&["num_nodes", "link_bw", "link_latency", "cxl_mem", "nodes"]);
    refuse(root, "cxl_mem", "CXL memory is not modelled yet");
    let link_bandwidth = root.require("link_bw").and_then(|value| link_setting(&value, LINK_BANDWIDTH));
    let link_latency = root.require("link_latency").and_then(|value| link_setting(&value, LATENCY));
    let nodes = root.require("nodes");
    let elements = nodes.as_ref().and_then(|nodes| nodes.array());
    check_length(root, "num_nodes", "nodes", elements.as_ref().map(Vec::len));
    let (nodes, elements) = (nodes?, elements?);

    let (mut host_memories, mut instances) = (Vec::new(), Vec::new());
    let mut num_instances = 0;
    for (index, element) in elements.iter().enumerate() {
        let Some(node) = element.object() else { continue };
        node.reject_unknown(&["num_instances", "cpu_mem", "instances", "power"]);
        refuse(&node, "power", "power is not modelled yet");
        host_memories.push(node.require("cpu_mem").and_then(|value| memory(&value, false)));
        let elements = node.require("instances").and_then(|value| value.array());
        check_length(&node, "num_instances", "instances", elements.as_ref().map(Vec::len));
        let elements = elements.unwrap_or_default();
        num_instances += elements.len();
        instances.extend(elements.iter().filter_map(|element| instance(&element.object()?, index)));
    }
    if elements.is_empty() {
        nodes.push(nodes.place().fault("a cluster needs at least one node"));
    } else if num_instances == 0 {
        nodes.push(nodes.place().fault("a cluster needs at least one instance"));
    }

    let shared = || {
        Some(Shared {
            num_nodes: u32::try_from(elements.len()).ok()?,
            link_bandwidth: link_bandwidth?,
            link_latency: link_latency?,
            host_memory: host_memories.into_iter().next()??,
        })
    };
    Some(Cluster { instances, shared: shared() })
}

/// Refuses a key that asks for what can't be simulated yet.
fn refuse(object: &Object<'_>, key: &str, reason: &str) {
    if let Some(value) = object.get(key) {
        value.push(value.place().fault(reason).hint(format!("remove `{key}`")));
    }
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

fn memory(value: &Cursor<'_>, is_npu: bool) -> Option<Memory> {
    let object = value.object()?;
    let extra = if is_npu { "mem_util" } else { "pim_config" };
    object.reject_unknown(&["mem_size", "mem_bw", "mem_latency", extra]);
    let number = |key, bounds| object.require(key).and_then(|value| value.number(bounds));
    let size_gib = number("mem_size", Bounds::Positive { most: MOST_GIB });
    let bandwidth = number("mem_bw", BANDWIDTH);
    let latency = number("mem_latency", LATENCY);
    let mut utilisation = None;
    if is_npu {
        utilisation = optional(&object, "mem_util", |value| value.number(Bounds::FRACTION));
    } else {
        refuse(&object, "pim_config", "processing in memory is not modelled yet");
    }
    Some(Memory {
        size_gib: size_gib?,
        bandwidth_gb_per_s: bandwidth?.value,
        latency_ns: latency?.value,
        utilisation: utilisation.map(|share| share.value),
    })
}

/// Reads `key` if it is there.
fn optional<T>(object: &Object<'_>, key: &str, read: impl FnOnce(&Cursor<'_>) -> Option<T>) -> Option<T> {
    object.get(key).and_then(|value| read(&value))
}

/// Reads `key` if it is there. `None` when it is there and can't be read: what follows from it is not to be judged.
fn readable<T>(object: &Object<'_>, key: &str, read: impl FnOnce(&Cursor<'_>) -> Option<T>) -> Option<Option<T>> {
    match object.get(key) {
        Some(value) => read(&value).map(Some),
        None => Some(None),
    }
}

const INSTANCE_KEYS: &[&str] = &[
    "model_name",
    "hardware",
    "npu_mem",
    "num_npus",
    "tp_size",
    "pp_size",
    "ep_size",
    "dp_group",
    "pd_type",
    "placement",
    "max_num_seqs",
    "max_num_batched_tokens",
    "long_prefill_token_threshold",
    "block_size",
    "dtype",
    "kv_cache_dtype",
    "enable_chunked_prefill",
    "enable_prefix_caching",
    "reserve_full_isl",
    "enable_local_offloading",
    "enable_attn_offloading",
    "enable_sub_batch_interleaving",
    "enable_block_copy",
];

fn instance(object: &Object<'_>, node: usize) -> Option<Instance> {
    object.reject_unknown(INSTANCE_KEYS);
    let string = |key| object.require(key).and_then(|value| value.string());
    let degree = |key| readable(object, key, |value| value.count(1, MOST));
    let model_name = string("model_name");
    let hardware = string("hardware");
    let npu_memory = object.require("npu_mem").and_then(|value| memory(&value, true));
    let [num_npus, tp_size, pp_size, ep_size] = ["num_npus", "tp_size", "pp_size", "ep_size"].map(degree);
    let dp_group = readable(object, "dp_group", |value| value.string());
    refuse_unsupported(object);
    if let Some(value) = object.get("placement") {
        placement::check(&value);
    }
    Some(Instance {
        place: object.place(),
        node,
        overrides: overrides(object),
        model_name: model_name?,
        hardware: hardware?,
        npu_memory: npu_memory?,
        num_npus: num_npus?,
        tp_size: tp_size?,
        pp_size: pp_size?,
        ep_size: ep_size?,
        dp_group: dp_group?,
    })
}

fn refuse_unsupported(object: &Object<'_>) {
    if let Some(value) = object.get("pd_type")
        && let Some(kind) = value.string()
    {
        let message = match kind.value.as_str() {
            "prefill" | "decode" => "splitting prefill from decode is not supported yet".to_owned(),
            other => format!("expected null, `prefill` or `decode`, found `{other}`"),
        };
        value.push(kind.place.fault(message).hint("write null"));
    }
    for (key, feature) in [
        ("enable_local_offloading", "weight offloading"),
        ("enable_attn_offloading", "attention offloading"),
        ("enable_sub_batch_interleaving", "sub-batch interleaving"),
    ] {
        if let Some(value) = object.get(key)
            && let Some(Placed { value: true, place }) = value.boolean()
        {
            value.push(place.fault(format!("{feature} is not supported yet")).hint(format!("remove `{key}`")));
        }
    }
}

fn overrides(object: &Object<'_>) -> Overrides {
    let count = |key, least, most| optional(object, key, |value| value.count(least, most)).map(|count| count.value);
    let switch = |key| optional(object, key, |value| value.boolean()).map(|switch| switch.value);
    let dtype = optional(object, "dtype", |value| value.name_of(Dtype::ALL, Dtype::name));
    let kv_cache_dtype = optional(object, "kv_cache_dtype", |value| {
        value.name_of(&[KvCacheDtype::Auto, KvCacheDtype::Fp8], |dtype| match dtype {
            KvCacheDtype::Auto => "auto",
            KvCacheDtype::Fp8 => "fp8",
        })
    });
    Overrides {
        max_num_seqs: count("max_num_seqs", 0, MOST_TOKENS),
        max_num_batched_tokens: count("max_num_batched_tokens", 0, MOST_TOKENS),
        long_prefill_token_threshold: count("long_prefill_token_threshold", 0, MOST_TOKENS),
        block_size: count("block_size", 1, BLOCK_SIZE_MOST),
        dtype: dtype.map(|dtype| dtype.value),
        kv_cache_dtype: kv_cache_dtype.map(|dtype| dtype.value),
        chunked_prefill: switch("enable_chunked_prefill"),
        prefix_caching: switch("enable_prefix_caching"),
        reserve_full_isl: switch("reserve_full_isl"),
        block_copy: switch("enable_block_copy"),
    }
}
