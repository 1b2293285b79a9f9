//! Operator times that can be added up by hand.

use latency::{AttentionShape, OpLatency};
use model::Layer;
use units::Duration;

/// Times that are affine in every argument, in nanoseconds. Each kind of layer has a base of its own, so that one taken
/// for another shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    /// The first kind of layer has this base, the second twice as much, and so on.
    pub(crate) base_ns: u64,
    /// For each token, sequence or active expert.
    pub(crate) per_token_ns: u64,
    /// For each token of KV that attention reads.
    pub(crate) per_kv_token_ns: u64,
}

impl Default for Affine {
    fn default() -> Self {
        Self { base_ns: 100, per_token_ns: 3, per_kv_token_ns: 2 }
    }
}

impl Affine {
    /// The time of one `layer` on `tokens` tokens or sequences.
    pub(crate) fn layer_ns(&self, layer: Layer, tokens: u64) -> u64 {
        self.base_ns * (layer as u64 + 1) + self.per_token_ns * tokens
    }

    /// The time of attention over `new_tokens` tokens that read `kv_tokens` tokens of KV.
    pub(crate) fn attention_ns(&self, new_tokens: u64, kv_tokens: u64) -> u64 {
        self.layer_ns(Layer::Attention, new_tokens) + self.per_kv_token_ns * kv_tokens
    }

    /// The time of one rank's experts.
    pub(crate) fn experts_ns(&self, tokens: u64, active_experts: u64) -> u64 {
        self.layer_ns(Layer::Moe, tokens + active_experts)
    }
}

impl OpLatency for Affine {
    fn covers(&self, _: Layer) -> bool {
        true
    }

    fn dense(&self, layer: Layer, tokens: u64) -> Duration {
        Duration::from_ns(self.layer_ns(layer, tokens))
    }

    fn per_sequence(&self, layer: Layer, sequences: u64) -> Duration {
        Duration::from_ns(self.layer_ns(layer, sequences))
    }

    fn attention(&self, shape: &AttentionShape) -> Duration {
        let kv_tokens = shape.prefill_history + shape.num_decodes * shape.kv_decode_mean;
        Duration::from_ns(self.attention_ns(shape.prefill_tokens + shape.num_decodes, kv_tokens))
    }

    fn experts(&self, tokens: u64, active_experts: u64) -> Duration {
        assert!(tokens > 0 && active_experts > 0, "a rank that no token reaches is not asked for");
        Duration::from_ns(self.experts_ns(tokens, active_experts))
    }
}
