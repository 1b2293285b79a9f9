//! No input, however broken, makes the reader panic: every file is cut off and altered at every place.

use std::fs;

use config::{Inputs, LatencySource, PrefixStorage, Source, load};

const CLUSTER: &str = include_str!("data/cluster.json");
const FEATURES: &str = include_str!("data/features.json");
const MODEL: &str = include_str!("data/model.json");
const ARCHITECTURE: &str = include_str!("data/architecture.yaml");

/// What a character is replaced with.
const REPLACEMENTS: &[&str] =
    &["", "0", "-", "9999999", "1e300", "null", "{", "[", "}", "]", ",", ":", "\"", "\\", "\n", "é", "\0", "&x", "*x"];

/// `text` cut off after each character but the last ones, which are blank.
fn cuts(text: &str) -> impl Iterator<Item = String> {
    (0..text.trim_end().len()).map(|end| text[..end].to_owned())
}

/// `text` with each character replaced by each of [`REPLACEMENTS`].
fn alterations(text: &str) -> impl Iterator<Item = String> {
    let places = 0..text.trim_end().len();
    places.flat_map(move |at| {
        REPLACEMENTS.iter().map(move |replacement| format!("{}{replacement}{}", &text[..at], &text[at + 1..]))
    })
}

#[test]
fn clusters() {
    let read = |text: String| {
        let mut inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text });
        inputs.flags.prefix_storage = PrefixStorage::Cpu;
        inputs.flags.prefix_sharing = true;
        load(&inputs)
    };
    read(FEATURES.to_owned()).unwrap();
    for text in cuts(CLUSTER).chain(cuts(FEATURES)) {
        assert!(read(text.clone()).is_err(), "loads although cut off:\n{text}");
    }
    let (mut sound, mut faulty) = (0, 0);
    for text in alterations(CLUSTER).chain(alterations(FEATURES)) {
        match read(text) {
            Ok(_) => sound += 1,
            Err(faults) => {
                assert!(faults.iter().all(|fault| fault.position.is_some()), "without a place: {faults}");
                faulty += 1;
            }
        }
    }
    println!("{sound} altered clusters load, {faulty} don't");
    assert!(sound > 0 && faulty > 10 * (CLUSTER.len() + FEATURES.len()));
}

#[test]
fn models_and_architectures() {
    let folder = tempfile::tempdir().unwrap();
    let [model, architecture] = ["own.json", "qwen3_moe.yaml"].map(|name| folder.path().join(name));
    let cluster = CLUSTER.replace("Qwen/Qwen3-30B-A3B-Instruct-2507", "own");
    let mut inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text: cluster });
    inputs.model_dir = Some(folder.path().to_owned());
    inputs.architecture_dir = Some(folder.path().to_owned());
    inputs.latency_source = LatencySource::Analytic;

    fs::write(&architecture, ARCHITECTURE).unwrap();
    let mut faulty = 0;
    // A third of them: these go through files.
    for text in cuts(MODEL).chain(alterations(MODEL)).step_by(3) {
        fs::write(&model, text).unwrap();
        faulty += u32::from(load(&inputs).is_err());
    }
    assert!(faulty > 1000, "only {faulty} altered models are faulty");

    fs::write(&model, MODEL).unwrap();
    faulty = 0;
    for text in cuts(ARCHITECTURE).chain(alterations(ARCHITECTURE)).step_by(3) {
        fs::write(&architecture, text).unwrap();
        faulty += u32::from(load(&inputs).is_err());
    }
    assert!(faulty > 1000, "only {faulty} altered architectures are faulty");
}
