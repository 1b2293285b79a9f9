//! JSON schemas of users' documents, held to the readers by Python's `jsonschema`; completions and manual pages.

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use config::{Inputs, LatencySource, Preset, Source};
use diagnostics::{Fault, Faults};
use serde_json::{Value, json};
use support::Folder;
use workload::ReadOptions;

const NAMES: [&str; 6] = ["cluster", "workload", "model", "architecture", "preset", "measured-run"];

fn schema(name: &str) -> Value {
    let said = Folder::new().run(&["schema", name]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    serde_json::from_str(&said.stdout).expect("a schema is JSON")
}

/// Which of the documents, each of a kind, their schemas let through. `None` where there is no Python to ask.
fn valid(documents: &[(&str, Value)]) -> Option<Vec<bool>> {
    let Some(python) = std::env::var_os("SERVINGSIM_PYTHON") else {
        eprintln!("SKIPPED: no Python with jsonschema (set SERVINGSIM_PYTHON, or run `cargo xtask test`)");
        return None;
    };
    let schemas: serde_json::Map<String, Value> = NAMES.iter().map(|&name| (name.to_owned(), schema(name))).collect();
    let given = json!({"schemas": schemas, "documents": documents});
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/validate.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(given.to_string().as_bytes()).expect("the script reads stdin");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    Some(serde_json::from_slice(&output.stdout).expect("the script prints JSON"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

const MEASURED_RUN: &str = r#"{"name": "a", "args": ["--engine", "vllm"], "measured": "requests.jsonl"}"#;

const ARCHITECTURE: &str = r#"{
    "sequence": {"prologue": ["embedding"], "pre_attn": ["qkv_proj", "attention"], "head": ["lm_head"]},
    "catalog": {"dense": {"embedding": null, "qkv_proj": {"tp_stable": true, "for": "a profiler"}}, "attention": {"attention": null}}
}"#;

#[test]
fn what_ships_and_what_the_reference_has_is_valid() {
    let mut documents: Vec<(&str, Value, String)> = Vec::new();
    for file in examples::files() {
        if file.name.ends_with(".cluster.json") {
            documents.push(("cluster", parse(file.text), file.name.to_owned()));
        } else {
            let lines = file.text.lines().map(|line| ("workload", parse(line), file.name.to_owned()));
            documents.extend(lines);
        }
    }
    let mut add = |kind, folder: &Path, extension: &str| {
        for path in files(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == extension)) {
            let (text, name) = (read(&path), path.display().to_string());
            match extension {
                "json" => documents.push((kind, parse(&text), name)),
                _ => documents.extend(text.lines().take(100).map(|line| (kind, parse(line), name.clone()))),
            }
        }
    };
    add("model", &root().join("crates/config/models"), "json");
    add("preset", &root().join("crates/config/presets"), "json");
    if let Some(reference) = testkit::reference_dir() {
        add("cluster", &reference.join("clusters"), "json");
        add("cluster", &reference.join("cases"), "json");
        add("workload", &reference.join("cases"), "jsonl");
        add("workload", &reference.join("workloads"), "jsonl");
        add("model", &reference.join("models"), "json");
    }
    documents.push(("measured-run", parse(MEASURED_RUN), "measured run".to_owned()));
    documents.push(("architecture", parse(ARCHITECTURE), "architecture".to_owned()));
    let asked: Vec<_> = documents.iter().map(|(kind, document, _)| (*kind, document.clone())).collect();
    let Some(valid) = valid(&asked) else { return };
    for ((kind, _, name), valid) in documents.iter().zip(valid) {
        assert!(valid, "{kind}: {name} does not fit its schema");
    }
    println!("{} documents fit their schemas", documents.len());
}

/// A document of each kind that has as many keys as can be, and what its reader finds at fault.
struct Subject {
    kind: &'static str,
    document: Value,
    read: fn(&str) -> Result<(), Faults>,
}

fn read_cluster(text: &str) -> Result<(), Faults> {
    let mut inputs = Inputs::new(Source::Text { name: "c".to_owned(), text: text.to_owned() });
    inputs.latency_source = LatencySource::Analytic;
    config::load(&inputs).map(|_| ())
}

fn read_model(text: &str) -> Result<(), Faults> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("own.json"), text).expect("a file in it");
    config::ModelFiles::new(Some(folder.path().to_owned()), None).get("own").map(|_| ())
}

fn read_preset(text: &str) -> Result<(), Faults> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("preset.json");
    fs::write(&path, text).expect("a file in it");
    Preset::load(&path.display().to_string()).map(|_| ())
}

fn read_line(text: &str) -> Result<(), Faults> {
    let options = ReadOptions { limit: None, token_ids: true, kept_bytes_max: usize::MAX };
    workload::read_str("w", text, &options, &mut |_| ()).map(|_| ())
}

fn subjects() -> Vec<Subject> {
    let data = |name: &str| parse(&read(root().join("crates/config/tests/data").join(name)));
    let session = r#"{"session_id": "s", "arrival_time_ns": 5, "sub_requests": [
        {"input_toks": 2, "output_toks": 2, "tool_duration_ns": 50, "input_tok_ids": [1, 2], "output_tok_ids": [3]}, {"input_toks": 26, "output_toks": 2}]}"#;
    let plain = r#"{"input_toks": 2, "output_toks": 2, "arrival_time_ns": 0, "input_tok_ids": [1, 2], "output_tok_ids": [3, 4]}"#;
    let subject = |kind, document, read| Subject { kind, document, read };
    vec![
        subject("cluster", data("cluster.json"), read_cluster),
        subject("cluster", data("features.json"), read_cluster),
        subject("model", data("model.json"), read_model),
        subject("preset", parse(&read(root().join("crates/config/presets/vllm-0.19.json"))), read_preset),
        subject("workload", parse(plain), read_line),
        subject("workload", parse(session), read_line),
    ]
}

/// Values that hardly any key may hold.
fn odd_values() -> Vec<Value> {
    let odd = r#"[null, true, -1, 0, 1.5, 1e300, "", "x", "0-3", "cpu", [], [[]], [1, 2], {}, {"x": 1}]"#;
    parse(odd).as_array().expect("a list").clone()
}

/// `document` broken in one place, in every way.
fn broken(document: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    breaks(document, &mut |value| all.push(value));
    all
}

fn breaks(value: &Value, each: &mut dyn FnMut(Value)) {
    odd_values().into_iter().for_each(&mut *each);
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                let mut without = object.clone();
                without.remove(key);
                each(Value::Object(without.clone()));
                without.insert(format!("{key}s"), inner.clone());
                each(Value::Object(without));
                breaks(inner, &mut |inner| {
                    let mut changed = object.clone();
                    changed.insert(key.clone(), inner);
                    each(Value::Object(changed));
                });
            }
        }
        Value::Array(values) => {
            for (index, inner) in values.iter().enumerate() {
                breaks(inner, &mut |inner| {
                    let mut changed = values.clone();
                    changed[index] = inner;
                    each(Value::Array(changed));
                });
            }
        }
        _ => {}
    }
}

/// Whether a fault is of a value by itself, which a schema can express: an unknown or missing key, a value of the wrong
/// kind. Which keys memory needs follows from what instances do with it.
fn is_of_form(fault: &Fault) -> bool {
    let message = &fault.message;
    if fault.hint.as_ref().is_some_and(|hint| hint.contains("attention")) {
        return false;
    }
    let beginnings = ["unknown key", "missing key", "expected "];
    beginnings.iter().any(|beginning| message.starts_with(beginning)) || message.ends_with("is missing")
}

/// Broken documents are refused by both, and what the schema refuses the reader does too.
#[test]
fn broken_documents_are_refused_by_both() {
    let mut documents = Vec::new();
    let mut verdicts = Vec::new();
    for Subject { kind, document, read } in subjects() {
        let as_it_is = read(&document.to_string());
        assert!(as_it_is.is_ok(), "{kind}: {}", as_it_is.expect_err("it is at fault"));
        for broken in broken(&document) {
            verdicts.push(read(&broken.to_string()));
            documents.push((kind, broken));
        }
    }
    let Some(valid) = valid(&documents) else { return };
    let (mut refused_by_both, mut refused_by_reader) = (0, 0);
    for (((kind, document), verdict), valid) in documents.iter().zip(&verdicts).zip(valid) {
        match verdict {
            Ok(()) => assert!(valid, "{kind}: the schema refuses what the reader takes: {document}"),
            Err(_) if !valid => refused_by_both += 1,
            Err(faults) => {
                let of_form: Vec<_> = faults.iter().filter(|fault| is_of_form(fault)).collect();
                assert!(of_form.is_empty(), "{kind}: the schema lets {of_form:?} through: {document}");
                refused_by_reader += 1;
            }
        }
    }
    println!(
        "{} broken documents: {refused_by_both} refused by both, {refused_by_reader} by the reader alone",
        documents.len()
    );
    assert!(refused_by_both > 2000 && refused_by_reader < documents.len() / 5, "{refused_by_both} {refused_by_reader}");
}

#[test]
fn schemas() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["schema"]), folder.run(&["schema", "cluster"]));
    insta::assert_snapshot!("schema_workload", folder.run(&["schema", "workload"]));
    insta::assert_snapshot!("schema_preset", folder.run(&["schema", "preset"]));
    insta::assert_snapshot!("schema_unknown", folder.run(&["schema", "clusters"]));
    for name in NAMES {
        let schema = schema(name);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        let definitions = schema["$defs"].as_object().expect("definitions");
        // Every reference leads somewhere.
        let text = schema.to_string();
        for reference in text.split("\"$ref\":\"#/$defs/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(definitions.contains_key(reference), "{name}: {reference}");
        }
    }
}

#[test]
fn completions_for_every_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let said = folder.run(&["completions", shell]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{shell}");
        for name in ["check", "cluster-config", "completions"] {
            assert!(said.stdout.contains(name), "{shell}: {name}");
        }
    }
    // Where bash is, it takes them.
    folder.write("c.bash", folder.run(&["completions", "bash"]).stdout);
    let Ok(checked) = Command::new("bash").arg("-n").arg(folder.path("c.bash")).output() else { return };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn manual_pages() {
    let folder = Folder::new();
    let printed = folder.run(&["man"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    assert!(
        printed.stdout.contains(".TH SERVINGSIM 1") && printed.stdout.contains("servingsim\\-check(1)"),
        "{printed}"
    );
    let said = folder.run(&["man", "--write", "man/pages"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(read(folder.path("man/pages/servingsim.1")), printed.stdout);
    let names: Vec<String> = files(&folder.path("man/pages"))
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    for name in ["servingsim-run", "servingsim-check", "servingsim-profile", "servingsim-profile-fit"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    let run = read(folder.path("man/pages/servingsim-run.1"));
    assert!(run.contains("cluster\\-config") && run.contains(".TH SERVINGSIM-RUN 1"), "{run}");
    folder.write("file", "");
    assert_eq!(folder.run(&["man", "--write", "file"]).code, Some(2));
}
