//! The instances of a cluster file as they stand: each value checked by itself, not yet against the others.

use documents::json::{Cursor, Object, Place, Placed};
use engine::Role;
use model::{Dtype, KvCacheDtype};

use crate::cluster::{self, MOST, Memory, optional, readable};
use crate::placement::{self, PlacementRules};
use crate::schema;
use crate::settings::BLOCK_SIZE_MOST;

/// Tokens that any limit may give.
pub(crate) const MOST_TOKENS: u64 = 1 << 40;
/// Fewest blocks of a KV cache: one is vLLM's null block.
pub(crate) const NUM_GPU_BLOCKS_LEAST: u64 = 2;

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
    /// KV blocks on each NPU, as vLLM reports them, where memory does not decide.
    pub(crate) num_gpu_blocks: Option<Placed<u64>>,
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
    /// The part of a request's life it runs, where that is not all of it.
    pub(crate) pd_type: Option<Placed<Role>>,
    /// Where weights and KV are.
    pub(crate) placement: PlacementRules,
    /// What it says instead of the flags.
    pub(crate) overrides: Overrides,
}

impl Instance {
    /// The part of a request's life it runs.
    pub(crate) fn role(&self) -> Role {
        self.pd_type.as_ref().map_or(Role::Whole, |role| role.value)
    }
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
    pub(crate) local_offloading: Option<bool>,
    pub(crate) attn_offloading: Option<bool>,
    pub(crate) sub_batch_interleaving: Option<Placed<bool>>,
}

/// Reads one instance of the node with the index `node`.
pub(crate) fn read(object: &Object<'_>, node: usize) -> Option<Instance> {
    object.reject_unknown_in(&schema::INSTANCE);
    let string = |key| object.require(key).and_then(|value| value.string());
    let degree = |key| readable(object, key, |value| value.count(1, MOST));
    let model_name = string("model_name");
    let hardware = string("hardware");
    let npu_memory = object.require("npu_mem").and_then(|value| cluster::npu_memory(&value));
    let num_gpu_blocks =
        readable(object, "num_gpu_blocks", |value| value.count(NUM_GPU_BLOCKS_LEAST, u64::from(u32::MAX)));
    let [num_npus, tp_size, pp_size, ep_size] = ["num_npus", "tp_size", "pp_size", "ep_size"].map(degree);
    let dp_group = readable(object, "dp_group", |value| value.string());
    let pd_type = readable(object, "pd_type", pd_type);
    let placement = readable(object, "placement", placement::read);
    Some(Instance {
        place: object.place(),
        node,
        overrides: overrides(object),
        model_name: model_name?,
        hardware: hardware?,
        npu_memory: npu_memory?,
        num_gpu_blocks: num_gpu_blocks?,
        num_npus: num_npus?,
        tp_size: tp_size?,
        pp_size: pp_size?,
        ep_size: ep_size?,
        dp_group: dp_group?,
        pd_type: pd_type?,
        placement: placement?.unwrap_or_default(),
    })
}

fn pd_type(value: &Cursor<'_>) -> Option<Placed<Role>> {
    value.name_of(&[Role::Prefill, Role::Decode], |role| match role {
        Role::Prefill => "prefill",
        Role::Decode => "decode",
        Role::Whole => unreachable!("an instance that runs all of it has no `pd_type`"),
    })
}

fn overrides(object: &Object<'_>) -> Overrides {
    let count = |key, least, most| optional(object, key, |value| value.count(least, most)).map(|count| count.value);
    let placed_switch = |key| optional(object, key, |value| value.boolean());
    let switch = |key| placed_switch(key).map(|switch| switch.value);
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
        local_offloading: switch("enable_local_offloading"),
        attn_offloading: switch("enable_attn_offloading"),
        sub_batch_interleaving: placed_switch("enable_sub_batch_interleaving"),
    }
}
