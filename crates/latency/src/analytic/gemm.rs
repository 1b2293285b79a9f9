//! Matrix products with weights.
//!
//! A product of `M × K` activations with `K × N` weights is cut into output tiles, one thread block each, and an SM
//! works on one tile at a time (wave quantisation: NVIDIA, *Matrix Multiplication Background User's Guide*):
//!
//! ```text
//! compute = min over tile shapes of ⌈⌈M/m⌉ ⌈N/n⌉ / SMs⌉ · 2 m n K / (share · peak / SMs)
//! memory  = (K N + reads · M (K + N)) · bytes / bandwidth
//! time    = launch + ‖compute, memory‖_overlap
//! ```
//!
//! The library picks the shape, so the smallest time counts. Beside 128 × 128 and the 64-wide shapes there is one that
//! cuts along `K` too and leaves no SM idle (stream-K: Osama et al., 2023), at a lower rate. That a step of a few
//! tokens costs as much as one of sixty is the memory term: weights are read once whatever the batch.

use super::constants::GemmConstants;
use super::{norm, peak_flop_per_ns};

/// Edge of a full tile, in elements.
const TILE: f64 = 128.0;
/// Edge of a small one.
const SMALL_TILE: f64 = 64.0;

/// One matrix product with weights on one rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gemm {
    /// Input width of one token, `K`.
    pub(super) inner: f64,
    /// Output width of one token, `N`.
    pub(super) outer: f64,
    /// Bytes of one element.
    pub(super) element_bytes: f64,
}

impl Gemm {
    /// The time for `rows` tokens or sequences, in ns.
    pub(super) fn time_ns(&self, rows: f64, num_sms: f64, constants: &GemmConstants) -> f64 {
        let Self { inner, outer, element_bytes } = *self;
        let flop_per_ns = peak_flop_per_ns(constants.compute_tflops, element_bytes) / num_sms;
        let shape = |tile_rows: f64, tile_columns: f64, share: f64| {
            let tiles = (rows / tile_rows).ceil() * (outer / tile_columns).ceil();
            let tile_ns = 2.0 * tile_rows * tile_columns * inner / (share * flop_per_ns);
            (tiles / num_sms, tile_ns)
        };
        let whole_waves = |(waves, tile_ns): (f64, f64)| waves.ceil() * tile_ns;
        let small = constants.small_tile_share;
        let (stream_waves, stream_tile_ns) = shape(TILE, TILE, constants.stream_share);
        let compute_ns = (stream_waves * stream_tile_ns)
            .min(whole_waves(shape(TILE, TILE, 1.0)))
            .min(whole_waves(shape(SMALL_TILE, TILE, small)))
            .min(whole_waves(shape(TILE, SMALL_TILE, small)))
            .min(whole_waves(shape(SMALL_TILE, SMALL_TILE, small * small)));
        let elements = inner * outer + constants.activation_reads * rows * (inner + outer);
        let memory_ns = elements * element_bytes / constants.bandwidth_gbps;
        constants.launch_ns + norm(compute_ns, memory_ns, constants.overlap)
    }
}
