//! The measured times of one model at one tensor-parallel degree: the tables of a bundle, resolved layer by layer.

use std::fmt;
use std::sync::Arc;

use model::{Architecture, Layer, Table};
use units::Duration;

use super::attention::AttentionGrid;
use super::degree::{Degree, Experts, LayerCurves};
use super::skew::SkewFit;
use super::stretch::{self, Stretch};
use super::tables::Curve;
use crate::{AttentionCursor, AttentionShape, Extent, OpLatency};

/// Measured times, looked up.
///
/// Where a shape was not measured, its time is blended linearly from the points around it, clamped below the first
/// point of an axis and extrapolated from the last two above. Times are cut to whole nanoseconds and at least one,
/// except that attention, after the correction for decodes of unequal length, is rounded half to even.
pub struct Profile {
    tp: u64,
    /// Only of the layers that the architecture has in this table; so are those below.
    dense: LayerCurves,
    per_sequence: LayerCurves,
    attention: Arc<AttentionGrid>,
    skew: Arc<SkewFit>,
    experts: Option<Arc<Experts>>,
    covered: [bool; Layer::ALL.len()],
    missing_layers: Vec<Layer>,
}

impl Profile {
    /// Resolves the layers of `architecture` in `degree`, those that all degrees share in `stable`.
    pub(crate) fn new(
        architecture: &Architecture,
        tp: u64,
        degree: &Degree,
        stable: &Degree,
        experts: Option<Arc<Experts>>,
    ) -> Self {
        let mut profile = Self {
            tp,
            dense: [const { None }; Layer::ALL.len()],
            per_sequence: [const { None }; Layer::ALL.len()],
            attention: degree.attention().clone(),
            skew: degree.skew().clone(),
            experts,
            covered: [false; Layer::ALL.len()],
            missing_layers: Vec::new(),
        };
        for &layer in Layer::ALL {
            let place = layer as usize;
            let degree = if architecture.is_tp_stable(layer) { stable } else { degree };
            profile.covered[place] = match architecture.table(layer) {
                Some(Table::Dense) => {
                    profile.dense[place] = degree.dense(layer).cloned();
                    profile.dense[place].is_some()
                }
                Some(Table::PerSequence) => {
                    profile.per_sequence[place] = degree.per_sequence(layer).cloned();
                    profile.per_sequence[place].is_some()
                }
                Some(Table::Attention) => true,
                Some(Table::Moe) => profile.experts.is_some(),
                None => false,
            };
        }
        for layer in architecture.sequence.layers() {
            if !profile.covers(layer) && !profile.missing_layers.contains(&layer) {
                profile.missing_layers.push(layer);
            }
        }
        profile
    }

    /// The layers that the architecture runs and the bundle has no times for, in the order they run.
    pub fn missing_layers(&self) -> &[Layer] {
        &self.missing_layers
    }
}

/// The time on `layer`'s curve; the least question is 1, since a padded step runs at least one row.
fn on_curve(curves: &LayerCurves, layer: Layer, question: u64) -> Duration {
    let curve: Option<&Curve> = curves[layer as usize].as_deref();
    let curve = curve.unwrap_or_else(|| panic!("no times of {layer} in the table asked"));
    Duration::from_ns(curve.time_ns(question.max(1)))
}

impl OpLatency for Profile {
    fn covers(&self, layer: Layer) -> bool {
        self.covered[layer as usize]
    }

    fn dense(&self, layer: Layer, tokens: u64) -> Duration {
        on_curve(&self.dense, layer, tokens)
    }

    fn per_sequence(&self, layer: Layer, sequences: u64) -> Duration {
        on_curve(&self.per_sequence, layer, sequences)
    }

    fn attention(&self, shape: &AttentionShape) -> Duration {
        let place = [shape.prefill_tokens, shape.prefill_history, shape.num_decodes];
        let alpha = stretch::alpha(shape, &self.skew);
        Duration::from_ns(if alpha == 0.0 {
            let [mean_ns] = self.attention.times_ns(place, [shape.kv_decode_mean]);
            mean_ns
        } else {
            let [mean_ns, longest_ns] = self.attention.times_ns(place, [shape.kv_decode_mean, shape.kv_decode_max]);
            stretch::corrected(mean_ns, longest_ns, alpha)
        })
    }

    fn attention_from(&self, shape: &AttentionShape, cursor: &mut AttentionCursor) -> Duration {
        let before = cursor.stretch.as_ref().and_then(|stretch| stretch.time_ns(shape));
        if let Some(time_ns) = before {
            return Duration::from_ns(time_ns);
        }
        cursor.stretch = Stretch::of(shape, &self.attention, &self.skew);
        let time_ns = cursor.stretch.as_ref().and_then(|stretch| stretch.time_ns(shape));
        time_ns.map_or_else(|| self.attention(shape), Duration::from_ns)
    }

    fn extent(&self, layer: Layer) -> Option<Extent> {
        if !self.covers(layer) {
            return None;
        }
        let place = layer as usize;
        if let Some(curve) = &self.dense[place] {
            return Some(Extent::Tokens(curve.last()));
        }
        if let Some(curve) = &self.per_sequence[place] {
            return Some(Extent::Sequences(curve.last()));
        }
        if layer == Layer::Moe {
            let [tokens, active_experts] = self.experts.as_ref()?.last();
            return Some(Extent::Experts { tokens, active_experts });
        }
        let [prefill_tokens, prefill_history, num_decodes, kv_decode] = self.attention.last();
        Some(Extent::Attention { prefill_tokens, prefill_history, num_decodes, kv_decode })
    }

    fn measures_uneven_decodes(&self) -> bool {
        !self.skew.is_empty()
    }

    fn experts(&self, tokens: u64, active_experts: u64) -> Duration {
        if tokens == 0 {
            return Duration::ZERO;
        }
        let experts = self.experts.as_ref().expect("no times of experts in this bundle");
        Duration::from_ns(experts.time_ns(tokens, active_experts.max(1)))
    }
}

impl fmt::Debug for Profile {
    /// What it is of; the tables are too long to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = &self.missing_layers;
        f.debug_struct("Profile").field("tp", &self.tp).field("missing_layers", missing).finish_non_exhaustive()
    }
}
