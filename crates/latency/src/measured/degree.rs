//! The tables of one tensor-parallel degree, a folder `tp<N>` of a bundle.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use model::Layer;

use super::attention::AttentionGrid;
use super::csv;
use super::meta::MetaFit;
use super::skew::SkewFit;
use super::tables::{Curve, SheetPoint, Sheets, whole_ns};

/// The curve of each layer that has one, by the layer's place in [`Layer::ALL`].
pub(crate) type LayerCurves = [Option<Arc<Curve>>; Layer::ALL.len()];

/// What was measured at one degree.
pub(crate) struct Degree {
    /// By tokens of the step.
    pub(crate) dense: LayerCurves,
    /// By sequences of the step.
    pub(crate) per_sequence: LayerCurves,
    pub(crate) attention: Arc<AttentionGrid>,
    /// Experts are profiled at one degree only.
    pub(crate) experts: Option<Arc<Experts>>,
    pub(crate) skew: Arc<SkewFit>,
}

impl Degree {
    /// Reads the folder `dir`; the fit is that of this degree, and its table is in `variant_dir`.
    pub(crate) fn read(dir: &Path, variant_dir: &Path, fit: MetaFit, faults: &mut Faults) -> Option<Self> {
        let mut curves = |file: &str, key| {
            let path = dir.join(file);
            let bytes = read_file(&path, faults)?;
            Some(read_curves(&path.display().to_string(), &bytes, key, faults))
        };
        let dense = curves("dense.csv", "tokens");
        let per_sequence = curves("per_sequence.csv", "sequences");

        let path = dir.join("attention.csv");
        let attention = read_file(&path, faults)
            .and_then(|bytes| AttentionGrid::read(&path.display().to_string(), &bytes, faults))
            .map(Arc::new);

        let path = dir.join("moe.csv");
        let experts = if path.exists() {
            read_file(&path, faults)
                .and_then(|bytes| Experts::read(&path.display().to_string(), &bytes, faults))
                .map(Arc::new)
        } else {
            None
        };

        let MetaFit { fit: mut skew, table } = fit;
        if let Some(path) = table.map(|table| variant_dir.join(table))
            && let Some(bytes) = read_file(&path, faults)
        {
            skew.read(&path.display().to_string(), &bytes, faults);
        }
        Some(Self { dense: dense?, per_sequence: per_sequence?, attention: attention?, experts, skew: Arc::new(skew) })
    }
}

/// The whole of a file; what keeps us from reading it is a fault.
pub(crate) fn read_file(path: &Path, faults: &mut Faults) -> Option<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let message = match error.kind() {
                ErrorKind::NotFound => "the file is missing".to_owned(),
                _ => format!("the file can't be read: {error}"),
            };
            faults.push(Fault::new(path.display().to_string(), message));
            None
        }
    }
}

/// Reads `layer,<key>,time_us`. Layers we have no name for are left out: no architecture can name them either.
fn read_curves(source: &str, bytes: &[u8], key: &str, faults: &mut Faults) -> LayerCurves {
    let mut points = [const { Vec::new() }; Layer::ALL.len()];
    csv::read(source, bytes, ["layer", key, "time_us"], faults, |row| {
        let point = (row.whole(1)?, row.time_ns(2)?);
        if let Some(layer) = std::str::from_utf8(row.text(0)).ok().and_then(|name| name.parse::<Layer>().ok()) {
            points[layer as usize].push(point);
        }
        Ok(())
    });
    points.map(|points| (!points.is_empty()).then(|| Arc::new(Curve::new(points))))
}

/// Measured times of the experts of one rank, by tokens and by experts that have any.
#[derive(Debug)]
pub(crate) struct Experts(Sheets);

impl Experts {
    /// Reads `tokens,activated_experts,time_us`.
    fn read(source: &str, bytes: &[u8], faults: &mut Faults) -> Option<Self> {
        let mut points = Vec::new();
        csv::read(source, bytes, ["tokens", "activated_experts", "time_us"], faults, |row| {
            points.push(SheetPoint { sheet: 0, row: row.whole(1)?, key: row.whole(0)?, time_ns: row.time_ns(2)? });
            Ok(())
        });
        points.sort_by_key(|point| (point.row, point.key));
        points.dedup_by_key(|point| (point.row, point.key));
        (!points.is_empty()).then(|| Self(Sheets::new(points.into_iter())))
    }

    /// The time in whole ns of `tokens` tokens on `active` experts: along the tokens first, then between experts.
    pub(crate) fn time_ns(&self, tokens: u64, active: u64) -> u64 {
        whole_ns(self.0.time_ns(0, active, tokens))
    }
}
