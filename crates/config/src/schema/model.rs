//! Model files and architecture files.

use documents::schema::{DocumentKind, Key, Others, Rule, Shape, Value};

use super::LOCATIONS;
use crate::models::MOST;

/// A model file.
pub const MODEL: DocumentKind = DocumentKind {
    name: "model",
    title: "Model",
    about: "The dimensions of a model, in the format of Hugging Face's `config.json`: `<org>/<model>.json` in \
            `--model-dir`. Keys that say nothing about sizes are passed over.",
    null_is_absent: true,
    root: &ROOT,
};

/// An architecture file.
pub const ARCHITECTURE: DocumentKind = DocumentKind {
    name: "architecture",
    title: "Architecture",
    about: "How a family of models orders its layers, and which table each is measured in: `<model_type>.yaml` in \
            `--architecture-dir`. The file is YAML; the schema is of what it says.",
    null_is_absent: true,
    root: &ARCHITECTURE_ROOT,
};

/// Types of weights, by name.
pub(crate) const DTYPES: &[&str] = &["float16", "bfloat16", "float32", "fp8", "int8"];

const DIMENSION: Value = Value::Count { least: 1, most: MOST };
const REFUSED: &str = "Refused: the simulated model would differ from the real one.";

const ROOT: Shape = Shape {
    others: Others::PassedOver,
    rules: &[Rule::OneOf(&["intermediate_size", "moe_intermediate_size"])],
    ..Shape::of(
        "model",
        "A model.",
        &[
            Key::required("model_type", Value::Text, "The family: a built-in one, or one in `--architecture-dir`."),
            Key::required("hidden_size", DIMENSION, "Width of the hidden state."),
            Key::required("num_hidden_layers", DIMENSION, "Transformer blocks."),
            Key::required("num_attention_heads", DIMENSION, "Query heads."),
            Key::required("vocab_size", DIMENSION, "Tokens in the vocabulary."),
            Key::required("max_position_embeddings", DIMENSION, "The longest sequence, in tokens."),
            Key::optional(
                "num_key_value_heads",
                DIMENSION,
                "Key and value heads; as many as query heads unless given.",
            ),
            Key::optional("head_dim", DIMENSION, "Width of a head; `hidden_size / num_attention_heads` unless given."),
            Key::optional("intermediate_size", DIMENSION, "Width of the feed-forward layer. Needed for a dense model."),
            Key::optional("num_local_experts", DIMENSION, "Experts in a block; without, the model is dense."),
            Key::optional("num_experts", DIMENSION, "The same, where `num_local_experts` is not given."),
            Key::optional("num_experts_per_tok", DIMENSION, "Experts that each token is sent to; 1 unless given."),
            Key::optional("moe_intermediate_size", DIMENSION, "Width of an expert; `intermediate_size` unless given."),
            Key::optional("torch_dtype", Value::Text, "Type of weights and activations, unless another is asked for."),
            Key::optional("dtype", Value::Text, "The same, where `torch_dtype` is not given."),
            Key::optional(
                "sliding_window",
                Value::Anything,
                "Noted, and not modelled: attention reads the whole context.",
            ),
            Key::optional("use_sliding_window", Value::Switch, "`false`: there is no sliding window."),
            Key::optional("tie_word_embeddings", Value::Switch, "`true`: noted; embedding and head are both counted."),
            Key::optional(
                "layer_types",
                Value::List(&Value::OneOf(&["full_attention"])),
                "Blocks of other kinds are refused.",
            ),
            Key::optional("kv_lora_rank", Value::Refused, REFUSED),
            Key::optional("quantization_config", Value::Refused, "Refused: give a `dtype`, and leave this out."),
            Key::optional("mlp_only_layers", Value::EmptyList, "Blocks without experts are refused."),
            Key::optional("first_k_dense_replace", Value::Count { least: 0, most: 0 }, "More than 0 is refused."),
            Key::optional("decoder_sparse_step", Value::Count { least: 0, most: 1 }, "More than 1 is refused."),
            Key::optional("n_shared_experts", Value::Count { least: 0, most: 0 }, "More than 0 is refused."),
            Key::optional("num_shared_experts", Value::Count { least: 0, most: 0 }, "More than 0 is refused."),
            Key::optional(
                "shared_expert_intermediate_size",
                Value::Count { least: 0, most: 0 },
                "More than 0 is refused.",
            ),
        ],
    )
};

macro_rules! layers {
    ($($name:literal),+ $(,)?) => {
        /// The names of layers.
        pub(crate) const LAYER_NAMES: &[&str] = &[$($name),+];

        /// By layer, where things of it are.
        pub(crate) const LAYER_KEYS: &[Key] =
            &[$(Key::optional($name, Value::Object(&LOCATIONS), "Of this layer, in all blocks.")),+];

        /// By layer, what a table says of it.
        const CATALOGUE_KEYS: &[Key] =
            &[$(Key::optional($name, Value::OrNull(&Value::Object(&ENTRY)), "This layer is measured here.")),+];
    };
}

layers![
    "embedding",
    "layernorm",
    "input_layernorm",
    "qkv_proj",
    "qk_norm",
    "rotary_emb",
    "attention",
    "o_proj",
    "post_layernorm",
    "gate_up_proj",
    "act_fn",
    "down_proj",
    "moe",
    "final_layernorm",
    "lm_head",
    "sampler",
];

const ARCHITECTURE_ROOT: Shape = Shape::of(
    "architecture",
    "A family of models.",
    &[
        Key::required("sequence", Value::Object(&SEQUENCE), "The layers of a forward pass, part by part."),
        Key::required("catalog", Value::Object(&CATALOGUE), "Which table each layer is measured in."),
    ],
);

const LAYERS: Value = Value::List(&Value::OneOf(LAYER_NAMES));

pub(crate) const SEQUENCE: Shape = Shape::of(
    "sequence",
    "Layers in the order in which they run.",
    &[
        Key::optional("prologue", LAYERS, "Before the first block."),
        Key::optional("pre_attn", LAYERS, "The start of a block, up to and with attention."),
        Key::optional("post_attn", LAYERS, "From attention to the feed-forward part."),
        Key::optional("mlp_dense", LAYERS, "The feed-forward part of a dense model."),
        Key::optional("mlp_moe", LAYERS, "The feed-forward part of a mixture of experts."),
        Key::optional("head", LAYERS, "After the last block."),
    ],
);

const TABLE: Value = Value::Object(&LAYERS_OF_TABLE);

pub(crate) const CATALOGUE: Shape = Shape::of(
    "catalog",
    "Layers by table.",
    &[
        Key::optional("dense", TABLE, "By tokens of a step."),
        Key::optional("per_sequence", TABLE, "By sequences of a step."),
        Key::optional("attention", TABLE, "Attention alone."),
        Key::optional("moe", TABLE, "Experts alone."),
    ],
);

const LAYERS_OF_TABLE: Shape = Shape::of("catalog.<table>", "The layers of a table.", CATALOGUE_KEYS);

const ENTRY: Shape = Shape {
    others: Others::PassedOver,
    ..Shape::of(
        "catalog.<table>.<layer>",
        "What is said of a layer; other keys are for profilers.",
        &[Key::optional("tp_stable", Value::Switch, "Whether it takes the same time at every tensor-parallel degree.")],
    )
};
