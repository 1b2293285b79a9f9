//! Weights by what they are for.

use std::ops::AddAssign;

use crate::Layer;

/// Bytes of weights by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// Embedding and head.
    pub embeddings: u64,
    /// Projections around attention, and norms of queries and keys.
    pub attention: u64,
    /// Norms.
    pub norms: u64,
    /// Feed-forward layers that are not experts.
    pub feed_forward: u64,
    /// Experts, and the gates that choose among them.
    pub experts: u64,
}

impl WeightBytes {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The kinds by name.
    pub fn by_kind(&self) -> [(&'static str, u64); 5] {
        let Self { embeddings, attention, norms, feed_forward, experts } = *self;
        [
            ("embeddings", embeddings),
            ("attention", attention),
            ("norms", norms),
            ("feed-forward", feed_forward),
            ("experts", experts),
        ]
    }

    /// Adds `bytes` of a layer's weights.
    pub fn add(&mut self, layer: Layer, bytes: u64) {
        *match layer {
            Layer::Embedding | Layer::LmHead | Layer::Sampler => &mut self.embeddings,
            Layer::QkvProj | Layer::QkNorm | Layer::RotaryEmb | Layer::Attention | Layer::OProj => &mut self.attention,
            Layer::Layernorm | Layer::InputLayernorm | Layer::PostLayernorm | Layer::FinalLayernorm => &mut self.norms,
            Layer::GateUpProj | Layer::ActFn | Layer::DownProj => &mut self.feed_forward,
            Layer::Moe => &mut self.experts,
        } += bytes;
    }
}

impl AddAssign for WeightBytes {
    fn add_assign(&mut self, other: Self) {
        self.embeddings += other.embeddings;
        self.attention += other.attention;
        self.norms += other.norms;
        self.feed_forward += other.feed_forward;
        self.experts += other.experts;
    }
}
