//! The gate and the experts behind it, on one expert-parallel rank.
//!
//! ```text
//! rows    = tokens · experts per token + active · tile / 2        (an expert's last tile is half empty)
//! compute = rows · 6 · hidden · width / (share · peak)
//! weights = active · 3 · hidden · width · bytes
//! memory  = weights · (1 − 1 / (1 + (weights / cache)^4)) / bandwidth
//! time    = launch + ‖compute, memory‖_overlap
//! ```
//!
//! Decoding is bound by the weights of the experts that any token reaches, so it costs by active experts; prefill by
//! rows. This is vLLM's `fused_moe`: two grouped products whose rows are padded to whole tiles per expert. The profiler
//! runs one block again and again, so the few experts of a lone token stay in its L2 cache; the fourth power tells how
//! sharply that ends.

use model::Model;

use super::constants::{ExpertConstants, GemmConstants};
use super::{norm, peak_flop_per_ns};

/// Rows of the smallest tile of the grouped products.
const TILE_ROWS: f64 = 16.0;

/// The experts of one block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experts {
    per_token: f64,
    /// Elements of one expert's three matrices.
    elements: f64,
    element_bytes: f64,
}

impl Experts {
    /// Those of `model`, if it has any.
    pub(super) fn of(model: &Model, element_bytes: f64) -> Option<Self> {
        let experts = model.experts?;
        let elements = 3.0 * model.hidden_size as f64 * experts.intermediate_size as f64;
        Some(Self { per_token: experts.per_token as f64, elements, element_bytes })
    }

    /// The time for `tokens` tokens on `active` experts, in ns.
    pub(super) fn time_ns(&self, tokens: f64, active: f64, gemm: &GemmConstants, constants: &ExpertConstants) -> f64 {
        let rows = tokens * self.per_token + active * TILE_ROWS / 2.0;
        let flop_per_ns = constants.compute_share * peak_flop_per_ns(gemm.compute_tflops, self.element_bytes);
        let compute_ns = rows * 2.0 * self.elements / flop_per_ns;
        let weights = active * self.elements * self.element_bytes;
        let cached_share = 1.0 / (1.0 + (weights / constants.cache_bytes).powi(4));
        let memory_ns = weights * (1.0 - cached_share) / constants.bandwidth_gbps;
        constants.launch_ns + norm(compute_ns, memory_ns, constants.overlap)
    }
}
