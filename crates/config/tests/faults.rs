//! What is said about faulty inputs: each row breaks a sound input in one place, and the snapshot has all of it.

use std::fmt::Write as _;
use std::fs;

use config::{Inputs, LatencySource, Loaded, Source, load};
use diagnostics::Faults;

const CLUSTER: &str = include_str!("data/cluster.json");

fn inputs(cluster: &str) -> Inputs {
    Inputs::new(Source::Text { name: "cluster.json".to_owned(), text: cluster.to_owned() })
}

/// `text` with the first `from` after `after` replaced by `to`.
fn replaced(text: &str, after: &str, from: &str, to: &str) -> String {
    let start = text.find(after).unwrap_or_else(|| panic!("no {after:?}"));
    let at = start + text[start..].find(from).unwrap_or_else(|| panic!("no {from:?} after {after:?}"));
    format!("{}{to}{}", &text[..at], &text[at + from.len()..])
}

/// Adds a row to a snapshot: what was broken, and what is said about it.
fn row(rows: &mut String, what: &str, inputs: &Inputs) {
    let faults = load(inputs).expect_err(what);
    writeln!(rows, "# {what}\n{faults}\n").unwrap();
}

#[test]
fn the_base_is_sound() {
    let loaded = load(&inputs(CLUSTER)).unwrap();
    assert_eq!(loaded.deployment.instances.len(), 2);
    assert_eq!(loaded.deployment.groups.len(), 1);
}

#[test]
fn measured_collectives() {
    let mut rows = String::new();
    for model in [
        r#"{"all_reduce": [[8, 100]]}"#,
        r#"[{"all_reduce": []}]"#,
        r#"[{"all_reduce": [8, 100]}]"#,
        r#"[{"all_reduce": [[8, 100, 3]]}]"#,
        r#"[{"all_reduce": [[8, 100], [8, 200]], "all_gather": [[-8, 1], [9, -1]]}]"#,
        r#"[{"allreduce": [[8, 100]]}]"#,
        r#"[{"all_reduce": [[0, 0], [1, 1000000000000]]}]"#,
        r#"[null, null, {"all_reduce": [[8, 100]]}]"#,
    ] {
        let to = format!(r#""link_model": {model}, "link_bw""#);
        row(&mut rows, model, &inputs(&replaced(CLUSTER, "", r#""link_bw""#, &to)));
    }
    insta::assert_snapshot!(rows);
}

#[test]
fn cluster_values() {
    const FIRST: &str = r#""model_name""#;
    let mut rows = String::new();
    for (from, to) in [
        (r#""num_nodes": 1"#, r#""num_nodes": 2"#),
        (r#""num_nodes": 1,"#, ""),
        (r#""num_instances": 2"#, r#""num_instances": "two""#),
        (r#""link_bw": 16"#, r#""link_bw": 0"#),
        (r#""link_bw": 16"#, r#""link_bw": [16, -1]"#),
        (r#""link_bw": 16"#, r#""link_bw": [16]"#),
        (r#""link_latency": 1000"#, r#""link_latency": true"#),
        (r#""mem_bw": 256"#, r#""mem_bw": 1e400"#),
        (r#""mem_size": 512"#, r#""mem_size": NaN"#),
        (r#""cpu_mem": {"#, r#""cpu_mem": [], "x": {"#),
        (r#""nodes": ["#, r#""nodes": {}, "nodes_": ["#),
        (r#""num_nodes": 1,"#, r#""num_nodes": 1, "num_nodes": 1,"#),
        (r#""num_nodes": 1,"#, r#""num_nodes": 1, "cxl_mem": {"mem_size": 1024},"#),
        (
            r#""num_nodes": 1,"#,
            r#""num_nodes": 1, "cxl_mem": {"mem_size": 0, "mem_bw": 60, "mem_latency": 0, "num_devices": 0, "x": 1},"#,
        ),
        (r#""mem_bw": 256, "mem_latency": 0}"#, r#""pim_config": "DDR4"}"#),
        (r#""num_instances": 2,"#, r#""num_instances": 2, "power": {"base_node_power": 60},"#),
        (r#""link_bw": 16,"#, r#""link_bw": 16 // GiB/s"#),
        (r#""link_bw": 16,"#, r#""link_bw": 16"#),
    ] {
        row(&mut rows, &format!("{from}  →  {to}"), &inputs(&replaced(CLUSTER, "{", from, to)));
    }
    for (from, to) in [
        (r#""model_name""#, r#""model-name""#),
        (r#""hardware": "RTXPRO6000""#, r#""hardware": """#),
        (r#""hardware": "RTXPRO6000""#, r#""hardware": "H100""#),
        (r#""mem_size": 96"#, r#""mem_size": -96"#),
        (r#""mem_size": 96"#, r#""mem_size": 96, "mem_util": 90"#),
        (r#""mem_size": 96"#, r#""mem_size": 16"#),
        (r#""mem_size": 96"#, r#""mem_size": 96, "mem_util": 0.3"#),
        (r#""npu_mem": {"mem_size": 96"#, r#""block_size": 1, "npu_mem": {"mem_size": 4000000"#),
        (r#""tp_size": 1"#, r#""tp_size": 1.5"#),
        (r#""tp_size": 1"#, r#""tp_size": 99999999999999999999"#),
        (r#""tp_size": 1"#, r#""tp_sise": 1"#),
        (r#""pd_type": null"#, r#""max_num_seqs": -1"#),
        (r#""pd_type": null"#, r#""block_size": 0"#),
        (r#""pd_type": null"#, r#""dtype": "bf16""#),
        (r#""pd_type": null"#, r#""kv_cache_dtype": "int4""#),
        (r#""pd_type": null"#, r#""enable_prefix_caching": 1"#),
        (r#""pd_type": null"#, r#""pd_type": "prefill""#),
        (r#""pd_type": null"#, r#""pd_type": "encode""#),
        (r#""pd_type": null"#, r#""pd_type": 1"#),
        (r#""tp_size": 1"#, r#""tp_size": 01"#),
        (r#""pd_type": null"#, r#""enable_attn_offloading": true"#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "cxl:0", "kv_loc": "npu"}}"#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "gpu", "kv_evict_loc": "cpu:0"}}"#),
        (r#""pd_type": null"#, r#""placement": {"blocks": [{"blocks": "0-3", "kv_loc": "cpu"}]}"#),
        (
            r#""pd_type": null"#,
            r#""placement": {"blocks": [{"blocks": "0-3,,5"}, {"blocks": "-1"}, {"blocks": "4-48"}]}"#,
        ),
        (r#""pd_type": null"#, r#""placement": {"blocks": [{"weights": "npu"}]}"#),
        (r#""pd_type": null"#, r#""placement": {"layers": {"lm-head": {"weights": "npu"}}}"#),
        (r#""pd_type": null"#, r#""colour": 1"#),
    ] {
        row(&mut rows, &format!("{from}  →  {to}"), &inputs(&replaced(CLUSTER, FIRST, from, to)));
    }
    insta::assert_snapshot!("cluster_values", rows);
}

#[test]
fn cluster_structure() {
    let mut rows = String::new();
    let mut check = |what: &str, text: &str| row(&mut rows, what, &inputs(text));
    check("empty file", "");
    check("a list", "[]");
    check("an empty object", "{}");
    check("cut off", &CLUSTER[..CLUSTER.len() / 2]);
    check("two values", &format!("{CLUSTER}{{}}"));
    check("nested too deep", &"[".repeat(100_000));
    let without = |from: &str, to: &str| CLUSTER.replace(from, to);
    check("no nodes", r#"{"num_nodes": 0, "link_bw": 1, "link_latency": 1, "nodes": []}"#);
    check("unknown model", &without("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"));
    check("several at once", &without(r#""mem_bw": 1597"#, r#""mem_bandwidth": 1597"#).replace("16,", "\"fast\","));
    insta::assert_snapshot!("cluster_structure", rows);
}

#[test]
fn parallelism() {
    let mut rows = String::new();
    let both = |from: &str, to: &str| CLUSTER.replace(from, to);
    let second = |from: &str, to: &str| {
        let (head, tail) = CLUSTER.split_at(CLUSTER.rfind(r#""model_name""#).unwrap());
        format!("{head}{}", tail.replace(from, to))
    };
    let alone = |from: &str, to: &str| both(r#""dp_group": "A","#, "").replace(from, to);
    for (what, text) in [
        ("experts that can't be divided", both(r#""ep_size": 2"#, r#""ep_size": 3"#)),
        ("more expert ranks than NPUs, alone", alone("none", "none")),
        ("more expert ranks than NPUs, in a group", both(r#""ep_size": 2"#, r#""ep_size": 4"#)),
        ("fewer expert ranks than members", both(r#""ep_size": 2,"#, "")),
        ("heads that can't be divided", both(r#""tp_size": 1"#, r#""tp_size": 3"#)),
        ("no whole number of stages", alone(r#""tp_size": 1"#, r#""tp_size": 2, "num_npus": 3"#)),
        ("no whole tensor-parallel degree", alone(r#""tp_size": 1"#, r#""pp_size": 2, "num_npus": 3"#)),
        ("products disagree", alone(r#""tp_size": 1"#, r#""tp_size": 2, "pp_size": 2, "num_npus": 8"#)),
        ("more stages than blocks", alone(r#""tp_size": 1"#, r#""tp_size": 2, "pp_size": 49"#)),
        ("more stages than blocks, inferred", alone(r#""tp_size": 1"#, r#""tp_size": 2, "num_npus": 98"#)),
        ("more NPUs than can be", both(r#""tp_size": 1"#, r#""tp_size": 32, "pp_size": 100000"#)),
        ("members with unlike stages", second(r#""tp_size": 1"#, r#""tp_size": 1, "pp_size": 2"#)),
        ("members of unlike degree", second(r#""tp_size": 1"#, r#""tp_size": 2"#)),
        ("members with unlike experts", second(r#""ep_size": 2"#, r#""ep_size": 4"#)),
        ("members of unlike type", second(r#""pd_type": null"#, r#""dtype": "fp8""#)),
        ("members of unlike model", second("Qwen/Qwen3-30B-A3B-Instruct-2507", "mistralai/Mixtral-8x7B-v0.1")),
        ("experts of a dense model", both("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-32B")),
        ("links of a group", both(r#""link_latency": 1000"#, r#""link_latency": [1, 2, 3]"#)),
    ] {
        row(&mut rows, what, &inputs(&text));
    }
    insta::assert_snapshot!("parallelism", rows);
}

const MODEL: &str = include_str!("data/model.json");

const ARCHITECTURE: &str = include_str!("data/architecture.yaml");

/// Loads the cluster with model and architecture files of its own.
fn load_files(model: &str, architecture: &str) -> (Result<Loaded, Faults>, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.json"), model).unwrap();
    fs::write(folder.path().join("qwen3_moe.yaml"), architecture).unwrap();
    let mut inputs = inputs(&CLUSTER.replace("Qwen/Qwen3-30B-A3B-Instruct-2507", "own"));
    inputs.model_dir = Some(folder.path().to_owned());
    inputs.architecture_dir = Some(folder.path().to_owned());
    inputs.latency_source = LatencySource::Analytic;
    (load(&inputs), folder.path().display().to_string())
}

fn file_row(rows: &mut String, what: &str, model: &str, architecture: &str) {
    let (result, folder) = load_files(model, architecture);
    let said = result.expect_err(what).to_string().replace(&folder, "<folder>");
    writeln!(rows, "# {what}\n{said}\n").unwrap();
}

#[test]
fn own_files_are_sound() {
    let loaded = load_files(MODEL, ARCHITECTURE).0.unwrap();
    let built_in = model::Architecture::built_in("qwen3_moe").unwrap();
    let read = &loaded.deployment.instances[0].architecture;
    assert_eq!(read.sequence, built_in.sequence);
    for &layer in model::Layer::ALL {
        assert_eq!(read.table(layer), built_in.table(layer), "{layer}");
        assert_eq!(read.is_tp_stable(layer), built_in.is_tp_stable(layer), "{layer}");
    }
    assert_eq!(loaded.deployment.instances[0].model.head_dim, 16);
    assert_eq!(loaded.notes, [""; 0]);
}

#[test]
fn models() {
    let mut rows = String::new();
    for (from, to) in [
        (r#""hidden_size": 64,"#, ""),
        (r#""hidden_size": 64"#, r#""hidden_size": 64.5"#),
        (r#""num_attention_heads": 4"#, r#""num_attention_heads": 0"#),
        (r#""num_key_value_heads": 2"#, r#""num_key_value_heads": 3"#),
        (r#""num_experts_per_tok": 2"#, r#""num_experts_per_tok": 5"#),
        (r#""model_type": "qwen3_moe""#, r#""model_type": "mamba""#),
        (r#""model_type": "qwen3_moe""#, r#""model_type": "llama""#),
        (r#""hidden_size": 64"#, r#""hidden_size": 16000000, "head_dim": 16000000"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "kv_lora_rank": 512"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "mlp_only_layers": [0]"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "decoder_sparse_step": 2"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "first_k_dense_replace": 3"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "n_shared_experts": 1"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "layer_types": ["full_attention", "linear_attention"]"#),
        (r#""hidden_size": 64"#, r#""hidden_size": 64, "quantization_config": {"quant_method": "fp8"}"#),
        (
            r#"bfloat16"
}"#,
            "bfloat16",
        ),
    ] {
        file_row(&mut rows, &format!("{from}  →  {to}"), &replaced(MODEL, "{", from, to), ARCHITECTURE);
    }
    insta::assert_snapshot!("models", rows);
}

#[test]
fn model_notes() {
    let check = |extra: &str, expected: &[&str]| {
        let model = MODEL.replace(r#""torch_dtype": "bfloat16""#, extra);
        let loaded = load_files(&model, ARCHITECTURE).0.unwrap();
        assert_eq!(loaded.notes, expected, "{extra}");
    };
    check(r#""sliding_window": null, "decoder_sparse_step": 1, "mlp_only_layers": []"#, &[]);
    check(r#""sliding_window": 2047, "use_sliding_window": false"#, &[]);
    check(
        r#""sliding_window": 2047"#,
        &["own: its sliding window of 2047 tokens is not modelled, attention reads the whole context"],
    );
    check(r#""tie_word_embeddings": true"#, &["own: embedding and head share weights, but both are counted"]);
    check(
        r#""dtype": "float8_e4m3fn""#,
        &["own: torch_dtype float8_e4m3fn is unknown, bfloat16 is used unless a dtype is given"],
    );
}

#[test]
fn architectures() {
    let mut rows = String::new();
    for (from, to) in [
        ("sequence:", "sequences:"),
        ("post_attn:", "post_atn:"),
        ("[moe]", "[moo]"),
        ("[moe]", "[]"),
        ("[moe]", "moe"),
        ("[moe]", "[moe, moe]"),
        ("[embedding]", "[embedding, moe]"),
        ("[embedding]", "[embedding, 7]"),
        ("[embedding]", "[embedding, act_fn]"),
        ("rotary_emb, attention]", "rotary_emb]"),
        ("  per_sequence:", "  per_request:"),
        ("    qkv_proj:\n", "    qkv_prj:\n"),
        ("    qkv_proj:\n", "    qkv_proj: {tp_stable: perhaps}\n"),
        ("    qkv_proj:\n", "    qkv_proj:\n    moe:\n"),
        ("    lm_head:\n", "    lm_head:\n    o_proj:\n"),
        ("[embedding]", "[embedding"),
        ("    qkv_proj:\n", "    qkv_proj:\n    qkv_proj:\n"),
    ] {
        let what = format!("{from:?}  →  {to:?}");
        file_row(&mut rows, &what, MODEL, &replaced(ARCHITECTURE, "sequence", from, to));
    }
    file_row(&mut rows, "empty file", MODEL, "");
    insta::assert_snapshot!("architectures", rows);
}

#[test]
fn flags_and_folders() {
    let mut rows = String::new();
    let mut check = |what: &str, change: fn(&mut Inputs)| {
        let mut inputs = inputs(CLUSTER);
        change(&mut inputs);
        row(&mut rows, what, &inputs);
    };
    check("block size", |inputs| inputs.flags.block_size = 0);
    check("utilisation", |inputs| inputs.flags.npu_memory_utilization = 90.0);
    check("utilisation, not a number", |inputs| inputs.flags.npu_memory_utilization = f64::NAN);
    check("log interval", |inputs| inputs.flags.log_interval_s = 0.0);
    check("profiles without a folder", |inputs| inputs.latency_source = LatencySource::Profile);
    check("no such folder", |inputs| inputs.model_dir = Some("nowhere".into()));
    check("no such file", |inputs| inputs.cluster = Source::File("nowhere.json".into()));
    check("no such constants", |inputs| inputs.gpu_constants = Some("nowhere.json".into()));
    insta::assert_snapshot!("flags_and_folders", rows);
}

#[test]
fn an_absent_profile() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("RTXPRO6000/Qwen/Qwen3-32B/bf16");
    fs::create_dir_all(&bundle).unwrap();
    fs::write(bundle.join("meta.yaml"), "").unwrap();
    let mut inputs = inputs(CLUSTER);
    inputs.profile_dir = Some(folder.path().to_owned());

    let loaded = load(&inputs).unwrap();
    let note = "no profile for RTXPRO6000/Qwen/Qwen3-30B-A3B-Instruct-2507/bf16: the analytic model stands in";
    assert_eq!(loaded.notes, [note]);

    inputs.latency_source = LatencySource::Profile;
    let said = load(&inputs).unwrap_err().to_string();
    insta::assert_snapshot!("an_absent_profile", said.replace(&folder.path().display().to_string(), "<folder>"));
}
