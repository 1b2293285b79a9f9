//! What was measured, point by point: for fitting and judging models that are not tables.

use std::path::Path;

use diagnostics::Faults;
use model::{Layer, Table};
use units::Duration;

use super::csv::{self, Cells, Rows};
use super::degree::layer;
use super::files::{OtherTables, is_there, open};
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
    read_samples_with(variant_dir, tp, None)
}

/// The same, with tables in another format too.
///
/// # Errors
/// As [`read_samples`].
pub fn read_samples_with(variant_dir: &Path, tp: u64, others: Option<OtherTables>) -> Result<Vec<Sample>, Faults> {
    let dir = variant_dir.join(format!("tp{tp}"));
    let mut faults = Faults::new();
    let mut samples = Vec::new();
    let dense = ["layer", "tokens", "time_us"];
    rows((&dir.join("dense.csv"), others), Table::Dense, dense, &mut samples, &mut faults);
    let per_sequence = ["layer", "sequences", "time_us"];
    rows((&dir.join("per_sequence.csv"), others), Table::PerSequence, per_sequence, &mut samples, &mut faults);
    let columns = ["prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"];
    rows((&dir.join("attention.csv"), others), Table::Attention, columns, &mut samples, &mut faults);
    let experts = dir.join("moe.csv");
    if is_there(&experts, others) {
        let columns = ["tokens", "activated_experts", "time_us"];
        rows((&experts, others), Table::Moe, columns, &mut samples, &mut faults);
    }
    faults.into_result(samples)
}

/// Reads the rows of one file.
fn rows<const N: usize>(
    (path, others): (&Path, Option<OtherTables>),
    table: Table,
    columns: [&str; N],
    samples: &mut Vec<Sample>,
    faults: &mut Faults,
) {
    if let Some((source, file)) = open(path, others, faults) {
        csv::read(&source, file, columns, faults, &mut SampleRows { table, samples });
    }
}

/// The samples of one table.
struct SampleRows<'s> {
    table: Table,
    samples: &'s mut Vec<Sample>,
}

impl Rows for SampleRows<'_> {
    /// None for a layer without a name here.
    type Record<'a> = Option<Sample>;

    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<Option<Sample>, C::Fault> {
        let (op, time_column) = match self.table {
            Table::Dense | Table::PerSequence => {
                let (name, count) = (cells.text(0)?.bytes, cells.whole(1)?.into());
                let op = |layer| match self.table {
                    Table::Dense => Op::Dense { layer, tokens: count },
                    _ => Op::PerSequence { layer, sequences: count },
                };
                (layer(name).map(op), 2)
            }
            Table::Attention => {
                let (prefill_tokens, prefill_history) = (cells.whole(0)?.into(), cells.whole(1)?.into());
                let (num_decodes, kv_decode) = (cells.whole(2)?.into(), cells.whole(3)?.into());
                let shape = AttentionShape {
                    prefill_tokens,
                    prefill_history,
                    num_decodes,
                    kv_decode_mean: kv_decode,
                    kv_decode_max: kv_decode,
                    kv_decode_min: kv_decode,
                };
                (Some(Op::Attention(shape)), 4)
            }
            Table::Moe => {
                let (tokens, active_experts) = (cells.whole(0)?.into(), cells.whole(1)?.into());
                (Some(Op::Experts { tokens, active_experts }), 2)
            }
        };
        let time = time(cells.time_ns(time_column)?);
        Ok(op.map(|op| Sample { op, time }))
    }

    fn push(&mut self, sample: Option<Sample>) {
        self.samples.extend(sample);
    }
}

/// A time that the file has in whole ns.
fn time(ns: f64) -> Duration {
    Duration::from_ns(ns as u64)
}
