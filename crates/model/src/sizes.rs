//! Bytes that go into, stay in and come out of a layer on one rank.
//!
//! The formulae are those of section 8 of the behaviour contract, integer divisions included: projections are split
//! over the ranks along the dimension vLLM splits them along, norms are replicated, experts are split whole.

use crate::{Layer, Model};

/// Bytes of one layer on one rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorSizes {
    /// Activations read.
    pub input: u64,
    /// Weights held.
    pub weight: u64,
    /// Activations written.
    pub output: u64,
}

/// Bytes of one token id that the sampler returns.
const TOKEN_ID_BYTES: u64 = 4;

impl Model {
    /// The sizes of `layer` for `tokens` tokens on one of `parallel` ranks, with elements of `bytes` bytes.
    ///
    /// `parallel` is the tensor-parallel degree, for [`Layer::Moe`] the expert-parallel one. Attention also reads
    /// `kv_tokens` tokens of KV; other layers ignore it.
    pub fn sizes(&self, layer: Layer, tokens: u64, kv_tokens: u64, parallel: u64, bytes: u64) -> TensorSizes {
        let hidden = self.hidden_size;
        let activation = tokens * hidden * bytes;
        let vocab = self.vocab_size / parallel;
        let heads = self.num_attention_heads / parallel;
        let kv_heads = self.num_key_value_heads / parallel;
        let q = self.q_width() / parallel;
        let qkv = (self.q_width() + 2 * self.kv_width()) / parallel;
        let feed_forward = self.intermediate_size / parallel;
        let sizes = |input, weight, output| TensorSizes { input, weight, output };
        match layer {
            Layer::Embedding => sizes(tokens * bytes * 2, vocab * hidden * bytes, activation),
            Layer::Layernorm | Layer::InputLayernorm | Layer::PostLayernorm | Layer::FinalLayernorm => {
                sizes(activation, hidden * bytes, activation)
            }
            Layer::QkvProj => sizes(activation, hidden * qkv * bytes, tokens * qkv * bytes),
            Layer::QkNorm => {
                let normed = tokens * (self.q_width() + self.kv_width()) / parallel * bytes;
                sizes(normed, 2 * self.head_dim * bytes, normed)
            }
            Layer::RotaryEmb => {
                let rotated = (heads + kv_heads) * tokens * self.head_dim * bytes;
                sizes(rotated, 0, rotated)
            }
            Layer::Attention => {
                let queries = heads * tokens * self.head_dim * bytes;
                sizes(queries + kv_heads * kv_tokens * self.head_dim * bytes * 2, 0, queries)
            }
            Layer::OProj => sizes(tokens * q * bytes, q * hidden * bytes, activation),
            Layer::GateUpProj => {
                sizes(activation, hidden * 2 * feed_forward * bytes, tokens * 2 * feed_forward * bytes)
            }
            Layer::ActFn => sizes(tokens * 2 * feed_forward * bytes, 0, tokens * feed_forward * bytes),
            Layer::DownProj => sizes(tokens * feed_forward * bytes, feed_forward * hidden * bytes, activation),
            Layer::Moe => {
                let (experts, width) = self.experts.map_or((1, self.intermediate_size), |experts| {
                    (u64::from(experts.count), experts.intermediate_size)
                });
                let gate = hidden * experts * bytes;
                sizes(activation, gate + (experts / parallel) * 3 * hidden * width * bytes, activation)
            }
            Layer::LmHead => sizes(activation, hidden * vocab * bytes, tokens * vocab * bytes),
            Layer::Sampler => sizes(tokens * vocab * bytes, 0, TOKEN_ID_BYTES * tokens),
        }
    }
}
