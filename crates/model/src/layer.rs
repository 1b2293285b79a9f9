//! The layers a forward pass is made of, under the names that profiles and architecture files use.

use std::fmt;
use std::str::FromStr;

macro_rules! layers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// One kind of layer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Layer {
            $($(#[$doc])* $variant,)+
        }

        impl Layer {
            /// Every kind, in the order of the forward pass.
            pub const ALL: &[Layer] = &[$(Layer::$variant),+];

            /// Its name in profiles and architecture files.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Layer::$variant => $name,)+
                }
            }
        }

        impl FromStr for Layer {
            type Err = ();
            fn from_str(name: &str) -> Result<Self, ()> {
                match name {
                    $($name => Ok(Layer::$variant),)+
                    _ => Err(()),
                }
            }
        }
    };
}

layers! {
    /// Token ids to hidden states, vocabulary-parallel.
    Embedding = "embedding",
    /// The norm before attention and before the feed-forward layer.
    Layernorm = "layernorm",
    /// The norm before attention, where a family names it apart.
    InputLayernorm = "input_layernorm",
    /// Query, key and value projections in one, column-parallel.
    QkvProj = "qkv_proj",
    /// Per-head norm of queries and keys.
    QkNorm = "qk_norm",
    /// Rotary position embedding.
    RotaryEmb = "rotary_emb",
    /// Attention proper.
    Attention = "attention",
    /// Output projection, row-parallel: an all-reduce follows.
    OProj = "o_proj",
    /// The norm before the feed-forward layer, where a family names it apart.
    PostLayernorm = "post_layernorm",
    /// Gate and up projections in one, column-parallel.
    GateUpProj = "gate_up_proj",
    /// The activation between them and the down projection.
    ActFn = "act_fn",
    /// Down projection, row-parallel: an all-reduce follows.
    DownProj = "down_proj",
    /// Gate and experts.
    Moe = "moe",
    /// The norm before the head.
    FinalLayernorm = "final_layernorm",
    /// Hidden states to logits, vocabulary-parallel, one row a sequence.
    LmHead = "lm_head",
    /// Logits to tokens.
    Sampler = "sampler",
}

impl Layer {
    /// Whether a tensor-parallel all-reduce of its output follows.
    pub const fn is_row_parallel(self) -> bool {
        matches!(self, Layer::OProj | Layer::DownProj)
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which latency table a layer is measured in, and so what its time depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Tokens of the step.
    Dense,
    /// Sequences of the step.
    PerSequence,
    /// Prefill tokens, their history, decodes and their KV.
    Attention,
    /// Tokens and active experts of the rank.
    Moe,
}
