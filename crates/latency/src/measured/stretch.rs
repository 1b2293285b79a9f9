//! Steps that differ in nothing but a token more of KV in each decode.
//!
//! A sequence decodes for many steps, so most questions about attention are the one before with all lengths grown by
//! one. Between two points of the KV axis the answers are on a line, and α stays what it is: it depends on how the
//! lengths lie to each other, and on the range that the longest is in.

use super::attention::{AttentionGrid, DecodeLine};
use super::skew::SkewFit;
use super::tables::round_half_even;
use crate::AttentionShape;

/// How long attention takes in such steps.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    num_decodes: u64,
    /// By how much the longest decode is longer than the mean, and the mean than the shortest.
    gaps: [u64; 2],
    alpha: f64,
    /// The longest decodes for which that is known to be α.
    longest_from: u64,
    longest_to: u64,
    /// With all decodes of the mean length, and of the longest.
    mean: DecodeLine,
    longest: DecodeLine,
}

impl Stretch {
    /// Of steps like that of `shape`; `None` where it is none, having prompts or decodes that were not measured.
    pub(crate) fn of(shape: &AttentionShape, grid: &AttentionGrid, skew: &SkewFit) -> Option<Self> {
        if shape.prefill_tokens > 0 || shape.prefill_history > 0 {
            return None;
        }
        let alpha = alpha(shape, skew);
        let longest = if alpha == 0.0 { shape.kv_decode_mean } else { shape.kv_decode_max };
        let [mean, longest] = grid.decode_lines(shape.num_decodes, [shape.kv_decode_mean, longest])?;
        Some(Self {
            num_decodes: shape.num_decodes,
            gaps: gaps(shape),
            alpha,
            longest_from: shape.kv_decode_max,
            longest_to: skew.same_up_to(shape.kv_decode_max),
            mean,
            longest,
        })
    }

    /// The time of a step in whole ns; `None` where it is not one of these.
    #[inline]
    pub(crate) fn time_ns(&self, shape: &AttentionShape) -> Option<u64> {
        let is_alike = shape.num_decodes == self.num_decodes
            && gaps(shape) == self.gaps
            && (self.longest_from..=self.longest_to).contains(&shape.kv_decode_max);
        if !is_alike || shape.prefill_tokens > 0 || shape.prefill_history > 0 {
            return None;
        }
        let mean_ns = self.mean.time_ns(shape.kv_decode_mean)?;
        if self.alpha == 0.0 {
            return Some(mean_ns);
        }
        Some(corrected(mean_ns, self.longest.time_ns(shape.kv_decode_max)?, self.alpha))
    }
}

fn gaps(shape: &AttentionShape) -> [u64; 2] {
    [(shape.kv_decode_max, shape.kv_decode_mean), (shape.kv_decode_mean, shape.kv_decode_min)]
        .map(|(longer, shorter)| longer.wrapping_sub(shorter))
}

/// α of a step, which is 0 where its decodes are alike.
pub(crate) fn alpha(shape: &AttentionShape, skew: &SkewFit) -> f64 {
    let is_even = shape.num_decodes <= 1 || shape.kv_decode_max == shape.kv_decode_mean;
    if is_even { 0.0 } else { skew.alpha(shape) }
}

/// The time that follows from those with all decodes of the mean length, and of the longest.
pub(crate) fn corrected(mean_ns: u64, longest_ns: u64, alpha: f64) -> u64 {
    // Measurements waver: where the longer one looks faster there is nothing to correct by.
    if longest_ns <= mean_ns {
        return mean_ns;
    }
    let corrected = mean_ns as f64 + alpha * (longest_ns - mean_ns) as f64;
    (round_half_even(corrected) as u64).max(1)
}
