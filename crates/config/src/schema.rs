//! What cluster files, model files, architecture files and presets look like.
//!
//! Readers name their keys by these tables; bounds are the readers' own constants.

mod model;
mod power;

use documents::Bounds;
use documents::schema::{DocumentKind, Key, Others, Rule, Shape, Value};

use crate::cluster::{BANDWIDTH, LATENCY, LINK_BANDWIDTH, MOST, MOST_GIB};
use crate::instances::{MOST_TOKENS, NUM_GPU_BLOCKS_LEAST};
use crate::link_model::MOST_BYTES;
use crate::presets::MICROSECONDS;
use crate::settings::BLOCK_SIZE_MOST;

pub use model::{ARCHITECTURE, MODEL};
pub(crate) use model::{CATALOGUE as TABLES, SEQUENCE as SEQUENCE_PARTS};
pub(crate) use power::{CPU as POWER_CPU, DRAM as POWER_DRAM, LINK as POWER_LINK, NIC as POWER_NIC};
pub(crate) use power::{NODE as POWER, NPU as POWER_NPU, STORAGE as POWER_STORAGE};

/// A cluster file.
pub const CLUSTER: DocumentKind = DocumentKind {
    name: "cluster",
    title: "Cluster",
    about: "Nodes, instances, links and memory: the file that `--cluster-config` names.",
    null_is_absent: true,
    root: &ROOT,
};

/// A preset of host times.
pub const PRESET: DocumentKind = DocumentKind {
    name: "preset",
    title: "Preset",
    about: "What an engine's host takes: a file that `--preset` names, as `servingsim calibrate` writes it.",
    null_is_absent: true,
    root: &PRESET_ROOT,
};

const SIZE: Value = Value::Number(Bounds::Positive { most: MOST_GIB });
const SPEED: Value = Value::Number(BANDWIDTH);
const DELAY: Value = Value::Number(LATENCY);
const DEGREE: Value = Value::Count { least: 1, most: MOST };
const LIMIT: Value = Value::Count { least: 0, most: MOST_TOKENS };

pub(crate) const ROOT: Shape = Shape::of(
    "cluster",
    "The whole cluster.",
    &[
        Key::required("num_nodes", Value::Count { least: 0, most: MOST }, "Nodes; as many as `nodes` has."),
        Key::required(
            "link_bw",
            Value::Either(&[Value::Number(LINK_BANDWIDTH), Value::List(&Value::Number(LINK_BANDWIDTH))]),
            "Bandwidth of a link in GiB/s: one number, or one for each dimension of the topology, innermost first.",
        ),
        Key::required(
            "link_latency",
            Value::Either(&[DELAY, Value::List(&DELAY)]),
            "Latency of a link in nanoseconds, likewise.",
        ),
        Key::optional(
            "link_model",
            Value::List(&Value::OrNull(&Value::Object(&LINK_MODEL))),
            "Measured collectives, for each dimension, innermost first; `null` for one that has none. They stand in for \
         computed times.",
        ),
        Key::optional("cxl_mem", Value::Object(&CXL_MEMORY), "Memory that every node reaches."),
        Key::required("nodes", Value::FilledList(&Value::Object(&NODE)), "The nodes."),
    ],
);

pub(crate) const NODE: Shape = Shape::of(
    "node",
    "One node.",
    &[
        Key::required("num_instances", Value::Count { least: 0, most: MOST }, "Instances; as many as `instances` has."),
        Key::required("cpu_mem", Value::Object(&CPU_MEMORY), "Host memory. Runs take the first node's speed for all."),
        Key::required("instances", Value::List(&Value::Object(&INSTANCE)), "The instances on it."),
        Key::optional("power", Value::Object(&POWER), "What its parts draw. Counted where every node has it."),
    ],
);

pub(crate) const CPU_MEMORY: Shape = Shape {
    rules: &[Rule::Unless("pim_config", &["mem_bw", "mem_latency"])],
    ..Shape::of(
        "cpu_mem",
        "Host memory of a node.",
        &[
            Key::required("mem_size", SIZE, "Size in GiB."),
            Key::optional("mem_bw", SPEED, "Bandwidth in GB/s. Needed unless attention is offloaded to this memory."),
            Key::optional("mem_latency", DELAY, "Latency of an access in nanoseconds. Needed likewise."),
            Key::optional(
                "pim_config",
                Value::Text,
                "The type of memory, where it computes attention itself (`--enable-attn-offloading`).",
            ),
        ],
    )
};

pub(crate) const CXL_MEMORY: Shape = Shape::of(
    "cxl_mem",
    "A pool of memory that every node reaches.",
    &[
        Key::required("mem_size", SIZE, "Size in GiB."),
        Key::required("mem_bw", SPEED, "Bandwidth of each device in GB/s."),
        Key::required("mem_latency", DELAY, "Latency of an access in nanoseconds."),
        Key::optional("num_devices", DEGREE, "Devices that serve accesses beside each other; 1 unless given."),
    ],
);

pub(crate) const NPU_MEMORY: Shape = Shape::of(
    "npu_mem",
    "Memory of each NPU of an instance.",
    &[
        Key::required("mem_size", SIZE, "Size in GiB."),
        Key::required("mem_bw", SPEED, "Bandwidth in GB/s; reductions of collectives go through it."),
        Key::required("mem_latency", DELAY, "Latency of an access in nanoseconds."),
        Key::optional(
            "mem_util",
            Value::Number(Bounds::FRACTION),
            "The share for weights and KV; else `--npu-memory-utilization`.",
        ),
        Key::optional("activation_peak", OVERHEAD, "With `--engine vllm`, GiB that activations take, or `estimate`."),
        Key::optional("runtime_context", OVERHEAD, "With `--engine vllm`, GiB that the runtime takes, or `estimate`."),
    ],
);

const OVERHEAD: Value =
    Value::Either(&[Value::Number(Bounds::From { least: 0.0, most: MOST_GIB }), Value::OneOf(&["estimate"])]);

pub(crate) const INSTANCE: Shape = Shape::of(
    "instance",
    "One instance: a model on its NPUs.",
    &[
        Key::required("model_name", Value::Text, "The model it serves: a built-in one, or one in `--model-dir`."),
        Key::required("hardware", Value::Text, "The type of its NPUs, as folders of profiles are called."),
        Key::required("npu_mem", Value::Object(&NPU_MEMORY), "Memory of each NPU."),
        Key::optional(
            "num_gpu_blocks",
            Value::Count { least: NUM_GPU_BLOCKS_LEAST, most: u32::MAX as u64 },
            "KV blocks on each NPU, as vLLM reports them; else they follow from memory.",
        ),
        Key::optional("num_npus", DEGREE, "NPUs; `tp_size × pp_size` unless given."),
        Key::optional("tp_size", DEGREE, "Tensor-parallel degree; 1, or what `num_npus` leaves."),
        Key::optional("pp_size", DEGREE, "Pipeline stages; 1, or what `num_npus` leaves."),
        Key::optional(
            "ep_size",
            DEGREE,
            "Expert-parallel degree, over the whole group; `tp_size` unless given, and 1 for a dense model.",
        ),
        Key::optional("dp_group", Value::Text, "The data-parallel group it steps with; alone unless given."),
        Key::optional(
            "pd_type",
            Value::OneOf(&["prefill", "decode"]),
            "The part of a request's life it runs; all of it unless given.",
        ),
        Key::optional("placement", Value::Object(&PLACEMENT), "Where weights are, and where lost prefixes come from."),
        Key::optional("max_num_seqs", LIMIT, "Instead of `--max-num-seqs`; 0 for no limit."),
        Key::optional("max_num_batched_tokens", LIMIT, "Instead of `--max-num-batched-tokens`; 0 for no limit."),
        Key::optional(
            "long_prefill_token_threshold",
            LIMIT,
            "Instead of `--long-prefill-token-threshold`; 0 for none.",
        ),
        Key::optional("block_size", Value::Count { least: 1, most: BLOCK_SIZE_MOST }, "Instead of `--block-size`."),
        Key::optional("dtype", Value::OneOf(model::DTYPES), "Instead of `--dtype`."),
        Key::optional("kv_cache_dtype", Value::OneOf(&["auto", "fp8"]), "Instead of `--kv-cache-dtype`."),
        Key::optional("enable_chunked_prefill", Value::Switch, "Instead of the flag of this name."),
        Key::optional("enable_prefix_caching", Value::Switch, "Instead of the flag of this name."),
        Key::optional("reserve_full_isl", Value::Switch, "Instead of the flag of this name."),
        Key::optional("enable_local_offloading", Value::Switch, "Instead of the flag of this name."),
        Key::optional("enable_attn_offloading", Value::Switch, "Instead of the flag of this name."),
        Key::optional("enable_sub_batch_interleaving", Value::Switch, "Instead of the flag of this name."),
        Key::optional("enable_block_copy", Value::Switch, "Instead of the flag of this name."),
    ],
);

const DEVICE: Value = Value::Pattern("^([nN][pP][uU]|[cC][pP][uU]|[cC][xX][lL](:[0-9]+)?)$");
/// KV that a running request works on is always on the NPU.
const NPU_ONLY: Value = Value::Pattern("^[nN][pP][uU]$");

const WEIGHTS: Key = Key::optional("weights", DEVICE, "Where weights are: `npu`, `cpu` or `cxl:N`.");
const KV: Key = Key::optional("kv_loc", NPU_ONLY, "Where KV of running requests is: `npu`; others are refused.");
const EVICTED: Key = Key::optional(
    "kv_evict_loc",
    DEVICE,
    "Where lost prefixes are brought back from. The default's counts, those of blocks and layers do not.",
);

pub(crate) const PLACEMENT: Shape = Shape::of(
    "placement",
    "Where weights are, and where lost prefixes come from. Layers win over blocks, blocks over the default.",
    &[
        Key::optional("default", Value::Object(&LOCATIONS), "For whatever no other rule is for; `npu` unless given."),
        Key::optional("blocks", Value::List(&Value::Object(&BLOCKS)), "For some blocks each."),
        Key::optional("layers", Value::Object(&LAYERS), "For layers, by their names."),
    ],
);

pub(crate) const LOCATIONS: Shape = Shape::of("locations", "Where things are.", &[WEIGHTS, KV, EVICTED]);

pub(crate) const BLOCKS: Shape = Shape::of(
    "blocks",
    "Where things of some blocks are.",
    &[
        Key::required(
            "blocks",
            Value::Either(&[
                Value::Count { least: 0, most: u64::MAX },
                Value::Pattern("^\\s*[0-9]+\\s*(-\\s*[0-9]+\\s*)?(,\\s*[0-9]+\\s*(-\\s*[0-9]+\\s*)?)*$"),
            ]),
            "Which blocks: a number, or numbers and ranges as in `\"0-3,5\"`, counted from 0.",
        ),
        WEIGHTS,
        KV,
        EVICTED,
    ],
);

pub(crate) const LAYERS: Shape = Shape::of("layers", "Where things of layers are.", model::LAYER_KEYS);

const CURVE: Value = Value::FilledList(&Value::Tuple(&[Value::Count { least: 0, most: MOST_BYTES }, DELAY]));

pub(crate) const LINK_MODEL: Shape = Shape::of(
    "link_model",
    "Measured collectives of one dimension: points `[bytes, nanoseconds]`, sizes ascending, as NCCL tests count them.",
    &[
        Key::optional("all_reduce", CURVE, "All-reduces."),
        Key::optional("all_gather", CURVE, "All-gathers."),
        Key::optional("reduce_scatter", CURVE, "Reduce-scatters."),
        Key::optional("all_to_all", CURVE, "All-to-alls."),
    ],
);

const TIME: Value = Value::Number(MICROSECONDS);

pub(crate) const PRESET_ROOT: Shape = Shape::of(
    "preset",
    "A preset.",
    &[
        Key::required("name", Value::Text, "Its name, which results are shown with."),
        Key::optional("about", Value::Text, "Of which engine it tells, and how it came about."),
        Key::required("host_us", Value::Object(&HOST), "What the host takes, in microseconds."),
    ],
);

pub(crate) const HOST: Shape = Shape::of(
    "host_us",
    "What a host takes, in microseconds; 0 unless given.",
    &[
        Key::optional("step", TIME, "To schedule a step and prepare its launch, whatever it holds."),
        Key::optional("sequence", TIME, "More for each sequence of the step."),
        Key::optional("new_request", TIME, "More for each request that starts in it."),
        Key::optional("block", TIME, "For which the GPU waits in each block of a step that is not one captured graph."),
        Key::optional(
            "frontend_request",
            TIME,
            "From a request's arrival at the front end until its engine can see it.",
        ),
        Key::optional("frontend_token", TIME, "From a token's being computed until the client has it."),
    ],
);

/// All kinds of documents that are read here.
pub const KINDS: &[&DocumentKind] = &[&CLUSTER, &MODEL, &ARCHITECTURE, &PRESET];

/// Values under names of the user's.
const fn by_name(name: &'static str, about: &'static str, value: &'static Value) -> Shape {
    Shape { name, about, keys: &[], others: Others::Hold(value), rules: &[] }
}
