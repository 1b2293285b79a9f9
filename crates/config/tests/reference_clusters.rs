//! The reference's own cluster files, models, architectures and profiles: each loads, or is refused for what it is.

use std::fs;
use std::path::{Path, PathBuf};

use config::{Inputs, LatencySource, LatencyUsed, Source, load};
use model::{Architecture, Layer};

fn inputs(reference: &Path, cluster: PathBuf) -> Inputs {
    let mut inputs = Inputs::new(Source::File(cluster));
    inputs.profile_dir = Some(reference.join("profiles"));
    inputs
}

/// What the refused ones are refused for, by the beginning of the file name: the first that fits counts.
const REFUSED: &[(&str, &[&str])] =
    &[("single_node_single_instance_H100", &["no profile and no GPU constants for the hardware `H100`"])];

#[test]
fn every_cluster_loads_or_is_refused_for_what_it_is() {
    let Some(reference) = testkit::reference_dir() else { return };
    let mut files: Vec<_> =
        fs::read_dir(reference.join("clusters")).unwrap().map(|file| file.unwrap().path()).collect();
    files.extend(fs::read_dir(reference.join("cases")).unwrap().map(|case| case.unwrap().path().join("cluster.json")));
    let (mut sound, mut refused) = (0, 0);
    for file in files.into_iter().filter(|file| file.is_file()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = REFUSED.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reasons)| *reasons);
        match (load(&inputs(&reference, file)), expected) {
            (Ok(_), None) => sound += 1,
            (Err(faults), Some(reasons)) => {
                for reason in reasons {
                    assert!(faults.iter().any(|fault| fault.message == *reason), "{name}: {reason}?\n{faults}");
                }
                refused += 1;
            }
            (Ok(_), Some(reasons)) => panic!("{name} loads, but {reasons:?}"),
            (Err(faults), None) => panic!("{name} does not load\n{faults}"),
        }
    }
    println!("{sound} clusters load, {refused} are refused");
    assert!(sound >= 37 && refused == 1, "{sound} load, {refused} are refused");
}

/// vLLM itself reported 2588 blocks on this GPU; the cluster's `mem_util` was chosen so that they come out equal.
#[test]
fn kv_blocks_are_those_that_vllm_had() {
    let Some(reference) = testkit::reference_dir() else { return };
    let loaded = load(&inputs(&reference, reference.join("clusters/rtx4090_single_instance.json"))).unwrap();
    assert_eq!(loaded.instances[0].kv_blocks, 2588);
    assert_eq!(loaded.instances[0].latency, LatencyUsed::Profile);
}

#[test]
fn limits_beyond_the_profile_are_noted() {
    let Some(reference) = testkit::reference_dir() else { return };
    let mut inputs = inputs(&reference, reference.join("clusters/rtx4090_single_instance.json"));
    inputs.flags.max_num_seqs = 0;
    inputs.flags.max_num_batched_tokens = 4096;
    let bundle = "RTX4090/meta-llama/Llama-3.1-8B/bf16";
    let expected = [
        format!("{bundle}: max_num_batched_tokens 4096 exceeds the 2048 profiled; times beyond are extrapolated"),
        format!("{bundle}: max_num_seqs unlimited exceeds the 256 profiled; times beyond are extrapolated"),
    ];
    assert_eq!(load(&inputs).unwrap().notes, expected);
}

#[test]
fn a_degree_that_was_not_profiled() {
    let Some(reference) = testkit::reference_dir() else { return };
    let mut inputs = inputs(&reference, reference.join("clusters/rtx4090_tp2_instance.json"));
    let loaded = load(&inputs).unwrap();
    let bundle = "RTX4090/meta-llama/Llama-3.1-8B/bf16";
    assert_eq!(loaded.notes, [format!("{bundle}: tp 2 is not profiled: the analytic model stands in")]);
    assert_eq!(loaded.instances[0].latency, LatencyUsed::Analytic);

    inputs.latency_source = LatencySource::Profile;
    let faults = load(&inputs).unwrap_err();
    assert!(faults.to_string().contains("tp 2 is not profiled\n  hint: there is tp 1"), "{faults}");
}

/// Built-in models say the same as the reference's copies of their configurations.
#[test]
fn built_in_models_agree() {
    let Some(reference) = testkit::reference_dir() else { return };
    let mut compared = 0;
    for cluster in ["single_node_moe_dp_ep_instance.json", "rtx4090_single_instance.json"] {
        let text = fs::read_to_string(reference.join("clusters").join(cluster)).unwrap();
        for model in [
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            "Qwen/Qwen3-32B",
            "meta-llama/Llama-3.1-70B",
            "meta-llama/Llama-3.1-8B",
            "microsoft/Phi-mini-MoE-instruct",
            "mistralai/Mixtral-8x7B-v0.1",
        ] {
            let is_moe = ["A3B", "MoE", "Mixtral"].iter().any(|part| model.contains(part));
            if is_moe != cluster.contains("moe") {
                continue;
            }
            let text = ["Qwen/Qwen3-30B-A3B-Instruct-2507", "meta-llama/Llama-3.1-8B"]
                .iter()
                .fold(text.clone(), |text, name| text.replace(name, model))
                .replace(r#""mem_size": 24"#, r#""mem_size": 1000"#);
            let mut inputs = Inputs::new(Source::Text { name: cluster.to_owned(), text });
            let built_in = load(&inputs).unwrap_or_else(|faults| panic!("{model}: {faults}"));
            inputs.model_dir = Some(reference.join("models"));
            inputs.architecture_dir = Some(reference.join("architectures"));
            let from_files = load(&inputs).unwrap_or_else(|faults| panic!("{model}: {faults}"));
            let [ours, theirs] = [&built_in, &from_files].map(|loaded| &loaded.deployment.instances[0]);
            assert_eq!(ours.model, theirs.model);
            check_architecture(&ours.architecture, &theirs.architecture);
            assert_eq!(built_in.notes, from_files.notes, "{model}");
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}

fn check_architecture(ours: &Architecture, theirs: &Architecture) {
    assert_eq!(ours.sequence, theirs.sequence, "{}", ours.model_type);
    for layer in Layer::ALL.iter().copied().filter(|&layer| ours.table(layer).is_some()) {
        assert_eq!(ours.table(layer), theirs.table(layer), "{} {layer}", ours.model_type);
        assert_eq!(ours.is_tp_stable(layer), theirs.is_tp_stable(layer), "{} {layer}", ours.model_type);
    }
}

/// The built-in memory types say the same as the reference's files.
#[test]
fn built_in_memory_types_agree() {
    let Some(reference) = testkit::reference_dir() else { return };
    let text = fs::read_to_string(reference.join("clusters/single_node_pim_instance.json")).unwrap();
    let files: Vec<_> = fs::read_dir(reference.join("pim")).unwrap().map(|file| file.unwrap().path()).collect();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ini")) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = text.replace("DDR4_8GB_3200_pim", &name);
        let mut inputs = inputs(&reference, PathBuf::new());
        inputs.cluster = Source::Text { name: name.clone(), text };
        inputs.flags.attn_offloading = true;
        let built_in = load(&inputs).unwrap_or_else(|faults| panic!("{name}: {faults}")).deployment;
        inputs.pim_dir = Some(reference.join("pim"));
        let from_file = load(&inputs).unwrap_or_else(|faults| panic!("{name}: {faults}")).deployment;
        assert_eq!(built_in.memory, from_file.memory, "{name}");
        assert_eq!(built_in.instances[0].pim, from_file.instances[0].pim, "{name}");
        assert_eq!(built_in.power, from_file.power, "{name}");
    }
    assert_eq!(files.len(), 4);
}
