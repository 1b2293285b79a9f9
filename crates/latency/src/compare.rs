//! How far a latency model is from what was measured, layer by layer.
//!
//! The error of an op is |model / measured − 1|. A layer is summed up by the median and the 90th percentile over its
//! samples, the bias (the median of model / measured − 1, signed) and the op that is furthest off.

use std::fmt;

use model::Layer;
use units::Duration;

use crate::{Op, OpLatency, Sample};

/// How far off one layer is.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerError {
    /// The layer.
    pub layer: Layer,
    /// Samples compared.
    pub count: usize,
    /// Median of |model / measured − 1|.
    pub median: f64,
    /// Its 90th percentile.
    pub p90: f64,
    /// Median of model / measured − 1: above 0 the model is too slow.
    pub bias: f64,
    /// The sample furthest off.
    pub worst: WorstSample,
}

/// The sample that a model is furthest off at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorstSample {
    /// The op.
    pub op: Op,
    /// Its measured time.
    pub measured: Duration,
    /// What the model says.
    pub modelled: Duration,
}

/// How far off a model is, layer by layer and altogether.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Every layer with samples, in the order of the forward pass.
    pub layers: Vec<LayerError>,
    /// Samples compared.
    pub count: usize,
    /// Median error over the samples of all layers.
    pub median: f64,
    /// Median error over layers of their medians, so that attention with its many samples counts once.
    pub median_of_layers: f64,
}

impl WorstSample {
    /// model / measured − 1.
    pub fn error(&self) -> f64 {
        error(self.modelled, self.measured)
    }
}

/// Compares `latency` with `samples`, leaving out those of layers that it does not cover.
pub fn compare(samples: &[Sample], latency: &dyn OpLatency) -> Comparison {
    let covered: Vec<Compared> = samples
        .iter()
        .filter(|sample| latency.covers(sample.op.layer()))
        .map(|sample| {
            let modelled = sample.op.time(latency);
            Compared { op: sample.op, measured: sample.time, modelled, error: error(modelled, sample.time) }
        })
        .collect();
    let layers: Vec<LayerError> = Layer::ALL.iter().filter_map(|&layer| LayerError::of(layer, &covered)).collect();
    Comparison {
        count: covered.len(),
        median: quantile(covered.iter().map(|compared| compared.error.abs()), 0.5),
        median_of_layers: quantile(layers.iter().map(|layer| layer.median), 0.5),
        layers,
    }
}

/// One sample beside what the model says.
struct Compared {
    op: Op,
    measured: Duration,
    modelled: Duration,
    error: f64,
}

impl LayerError {
    fn of(layer: Layer, compared: &[Compared]) -> Option<Self> {
        let of_layer = || compared.iter().filter(move |compared| compared.op.layer() == layer);
        let worst = of_layer().max_by(|a, b| a.error.abs().total_cmp(&b.error.abs()))?;
        Some(Self {
            layer,
            count: of_layer().count(),
            median: quantile(of_layer().map(|compared| compared.error.abs()), 0.5),
            p90: quantile(of_layer().map(|compared| compared.error.abs()), 0.9),
            bias: quantile(of_layer().map(|compared| compared.error), 0.5),
            worst: WorstSample { op: worst.op, measured: worst.measured, modelled: worst.modelled },
        })
    }
}

/// model / measured − 1.
fn error(modelled: Duration, measured: Duration) -> f64 {
    modelled.ns() as f64 / measured.ns().max(1) as f64 - 1.0
}

/// The value that a share `q` of `values` do not exceed; 0 of none.
fn quantile(values: impl Iterator<Item = f64>, q: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * q).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

impl fmt::Display for Comparison {
    /// A table of plain text, a row per layer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:>7} {:>8} {:>8} {:>8}  worst", "layer", "samples", "median", "p90", "bias")?;
        for LayerError { layer, count, median, p90, bias, worst } in &self.layers {
            let [median, p90, bias] = [median, p90, bias].map(|share| share * 100.0);
            let name = layer.name();
            write!(f, "{name:<16} {count:>7} {median:>7.1}% {p90:>7.1}% {bias:>+7.1}%  ")?;
            writeln!(f, "{:+.0}% at {}", worst.error() * 100.0, Shape(&worst.op))?;
        }
        let median = self.median * 100.0;
        let of_layers = self.median_of_layers * 100.0;
        writeln!(f, "{:<16} {:>7} {median:>7.1}%  (median of layers {of_layers:.1}%)", "all", self.count)
    }
}

/// The shape of an op in a few words.
struct Shape<'a>(&'a Op);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Dense { tokens, .. } => write!(f, "{tokens} tokens"),
            Op::PerSequence { sequences, .. } => write!(f, "{sequences} sequences"),
            Op::Attention(shape) => {
                let (prefill, history) = (shape.prefill_tokens, shape.prefill_history);
                let (decodes, kv) = (shape.num_decodes, shape.kv_decode_mean);
                write!(f, "prefill {prefill} after {history}, {decodes} decodes of {kv}")
            }
            Op::Experts { tokens, active_experts } => write!(f, "{tokens} tokens on {active_experts} experts"),
        }
    }
}
