//! Hand-made profiles: layers they lack, members of a group that disagree, faults inside, and constants of one's own.

use std::fs;
use std::path::Path;

use config::{Inputs, LatencySource, LatencyUsed, ModelFiles, Source, load};
use latency::GpuConstants;
use model::{Architecture, Layer};

const CLUSTER: &str = include_str!("data/cluster.json");
const MODEL: &str = include_str!("data/model.json");

/// Writes a profile of the model `own` at tensor-parallel degree 1 without `missing`.
fn write_bundle(profiles: &Path, hardware: &str, missing: &[Layer]) {
    let folder = profiles.join(hardware).join("own/bf16/tp1");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("../meta.yaml"), "engine_effective: {max_num_batched_tokens: 4096, max_num_seqs: 256}")
        .unwrap();
    let architecture = Architecture::built_in("qwen3_moe").unwrap();
    let rows = |table| {
        let layers = Layer::ALL.iter().filter(|&&layer| architecture.table(layer) == Some(table));
        let layers = layers.filter(|layer| !missing.contains(layer));
        layers.map(|layer| format!("{layer},1,2.5\n{layer},64,5.0\n")).collect::<String>()
    };
    let write =
        |name: &str, header: &str, rows: &str| fs::write(folder.join(name), format!("{header}\n{rows}")).unwrap();
    write("dense.csv", "layer,tokens,time_us", &rows(model::Table::Dense));
    write("per_sequence.csv", "layer,sequences,time_us", &rows(model::Table::PerSequence));
    write("attention.csv", "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", "0,0,1,16,3.0\n16,0,0,0,4.0\n");
    write("moe.csv", "tokens,activated_experts,time_us", "1,1,6.0\n64,2,9.0\n");
}

/// The cluster of two members, the second on `OTHER`, with models and profiles from `folder`.
fn inputs(folder: &Path) -> Inputs {
    fs::write(folder.join("own.json"), MODEL).unwrap();
    let text = CLUSTER.replace("Qwen/Qwen3-30B-A3B-Instruct-2507", "own");
    let (head, tail) = text.split_at(text.rfind("RTXPRO6000").unwrap());
    let text = format!("{head}{}", tail.replacen("RTXPRO6000", "OTHER", 1));
    let mut inputs = Inputs::new(Source::Text { name: "cluster.json".to_owned(), text });
    inputs.model_dir = Some(folder.to_owned());
    inputs.profile_dir = Some(folder.join("profiles"));
    inputs
}

#[test]
fn layers_without_times() {
    let check = |first: &[Layer], second: &[Layer], expected: Result<&[&str], &str>| {
        let folder = tempfile::tempdir().unwrap();
        write_bundle(&folder.path().join("profiles"), "RTXPRO6000", first);
        write_bundle(&folder.path().join("profiles"), "OTHER", second);
        match (load(&inputs(folder.path())), expected) {
            (Ok(loaded), Ok(notes)) => {
                assert_eq!(loaded.notes, notes);
                assert!(loaded.instances.iter().all(|instance| instance.latency == LatencyUsed::Profile));
            }
            (Err(faults), Err(message)) => assert_eq!(faults.to_string(), message),
            (got, _) => panic!("{first:?} {second:?}: {got:?}"),
        }
    };
    check(&[], &[], Ok(&[]));
    check(
        &[Layer::OProj],
        &[Layer::OProj],
        Ok(&[
            "RTXPRO6000/own/bf16: no times for o_proj, which therefore take none",
            "OTHER/own/bf16: no times for o_proj, which therefore take none",
        ]),
    );
    check(
        &[],
        &[Layer::OProj],
        Err("error: cluster.json:21:23 at $.nodes[0].instances[1].hardware: only one of this and the first member of \
             dp_group A has times for o_proj\n  hint: use profiles that have the same layers"),
    );
}

#[test]
fn a_broken_profile_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles");
    write_bundle(&profiles, "RTXPRO6000", &[]);
    let dense = profiles.join("RTXPRO6000/own/bf16/tp1/dense.csv");
    fs::write(&dense, "layer,tokens,time_us\nqkv_proj,1,fast\n").unwrap();
    let mut inputs = inputs(folder.path());
    inputs.cluster = Source::Text {
        name: "cluster.json".to_owned(),
        text: CLUSTER.replace("Qwen/Qwen3-30B-A3B-Instruct-2507", "own"),
    };
    let faults = load(&inputs).unwrap_err();
    let said: Vec<_> = faults.iter().map(|fault| fault.source.clone()).collect();
    assert_eq!(said, [dense.display().to_string()], "{faults}");
}

#[test]
fn constants_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = inputs(folder.path());
    inputs.profile_dir = None;
    inputs.latency_source = LatencySource::Analytic;
    let said = load(&inputs).unwrap_err().to_string();
    assert!(said.contains("instances[1].hardware: no profile and no GPU constants for the hardware `OTHER`"), "{said}");

    let constants = GpuConstants { hardware: "OTHER".to_owned(), ..GpuConstants::shipped("RTX4090").unwrap() };
    let file = folder.path().join("other.json");
    fs::write(&file, constants.to_string()).unwrap();
    inputs.gpu_constants = Some(file);
    let loaded = load(&inputs).unwrap();
    assert_eq!(loaded.notes, ["RTXPRO6000: the constants given are those of OTHER; its own are used"]);
}

#[test]
fn models_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.json"), MODEL).unwrap();
    fs::write(folder.path().join("broken.json"), "{").unwrap();
    let mut files = ModelFiles::new(Some(folder.path().to_owned()), None);
    let (model, architecture) = files.get("own").unwrap();
    assert_eq!((model.name.as_str(), model.hidden_size), ("own", 64));
    assert_eq!(architecture, Architecture::built_in("qwen3_moe").unwrap());
    let said = files.get("owm").unwrap_err().to_string();
    assert_eq!(said, "error: owm: unknown model `owm`\n  hint: did you mean `own`?");
    assert!(!files.get("broken").unwrap_err().is_empty());
    assert!(files.get("broken").unwrap_err().is_empty(), "told once");
}
