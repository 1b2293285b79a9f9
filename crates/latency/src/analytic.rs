//! An analytic latency model: from a model's dimensions and the constants of a GPU to nanoseconds, without a profile.
//!
//! Every kernel takes its launch and then the longer of two times: that of its arithmetic on the thread blocks it is
//! cut into, and that of the bytes it moves (the roofline: Williams, Waterman and Patterson, 2009). The two overlap,
//! though not perfectly, so they are joined by a norm, ‖a, b‖ₚ = (aᵖ + bᵖ)^(1/p), which is their sum for p = 1 and the
//! larger one for p → ∞. What makes it fit is the cutting: kernels run in whole waves of thread blocks, a narrow
//! product leaves SMs idle, a decode among prefills occupies an SM for a single row. Each kind of kernel has its
//! module, with its formula; [`GpuConstants`] has the few numbers that differ from GPU to GPU, found by
//! [`fit`](crate::fit). Nothing is fitted per model or per tensor-parallel degree.
//!
//! Where it is weakest: kernels of a few µs whose data is or is not still in the L2 cache, which depends on what ran
//! before (the activation between feed-forward products most of all); samplers, whose kernel changes with the
//! vocabulary; lone sequences, whose products have kernels of their own. Times step where a row of tiles begins, as on
//! the GPU; tables draw a slope from one measured point to the next.
//!
//! Matrix rates are those of 16-bit elements, and in inverse proportion to the size of others. Layers that an
//! architecture marks as the same at every tensor-parallel degree are those of one rank alone.

mod attention;
mod constants;
mod elementwise;
mod experts;
mod gemm;

use model::{Architecture, Dtype, KvCacheDtype, Layer, Model};
use units::Duration;

pub(crate) use constants::is_too_large;
pub use constants::{AttentionConstants, ElementwiseConstants, ExpertConstants, GemmConstants, GpuConstants};

use crate::{AttentionShape, OpLatency};
use attention::Attention;
use elementwise::Elementwise;
use experts::Experts;
use gemm::Gemm;

/// The times of one model on one type of GPU at one tensor-parallel degree.
#[derive(Clone, Debug)]
pub struct Analytic {
    constants: GpuConstants,
    /// By layer; `None` where the architecture has no such layer, or its time is not one by tokens or sequences.
    kernels: [Option<Kernel>; Layer::ALL.len()],
    attention: Attention,
    experts: Option<Experts>,
    covered: [bool; Layer::ALL.len()],
}

/// A layer whose time goes by tokens or sequences.
#[derive(Clone, Copy, Debug)]
enum Kernel {
    Gemm(Gemm),
    Elementwise(Elementwise),
}

impl Analytic {
    /// The times of `model` on one of `tp` ranks, with weights and activations of type `dtype`.
    ///
    /// # Panics
    /// When `tp` is 0.
    pub fn new(
        model: &Model,
        architecture: &Architecture,
        tp: u64,
        dtype: Dtype,
        kv_cache_dtype: KvCacheDtype,
        constants: GpuConstants,
    ) -> Self {
        assert!(tp > 0, "a tensor-parallel degree is at least 1");
        let experts = Experts::of(model, dtype.bytes() as f64);
        let is_covered = |layer| architecture.table(layer).is_some() && (layer != Layer::Moe || experts.is_some());
        let kernel = |layer| {
            let parallel = if architecture.is_tp_stable(layer) { 1 } else { tp };
            is_covered(layer).then(|| Kernel::of(model, layer, parallel, dtype.bytes())).flatten()
        };
        Self {
            constants,
            kernels: std::array::from_fn(|index| kernel(Layer::ALL[index])),
            attention: Attention::of(model, tp, kv_cache_dtype.bytes(dtype)),
            experts,
            covered: std::array::from_fn(|index| is_covered(Layer::ALL[index])),
        }
    }

    /// The same model on a GPU of other constants.
    pub(crate) fn with_constants(&self, constants: &GpuConstants) -> Self {
        Self { constants: constants.clone(), ..self.clone() }
    }

    fn by_count(&self, layer: Layer, count: u64) -> Duration {
        let kernel = self.kernels[layer as usize].unwrap_or_else(|| panic!("{layer} has no time by tokens"));
        let count = count as f64;
        duration(match kernel {
            Kernel::Gemm(gemm) => gemm.time_ns(count, self.constants.num_sms as f64, &self.constants.gemm),
            Kernel::Elementwise(elementwise) => elementwise.time_ns(count, &self.constants.elementwise),
        })
    }
}

impl Kernel {
    /// The kernel of `layer` on one of `parallel` ranks, for layers whose time goes by tokens or sequences.
    fn of(model: &Model, layer: Layer, parallel: u64, element_bytes: u64) -> Option<Self> {
        let per_token = model.sizes(layer, 1, 0, parallel, element_bytes);
        match layer {
            Layer::Attention | Layer::Moe => None,
            Layer::QkvProj | Layer::OProj | Layer::GateUpProj | Layer::DownProj | Layer::LmHead => {
                Some(Kernel::Gemm(Gemm {
                    inner: (per_token.input / element_bytes) as f64,
                    outer: (per_token.output / element_bytes) as f64,
                    element_bytes: element_bytes as f64,
                }))
            }
            _ => {
                let heads = (model.num_attention_heads + model.num_key_value_heads) / parallel;
                Some(Kernel::Elementwise(Elementwise::of(layer, per_token, heads)))
            }
        }
    }
}

impl OpLatency for Analytic {
    fn covers(&self, layer: Layer) -> bool {
        self.covered[layer as usize]
    }

    fn dense(&self, layer: Layer, tokens: u64) -> Duration {
        self.by_count(layer, tokens)
    }

    fn per_sequence(&self, layer: Layer, sequences: u64) -> Duration {
        self.by_count(layer, sequences)
    }

    fn attention(&self, shape: &AttentionShape) -> Duration {
        duration(self.attention.time_ns(shape, self.constants.num_sms as f64, &self.constants.attention))
    }

    fn experts(&self, tokens: u64, active_experts: u64) -> Duration {
        let experts = self.experts.expect("a model with experts");
        if tokens == 0 {
            return Duration::ZERO;
        }
        let GpuConstants { gemm, experts: constants, .. } = &self.constants;
        duration(experts.time_ns(tokens as f64, active_experts as f64, gemm, constants))
    }
}

/// The norm ‖a, b‖ₚ of two times.
fn norm(a: f64, b: f64, p: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high <= 0.0 { 0.0 } else { high * (1.0 + (low / high).powf(p)).powf(p.recip()) }
}

/// The matrix rate for elements of `element_bytes`, given that for two bytes in 10^12 FLOP/s.
fn peak_flop_per_ns(compute_tflops: f64, element_bytes: f64) -> f64 {
    compute_tflops * 1e3 * 2.0 / element_bytes
}

/// Whole nanoseconds, cut, at least 1; times beyond what a duration holds become the longest there is.
fn duration(ns: f64) -> Duration {
    Duration::from_ns((ns as u64).max(1))
}
