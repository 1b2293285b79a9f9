//! A model's layers, tensor sizes, weights, KV bytes per token and experts.
//!
//! [`Model`] holds the dimensions that a Hugging Face `config.json` gives, [`Architecture`] the order in which a family
//! runs its layers. Everything here is arithmetic on those two; nothing knows about hardware or time.

mod architecture;
mod dtype;
mod layer;
mod sizes;
mod weights;

pub use architecture::{Architecture, Sequence};
pub use dtype::{Dtype, KvCacheDtype};
pub use layer::{Layer, Table};
pub use sizes::TensorSizes;
pub use weights::WeightBytes;

/// The dimensions of one model, under their Hugging Face names.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The name it goes by, such as `Qwen/Qwen3-32B`.
    pub name: String,
    /// The family, such as `qwen3_moe`.
    pub model_type: String,
    /// Width of the hidden state.
    pub hidden_size: u64,
    /// Transformer blocks.
    pub num_hidden_layers: u64,
    /// Query heads.
    pub num_attention_heads: u64,
    /// Key and value heads.
    pub num_key_value_heads: u64,
    /// Width of one head.
    pub head_dim: u64,
    /// Width of the dense feed-forward layer.
    pub intermediate_size: u64,
    /// Tokens in the vocabulary.
    pub vocab_size: u64,
    /// The longest sequence the model can hold.
    pub max_position_embeddings: u64,
    /// The experts of a mixture-of-experts model.
    pub experts: Option<Experts>,
    /// The type its weights are published in.
    pub torch_dtype: Option<Dtype>,
}

/// The experts of one mixture-of-experts block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts in a block.
    pub count: u32,
    /// Experts each token is sent to.
    pub per_token: u32,
    /// Width of one expert's feed-forward layer.
    pub intermediate_size: u64,
}

impl Model {
    /// Whether its blocks hold experts instead of one feed-forward layer.
    pub fn is_moe(&self) -> bool {
        self.experts.is_some()
    }

    /// Width of all query heads together.
    pub fn q_width(&self) -> u64 {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key heads together; the value heads have the same.
    pub fn kv_width(&self) -> u64 {
        self.num_key_value_heads * self.head_dim
    }

    /// Bytes of KV cache one token takes on each of `num_npus` NPUs: keys and values of every block.
    pub fn kv_bytes_per_token(&self, kv_element_bytes: u64, num_npus: u64) -> u64 {
        2 * self.kv_width() * self.num_hidden_layers * kv_element_bytes / num_npus
    }

    /// Bytes of weights on the NPU that holds most of them: its share of the blocks, and embedding, last norm and head.
    pub fn weight_bytes_per_npu(&self, tp: u64, pp: u64, ep: u64, element_bytes: u64) -> u64 {
        self.weights_per_npu(tp, pp, ep, element_bytes).total()
    }

    /// The same by kind.
    pub fn weights_per_npu(&self, tp: u64, pp: u64, ep: u64, element_bytes: u64) -> WeightBytes {
        let dense = |layer| self.sizes(layer, 1, 0, tp, element_bytes).weight;
        let blocks = self.num_hidden_layers / pp;
        let mut weights = WeightBytes {
            embeddings: dense(Layer::Embedding) + dense(Layer::LmHead),
            attention: (dense(Layer::QkvProj) + dense(Layer::OProj)) * blocks,
            norms: 2 * dense(Layer::Layernorm) * blocks + dense(Layer::FinalLayernorm),
            ..WeightBytes::default()
        };
        match self.experts {
            Some(_) => weights.experts = self.sizes(Layer::Moe, 1, 0, ep, element_bytes).weight * blocks,
            None => weights.feed_forward = (dense(Layer::GateUpProj) + dense(Layer::DownProj)) * blocks,
        }
        weights
    }
}
