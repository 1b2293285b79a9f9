//! The order in which a family runs its layers, and which table each is measured in.

use crate::{Layer, Table};

/// The layers of one forward pass, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Before the first block.
    pub prologue: Vec<Layer>,
    /// The start of a block, up to and with attention.
    pub pre_attn: Vec<Layer>,
    /// From attention to the feed-forward part.
    pub post_attn: Vec<Layer>,
    /// The feed-forward part of a dense model.
    pub mlp_dense: Vec<Layer>,
    /// The feed-forward part of a mixture-of-experts model.
    pub mlp_moe: Vec<Layer>,
    /// After the last block.
    pub head: Vec<Layer>,
}

/// How one model family is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The family's name, `model_type` in a model's configuration.
    pub model_type: String,
    /// Its layers in the order they run.
    pub sequence: Sequence,
    /// Which table each layer is in, and whether its time is the same at every tensor-parallel degree.
    catalog: Vec<(Layer, Table, bool)>,
}

impl Architecture {
    /// An architecture from its parts. `catalog` gives each layer's table and whether it is the same at every
    /// tensor-parallel degree (`tp_stable`).
    pub fn new(model_type: impl Into<String>, sequence: Sequence, catalog: Vec<(Layer, Table, bool)>) -> Self {
        Self { model_type: model_type.into(), sequence, catalog }
    }

    /// The table that `layer` is measured in, if the catalogue has it.
    pub fn table(&self, layer: Layer) -> Option<Table> {
        self.catalog.iter().find(|entry| entry.0 == layer).map(|entry| entry.1)
    }

    /// Whether `layer` takes the same time at every tensor-parallel degree.
    pub fn is_tp_stable(&self, layer: Layer) -> bool {
        self.catalog.iter().any(|&(entry, _, tp_stable)| entry == layer && tp_stable)
    }

    /// The families that need no file: llama, qwen3, qwen3_moe, mixtral and phimoe.
    pub fn built_in(model_type: &str) -> Option<Self> {
        use Layer::*;
        let (qk_norm, moe) = match model_type {
            "llama" => (false, false),
            "qwen3" => (true, false),
            "qwen3_moe" => (true, true),
            "mixtral" | "phimoe" => (false, true),
            _ => return None,
        };
        let mut pre_attn = vec![Layernorm, QkvProj, RotaryEmb, Attention];
        if qk_norm {
            pre_attn.insert(2, QkNorm);
        }
        let (mlp_dense, mlp_moe) = if moe { (vec![], vec![Moe]) } else { (vec![GateUpProj, ActFn, DownProj], vec![]) };
        let sequence = Sequence {
            prologue: vec![Embedding],
            pre_attn,
            post_attn: vec![OProj, Layernorm],
            mlp_dense,
            mlp_moe,
            head: vec![FinalLayernorm, LmHead, Sampler],
        };
        let catalog = sequence.layers().map(|layer| (layer, standard_table(layer), is_replicated(layer))).collect();
        Some(Self::new(model_type, sequence, catalog))
    }

    /// The names [`Architecture::built_in`] knows.
    pub const BUILT_IN: &[&str] = &["llama", "qwen3", "qwen3_moe", "mixtral", "phimoe"];
}

impl Sequence {
    /// Every layer named, in order; a layer that runs twice comes twice.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        [&self.prologue, &self.pre_attn, &self.post_attn, &self.mlp_dense, &self.mlp_moe, &self.head]
            .into_iter()
            .flatten()
            .copied()
    }
}

fn standard_table(layer: Layer) -> Table {
    match layer {
        Layer::LmHead | Layer::Sampler => Table::PerSequence,
        Layer::Attention => Table::Attention,
        Layer::Moe => Table::Moe,
        _ => Table::Dense,
    }
}

/// Norms and the sampler do the same work on every rank.
fn is_replicated(layer: Layer) -> bool {
    matches!(layer, Layer::Layernorm | Layer::QkNorm | Layer::FinalLayernorm | Layer::Sampler)
}
