//! Models by name: the files of a folder first, then those that ship with the simulator.
//!
//! A model is described by its Hugging Face `config.json`. Keys that say nothing about sizes are passed over; keys that
//! describe something this simulator would get wrong are refused, and what it gets slightly wrong becomes a note.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use documents::json::{Object, Placed};
use documents::{Document, json, suggest};
use model::{Dtype, Experts, Model};

use crate::files;
use crate::report::{PlaceFault, Report};

/// The models that need no file, by name. Their dimensions are those their authors publish.
const BUILT_IN: &[(&str, &str)] = &[
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", include_str!("../models/Qwen/Qwen3-30B-A3B-Instruct-2507.json")),
    ("Qwen/Qwen3-32B", include_str!("../models/Qwen/Qwen3-32B.json")),
    ("meta-llama/Llama-3.1-70B", include_str!("../models/meta-llama/Llama-3.1-70B.json")),
    ("meta-llama/Llama-3.1-8B", include_str!("../models/meta-llama/Llama-3.1-8B.json")),
    ("microsoft/Phi-mini-MoE-instruct", include_str!("../models/microsoft/Phi-mini-MoE-instruct.json")),
    ("mistralai/Mixtral-8x7B-v0.1", include_str!("../models/mistralai/Mixtral-8x7B-v0.1.json")),
];

/// Most of any one dimension.
pub(crate) const MOST: u64 = 1 << 24;
/// Most weights of a model; keeps bytes of weights, activations and KV well inside 64 bits.
const MOST_WEIGHTS: f64 = 1e15;

/// The models of one cluster, each read once.
pub(crate) struct Models {
    folder: Option<PathBuf>,
    read: BTreeMap<String, Option<Arc<Model>>>,
}

impl Models {
    /// Models from `folder`, if there is one, and from the built-in ones.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, read: BTreeMap::new() }
    }

    /// The model called `name`. `None` when there is none or it can't be used; why is in `report`, once. `at` places a
    /// fault where the name was found.
    pub(crate) fn get(&mut self, name: &str, at: &PlaceFault<'_>, report: &mut Report) -> Option<Arc<Model>> {
        if let Some(model) = self.read.get(name) {
            return model.clone();
        }
        let document = self.find(name, at, report);
        let model = document.and_then(|document| read(name, &Arc::new(document), report)).map(Arc::new);
        self.read.insert(name.to_owned(), model.clone());
        model
    }

    fn find(&self, name: &str, at: &PlaceFault<'_>, report: &mut Report) -> Option<Document> {
        let file = self.folder.as_deref().map(|folder| folder.join(format!("{name}.json")));
        if let Some(file) = file.filter(|file| file.exists()) {
            return report.take(Document::read(&file));
        }
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Some(Document { name: format!("built-in model {name}"), text: (*text).to_owned() });
        }
        let in_folder = self.folder.as_deref().map(names_in).unwrap_or_default();
        let mut known: Vec<&str> = BUILT_IN.iter().map(|&(name, _)| name).collect();
        known.extend(in_folder.iter().map(String::as_str));
        let mut hint = suggest::hint(name, &known);
        if suggest::nearest(name, &known).is_none() {
            hint += &format!("; others need a file {name}.json in --model-dir");
        }
        report.push(at(format!("unknown model `{name}`")).hint(hint));
        None
    }
}

/// The models of a folder: `<folder>/<organisation>/<name>.json` and `<folder>/<name>.json`.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in files::entries(folder) {
        if entry.is_dir() {
            let organisation = files::name(&entry);
            let files = files::entries(&entry).into_iter();
            names.extend(files.filter_map(|file| Some(format!("{organisation}/{}", files::json_stem(&file)?))));
        } else {
            names.extend(files::json_stem(&entry));
        }
    }
    names
}

fn read(name: &str, document: &Arc<Document>, report: &mut Report) -> Option<Model> {
    let mut notes = Vec::new();
    let model = json::read(document, &mut report.faults, |root| {
        let root = root.object()?;
        refuse_unmodelled(&root);
        let model = dimensions(name, &root)?;
        refuse_impossible(&root, &model);
        notes.extend(shortcomings(&root, name));
        Some(model)
    })?;
    notes.into_iter().for_each(|note| report.note(note));
    // A refused model would only lead to further faults.
    report.faults.iter().all(|fault| fault.source != document.name).then_some(model)
}

fn dimensions(name: &str, root: &Object<'_>) -> Option<Model> {
    let count = |key| root.get(key).map(|value| value.count(1, MOST).map(|count| count.value));
    let required = |key| root.require(key).and_then(|value| value.count(1, MOST)).map(|count| count.value);
    let model_type = root.require("model_type").and_then(|value| value.string());
    let [hidden_size, layers, heads] = ["hidden_size", "num_hidden_layers", "num_attention_heads"].map(required);
    let vocab_size = required("vocab_size");
    let longest = required("max_position_embeddings");
    let kv_heads = count("num_key_value_heads").unwrap_or(heads);
    let head_dim = count("head_dim").unwrap_or_else(|| Some((hidden_size? / heads?).max(1)));
    let num_experts = count("num_local_experts").or_else(|| count("num_experts"));
    let (intermediate_size, experts) = match num_experts {
        None => (required("intermediate_size"), None),
        Some(num_experts) => {
            let dense = count("intermediate_size");
            let width = count("moe_intermediate_size").or(dense).or_else(|| Some(required("moe_intermediate_size")));
            let per_token = count("num_experts_per_tok").unwrap_or(Some(1));
            let experts = || {
                Some(Experts {
                    count: u32::try_from(num_experts?).ok()?,
                    per_token: u32::try_from(per_token?).ok()?,
                    intermediate_size: width.flatten()?,
                })
            };
            (dense.or(width).flatten(), Some(experts()?))
        }
    };
    Some(Model {
        name: name.to_owned(),
        model_type: model_type?.value,
        hidden_size: hidden_size?,
        num_hidden_layers: layers?,
        num_attention_heads: heads?,
        num_key_value_heads: kv_heads?,
        head_dim: head_dim?,
        intermediate_size: intermediate_size?,
        vocab_size: vocab_size?,
        max_position_embeddings: longest?,
        experts,
        torch_dtype: torch_dtype(root).and_then(|dtype| Dtype::from_str(&dtype).ok()),
    })
}

/// `torch_dtype`, which newer files call `dtype`.
fn torch_dtype(root: &Object<'_>) -> Option<String> {
    let value = root.get("torch_dtype").or_else(|| root.get("dtype"))?;
    value.string().map(|dtype| dtype.value)
}

/// Refuses what would be simulated as something else than it is.
fn refuse_unmodelled(root: &Object<'_>) {
    let refuse_with_hint = |key: &str, what: &str, hint: &str| {
        if let Some(value) = root.get(key) {
            value.push(value.place().fault(format!("{what} is not supported yet")).hint(hint));
        }
    };
    let refuse = |key: &str, what: &str| {
        refuse_with_hint(key, what, "the simulated model would differ from the real one");
    };
    let at_least =
        |key: &str, least: u64| root.get(key).is_some_and(|value| value.as_count().is_none_or(|count| count >= least));
    refuse("kv_lora_rank", "multi-head latent attention");
    let uniform = "without this key and with a dtype, the whole model is simulated in that type";
    refuse_with_hint("quantization_config", "quantisation of parts of a model", uniform);
    let is_not_empty = |key: &str| root.get(key).is_some_and(|value| value.is_filled_array());
    if is_not_empty("mlp_only_layers") {
        refuse("mlp_only_layers", "a mixture-of-experts model with dense blocks");
    }
    for (key, least) in [("first_k_dense_replace", 1), ("decoder_sparse_step", 2)] {
        if at_least(key, least) {
            refuse(key, "a mixture-of-experts model with dense blocks");
        }
    }
    for key in ["n_shared_experts", "num_shared_experts", "shared_expert_intermediate_size"] {
        if at_least(key, 1) {
            refuse(key, "an expert that all tokens share");
        }
    }
    for value in root.get("layer_types").and_then(|value| value.array()).unwrap_or_default() {
        if let Some(Placed { value: kind, place }) = value.string()
            && kind != "full_attention"
        {
            value.push(place.fault(format!("a block with {kind} is not supported yet")));
        }
    }
}

/// Refuses dimensions that don't fit each other, or that no arithmetic here is meant for.
fn refuse_impossible(root: &Object<'_>, model: &Model) {
    let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
    if !heads.is_multiple_of(kv_heads) {
        let message = format!("num_key_value_heads {kv_heads} does not divide {heads} attention heads");
        root.push(root.place_of("num_key_value_heads").fault(message));
    }
    let (width, experts) = model.experts.map_or((model.intermediate_size, 1), |experts| {
        if experts.per_token > experts.count {
            let message = format!("{} of {} experts for each token", experts.per_token, experts.count);
            root.push(root.place_of("num_experts_per_tok").fault(message));
        }
        (experts.intermediate_size, u64::from(experts.count))
    });
    let wide = |count: u64| count as f64;
    let heads_width = wide(2 * (heads + kv_heads)) * wide(model.head_dim);
    let block = wide(model.hidden_size) * (heads_width + wide(experts) * (1.0 + 3.0 * wide(width)));
    let weights = wide(model.num_hidden_layers) * block + 2.0 * wide(model.vocab_size) * wide(model.hidden_size);
    if weights > MOST_WEIGHTS {
        let message =
            format!("these dimensions make {weights:.1e} weights, more than the {MOST_WEIGHTS:.0e} simulated");
        root.push(root.place().fault(message));
    }
}

/// What is simulated only nearly right.
fn shortcomings(root: &Object<'_>, name: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let is_true = |key: &str| root.get(key).and_then(|value| value.boolean()).map(|switch| switch.value);
    if let Some(window) = root.get("sliding_window").and_then(|value| value.as_count())
        && is_true("use_sliding_window") != Some(false)
    {
        notes.push(format!(
            "{name}: its sliding window of {window} tokens is not modelled, attention reads the whole context"
        ));
    }
    if is_true("tie_word_embeddings") == Some(true) {
        notes.push(format!("{name}: embedding and head share weights, but both are counted"));
    }
    if let Some(dtype) = torch_dtype(root)
        && Dtype::from_str(&dtype).is_err()
    {
        notes.push(format!("{name}: torch_dtype {dtype} is unknown, bfloat16 is used unless a dtype is given"));
    }
    notes
}
