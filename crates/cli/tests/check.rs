//! `servingsim check`: what it tells of a deployment, held to what a run does and to what can be worked out by hand.

mod inputs;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use inputs::{CLUSTER, INPUT_FLAGS, WORKLOAD, write_inputs};
use serde_json::Value;
use support::Folder;

/// What `check` with `args` says as JSON.
fn explained(folder: &Folder, args: &[&str]) -> Value {
    let said = folder.run(&[&["check", "--format", "json"], args].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn what_is_told() {
    let folder = Folder::new();
    write_inputs(&folder);
    insta::assert_snapshot!("check", folder.run(&["check"]));
    insta::assert_snapshot!("check_own_files", folder.run(&[&["check"], &INPUT_FLAGS[..]].concat()));
    let batches = ["check", "--example", "dense-tp", "--batch", "8x1@100,1x512+7x1@100", "--engine", "vllm"];
    insta::assert_snapshot!("check_batches", folder.run(&batches));
    insta::assert_snapshot!("help_check", folder.run(&["check", "--help"]));
    let quiet = folder.run(&["check", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));
}

/// A prompt by itself has its first token when the step is through: each rank loads its input from host memory, one after
/// the other, and stores its output so.
#[test]
fn a_step_takes_what_it_takes_in_a_run() {
    let folder = Folder::new();
    write_inputs(&folder);
    folder.write("one.jsonl", r#"{"input_toks": 40, "output_toks": 1, "arrival_time_ns": 0}"#);
    let own = &INPUT_FLAGS[4..];
    let clusters = [
        (vec!["--cluster-config", "cluster.json"], own, 1),
        (vec!["--example", "dense-tp"], &[][..], 2),
        (vec!["--example", "moe-ep"], &[][..], 2),
        (vec!["--example", "moe-ep", "--all2all-backend", "alltoall"], &[][..], 2),
    ];
    for (cluster, flags, ranks) in clusters {
        let inputs = [&cluster[..], &["--dataset", "one.jsonl"], flags].concat();
        let json = explained(&folder, &[&inputs[..], &["--batch", "1x40"]].concat());
        let step = &json["steps"][0];
        let host = &json["nodes"][0];
        let access = |bytes: u64| number(host, "host_latency_ns") + bytes / number(host, "host_bandwidth_gb_per_s");
        let transfers = ranks * (access(number(step, "input_bytes")) + access(number(step, "output_bytes")));
        let said = folder.run(&[&["run", "--output", "out.csv"], &inputs[..]].concat());
        assert_eq!(said.code, Some(0), "{said}");
        let rows = fs::read_to_string(folder.path("out.csv")).expect("results");
        let ttft: u64 = rows.lines().nth(1).and_then(|row| row.split(',').nth(9)?.parse().ok()).expect("a TTFT");
        assert_eq!(number(step, "time_ns") + transfers, ttft, "{cluster:?}");
        let parts = number(step, "compute_ns") + number(step, "network_ns");
        assert_eq!(number(step, "time_ns"), parts, "{cluster:?}");
    }
}

/// A ring all-reduce of `s` bytes over `n` NPUs sends `2 (n - 1) / n s`.
#[test]
fn collectives_are_those_of_the_network() {
    let folder = Folder::new();
    let json = explained(&folder, &["--example", "dense-tp", "--batch", "1x256"]);
    let ops = list(&json["steps"][0], "ops");
    let reduces: Vec<&Value> = ops.iter().filter(|op| op["name"] == "all_reduce").collect();
    assert_eq!(reduces.len(), 2, "after attention and after the feed-forward layer");
    let group = &json["groups"][0];
    let dimension = &group["dimensions"][0];
    for reduce in reduces {
        // 256 tokens of 5,120 numbers of two bytes.
        assert_eq!((number(reduce, "bytes"), number(reduce, "members")), (256 * 5120 * 2, 2));
        assert_eq!(number(reduce, "bytes_sent"), 256 * 5120 * 2);
        assert_eq!(number(reduce, "times"), 64);
        let (npus, bandwidth, latency) = (
            dimension["npus"].to_string(),
            dimension["bandwidth_gib_per_s"].to_string(),
            dimension["latency_ns"].to_string(),
        );
        let said = folder.run(&[
            "collective",
            "--kind",
            "all_reduce",
            "--npus",
            &npus,
            "--bandwidth",
            &bandwidth,
            "--latency",
            &latency,
            "--bytes",
            "2621440",
            "--local-mem-bw",
            "1597",
        ]);
        assert_eq!(said.stdout.trim(), number(reduce, "time_ns").to_string(), "{said}");
    }
}

#[test]
fn load_and_capacity_by_hand() {
    let folder = Folder::new();
    write_inputs(&folder);
    let json = explained(&folder, &INPUT_FLAGS);
    // Prompts of 40, 34 and 12, outputs of 4, 3 and 5, in 3 ms.
    let workload = &json["workload"];
    assert_eq!((number(workload, "requests"), number(workload, "sessions")), (3, 0));
    assert_eq!(workload["prompt"], serde_json::json!({"total": 86, "mean": 86.0 / 3.0, "min": 12, "max": 40}));
    assert_eq!(workload["output"], serde_json::json!({"total": 12, "mean": 4.0, "min": 3, "max": 5}));
    assert_eq!(
        (workload["requests_per_s"].as_f64(), workload["prompt_tokens_per_s"].as_f64()),
        (Some(1000.0), Some(86.0 / 0.003))
    );
    // The mean holds (43 + 36 + 16) / 3 tokens at its end, two blocks; the longest 43, three.
    let instance = &json["instances"][0];
    let blocks = number(&instance["kv"], "blocks");
    let fit = &instance["kv"]["requests"];
    assert_eq!((number(fit, "mean_tokens"), number(fit, "of_mean")), (32, blocks / 2));
    assert_eq!((number(fit, "longest_tokens"), number(fit, "of_longest")), (43, blocks / 3));
    // Weights of the model by hand: width 1024, feed-forward 4096, 2 blocks, 32,000 words, 8 heads of 128.
    let weights = &instance["memory"]["weights"];
    assert_eq!(number(weights, "embeddings_bytes"), 2 * 2 * 32_000 * 1024);
    assert_eq!(number(weights, "attention_bytes"), 2 * 2 * (1024 * 3 * 1024 + 1024 * 1024));
    assert_eq!(number(weights, "norms_bytes"), 2 * (2 * 2 + 1) * 1024);
    assert_eq!(number(weights, "feed_forward_bytes"), 2 * 2 * 3 * 4096 * 1024);
    assert_eq!(number(&instance["memory"], "total_bytes"), 8 << 30);
    // The profile's attention goes to 64 tokens, of which a step may have 2,048.
    let attention = list(instance, "operators").iter().find(|operator| operator["layer"] == "attention");
    let attention = attention.expect("there is attention");
    assert_eq!((&attention["source"], &attention["can_be_beyond"]), (&"measured".into(), &true.into()));
    assert_eq!(attention["axes"][0], serde_json::json!({"name": "prefill tokens", "measured": 64, "reachable": 2048}));
    // Sessions: calls follow one another.
    let json = explained(&folder, &["--example", "moe-dp-ep-agents"]);
    let workload = &json["workload"];
    assert!(number(workload, "sessions") > 0 && workload["tool_time_s"].as_f64() > Some(0.0), "{workload}");
}

/// Holds what is told of a deployment to itself: memory adds up, every rank and every expert is there once.
fn check_sound(json: &Value, name: &str) {
    for kind in list(json, "instances") {
        let memory = &kind["memory"];
        let parts = [
            "weight_bytes",
            "kv_bytes",
            "null_block_bytes",
            "activation_peak_bytes",
            "runtime_context_bytes",
            "withheld_bytes",
            "free_bytes",
        ];
        let sum: u64 = parts.iter().map(|part| number(memory, part)).sum();
        assert_eq!(sum, number(memory, "total_bytes"), "{name}: {memory}");
        let weights = memory["weights"].as_object().expect("kinds of weights");
        let sum: u64 = weights.values().filter_map(Value::as_u64).sum();
        assert_eq!(sum, number(memory, "weight_bytes"), "{name}: {memory}");
    }
    let npus = list(json, "npus");
    assert!(npus.iter().enumerate().all(|(index, npu)| number(npu, "npu") == index as u64), "{name}");
    let place = |npu: &Value| ["group", "dp", "pp", "tp"].map(|key| number(npu, key));
    let computing: Vec<&Value> = npus.iter().filter(|npu| npu["peer_of"].is_null()).collect();
    assert_eq!(computing.iter().map(|npu| place(npu)).collect::<BTreeSet<_>>().len(), computing.len(), "{name}");
    for kind in list(json, "instances") {
        let Some(count) = kind["experts"]["count"].as_u64() else { continue };
        let first = kind["instances"][0][0].as_u64();
        let group = npus.iter().find(|npu| npu["instance"].as_u64() == first).map(|npu| number(npu, "group"));
        let mut experts: Vec<u64> = Vec::new();
        for npu in computing.iter().filter(|npu| Some(number(npu, "group")) == group && number(npu, "pp") == 0) {
            let Some(range) = npu["experts"].as_array() else { continue };
            let [first, last] = [0, 1].map(|at: usize| range[at].as_u64().expect("an expert"));
            experts.extend(first..=last);
        }
        experts.sort_unstable();
        assert_eq!(experts, (0..count).collect::<Vec<_>>(), "{name}");
    }
    assert!(
        !list(json, "steps").is_empty() && list(json, "steps").iter().all(|step| number(step, "time_ns") > 0),
        "{name}"
    );
}

#[test]
fn examples_add_up() {
    let folder = Folder::new();
    for name in ["moe-dp-ep", "moe-ep", "moe-dp-ep-agents", "dense-tp", "dense"] {
        for engine in ["reference", "vllm"] {
            check_sound(&explained(&folder, &["--example", name, "--engine", engine]), name);
        }
    }
}

#[test]
fn clusters_of_the_reference_add_up() {
    let Some(reference) = testkit::reference_dir() else { return };
    let folder = Folder::new();
    let profiles = reference.join("profiles").display().to_string();
    let mut checked = 0;
    for file in fs::read_dir(reference.join("clusters")).expect("clusters") {
        let path = file.expect("a file").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.contains("H100") {
            continue;
        }
        let cluster = path.display().to_string();
        let mut args = vec!["--cluster-config", &cluster, "--profile-dir", &profiles];
        if name.contains("pim") {
            args.extend(["--enable-attn-offloading", "--enable-sub-batch-interleaving"]);
        }
        let json = explained(&folder, &args);
        check_sound(&json, &name);
        let drawn = folder.run(&[&["check", "--quiet", "--drawing", "d.svg"], &args[..]].concat());
        assert_eq!(drawn.code, Some(0), "{name}: {drawn}");
        check_svg(&fs::read_to_string(folder.path("d.svg")).expect("a drawing"), &name);
        checked += 1;
    }
    println!("{checked} clusters are explained");
    assert!(checked >= 25, "{checked}");
}

/// Elements are closed in order, and nothing comes from outside.
fn check_svg(svg: &str, name: &str) {
    let without_style = match (svg.find("<style>"), svg.find("</style>")) {
        (Some(start), Some(end)) => format!("{}{}", &svg[..start], &svg[end + "</style>".len()..]),
        _ => panic!("{name}: no style"),
    };
    let mut open: Vec<&str> = Vec::new();
    for tag in without_style.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{name}: a tag does not end: {tag}"));
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{name}"),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split(' ').next().unwrap_or_default()),
        }
    }
    assert!(open.is_empty(), "{name}: {open:?} are not closed");
    let outside = svg.replacen("http://www.w3.org/2000/svg", "", 1);
    for forbidden in ["http", "url(", "@import", "<script", "<image", "NaN", "inf\""] {
        assert!(!outside.contains(forbidden), "{name}: {forbidden}");
    }
    for needed in ["prefers-color-scheme:dark", "currentColor", ".servingsim-drawing.dark"] {
        assert!(svg.contains(needed), "{name}: {needed}");
    }
}

#[test]
fn a_drawing() {
    let folder = Folder::new();
    write_inputs(&folder);
    let said = folder.run(&["check", "--quiet", "--drawing", "d.svg"]);
    assert_eq!(said.code, Some(0), "{said}");
    let svg = fs::read_to_string(folder.path("d.svg")).expect("a drawing");
    check_svg(&svg, "moe-dp-ep");
    insta::assert_snapshot!("drawing", svg);
    // Names can hold anything.
    folder.write("cluster.json", CLUSTER.replace("\"tp_size\": 1", "\"tp_size\": 1, \"dp_group\": \"<a&b>\\\"\""));
    let said = folder.run(&[&["check", "--quiet", "--drawing", "d.svg"], &INPUT_FLAGS[..]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let svg = fs::read_to_string(folder.path("d.svg")).expect("a drawing");
    check_svg(&svg, "a strange name");
    assert!(svg.contains("&lt;a&amp;b&gt;&quot;"), "{svg}");
}

/// What is alike is told once: a cluster of 512 instances on 64 nodes is told in as many lines as a small one.
#[test]
fn hundreds_of_instances_stay_readable() {
    let folder = Folder::new();
    let instance = |index: usize| {
        format!(
            r#"{{"model_name": "Qwen/Qwen3-30B-A3B-Instruct-2507", "hardware": "RTXPRO6000", "tp_size": 1, "ep_size": 128,
                "dp_group": "g{}", "npu_mem": {{"mem_size": 96, "mem_bw": 1597, "mem_latency": 0}}}}"#,
            index / 128
        )
    };
    let node = |node: usize| {
        let instances: Vec<_> = (0..8).map(|index| instance(8 * node + index)).collect();
        format!(
            r#"{{"num_instances": 8, "cpu_mem": {{"mem_size": 512, "mem_bw": 256, "mem_latency": 0}}, "instances": [{}]}}"#,
            instances.join(", ")
        )
    };
    let nodes: Vec<_> = (0..64).map(node).collect();
    let nodes = nodes.join(", ");
    folder
        .write("big.json", format!(r#"{{"num_nodes": 64, "link_bw": 16, "link_latency": 1000, "nodes": [{nodes}]}}"#));
    let args = ["--cluster-config", "big.json"];
    let said = folder.run(&[&["check", "--drawing", "d.svg"], &args[..]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.stdout.lines().count() < 120, "{said}");
    assert!(
        said.stdout.contains("Instances 0–511: RTXPRO6000") && said.stdout.contains("Groups 0–3 are laid out"),
        "{said}"
    );
    let json = explained(&folder, &args);
    check_sound(&json, "big");
    assert_eq!(["nodes", "instances", "groups", "npus"].map(|key| list(&json, key).len()), [1, 1, 1, 512]);
    let svg = fs::read_to_string(folder.path("d.svg")).expect("a drawing");
    check_svg(&svg, "big");
    assert!(svg.len() < 20_000, "{} bytes", svg.len());
}

#[test]
fn all_faults_at_once() {
    let folder = Folder::new();
    write_inputs(&folder);
    folder.write("cluster.json", CLUSTER.replace("\"tp_size\": 1", "\"tp_sice\": 1"));
    folder.write("workload.jsonl", WORKLOAD.replace("output_toks", "output_tokens"));
    folder.write("profiles/RTXPRO6000/tiny/bf16/tp1/attention.csv", "prefill_chunk,kv_prefill\n");
    insta::assert_snapshot!(
        "check_faults",
        folder.run(&[&["check", "--engine", "reference", "--enforce-eager"], &INPUT_FLAGS[..]].concat())
    );
    write_inputs(&folder);
    let without_workload = ["check", "--cluster-config", "cluster.json", "--model-dir", "models", "--num-reqs", "3"];
    insta::assert_snapshot!("check_without_workload", folder.run(&without_workload));
    let sound = folder.run(&without_workload[..5]);
    assert_eq!(sound.code, Some(0), "{sound}");
    let over_input = folder.run(&[&["check", "--drawing", "cluster.json"], &INPUT_FLAGS[..]].concat());
    assert_eq!(over_input.code, Some(2), "{over_input}");
    assert_eq!(fs::read_to_string(folder.path("cluster.json")).expect("the cluster"), CLUSTER);
    // A run still needs a workload.
    let run = folder.run(&["run", "--cluster-config", "cluster.json"]);
    assert!(run.code == Some(2) && run.stderr.contains("--dataset <FILE>"), "{run}");
}

/// Titles of what is not modelled are those of LIMITATIONS.md.
#[test]
fn limitations_are_those_of_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("LIMITATIONS.md")).expect("it is there");
    for title in explain::TITLES {
        assert!(text.contains(&format!("- **{title}**")), "no entry begins with {title:?}");
    }
}

/// Every key of the JSON is described in docs/checking.md.
#[test]
fn keys_are_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/checking.md")).expect("it is there");
    let folder = Folder::new();
    write_inputs(&folder);
    let mut keys = BTreeSet::new();
    let full = ["--example", "moe-dp-ep", "--prefix-storage", "CPU", "--engine", "vllm"];
    for args in [&INPUT_FLAGS[..], &["--example", "dense-tp"], &full] {
        collect_keys(&explained(&folder, args), &mut keys);
    }
    assert!(keys.len() > 120, "{}", keys.len());
    let missing: Vec<_> = keys.iter().filter(|key| !text.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/checking.md has no {missing:?}");
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}
