//! `servingsim run --chakra-dir` and `servingsim replay` on built-in examples.

mod exports;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use chakra::{Collective, CollectiveType, NodeKind, Numbering, Trace, TraceNode};
use exports::{Compared, export_and_replay};
use serde_json::Value;
use support::Folder;

#[test]
fn traces_of_the_built_in_examples_replay_as_the_runs_went() {
    let list = Folder::new().run(&["examples"]).stdout;
    let names: Vec<&str> = list.lines().map_while(|line| line.split_whitespace().next()).collect();
    let mut total = Compared::default();
    for name in names {
        for (model, polling) in [("unaware", "exact"), ("aware", "exact"), ("unaware", "reference")] {
            let folder = Folder::new();
            let flags = ["--example", name, "--network-model", model, "--polling", polling];
            total += export_and_replay(&folder, &flags, "0-5,9");
        }
    }
    println!("{total:?}");
    assert!(total.scheduled >= 100 && total.alone >= 60, "{total:?}");
}

/// A thousand NPUs, begun together and one after the other, on links that are shared and on links that are not.
#[test]
fn an_all_reduce_of_a_thousand_npus() {
    const NPUS: u32 = 1024;
    let folder = Folder::new();
    folder.write("network.yml", "topology: [Ring]\nnpus_count: [1024]\nbandwidth: [50]\nlatency: [500]\n");
    folder
        .write("system.json", r#"{"endpoint-delay": 10, "local-mem-bw": 1600, "all-reduce-implementation": ["ring"]}"#);
    for (prefix, skew_ns) in [("together", 0), ("skewed", 100_000)] {
        for npu in 0..NPUS {
            let time_ns = u64::from(npu) * 7919 % (skew_ns + 1);
            let compute = NodeKind::Compute { time_ns, num_ops: 0, tensor_bytes: 0, on_host: false };
            let kind = CollectiveType::AllReduce;
            let all_reduce = Collective { kind, bytes: 1 << 30, involved: None, priority: 0, group: None, time_ns: 0 };
            let node = |id, kind, parents| TraceNode { id, name: String::new(), kind, parents };
            let nodes = vec![node(0, compute, vec![]), node(1, NodeKind::Collective(all_reduce), vec![0])];
            let mut bytes = Vec::new();
            let trace = Trace { nodes, ..Trace::default() };
            chakra::encode(&trace, Numbering::MlCommons, &mut bytes).expect("a vector takes everything");
            folder.write(&format!("{prefix}.{npu}.et"), bytes);
        }
    }
    let last = |prefix: &str, model: &str| {
        let flags = ["--workload", prefix, "--network", "network.yml", "--system", "system.json"];
        let start = Instant::now();
        let said = folder.run(&[&["replay", "--network-model", model], &flags[..]].concat());
        println!("{prefix}, {model}: {:.1} ms for the command", start.elapsed().as_secs_f64() * 1e3);
        assert_eq!(said.code, Some(0), "{said}");
        let cycles = said.stdout.lines().map(|line| line.split(", ").nth(1).expect("a time"));
        cycles.map(|cycles| cycles.trim_end_matches(" cycles").parse::<u64>().expect("cycles")).max().expect("an NPU")
    };
    let flags = "collective --kind all_reduce --topology Ring --npus 1024 --bandwidth 50 --latency 500 --bytes 1073741824 --local-mem-bw 1600";
    let alone = folder.run(&flags.split(' ').collect::<Vec<_>>()).stdout;
    for model in ["unaware", "aware"] {
        assert_eq!(format!("{}\n", last("together", model)), alone, "on a ring no two messages meet");
    }
    let skewed = ["unaware", "aware"].map(|model| last("skewed", model));
    assert!(alone.trim().parse::<u64>().expect("a time") < skewed[0] && skewed[0] <= skewed[1], "{skewed:?}");
}

/// The names of all files below `dir`, with `/` between folders.
fn files(dir: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => names.extend(files(&entry.path(), &format!("{name}/"))),
            false => names.push(name),
        }
    }
    names.sort();
    names
}

/// Google's protobuf package reads the files, and finds in them what LLMServingSim's converter would have written.
#[test]
fn python_reads_the_traces_of_a_run() {
    let Some(python) = std::env::var_os("SERVINGSIM_PYTHON") else {
        eprintln!("SKIPPED: no Python with protobuf (set SERVINGSIM_PYTHON, or run `cargo xtask test`)");
        return;
    };
    let folder = Folder::new();
    let said = folder.run(&["run", "--quiet", "--chakra-dir", "traces", "--chakra-batches", "0-1"]);
    assert_eq!(said.code, Some(0), "{said}");
    let names = files(&folder.path("traces"), "");
    insta::assert_snapshot!("files", names.join("\n"));
    let traces: Vec<_> =
        names.iter().filter(|name| name.ends_with(".et")).map(|name| folder.path("traces").join(name)).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../chakra/tests/read_et.py");
    let output = Command::new(python).arg(script).arg("read").args(&traces).output().expect("the interpreter runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let contents: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the script prints JSON");
    assert_eq!(contents.len(), traces.len());
    let line = |node: &Value| {
        let attributes = node["attr"].as_array().expect("a list").iter();
        let attributes: Vec<String> =
            attributes.map(|attribute| format!("{} {}", attribute[0], attribute[2])).collect();
        let [id, name, kind, parents, time] =
            ["id", "name", "type", "data_deps", "duration_micros"].map(|key| &node[key]);
        format!("{id} {name} type {kind} after {parents} for {time}: {}", attributes.join(", ")).replace('"', "")
    };
    let nodes = contents[0]["nodes"].as_array().expect("nodes");
    let collectives: usize = nodes.iter().filter(|node| node["type"] == 8).count();
    let mut shown = format!("metadata {}\n{} nodes, {collectives} collectives\n", contents[0]["metadata"], nodes.len());
    nodes.iter().take(14).chain(nodes.iter().rev().take(3).rev()).for_each(|node| shown += &(line(node) + "\n"));
    insta::assert_snapshot!("nodes", shown);
}
