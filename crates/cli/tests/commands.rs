//! Whole commands: what they write to standard output and standard error, their exit codes and their files.

mod inputs;
mod support;

use std::fs;

use inputs::{CLUSTER, INPUT_FLAGS, MODEL, WORKLOAD, write_inputs};
use serde_json::Value;
use support::{Folder, Said};

/// The result file that `--output out.csv` leaves in `folder`.
fn csv(folder: &Folder) -> String {
    fs::read_to_string(folder.path("out.csv")).expect("the command wrote its results")
}

/// Runs with `args` and an output file, and returns everything that came of it.
fn everything(folder: &Folder, args: &[&str]) -> (Said, String) {
    let said = folder.run(&[&["run", "--output", "out.csv"], args].concat());
    assert_eq!(said.code, Some(0), "{said}");
    (said, csv(folder))
}

#[test]
fn help() {
    let folder = Folder::new();
    insta::assert_snapshot!("help", folder.run(&["--help"]));
    insta::assert_snapshot!("help_run", folder.run(&["run", "--help"]));
    insta::assert_snapshot!("help_collective", folder.run(&["collective", "--help"]));
    insta::assert_snapshot!("help_compare", folder.run(&["compare", "--help"]));
    insta::assert_snapshot!("help_replay", folder.run(&["replay", "--help"]));
    insta::assert_snapshot!("help_profile_fit", folder.run(&["profile", "fit", "--help"]));
    let version = folder.run(&["--version"]);
    assert_eq!(version.stdout, concat!("servingsim ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_run_without_arguments() {
    let folder = Folder::new();
    let default = folder.run(&["run"]);
    insta::assert_snapshot!("run", default);
    assert_eq!(default, folder.run(&["run", "--example", "moe-dp-ep"]), "the first example is the default");
}

#[test]
fn timings_come_beside_the_results() {
    let folder = Folder::new();
    let said = folder.run(&["run", "--quiet", "--format", "json", "--timings"]);
    assert_eq!(said.stdout, folder.run(&["run", "--quiet", "--format", "json"]).stdout);
    let lines: Vec<&str> = said.stderr.lines().collect();
    let names: Vec<_> = lines.iter().map(|line| line.split("  ").next().unwrap_or_default()).collect();
    let stretches = ["cluster and operator times", "workload", "simulation, rows as they come"];
    assert_eq!(names[1..4], stretches, "{said}");
    assert!(said.stderr.contains("simulated per second: "), "{said}");
}

#[test]
fn columns_can_be_left_out() {
    let folder = Folder::new();
    let (_, whole) = everything(&folder, &["--output-stamps"]);
    let (_, short) = everything(&folder, &["--output-stamps", "--no-itl"]);
    // A list is in quotes, or has no commas.
    let without = |line: &str| match (line.find('"'), line.rfind('"')) {
        (Some(start), Some(end)) => format!("{}{}", &line[..start - 1], &line[end + 1..]),
        _ => line
            .split(',')
            .enumerate()
            .filter(|&(index, _)| index != 11)
            .map(|(_, cell)| cell)
            .collect::<Vec<_>>()
            .join(","),
    };
    assert_eq!(short.lines().collect::<Vec<_>>(), whole.lines().map(without).collect::<Vec<_>>());
}

#[test]
fn examples_in_full_and_in_short() {
    let folder = Folder::new();
    let list = folder.run(&["examples"]);
    insta::assert_snapshot!("examples", list);
    insta::assert_snapshot!("run_moe_ep", folder.run(&["run", "--example", "moe-ep"]));

    let names: Vec<&str> = list.stdout.lines().map_while(|line| line.split_whitespace().next()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let mut shown = String::new();
    for name in names {
        let said = folder.run(&["run", "--example", name, "--quiet", "--format", "json"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{name}");
        let summary: Value = serde_json::from_str(&said.stdout).expect("the summary is JSON");
        shown += &format!("{name}\n");
        for key in ["requests", "generated_tokens", "makespan_s", "ttft_ms.mean", "tpot_ms.mean", "waves"] {
            let value = key.split('.').fold(&summary, |value, key| &value[key]);
            assert!(value.is_number(), "{name} has no {key}");
            shown += &format!("    {key} {value}\n");
        }
    }
    insta::assert_snapshot!("examples_in_short", shown);
}

#[test]
fn written_examples_run_as_the_built_in_ones() {
    let folder = Folder::new();
    let written = folder.run(&["examples", "--write", "files"]);
    insta::assert_snapshot!("examples_write", written);
    let commands: Vec<&str> = written.stdout.lines().filter(|line| line.starts_with("servingsim ")).collect();
    let list = folder.run(&["examples"]).stdout;
    assert_eq!(commands.len(), 6, "{written}");
    for (command, name) in commands.iter().zip(list.lines().filter_map(|line| line.split_whitespace().next())) {
        let args: Vec<&str> = command.split_whitespace().skip(2).collect();
        let from_files = everything(&folder, &args);
        let built_in = everything(&folder, &["--example", name]);
        assert_eq!(from_files, built_in, "{command} and --example {name}");
    }

    assert_eq!(folder.run(&["examples", "--write", "files"]), written, "the same files may be written again");
    folder.write("files/moe-ep.cluster.json", "{}");
    insta::assert_snapshot!("examples_write_over_a_changed_file", folder.run(&["examples", "--write", "files"]));
    let kept = fs::read_to_string(folder.path("files/moe-ep.cluster.json")).expect("it is there");
    assert_eq!(kept, "{}");
}

/// Four short requests on the default example's cluster.
const SHORT: &str = r#"{"input_toks": 40, "output_toks": 3, "arrival_time_ns": 0}
{"input_toks": 30, "output_toks": 4, "arrival_time_ns": 1000000}
{"session_id": "s", "arrival_time_ns": 5000000, "sub_requests": [{"input_toks": 20, "output_toks": 2, "tool_duration_ns": 50000000}, {"input_toks": 26, "output_toks": 2}]}
"#;

#[test]
fn what_is_told_where() {
    let folder = Folder::new();
    folder.write("short.jsonl", SHORT);
    let run =
        |args: &[&str]| folder.run(&[&["run", "--dataset", "short.jsonl", "--log-interval", "0.05"], args].concat());
    let [text, json, info, debug] =
        [&[][..], &["--format", "json"], &["--log-level", "INFO"], &["--log-level", "DEBUG"]].map(run);
    insta::assert_snapshot!("told_by_default", text);
    insta::assert_snapshot!("told_as_json", json);
    serde_json::from_str::<Value>(&json.stdout).expect("nothing but JSON is on standard output");
    insta::assert_snapshot!("told_at_debug", debug.stderr);
    let without_debug: Vec<&str> = debug.stderr.lines().filter(|line| !line.starts_with("[DEBUG]")).collect();
    assert_eq!(info.stderr.lines().collect::<Vec<_>>(), without_debug);
    assert_eq!([&info.stdout, &debug.stdout], [&text.stdout; 2], "the log is not data");

    let nothing = Said { code: Some(0), stdout: String::new(), stderr: String::new() };
    assert_eq!(run(&["--quiet"]), nothing);
    assert_eq!(run(&["--quiet", "--log-level", "DEBUG"]), nothing);
    assert_eq!(run(&["--quiet", "--format", "json"]), Said { stdout: json.stdout, ..nothing });
}

#[test]
fn the_result_file() {
    let folder = Folder::new();
    write_inputs(&folder);
    let (said, rows) = everything(&folder, &INPUT_FLAGS);
    insta::assert_snapshot!("own_files", said);
    insta::assert_snapshot!("result_file", rows);
    let in_new_folder = [&["run", "--output", "new/folder/out.csv"], &INPUT_FLAGS[..]].concat();
    assert_eq!(folder.run(&in_new_folder), said, "where the results go changes nothing");
    assert_eq!(fs::read_to_string(folder.path("new/folder/out.csv")).expect("folders are made"), rows);

    // When the engine saw each request, first put it into a batch and had its first token, and when the client had it.
    let (_, stamped) = everything(&folder, &[&INPUT_FLAGS[..], &["--output-stamps"]].concat());
    let stamps = |row: &str| row.rsplit(',').take(4).map(str::to_owned).collect::<Vec<_>>().join(" ");
    insta::assert_snapshot!("result_file_stamps", stamped.lines().map(stamps).collect::<Vec<_>>().join("\n"));
    let without: Vec<&str> = stamped.lines().filter_map(|row| row.rsplitn(5, ',').nth(4)).collect();
    assert_eq!(without, rows.lines().collect::<Vec<_>>(), "the other columns are the same");
    // vLLM's engine core: other times where requests meet.
    let of_example = |flags: &[&str]| everything(&folder, &[&["--example", "moe-ep"], flags].concat()).1;
    assert_ne!(of_example(&["--engine", "vllm"]), of_example(&[]));
    // Of which nothing is left without its parts.
    let parts = "varlen-attention,graph-padding,group-experts,waves,published-loads";
    let plain = ["--engine", "vllm", "--no-async-scheduling", "--preset", "none", "--without", parts];
    let one_by_one = [&INPUT_FLAGS[..], &plain].concat();
    assert_eq!(everything(&folder, &one_by_one).1, rows);

    // The sessions of agents: calls of one session follow one another.
    let (_, rows) = everything(&folder, &["--example", "moe-dp-ep-agents"]);
    let first: Vec<&str> = rows.lines().take(6).map(|row| row.split(",\"").next().expect("a row")).collect();
    insta::assert_snapshot!("result_file_of_agents", first.join("\n"));
}

/// What a run says of its KV cache, by engine and by what the cluster file says of it.
#[test]
fn kv_capacity_is_told() {
    let folder = Folder::new();
    write_inputs(&folder);
    let mut told = String::new();
    for (from, to) in [
        ("", ""),
        (r#""mem_size": 8"#, r#""mem_size": 8, "mem_util": 0.5"#),
        (r#""mem_size": 8"#, r#""mem_size": 8, "mem_util": 0.5, "activation_peak": 1, "runtime_context": "estimate""#),
        (r#""tp_size": 1"#, r#""tp_size": 1, "num_gpu_blocks": 2588"#),
    ] {
        assert!(CLUSTER.contains(from), "{from}");
        folder.write("cluster.json", CLUSTER.replacen(from, to, 1));
        for flags in [&["--engine", "reference"][..], &["--engine", "vllm"]] {
            let said = everything(&folder, &[&INPUT_FLAGS[..], flags].concat()).0;
            let lines = said.stderr.lines().filter(|line| line.contains("KV cache") || line.starts_with("note: `"));
            told += &format!("# {to} {}\n{}\n", flags.join(" "), lines.collect::<Vec<_>>().join("\n"));
        }
    }
    insta::assert_snapshot!("kv_capacity", told);
}

#[test]
fn names_of_flags() {
    let folder = Folder::new();
    write_inputs(&folder);
    let with = |flags: &[&str]| everything(&folder, &[&INPUT_FLAGS, flags].concat());
    assert_eq!(with(&["--num-req", "1"]), with(&["--num-reqs", "1"]));
    assert_eq!(with(&["--num-reqs", "1"]).1.lines().count(), 2, "a header and a request");
    assert_eq!(with(&["-q"]), with(&["--quiet"]));
    assert_eq!(with(&["--num-reqs", "0"]), with(&[]));
    // The last of several counts, also of a switch and its opposite.
    assert_eq!(with(&["--block-size", "0", "--block-size", "8"]), with(&["--block-size", "8"]));
    let on_and_off = with(&["--enable-prefix-caching", "--no-enable-prefix-caching"]);
    assert_eq!(on_and_off, with(&["--no-enable-prefix-caching"]));
    assert_ne!(on_and_off, with(&[]));
    assert_eq!(with(&["--no-enable-prefix-caching", "--enable-prefix-caching"]), with(&[]));
}

#[test]
fn folders_from_the_environment() {
    let folder = Folder::new();
    write_inputs(&folder);
    folder.write("architectures/own_family.yaml", OWN_FAMILY);
    folder.write("models/tiny.json", MODEL.replace("llama", "own_family"));
    let files = ["run", "--cluster-config", "cluster.json", "--dataset", "workload.jsonl"];
    let variables = [
        ("SERVINGSIM_PROFILE_DIR", "profiles"),
        ("SERVINGSIM_MODEL_DIR", "models"),
        ("SERVINGSIM_ARCHITECTURE_DIR", "architectures"),
    ];
    let by_environment = Said::by(folder.command(&files).envs(variables));
    insta::assert_snapshot!("environment", by_environment);

    let flags = ["--profile-dir", "profiles", "--model-dir", "models", "--architecture-dir", "architectures"];
    let all = [&files[..], &flags[..]].concat();
    assert_eq!(folder.run(&all), by_environment);
    let elsewhere = variables.map(|(name, _)| (name, "nowhere"));
    assert_eq!(Said::by(folder.command(&all).envs(elsewhere)), by_environment, "a flag comes before the environment");
    let lost = Said::by(folder.command(&files).envs(elsewhere));
    insta::assert_snapshot!("environment_of_nowhere", lost);
}

/// Llama without its rotary embedding.
const OWN_FAMILY: &str = "
sequence:
  prologue: [embedding]
  pre_attn: [layernorm, qkv_proj, attention]
  post_attn: [o_proj, layernorm]
  mlp_dense: [gate_up_proj, act_fn, down_proj]
  head: [final_layernorm, lm_head, sampler]
catalog:
  dense: {embedding: , layernorm: , qkv_proj: , o_proj: , gate_up_proj: , act_fn: , down_proj: , final_layernorm: }
  per_sequence: {lm_head: , sampler: }
  attention: {attention: }
";

#[test]
fn the_same_command_gives_the_same_bytes() {
    let folder = Folder::new();
    write_inputs(&folder);
    let random = [
        "--request-routing-policy",
        "RAND",
        "--expert-routing-policy",
        "RAND",
        "--no-enable-block-copy",
        "--log-level",
        "DEBUG",
    ];
    let seeded = |seed: &str| everything(&folder, &[&random[..], &["--seed", seed]].concat());
    assert_eq!(everything(&folder, &[]), everything(&folder, &[]));
    assert_eq!(everything(&folder, &INPUT_FLAGS), everything(&folder, &INPUT_FLAGS));
    let first = seeded("1");
    assert_eq!(first, seeded("1"));
    let other = seeded("2");
    assert_ne!(first.1, other.1, "another seed");
    assert_ne!(first.0.stdout, other.0.stdout, "another seed");
    assert_eq!(everything(&folder, &["--seed", "1"]), everything(&folder, &["--seed", "2"]), "nothing is random here");
}

#[test]
fn arrivals_in_any_order() {
    let folder = Folder::new();
    write_inputs(&folder);
    let lines: Vec<&str> = WORKLOAD.lines().collect();
    let rows = |order: [usize; 3]| {
        folder.write("workload.jsonl", order.map(|line| lines[line]).join("\n"));
        let (_, rows) = everything(&folder, &INPUT_FLAGS);
        // Ids go by the line; all else goes by the arrival.
        let without_id = |row: &str| {
            row.splitn(3, ',').enumerate().filter(|(at, _)| *at != 1).map(|(_, cell)| cell.to_owned()).collect()
        };
        rows.lines().map(without_id).collect::<Vec<Vec<String>>>()
    };
    assert_eq!(rows([0, 1, 2]), rows([2, 0, 1]));

    folder.write("workload.jsonl", format!("{0}\n{0}\n\n{0}\n", lines[2]));
    let (_, rows) = everything(&folder, &INPUT_FLAGS);
    insta::assert_snapshot!("arrivals_at_once", rows);
}

#[test]
fn an_example_with_another_workload_or_the_other_way_round() {
    let folder = Folder::new();
    write_inputs(&folder);
    folder.write(
        "cluster.json",
        CLUSTER.replace("tiny", "meta-llama/Llama-3.1-8B").replace("\"mem_size\": 8,", "\"mem_size\": 24,"),
    );
    let requests = |args: &[&str]| everything(&folder, args).1.lines().count() - 1;
    assert_eq!(requests(&["--dataset", "workload.jsonl"]), 3);
    assert_eq!(requests(&["--example", "dense", "--dataset", "workload.jsonl"]), 3);
    assert_eq!(requests(&["--cluster-config", "cluster.json", "--dataset", "workload.jsonl"]), 3);
}
