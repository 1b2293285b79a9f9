//! Descriptions of documents, held to which keys their readers ask for.

use std::collections::BTreeSet;
use std::fs;

use config::schema::{CLUSTER, KINDS, MODEL, PRESET};
use config::{Inputs, LatencySource, ModelFiles, Preset, Source, load};
use documents::json::recorded;
use documents::schema::{Others, Shape, Value};
use model::{Dtype, Layer};

/// The path of every key of a shape.
fn paths(shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
    for key in shape.keys {
        let path = format!("{path}.{}", key.name);
        found.insert(path.clone());
        paths_in(&key.value, &path, found);
    }
    if let Others::Hold(value) = shape.others {
        found.insert(format!("{path}.<>"));
        paths_in(value, &format!("{path}.<>"), found);
    }
}

fn paths_in(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(shape) => paths(shape, path, found),
        Value::List(value) | Value::FilledList(value) => paths_in(value, &format!("{path}[]"), found),
        Value::OrNull(value) => paths_in(value, path, found),
        Value::Either(values) | Value::Tuple(values) => values.iter().for_each(|value| paths_in(value, path, found)),
        _ => {}
    }
}

/// A path without what depends on the document.
fn general(path: &str) -> String {
    let mut general = String::new();
    let mut in_brackets = false;
    for letter in path.chars() {
        match letter {
            '[' => (in_brackets, general) = (true, general + "["),
            ']' => (in_brackets, general) = (false, general + "]"),
            _ if in_brackets => {}
            other => general.push(other),
        }
    }
    general.replace(".power.npu.RTXPRO6000", ".power.npu.<>")
}

/// Checks that what was asked for is what the shape of `root` has.
fn check(root: &Shape, asked: BTreeSet<String>, is_left_out: impl Fn(&str) -> bool) {
    let asked: BTreeSet<String> = asked.iter().map(|path| general(path)).filter(|path| !is_left_out(path)).collect();
    let mut described = BTreeSet::new();
    paths(root, "$", &mut described);
    described.retain(|path| !is_left_out(path));
    let unread: Vec<_> = described.difference(&asked).collect();
    let undescribed: Vec<_> = asked.difference(&described).collect();
    assert!(unread.is_empty(), "described, and never asked for: {unread:?}");
    assert!(undescribed.is_empty(), "asked for, and not described: {undescribed:?}");
}

#[test]
fn keys_of_cluster_files() {
    let mut asked = BTreeSet::new();
    let curves = r#""link_model": [{"all_reduce": [[8, 1.0]]}], "link_latency": 1000,"#;
    let features = include_str!("data/features.json").replace(r#""link_latency": 1000,"#, curves);
    for text in [include_str!("data/cluster.json"), include_str!("data/features.json"), &features] {
        let mut inputs = Inputs::new(Source::Text { name: "c".to_owned(), text: text.to_owned() });
        inputs.latency_source = LatencySource::Analytic;
        drop(load(&inputs));
        asked.extend(recorded::take());
    }
    // Models are read in between; what they have in common with the outermost keys of clusters is nothing.
    let mut of_models = BTreeSet::new();
    paths(MODEL.root, "$", &mut of_models);
    asked.retain(|path| !of_models.contains(path.as_str()));
    // Layers are asked for by the names that are there.
    check(CLUSTER.root, asked, |path| path.contains(".placement.layers."));
}

#[test]
fn keys_of_model_files() {
    let folder = tempfile::tempdir().unwrap();
    let dense = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 9,
        "max_position_embeddings": 64, "intermediate_size": 64, "torch_dtype": "bfloat16", "sliding_window": 5}"#;
    let moe = dense.replace(
        r#""intermediate_size": 64, "torch_dtype": "bfloat16""#,
        r#""moe_intermediate_size": 8, "num_experts": 4"#,
    );
    let local = dense.replace(r#""intermediate_size": 64"#, r#""num_local_experts": 4, "mlp_only_layers": [1]"#);
    let sparse =
        moe.replace(r#""num_experts": 4"#, r#""num_experts": 4, "n_shared_experts": 2, "decoder_sparse_step": 2"#);
    let mut asked = BTreeSet::new();
    for (name, text) in [("dense", dense.to_owned()), ("moe", moe), ("local", local), ("sparse", sparse)] {
        fs::write(folder.path().join(format!("{name}.json")), text).unwrap();
        drop(ModelFiles::new(Some(folder.path().to_owned()), None).get(name));
        asked.extend(recorded::take());
    }
    check(MODEL.root, asked, |_| false);
}

#[test]
fn keys_of_presets() {
    Preset::load(Preset::DEFAULT).unwrap();
    check(PRESET.root, recorded::take(), |_| false);
}

/// Lists of names are those of the types that they name.
#[test]
fn names_in_descriptions() {
    let shape = |kind: &str, name: &str| {
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        kind.root.with_inner().into_iter().find(|shape| shape.name == name).unwrap()
    };
    let layers: Vec<_> = Layer::ALL.iter().map(|layer| layer.name()).collect();
    assert_eq!(shape("cluster", "layers").names(), layers);
    assert_eq!(shape("architecture", "catalog.<table>").names(), layers);
    let dtypes: Vec<_> = Dtype::ALL.iter().map(|dtype| dtype.name()).collect();
    let of_key = shape("cluster", "instance").keys.iter().find(|key| key.name == "dtype").unwrap();
    assert!(matches!(of_key.value, Value::OneOf(names) if names == dtypes), "{of_key:?}");
    let prologue = &shape("architecture", "sequence").keys[0];
    assert!(matches!(prologue.value, Value::List(Value::OneOf(names)) if *names == layers), "{prologue:?}");
    // Every text ends as a sentence does.
    for shape in KINDS.iter().flat_map(|kind| kind.root.with_inner()) {
        let texts = shape.keys.iter().map(|key| key.about).chain([shape.about]);
        texts.for_each(|text| assert!(text.ends_with('.'), "{}: {text}", shape.name));
    }
}
