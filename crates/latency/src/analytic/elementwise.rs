//! Kernels that move bytes: norms, rotary embedding, activation, embedding and sampler.
//!
//! ```text
//! one row  = launch + latency · bytes of a row
//! all rows = row · rows + min(bytes, cache) / cache bandwidth + (bytes − cache)⁺ / bandwidth
//! time     = ‖one row, all rows‖
//! ```
//!
//! A thread block works on one row, so a short step lasts as long as one row does; a long one as long as its bytes
//! take, and those that fit are found in the L2 cache, where the kernel before left them. How often vLLM's kernels
//! touch their tensors is known from what they do, and so is not fitted: see [`Elementwise::of`].

use model::{Layer, TensorSizes};

use super::constants::ElementwiseConstants;
use super::norm;

/// How well the time of one row hides behind that of all.
const OVERLAP: f64 = 1.5;

/// One such kernel on one rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Elementwise {
    /// Whether it looks up rows of a table.
    is_gather: bool,
    /// Bytes moved per token or sequence.
    traffic: f64,
    /// Rows that a token or sequence makes: heads in a norm by head, else one.
    rows: f64,
}

impl Elementwise {
    /// The kernel of `layer`, where `per_token` are its sizes for one token and `heads` the heads that are normed.
    pub(super) fn of(layer: Layer, per_token: TensorSizes, heads: u64) -> Self {
        let input = per_token.input as f64;
        let output = per_token.output as f64;
        let (traffic, rows) = match layer {
            // Takes rows of the table, as wide as what it writes.
            Layer::Embedding => (2.0 * output, 1),
            // Fused with the addition of the residual, which is read and written too, except in a block's first norm
            // while it is the only block, as in a profile: on average half of that.
            Layer::Layernorm => (1.5 * (input + output), 1),
            Layer::InputLayernorm | Layer::PostLayernorm | Layer::FinalLayernorm => (2.0 * (input + output), 1),
            Layer::QkNorm => (input + output, heads),
            // 16-bit logits are read, written as 32-bit ones, and those are read for the largest.
            Layer::Sampler => (5.0 * input, 1),
            _ => (input + output, 1),
        };
        Self { is_gather: layer == Layer::Embedding, traffic, rows: rows.max(1) as f64 }
    }

    /// The time for `count` tokens or sequences, in ns.
    pub(super) fn time_ns(&self, count: f64, constants: &ElementwiseConstants) -> f64 {
        let bytes = self.traffic * count;
        let cached = bytes.min(constants.cache_bytes);
        let launch_ns = if self.is_gather { constants.gather_launch_ns } else { constants.launch_ns };
        let one_row_ns = launch_ns + constants.row_latency_ns_per_byte * self.traffic / self.rows;
        let all_rows_ns = constants.row_ns * self.rows * count
            + cached / constants.cache_bandwidth_gbps
            + (bytes - cached) / constants.bandwidth_gbps;
        norm(one_row_ns, all_rows_ns, OVERLAP)
    }
}
