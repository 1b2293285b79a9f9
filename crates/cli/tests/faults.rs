//! What is said about faulty inputs and flags: each row breaks sound inputs in one place. The snapshots have all that
//! a user gets to see; besides, no fault may bring forth a panic, a result, or any change to a file.

mod inputs;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use inputs::{BUNDLE, CLUSTER, INPUT_FLAGS, MODEL, WORKLOAD, write_inputs};
use support::Folder;

/// Collects what is said about one fault after another.
struct Faults {
    shown: String,
}

impl Faults {
    fn new() -> Self {
        Self { shown: String::new() }
    }

    /// Sound inputs but for what `break_it` does to them, and results of an earlier run where the new ones would go.
    fn check(&mut self, what: &str, flags: &[&str], break_it: impl FnOnce(&Folder)) {
        let folder = Folder::new();
        write_inputs(&folder);
        break_it(&folder);
        let output: &[&str] = if flags.contains(&"--output") { &[] } else { &["--output", "kept.csv"] };
        self.check_command(what, &folder, &[&["run"], &INPUT_FLAGS[..], output, flags].concat());
    }

    /// Sound inputs and faulty flags.
    fn check_flags(&mut self, flags: &[&str]) {
        self.check(&flags.join(" "), flags, |_| {});
    }

    /// The cluster with the first `from` replaced by `to`.
    fn check_cluster(&mut self, from: &str, to: &str) {
        self.check_file("cluster.json", CLUSTER, from, to);
    }

    /// The file `name` with `from` replaced by `to` in its sound `text`.
    fn check_file(&mut self, name: &str, text: &str, from: &str, to: &str) {
        assert!(text.contains(from), "{from} is not in {name}");
        self.check(&format!("{from}  →  {to}"), &[], |folder| folder.write(name, text.replacen(from, to, 1)));
    }

    /// A file of the wrong contents.
    fn check_contents(&mut self, what: &str, name: &str, contents: impl AsRef<[u8]>) {
        self.check(what, &[], |folder| folder.write(name, contents));
    }

    fn check_command(&mut self, what: &str, folder: &Folder, args: &[&str]) {
        folder.write("kept.csv", "results of an earlier run\n");
        let before = files(&folder.path(""));
        let said = folder.run(args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{what}: {said}");
        assert!(said.stderr.starts_with("error: ") && !said.stderr.contains("panicked"), "{what}: {said}");
        assert_eq!(files(&folder.path("")), before, "{what}: files were changed");
        self.shown += &format!("# {what}\n{}\n", said.stderr);
    }
}

/// Every file below `dir` with its contents; folders have none.
fn files(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("the folder can be read").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        }
        all.insert(path.clone(), fs::read(path).ok());
    }
    all
}

#[test]
fn sound_inputs_run() {
    let folder = Folder::new();
    write_inputs(&folder);
    let said = folder.run(&[&["run"], &INPUT_FLAGS[..], &["--latency-source", "profile"]].concat());
    assert_eq!(said.code, Some(0), "{said}");
}

#[test]
fn cluster_files() {
    let mut faults = Faults::new();
    faults.check_contents("an empty file", "cluster.json", "");
    faults.check_contents("a file that is cut off", "cluster.json", &CLUSTER[..300]);
    faults.check_contents("a list", "cluster.json", "[]");
    faults.check_contents("not text", "cluster.json", b"{\"num_nodes\": \xff}");
    faults.check("a missing file", &[], |folder| fs::remove_file(folder.path("cluster.json")).expect("it was there"));
    faults.check("a folder", &["--gpu-constants", "models"], |folder| {
        fs::remove_file(folder.path("cluster.json")).expect("it was there");
        fs::create_dir(folder.path("cluster.json")).expect("a folder in its place");
    });
    for (from, to) in [
        ("16,", "16, // GiB/s"),
        ("null\n", "null,\n"),
        (r#""num_nodes": 1"#, r#""num_nodes": "one""#),
        (r#""num_instances": 1"#, r#""num_instances": 2"#),
        (r#""num_nodes": 1,"#, ""),
        (r#""num_nodes": 1,"#, r#""num_nodes": 1, "num_nodes": 1,"#),
        (r#""mem_size": 8"#, r#""mem_size": -8"#),
        (r#""mem_bw": 1597"#, r#""mem_bw": 1e400"#),
        (r#""mem_bw": 1597"#, r#""mem_bw": NaN"#),
        (r#""tp_size": 1"#, r#""tp_size": 99999999999999999999"#),
        (r#""tp_size": 1"#, r#""tp_size": 0"#),
        (r#""tp_size": 1"#, r#""tp_sise": 1"#),
        (r#""link_bw": 16"#, r#""link_bw": [16, 32]"#),
        (r#""link_bw": 16"#, r#""link_bw": [16, "fast"]"#),
        (r#""model_name": "tiny""#, r#""model_name": "tinny""#),
        (r#""hardware": "RTXPRO6000""#, r#""hardware": "H100""#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "block_size": "16","#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "dtype": "bf16","#),
    ] {
        faults.check_cluster(from, to);
    }
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn what_does_not_go_together() {
    let mut faults = Faults::new();
    for (from, to) in [
        (r#""tp_size": 1"#, r#""tp_size": 1, "pp_size": 99"#),
        (r#""tp_size": 1"#, r#""tp_size": 2, "pp_size": 2, "num_npus": 2"#),
        (r#""pd_type": null"#, r#""pd_type": "prefill""#),
        (r#""pd_type": null"#, r#""pd_type": "decode""#),
        (r#""pd_type": null"#, r#""pd_type": "both""#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "cxl"}}"#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "gpu"}}"#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "npu", "kv_loc": "cpu"}}"#),
        (r#""pd_type": null"#, r#""placement": {"blocks": [{"blocks": "0-99", "weights": "cpu"}]}"#),
        (r#""pd_type": null"#, r#""placement": {"layers": {"qkv_prj": "cpu"}}"#),
        (r#""num_nodes": 1,"#, r#""num_nodes": 1, "cxl_mem": {"mem_size": 1024},"#),
        (r#""num_instances": 1,"#, r#""num_instances": 1, "power": {"base_node_power": 60},"#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "enable_attn_offloading": true,"#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "enable_sub_batch_interleaving": true,"#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "prefix_storage": "CXL","#),
        (r#""tp_size": 1,"#, r#""tp_size": 1, "enable_prefix_sharing": true,"#),
    ] {
        faults.check_cluster(from, to);
    }
    faults.check("a type of memory that is unknown", &["--enable-attn-offloading"], |folder| {
        folder
            .write("cluster.json", CLUSTER.replacen("latency\": 0}", "latency\": 0, \"pim_config\": \"DDR9_pim\"}", 1));
    });
    for flags in [
        &["--prefix-storage", "CXL"][..],
        &["--enable-attn-offloading"],
        &["--enable-sub-batch-interleaving"],
        &["--request-routing-policy", "CUSTOM"],
        &["--expert-routing-policy", "CUSTOM"],
        &["--network-backend", "ns3"],
        &["--no-async-scheduling", "--enforce-eager", "--warm-up", "3", "--without", "waves"],
        &["--cudagraph-capture-sizes", "1,2", "--preset", "none"],
        &["--engine", "vllm", "--cudagraph-capture-sizes", "4,2,0"],
        &["--engine", "vllm", "--preset", "vllm-0.1"],
        &["--engine", "vllm", "--preset", "models/meta-llama"],
        &["--engine", "vllm", "--polling", "reference"],
        &["--engine", "vllm", "--network-model", "aware"],
        &["--engine", "vllm", "--chakra-dir", "traces"],
    ] {
        faults.check_flags(flags);
    }
    for (from, to) in [
        (r#""tp_size": 1"#, r#""tp_size": 1, "pp_size": 2, "num_npus": 2"#),
        (r#""pd_type": null"#, r#""placement": {"default": {"weights": "cpu"}}"#),
    ] {
        faults.check(&format!("--engine vllm and {to}"), &["--engine", "vllm"], |folder| {
            assert!(CLUSTER.contains(from), "{from} is not in the cluster");
            folder.write("cluster.json", CLUSTER.replacen(from, to, 1));
        });
    }
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn deployments_that_do_not_fit() {
    let mut faults = Faults::new();
    let moe =
        CLUSTER.replace("tiny", "Qwen/Qwen3-30B-A3B-Instruct-2507").replace("\"mem_size\": 8,", "\"mem_size\": 96,");
    let mut check = |what: &str, text: String| faults.check_contents(what, "cluster.json", text);
    check("a model larger than memory", moe.replace("\"mem_size\": 96,", "\"mem_size\": 48,"));
    check("less than a block of KV", moe.replace("\"mem_size\": 96,", "\"mem_size\": 62.5,"));
    check("ep_size 3 for 128 experts", moe.replace("\"tp_size\": 1", "\"tp_size\": 4, \"ep_size\": 3"));
    check("ep_size 2 without a group", moe.replace("\"tp_size\": 1", "\"tp_size\": 1, \"ep_size\": 2"));
    check("tp_size 3 for 32 heads", moe.replace("\"tp_size\": 1", "\"tp_size\": 3"));
    check("num_npus 3", moe.replace("\"tp_size\": 1", "\"tp_size\": 2, \"num_npus\": 3"));
    check("experts of a dense model", CLUSTER.replace("\"tp_size\": 1", "\"tp_size\": 2, \"ep_size\": 2"));
    check("links of one dimension too many", CLUSTER.replace("1000", "[1000, 1000, 1000]"));

    let pair = |first: &str, second: &str| {
        let (head, rest) = moe.split_once("        {\n").expect("an instance begins");
        let (instance, tail) = rest.split_once("        }\n").expect("an instance ends");
        let member = |keys: &str| format!("        {{\n{}        }}", instance.replace("\"tp_size\": 1", keys));
        let head = head.replace("\"num_instances\": 1", "\"num_instances\": 2");
        format!("{head}{},\n{}\n{tail}", member(first), member(second))
    };
    let member = r#""tp_size": 1, "ep_size": 2, "dp_group": "A""#;
    check("members of unlike tp_size", pair(member, &member.replace("\"tp_size\": 1", "\"tp_size\": 2")));
    check("members of unlike type", pair(member, &format!("{member}, \"dtype\": \"fp8\"")));
    let ranks = |ep: &str| member.replace("\"ep_size\": 2", ep);
    check("more expert ranks than NPUs", pair(&ranks("\"ep_size\": 4"), &ranks("\"ep_size\": 4")));
    check("a group without ep_size", pair(&ranks("\"ep_size\": 1"), &ranks("\"ep_size\": 1")));
    check("an experts' group of one", moe.replace("\"tp_size\": 1", member));
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn workloads() {
    let mut faults = Faults::new();
    faults.check("a missing file", &["--dataset", "missing.jsonl"], |_| {});
    faults.check("a folder", &["--dataset", "models"], |_| {});
    faults.check_contents("an empty file", "workload.jsonl", "");
    faults.check_contents("blank lines", "workload.jsonl", "\n  \r\n\n");
    faults.check_contents("a line that is cut off", "workload.jsonl", WORKLOAD.trim_end().trim_end_matches("00}"));
    faults.check_contents("a line that ends early", "workload.jsonl", &WORKLOAD[..WORKLOAD.len() - 30]);
    faults.check_contents("not text", "workload.jsonl", b"{\"input_toks\": 1}\n\xff\xfe\n");
    let long = r#"{"input_toks": 4000, "output_toks": 100, "arrival_time_ns": 0}"#;
    faults.check_contents("longer than the model's context", "workload.jsonl", long);
    for (from, to) in [
        (r#""input_toks": 40"#, r#""input_toks": "40""#),
        (r#""input_toks": 40"#, r#""input_toks": 0"#),
        (r#""input_toks": 40"#, r#""input_toks": -40"#),
        (r#""input_toks": 40"#, r#""input_toks": 40.5"#),
        (r#""output_toks": 4"#, r#""output_toks": 1e300"#),
        (r#""output_toks": 4, "#, ""),
        (r#""arrival_time_ns": 0"#, r#""arrival_time": 0"#),
        (r#""arrival_time_ns": 0"#, r#""arrival_time_ns": 0, "priority": 1"#),
        ("[1, 2, ", "[1, two, "),
        ("}\n", ", \"sub_requests\": [{}]}\n"),
    ] {
        faults.check_file("workload.jsonl", WORKLOAD, from, to);
    }
    // Little more memory than the weights take: there is room for the KV of 1,000 tokens and some.
    let few_blocks = ["--npu-memory-utilization", "0.0244"];
    faults.check("longer than the KV cache", &few_blocks, |folder| {
        folder.write("workload.jsonl", long.replace("4000", "2000"));
    });
    let unsplit = ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "36"];
    faults.check("a prompt longer than a step, not split", &unsplit, |_| {});
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn requests_that_do_not_fit_are_told_up_to_twenty() {
    let mut faults = Faults::new();
    let long = "{\"input_toks\": 4000, \"output_toks\": 100, \"arrival_time_ns\": 0}\n";
    faults.check_contents("23 requests", "workload.jsonl", long.repeat(23));
    let told: Vec<&str> = faults.shown.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(told.len(), 21, "{}", faults.shown);
    assert!(told[19].starts_with("error: workload.jsonl at request 19: "), "{}", told[19]);
    assert_eq!(told[20], "error: workload.jsonl: 3 more requests do not fit");
}

#[test]
fn profiles() {
    let mut faults = Faults::new();
    let in_bundle = |name: &str| format!("{BUNDLE}/{name}");
    let required = ["--latency-source", "profile"];
    faults.check("a missing folder of profiles", &["--profile-dir", "nowhere"], |_| {});
    faults.check("no profile of the hardware", &required, |folder| {
        fs::rename(folder.path("profiles/RTXPRO6000"), folder.path("profiles/RTX4090")).expect("it is there");
    });
    faults.check("no profile of the element type", &["--latency-source", "profile", "--dtype", "fp8"], |_| {});
    faults.check("a degree that was not profiled", &required, |folder| {
        fs::rename(folder.path(&in_bundle("tp1")), folder.path(&in_bundle("tp2"))).expect("it is there");
    });
    for name in ["dense.csv", "per_sequence.csv", "attention.csv"] {
        faults.check(&format!("{name} is missing"), &[], |folder| {
            fs::remove_file(folder.path(&in_bundle("tp1")).join(name)).expect("it is there");
        });
    }
    faults.check_contents("a description that is none", &in_bundle("meta.yaml"), "a: [");
    let dense = in_bundle("tp1/dense.csv");
    faults.check_contents("an empty table", &dense, "");
    faults.check_contents("a table without rows", &dense, "layer,tokens,time_us\n");
    faults.check_contents("a table without a column", &dense, "layer,tokens\nlayernorm,1\n");
    faults.check_contents("a row without a cell", &dense, "layer,tokens,time_us\nlayernorm,1\n");
    faults.check_contents("cells that are no numbers", &dense, "layer,tokens,time_us\nlayernorm,one,1\nact_fn,1,-2\n");
    faults.check_contents("a table of other columns", &in_bundle("tp1/attention.csv"), "n_decode,time_us\n1,2\n");
    faults.check(
        "no constants of the GPU",
        &["--latency-source", "analytic", "--gpu-constants", "nowhere.json"],
        |_| {},
    );
    faults.check("constants that are none", &["--gpu-constants", "constants.json"], |folder| {
        folder.write("constants.json", "{}");
    });
    insta::assert_snapshot!(faults.shown);
}

/// A run reads what it needs; commands about profiles read all.
#[test]
fn a_faulty_degree_that_is_not_used() {
    let folder = Folder::new();
    write_inputs(&folder);
    let result = |folder: &Folder| {
        let said = folder.run(&[&["run"], &INPUT_FLAGS[..], &["--latency-source", "profile"]].concat());
        assert_eq!(said.code, Some(0), "{said}");
        said.stdout
    };
    let sound = result(&folder);
    folder.write(&format!("{BUNDLE}/tp2/dense.csv"), "layer,tokens,time_us\nlayernorm,one,1\n");
    assert_eq!(result(&folder), sound);
    let dirs = ["--profile-dir", "profiles", "--model-dir", "models"];
    let said = folder.run(&[&["profile", "compare", "--hardware", "RTXPRO6000"], &dirs[..]].concat());
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("tp2/dense.csv:2:11 at tokens: `one` is not a number"), "{said}");
    assert!(said.stderr.contains("tp2/attention.csv: the file is missing"), "{said}");
}

#[test]
fn models() {
    let mut faults = Faults::new();
    faults.check("a missing folder of models", &["--model-dir", "nowhere"], |_| {});
    faults.check("a file as the folder of models", &["--model-dir", "cluster.json"], |_| {});
    faults.check("a file as the folder of architectures", &["--architecture-dir", "cluster.json"], |_| {});
    faults.check_contents("a model that is cut off", "models/tiny.json", &MODEL[..100]);
    for (from, to) in [
        (r#""hidden_size": 1024,"#, ""),
        (r#""hidden_size": 1024"#, r#""hidden_size": 1024, "kv_lora_rank": 512"#),
        (r#""num_key_value_heads": 8"#, r#""num_key_value_heads": 3"#),
        ("\"llama\"", "\"mamba\""),
        ("\"llama\"", "\"qwen3_moe\""),
        ("\"vocab_size\": 32000", "\"vocab_size\": \"32k\""),
    ] {
        faults.check_file("models/tiny.json", MODEL, from, to);
    }
    faults.check("an architecture that is none", &["--architecture-dir", "architectures"], |folder| {
        folder.write("architectures/llama.yaml", "sequence:\n  prologue: [embeding]\ncatalog:\n");
    });
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn flags() {
    let mut faults = Faults::new();
    for flags in [
        &["--max-num-seq", "3"][..],
        &["--no-enable-chunked-prefil"],
        &["--gpu-memory-utilization", "0.5"],
        &["--verbose"],
        &["extra"],
        &["--block-size", "0"],
        &["--block-size", "-1"],
        &["--block-size", "2000000"],
        &["--block-size", "16.5"],
        &["--max-num-seqs", "many"],
        &["--max-num-batched-tokens", "-2048"],
        &["--num-reqs", "-1"],
        &["--seed", "99999999999999999999"],
        &["--npu-memory-utilization", "0"],
        &["--npu-memory-utilization", "1.5"],
        &["--npu-memory-utilization", "90"],
        &["--npu-memory-utilization", "nan"],
        &["--npu-memory-utilization", "90%"],
        &["--log-interval", "0"],
        &["--log-interval", "-1"],
        &["--log-interval", "nan"],
        &["--log-interval", "inf"],
        &["--log-level", "TRACE"],
        &["--dtype", "bf16"],
        &["--kv-cache-dtype", "int4"],
        &["--prefix-storage", "SSD"],
        &["--request-routing-policy", "RANDOM"],
        &["--engine", "vidur"],
        &["--engine", "vllm", "--without", "everything"],
        &["--engine", "vllm", "--warm-up", "-1"],
        &["--latency-source", "guess"],
        &["--example", "moe-ep"],
        &["--quiet", "--output"],
    ] {
        faults.check_flags(flags);
    }
    let folder = Folder::new();
    write_inputs(&folder);
    for args in [
        &["run", "--cluster-config", "cluster.json"][..],
        &["run", "--example", "moe"],
        &["run", "--latency-source", "profile"],
        &["runn"],
        &["profile", "fit", "--hardware", "H100", "--profile-dir", "profiles"],
        &["profile", "compare", "--hardware", "RTX4090", "--profile-dir", "profiles"],
        &["profile", "compare", "--hardware", "RTX4090"],
        &["examples", "--write", "cluster.json"],
    ] {
        faults.check_command(&args.join(" "), &folder, args);
    }
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn outputs() {
    let mut faults = Faults::new();
    for output in ["models", "cluster.json/out.csv", "workload.jsonl", "models/../cluster.json", "", "."] {
        faults.check_flags(&["--output", output]);
    }
    faults.check("a new folder, for a run that can't be", &["--output", "new/out.csv", "--dataset", "missing"], |_| {});
    insta::assert_snapshot!(faults.shown);
}

#[test]
fn faults_in_several_places_are_told_at_once() {
    let mut faults = Faults::new();
    let flags = ["--block-size", "0", "--network-backend", "ns3", "--gpu-constants", "nowhere.json"];
    faults.check("flags, cluster and workload", &flags, |folder| {
        folder.write("cluster.json", CLUSTER.replace("tp_size", "tp_sise").replace("tiny", "large"));
        folder.write("workload.jsonl", WORKLOAD.replace("_toks\": 4", "_toks\": -4"));
    });
    faults.check("a cluster that is no JSON and a workload", &[], |folder| {
        folder.write("cluster.json", "{");
        folder.write("workload.jsonl", "\n");
    });
    faults.check("two tables of a profile and a model", &[], |folder| {
        let (head, tail) = CLUSTER.split_once("        {\n").expect("an instance begins");
        let broken = tail.split_once("        }\n").expect("an instance ends").0.replace("tiny", "broken");
        folder.write(
            "cluster.json",
            format!("{head}        {{\n{broken}        }},\n        {{\n{tail}")
                .replace("instances\": 1", "instances\": 2"),
        );
        folder.write("models/broken.json", MODEL.replace("hidden_size", "hiden_size"));
        folder.write(&format!("{BUNDLE}/tp1/dense.csv"), "layer\n");
        folder.write(&format!("{BUNDLE}/tp1/attention.csv"), "");
    });
    insta::assert_snapshot!(faults.shown);
}
