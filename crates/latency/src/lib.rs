//! Operator shape to nanoseconds: measured tables and an analytic model.
//!
//! [`OpLatency`] is what the engine asks: one op with its shape in, nanoseconds out, for one model on one GPU type at
//! one tensor-parallel degree. Implementations hold no state that a question changes, so that the same question always
//! has the same answer and many simulations can share one table.

pub mod analytic;
pub mod compare;
pub mod fit;
mod measured;
mod varlen;

use model::Layer;
use units::Duration;

pub use analytic::{Analytic, GpuConstants};
pub use measured::{
    Bundle, BundleName, Catalogue, NoProfile, Op, OtherTables, Profile, ProfiledLimits, Sample, read_samples,
    read_samples_with,
};
pub use varlen::{Decodes, VarlenAttention};

/// What one attention layer works on in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// New prompt tokens of the step, over all its prefill chunks.
    pub prefill_tokens: u64,
    /// Tokens of KV that those chunks find already computed.
    pub prefill_history: u64,
    /// Sequences that decode one token each.
    pub num_decodes: u64,
    /// Mean KV length of the decodes in tokens, cut to a whole number.
    pub kv_decode_mean: u64,
    /// KV length of the longest decode in tokens.
    pub kv_decode_max: u64,
    /// KV length of the shortest decode in tokens.
    pub kv_decode_min: u64,
}

impl AttentionShape {
    /// Has every decode find a token more.
    pub fn grow(&mut self) {
        self.kv_decode_mean += 1;
        self.kv_decode_max += 1;
        self.kv_decode_min += 1;
    }
}

/// How far the measurements of a layer go, by what its time depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Up to so many tokens of a step.
    Tokens(u64),
    /// Up to so many sequences of a step.
    Sequences(u64),
    /// Of attention.
    Attention {
        /// Most new prompt tokens of a step.
        prefill_tokens: u64,
        /// Most tokens of KV that they find.
        prefill_history: u64,
        /// Most decodes.
        num_decodes: u64,
        /// Most tokens of KV of each.
        kv_decode: u64,
    },
    /// Of the experts of a rank.
    Experts {
        /// Most tokens.
        tokens: u64,
        /// Most experts that have any.
        active_experts: u64,
    },
}

/// What the latest question about attention tells of the next.
#[derive(Clone, Debug, Default)]
pub struct AttentionCursor {
    stretch: Option<measured::Stretch>,
}

/// How long one op takes, for one model on one GPU type at one tensor-parallel degree.
///
/// # Panics
/// The methods that return a time may panic for a layer that is not [covered](OpLatency::covers).
pub trait OpLatency: Send + Sync + std::fmt::Debug {
    /// Whether the time of `layer` is known. A layer that is not covered is left out of a forward pass.
    fn covers(&self, layer: Layer) -> bool;

    /// The time of a layer whose work grows with the `tokens` of a step.
    fn dense(&self, layer: Layer, tokens: u64) -> Duration;

    /// The time of a layer whose work grows with the `sequences` of a step.
    fn per_sequence(&self, layer: Layer, sequences: u64) -> Duration;

    /// The time of attention.
    fn attention(&self, shape: &AttentionShape) -> Duration;

    /// The same for who asks of step after step, most of which are like the one before. A cursor belongs to one source of
    /// times; it changes nothing but how fast the answer comes.
    fn attention_from(&self, shape: &AttentionShape, cursor: &mut AttentionCursor) -> Duration {
        let _ = cursor;
        self.attention(shape)
    }

    /// The time of the experts of one expert-parallel rank that `tokens` tokens reach, on `active_experts` experts.
    /// Zero when no token reaches it.
    fn experts(&self, tokens: u64, active_experts: u64) -> Duration;

    /// The largest shapes of `layer` that were measured; beyond them its times are extrapolated. `None` where times do not
    /// come from measurements, or the layer is not covered.
    fn extent(&self, layer: Layer) -> Option<Extent> {
        let _ = layer;
        None
    }

    /// Whether what decodes of unequal length cost was measured.
    fn measures_uneven_decodes(&self) -> bool {
        false
    }
}
