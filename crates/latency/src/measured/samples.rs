//! What was measured, point by point: for fitting and judging models that are not tables.

use std::path::Path;

use diagnostics::Faults;
use model::Layer;
use units::Duration;

use super::csv;
use super::degree::read_file;
use crate::{AttentionShape, OpLatency};

/// One op with its shape: a question to an [`OpLatency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A layer whose work grows with the tokens of a step.
    Dense {
        /// The layer.
        layer: Layer,
        /// Tokens of the step.
        tokens: u64,
    },
    /// A layer whose work grows with the sequences of a step.
    PerSequence {
        /// The layer.
        layer: Layer,
        /// Sequences of the step.
        sequences: u64,
    },
    /// Attention.
    Attention(AttentionShape),
    /// Gate and experts of one rank.
    Experts {
        /// Tokens that reach the rank.
        tokens: u64,
        /// Its experts that have any.
        active_experts: u64,
    },
}

impl Op {
    /// The layer it is.
    pub fn layer(&self) -> Layer {
        match *self {
            Op::Dense { layer, .. } | Op::PerSequence { layer, .. } => layer,
            Op::Attention(_) => Layer::Attention,
            Op::Experts { .. } => Layer::Moe,
        }
    }

    /// What `latency` says it takes.
    pub fn time(&self, latency: &dyn OpLatency) -> Duration {
        match *self {
            Op::Dense { layer, tokens } => latency.dense(layer, tokens),
            Op::PerSequence { layer, sequences } => latency.per_sequence(layer, sequences),
            Op::Attention(ref shape) => latency.attention(shape),
            Op::Experts { tokens, active_experts } => latency.experts(tokens, active_experts),
        }
    }
}

/// One op and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The op.
    pub op: Op,
    /// Its measured time.
    pub time: Duration,
}

/// Reads every point of the bundle in `variant_dir` at tensor-parallel degree `tp`, in the order of the files.
///
/// Experts are among them at the degrees that have a `moe.csv`. Layers without a name here are left out.
///
/// # Errors
/// Everything that is wrong with the files: missing ones, and malformed rows with their line and column.
pub fn read_samples(variant_dir: &Path, tp: u64) -> Result<Vec<Sample>, Faults> {
    let dir = variant_dir.join(format!("tp{tp}"));
    let mut faults = Faults::new();
    let mut samples = Vec::new();
    by_layer(&dir.join("dense.csv"), "tokens", &mut samples, &mut faults, |layer, tokens| Op::Dense { layer, tokens });
    by_layer(&dir.join("per_sequence.csv"), "sequences", &mut samples, &mut faults, |layer, sequences| {
        Op::PerSequence { layer, sequences }
    });

    let columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"];
    rows(&dir.join("attention.csv"), columns, &mut faults, |row| {
        let kv_decode = row.whole(3)?.into();
        let shape = AttentionShape {
            prefill_tokens: row.whole(0)?.into(),
            prefill_history: row.whole(1)?.into(),
            num_decodes: row.whole(2)?.into(),
            kv_decode_mean: kv_decode,
            kv_decode_max: kv_decode,
            kv_decode_min: kv_decode,
        };
        samples.push(Sample { op: Op::Attention(shape), time: time(row.time_ns(4)?) });
        Ok(())
    });

    let experts = dir.join("moe.csv");
    if experts.exists() {
        rows(&experts, ["tokens", "activated_experts", "time_us"], &mut faults, |row| {
            let op = Op::Experts { tokens: row.whole(0)?.into(), active_experts: row.whole(1)?.into() };
            samples.push(Sample { op, time: time(row.time_ns(2)?) });
            Ok(())
        });
    }
    faults.into_result(samples)
}

/// Reads the rows of one file.
fn rows<const N: usize>(
    path: &Path,
    columns: [&str; N],
    faults: &mut Faults,
    push: impl FnMut(&csv::Row<'_, N>) -> Result<(), csv::BadCell>,
) {
    if let Some(bytes) = read_file(path, faults) {
        csv::read(&path.display().to_string(), &bytes, columns, faults, push);
    }
}

/// Reads a file of layers by one count.
fn by_layer(path: &Path, count: &str, samples: &mut Vec<Sample>, faults: &mut Faults, op: impl Fn(Layer, u64) -> Op) {
    rows(path, ["layer", count, "time_us"], faults, |row| {
        let (count, time) = (row.whole(1)?, time(row.time_ns(2)?));
        if let Some(layer) = std::str::from_utf8(row.text(0)).ok().and_then(|name| name.parse().ok()) {
            samples.push(Sample { op: op(layer, count.into()), time });
        }
        Ok(())
    });
}

/// A time that the file has in whole ns.
fn time(ns: f64) -> Duration {
    Duration::from_ns(ns as u64)
}
