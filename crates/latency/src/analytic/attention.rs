//! Attention, as FlashAttention 2 does it on a paged KV cache (Dao, 2023; vLLM's `flash_attn_varlen_func`).
//!
//! A thread block takes up to 64 query rows of one head and walks over the KV of its sequence, 128 tokens at a time;
//! its shared memory fills an SM, so an SM holds one:
//!
//! ```text
//! block(kv) = tile + kv_block · blocks(kv)            blocks(kv) = 1 + min((kv − 64)⁺ / 64, kv / 128)
//! ```
//!
//! which is ⌈(kv + 1)/128⌉ with the steps drawn as slopes. The KV of `n` decodes takes `n · kv · 2 · kv_heads ·
//! head_dim · bytes / bandwidth` to read.
//!
//! **Only decodes.** The heads that share a KV head become rows of one thread block, and a sequence is split into up to
//! `2 · SMs / (n · kv_heads)` parts (`num_splits_heuristic`), whose results a second kernel joins. The time is the norm
//! of whole waves of thread blocks and of reading the KV.
//!
//! **With a prefill.** Every head and every 64 new tokens make a thread block, a decode makes one per head, nothing is
//! split, and the grid is as tall as the longest chunk, so that decodes drag empty thread blocks along. The kernel ends
//! when all SMs did their share, but not before the longest thread blocks did: head is the slowest grid dimension, so
//! those of the last head start late,
//!
//! ```text
//! makespan = max(work / SMs, (⌈blocks / SMs⌉ − 1) · mean + longest + tail · (1 − SMs / all blocks)⁺ · other work / SMs)
//! ```
//!
//! once with the prefill's and once with the decodes' blocks as the long ones. For the same reason the heads of a group
//! read the same KV far apart in time: once the decodes' KV of one KV head outgrows the L2 cache, it is read again by
//! each of the heads that do not run side by side.
//!
//! **Skew.** The longest decode sets the longest thread block; all else goes by the mean, since what is read does.

use model::Model;

use super::constants::AttentionConstants;
use super::norm;
use crate::AttentionShape;

/// Query rows of one thread block.
const QUERY_ROWS: f64 = 64.0;
/// Tokens of KV that a thread block loads at once.
const KV_BLOCK: f64 = 128.0;
/// Thread blocks per SM that the splitting of sequences aims at.
const SPLIT_WAVES: f64 = 2.0;

/// Attention of one model on one rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    heads: f64,
    kv_heads: f64,
    /// Bytes of keys and values of one token in one KV head.
    kv_head_bytes: f64,
}

impl Attention {
    /// That of `model` on one of `tp` ranks; a rank has at least one head of each kind.
    pub(super) fn of(model: &Model, tp: u64, kv_element_bytes: u64) -> Self {
        Self {
            heads: (model.num_attention_heads / tp).max(1) as f64,
            kv_heads: (model.num_key_value_heads / tp).max(1) as f64,
            kv_head_bytes: (2 * model.head_dim * kv_element_bytes) as f64,
        }
    }

    /// The time of `shape`, in ns.
    pub(super) fn time_ns(&self, shape: &AttentionShape, num_sms: f64, constants: &AttentionConstants) -> f64 {
        if shape.prefill_tokens == 0 {
            self.decode_ns(shape, num_sms, constants)
        } else {
            self.mixed_ns(shape, num_sms, constants)
        }
    }

    /// A step of decodes alone.
    fn decode_ns(&self, shape: &AttentionShape, num_sms: f64, constants: &AttentionConstants) -> f64 {
        let sequences = shape.num_decodes as f64;
        let kv = shape.kv_decode_mean as f64;
        let groups = (sequences * self.kv_heads).max(1.0);
        let parts = (SPLIT_WAVES * num_sms / groups).min(kv_blocks(kv)).max(1.0);
        let part_ns =
            constants.tile_ns + constants.kv_block_ns + constants.decode_kv_block_ns * (kv_blocks(kv / parts) - 1.0);
        let waves_ns = (groups * parts / num_sms).ceil() * part_ns;
        let bytes = sequences * kv * self.kv_heads * self.kv_head_bytes;
        let memory_ns = bytes / constants.bandwidth_gbps;
        let regroup_ns = if sequences > 1.0 { constants.regroup_ns } else { 0.0 };
        // Splitting sets in smoothly, as KV grows from one block to two.
        let combine_ns = if parts > 1.0 { constants.combine_ns * (kv_blocks(kv) - 1.0).min(1.0) } else { 0.0 };
        constants.launch_ns + regroup_ns + combine_ns + norm(waves_ns, memory_ns, constants.decode_overlap)
    }

    /// A step with a prefill.
    fn mixed_ns(&self, shape: &AttentionShape, num_sms: f64, constants: &AttentionConstants) -> f64 {
        let tile_ns = |kv: f64| constants.tile_ns + constants.kv_block_ns * kv_blocks(kv);
        let (tokens, history) = (shape.prefill_tokens as f64, shape.prefill_history as f64);
        let (sequences, kv) = (shape.num_decodes as f64, shape.kv_decode_mean as f64);
        let grid_rows = (tokens / QUERY_ROWS).ceil();

        let prefill = Tiles {
            count: self.heads * grid_rows,
            mean_ns: tile_ns(history + tokens / 2.0),
            longest_ns: tile_ns(history + tokens),
        };
        let decode = Tiles {
            count: self.heads * sequences,
            mean_ns: tile_ns(kv),
            longest_ns: tile_ns(kv.max(shape.kv_decode_max as f64)),
        };
        let late = constants.tail_share * (1.0 - num_sms / (prefill.count + decode.count)).max(0.0);
        let makespan_ns = (prefill.work_ns(num_sms) + decode.work_ns(num_sms))
            .max(prefill.last_ns(num_sms) + late * decode.work_ns(num_sms))
            .max(decode.last_ns(num_sms) + late * prefill.work_ns(num_sms));

        let kv_tokens = sequences * kv * self.rereads(shape, num_sms, constants) + history + tokens;
        let memory_ns = kv_tokens * self.kv_heads * self.kv_head_bytes / constants.bandwidth_gbps;
        let empty_ns = (grid_rows - 1.0) * decode.count * constants.empty_tile_ns;
        constants.launch_ns + norm(makespan_ns, memory_ns, constants.prefill_overlap) + empty_ns
    }

    /// How often the KV of the decodes comes from memory in a step with a prefill.
    fn rereads(&self, shape: &AttentionShape, num_sms: f64, constants: &AttentionConstants) -> f64 {
        let group = (self.heads / self.kv_heads).max(1.0);
        let sequences = (shape.num_decodes as f64).max(1.0);
        let side_by_side = (num_sms / sequences - 0.5).clamp(1.0, group);
        let kv_head_bytes = sequences * (shape.kv_decode_mean as f64).max(1.0) * self.kv_head_bytes;
        let missed_share = (1.0 - constants.cache_bytes / kv_head_bytes).max(0.0);
        1.0 + (group / side_by_side - 1.0) * missed_share
    }
}

/// Thread blocks of one kind.
struct Tiles {
    count: f64,
    mean_ns: f64,
    longest_ns: f64,
}

impl Tiles {
    /// The time they keep all SMs busy.
    fn work_ns(&self, num_sms: f64) -> f64 {
        self.count * self.mean_ns / num_sms
    }

    /// When the last of them ends if they run alone, a whole wave at a time. No time if there are none.
    fn last_ns(&self, num_sms: f64) -> f64 {
        if self.count == 0.0 {
            return 0.0;
        }
        ((self.count / num_sms).ceil() - 1.0) * self.mean_ns + self.longest_ns
    }
}

/// KV blocks that a thread block walks over for `kv` tokens beside its own.
fn kv_blocks(kv: f64) -> f64 {
    1.0 + ((kv - KV_BLOCK / 2.0).max(0.0) / (KV_BLOCK / 2.0)).min(kv / KV_BLOCK)
}
