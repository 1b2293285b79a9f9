//! Finds the constants of a GPU in what was measured on it.
//!
//! The four sections of [`GpuConstants`] belong to different ops, so each is fitted alone (experts last, since their
//! rate is a share of that of the other products). What is minimised is the mean of |ln(model / measured)|: relative,
//! so that a layer of 2 µs counts like one of 2 ms, and absolute rather than squared, so that the odd kernel choice
//! does not pull the rest along. Every layer of every model and degree weighs the same; within a layer the shapes that
//! serving is made of weigh more: few tokens, and KV of a few thousand.
//!
//! The search is Nelder–Mead over the logarithms of the constants, which keeps them positive and makes a factor of two
//! the same step for a launch time and a bandwidth. It is deterministic, and begins at a typical GPU twice: with
//! a small simplex towards larger constants and with a wide one towards smaller. A section without samples keeps the
//! typical constants.

mod simplex;

use model::{Architecture, Dtype, KvCacheDtype, Layer, Model, Table};

use crate::analytic::{
    Analytic, AttentionConstants, ElementwiseConstants, ExpertConstants, GemmConstants, GpuConstants, is_too_large,
};
use crate::{Op, Sample};

/// What was measured of one model at one tensor-parallel degree.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its layers.
    pub architecture: &'a Architecture,
    /// The tensor-parallel degree.
    pub tp: u64,
    /// The type of weights and activations.
    pub dtype: Dtype,
    /// The type of the KV cache.
    pub kv_cache_dtype: KvCacheDtype,
    /// The measured ops.
    pub samples: Vec<Sample>,
}

impl Measured<'_> {
    /// The analytic model of the same thing on a GPU of these constants.
    pub fn analytic(&self, constants: GpuConstants) -> Analytic {
        Analytic::new(self.model, self.architecture, self.tp, self.dtype, self.kv_cache_dtype, constants)
    }
}

/// Edge of the first simplex, in logarithms: steps of a quarter.
const EDGE: f64 = 0.22;
/// Searches, each beginning at the result of the one before.
const ROUNDS: usize = 5;
/// Points a search may look at.
const EVALUATIONS: usize = 600;
/// Samples of one layer that are looked at, at most: every n-th of them.
const LAYER_SAMPLES_MAX: usize = 2000;

/// The constants of the GPU `hardware` of `num_sms` multiprocessors that best explain `measured`.
///
/// # Panics
/// When `num_sms` is 0.
pub fn fit(hardware: &str, num_sms: u64, measured: &[Measured<'_>]) -> GpuConstants {
    assert!(num_sms > 0, "a GPU has at least one multiprocessor");
    let mut constants = GpuConstants::typical(hardware, num_sms);
    for section in [Section::Gemm, Section::Elementwise, Section::Attention, Section::Experts] {
        section.fit(&mut constants, measured);
        if section == Section::Gemm {
            // Expert weights come from the same memory, and few models have any to tell by.
            constants.experts.bandwidth_gbps = constants.gemm.bandwidth_gbps;
        }
    }
    constants
}

/// Constants that the same ops depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Gemm,
    Elementwise,
    Attention,
    Experts,
}

impl Section {
    /// The section that the time of `layer` depends on.
    fn of(layer: Layer) -> Self {
        match layer {
            Layer::Attention => Section::Attention,
            Layer::Moe => Section::Experts,
            Layer::QkvProj | Layer::OProj | Layer::GateUpProj | Layer::DownProj | Layer::LmHead => Section::Gemm,
            _ => Section::Elementwise,
        }
    }

    fn values(self, constants: &GpuConstants) -> Vec<f64> {
        match self {
            Section::Gemm => constants.gemm.values(),
            Section::Elementwise => constants.elementwise.values(),
            Section::Attention => constants.attention.values(),
            Section::Experts => constants.experts.values(),
        }
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Section::Gemm => GemmConstants::names(),
            Section::Elementwise => ElementwiseConstants::names(),
            Section::Attention => AttentionConstants::names(),
            Section::Experts => ExpertConstants::names(),
        }
    }

    fn set(self, constants: &mut GpuConstants, values: &[f64]) {
        match self {
            Section::Gemm => constants.gemm = GemmConstants::from_values(values),
            Section::Elementwise => constants.elementwise = ElementwiseConstants::from_values(values),
            Section::Attention => constants.attention = AttentionConstants::from_values(values),
            Section::Experts => constants.experts = ExpertConstants::from_values(values),
        }
    }

    /// Puts the best values for this section into `constants`, if there is a sample to tell them by.
    fn fit(self, constants: &mut GpuConstants, measured: &[Measured<'_>]) {
        let groups: Vec<Group> = measured.iter().flat_map(|measured| Group::of(self, measured, constants)).collect();
        if groups.is_empty() {
            return;
        }
        let cost = |logarithms: &[f64]| {
            let values: Vec<f64> = logarithms.iter().map(|logarithm| logarithm.exp()).collect();
            if self.names().iter().zip(&values).any(|(name, &value)| is_too_large(name, value)) {
                return f64::INFINITY;
            }
            let mut candidate = constants.clone();
            self.set(&mut candidate, &values);
            groups.iter().map(|group| group.cost(&candidate)).sum::<f64>() / groups.len() as f64
        };
        let start: Vec<f64> = self.values(constants).iter().map(|value| value.ln()).collect();
        let (best, _) = [EDGE, -3.0 * EDGE]
            .into_iter()
            .map(|edge| simplex::minimise(cost, &start, edge, ROUNDS, EVALUATIONS))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("two searches");
        let values: Vec<f64> = best.iter().map(|logarithm| four_digits(logarithm.exp())).collect();
        self.set(constants, &values);
    }
}

/// The samples of one layer of one model at one degree.
struct Group {
    analytic: Analytic,
    /// The op, the logarithm of its measured time in ns, and its weight; the weights add up to 1.
    samples: Vec<(Op, f64, f64)>,
}

impl Group {
    /// The groups of `measured` in `section`.
    fn of(section: Section, measured: &Measured<'_>, constants: &GpuConstants) -> Vec<Self> {
        let analytic = measured.analytic(constants.clone());
        let layers = Layer::ALL.iter().filter(|&&layer| Section::of(layer) == section);
        layers.filter_map(|&layer| Self::of_layer(layer, measured, &analytic)).collect()
    }

    fn of_layer(layer: Layer, measured: &Measured<'_>, analytic: &Analytic) -> Option<Self> {
        measured.architecture.table(layer).filter(|&table| table != Table::Moe || measured.model.is_moe())?;
        let all: Vec<&Sample> = measured.samples.iter().filter(|sample| sample.op.layer() == layer).collect();
        let stride = all.len().div_ceil(LAYER_SAMPLES_MAX).max(1);
        let taken = || all.iter().step_by(stride);
        let total: f64 = taken().map(|sample| weight(&sample.op)).sum();
        let sample = |sample: &&Sample| (sample.op, (sample.time.ns() as f64).ln(), weight(&sample.op) / total);
        let samples: Vec<_> = taken().map(sample).collect();
        (!samples.is_empty()).then(|| Self { analytic: analytic.clone(), samples })
    }

    fn cost(&self, constants: &GpuConstants) -> f64 {
        let analytic = self.analytic.with_constants(constants);
        let error = |&(ref op, logarithm, weight): &(Op, f64, f64)| {
            weight * ((op.time(&analytic).ns() as f64).ln() - logarithm).abs()
        };
        self.samples.iter().map(error).sum()
    }
}

/// How much a sample counts within its layer: steps of few tokens and KV of a few thousand are what serving is made of.
fn weight(op: &Op) -> f64 {
    match op {
        Op::Dense { tokens, .. } if *tokens <= 256 => 3.0,
        Op::Attention(shape) => {
            let is_long = shape.kv_decode_mean > 4096 || shape.prefill_history > 4096;
            // A sweep has ten times as many shapes with a prefill as without.
            let is_decode = shape.prefill_tokens == 0;
            (if is_long { 0.2 } else { 1.0 }) * (if is_decode { 10.0 } else { 1.0 })
        }
        _ => 1.0,
    }
}

/// Keeps four digits: more would only pretend.
fn four_digits(value: f64) -> f64 {
    let unit = 10f64.powf(value.log10().floor() - 3.0);
    let digits = (value / unit).round();
    // Through text, so that the file says 0.0218 and not 0.021800000000000003.
    format!("{digits}e{}", unit.log10().round()).parse().expect("digits and an exponent are a number")
}
