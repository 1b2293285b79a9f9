//! Traces read and written by Google's own protobuf package, in Python, and by us.
//!
//! `SERVINGSIM_PYTHON` names an interpreter that has the package; `cargo xtask test` makes one.

mod common;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chakra::{
    Collective, CollectiveType, MemoryKind, Message, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode,
    file_path, read_set,
};
use common::encoded;
use serde_json::{Value, json};

/// The interpreter, if there is one.
fn python() -> Option<OsString> {
    let python = env::var_os("SERVINGSIM_PYTHON");
    if python.is_none() {
        eprintln!("SKIPPED: no Python with protobuf (set SERVINGSIM_PYTHON, or run `cargo xtask test`)");
    }
    python
}

/// What the script prints when it gets `arguments`, and `input` on stdin.
fn run(python: &OsString, arguments: &[&Path], input: &str) -> String {
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_et.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the interpreter runs");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("the script reads stdin");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).expect("JSON is UTF-8")
}

/// A trace with a node of every kind, and what its file holds, as the script has it.
fn example(numbering: Numbering) -> (Trace, Value) {
    let mut nodes: Vec<(&str, NodeKind, Vec<u64>, Value)> = Vec::new();
    // The number that follows compute-in-memory in the fork, compute in MLCommons' numbering.
    let compute_type = if numbering == Numbering::Casys { 5 } else { 4 };
    let tensor = |location| Tensor { bytes: 1 << 40, location, device: 3 };
    let of_tensor = |location: u32| {
        json!([
            ["tensor_size", "uint64_val", 1_u64 << 40],
            ["tensor_loc", "uint32_val", location],
            ["tensor_device", "uint32_val", 3]
        ])
    };
    let mut push = |name, kind, parents: &[u64], node_type: i32, time_ns: u64, attr: Value| {
        let content = json!({"type": node_type, "duration_micros": time_ns, "attr": attr});
        nodes.push((name, kind, parents.to_vec(), content));
    };
    push("nothing", NodeKind::Invalid, &[], 0, 0, json!([]));
    push("", NodeKind::Metadata, &[], 1, 0, json!([]));
    push("Eingabe µ", NodeKind::Load(tensor(MemoryKind::Npu)), &[0], 2, 0, of_tensor(1));
    push("output", NodeKind::Store(tensor(MemoryKind::Pool)), &[200, 0, 1000], 3, 0, of_tensor(3));
    if numbering == Numbering::Casys {
        let mut attr = of_tensor(2);
        attr.as_array_mut().expect("it is one").push(json!(["tensor_channel", "uint32_val", 0]));
        push("pim", NodeKind::Pim { tensor: tensor(MemoryKind::Host), channel: 0, time_ns: 77 }, &[], 4, 77, attr);
    }
    let compute = |on_host, num_ops| NodeKind::Compute { time_ns: u64::MAX, num_ops, tensor_bytes: num_ops, on_host };
    push("compute", compute(false, 0), &[], compute_type, u64::MAX, json!([]));
    let attr = json!([["is_cpu_op", "bool_val", true], ["num_ops", "int64_val", 6], ["tensor_size", "uint64_val", 6]]);
    push("on the host", compute(true, 6), &[], compute_type, u64::MAX, attr);
    let message = |from, to, comm_type| Message { from, to, bytes: 1 << 33, tag: 0, comm_type };
    let of_message = |from: u32, to: u32| {
        vec![
            json!(["comm_src", "int32_val", from]),
            json!(["comm_dst", "int32_val", to]),
            json!(["comm_size", "int64_val", 1_u64 << 33]),
            json!(["comm_tag", "int32_val", 0]),
        ]
    };
    let mut attr = of_message(0, 1);
    attr.insert(0, json!(["comm_type", "int64_val", 0]));
    push("send", NodeKind::Send(message(0, 1, Some(CollectiveType::AllReduce))), &[], compute_type + 1, 0, json!(attr));
    push("recv", NodeKind::Recv(message(1, 0, None)), &[], compute_type + 2, 0, json!(of_message(1, 0)));
    let collective =
        |kind, involved, priority, group| Collective { kind, bytes: 0, involved, priority, group, time_ns: 5 };
    let plain = collective(CollectiveType::AllToAll, None, 0, None);
    let attr = json!([["comm_type", "int64_val", 6], ["comm_size", "int64_val", 0]]);
    push("all", NodeKind::Collective(plain), &[], compute_type + 3, 5, attr);
    let rich = collective(CollectiveType::Barrier, Some(vec![false, true, true]), -1, Some("tp".to_owned()));
    let attr = json!([
        ["comm_type", "int64_val", 9],
        ["comm_size", "int64_val", 0],
        ["involved_dim", "bool_list", [false, true, true]],
        ["comm_priority", "int32_val", -1],
        ["pg_name", "string_val", "tp"],
    ]);
    push("rich", NodeKind::Collective(rich), &[], compute_type + 3, 5, attr);
    let none = collective(CollectiveType::Barrier, Some(vec![]), 0, None);
    let attr = json!([["comm_type", "int64_val", 9], ["comm_size", "int64_val", 0], ["involved_dim", "bool_list", []]]);
    push("none", NodeKind::Collective(none), &[], compute_type + 3, 5, attr);

    let mut trace = Trace { metadata: Metadata::of("inputs/trace.txt"), nodes: Vec::new() };
    let mut contents = Vec::new();
    for ((name, kind, parents, mut content), index) in nodes.into_iter().zip(0_u64..) {
        // Ids of one and of two bytes.
        let id = index * 100;
        content["id"] = json!(id);
        content["name"] = json!(name);
        content["ctrl_deps"] = json!([]);
        content["data_deps"] = json!(parents);
        trace.nodes.push(TraceNode { id, name: name.to_owned(), kind, parents });
        contents.push(content);
    }
    let metadata =
        json!([["schema", "string_val", "1.0.2-chakra.0.0.4"], ["input_file", "string_val", "inputs/trace.txt"]]);
    (trace, json!({"metadata": metadata, "nodes": contents}))
}

const NUMBERINGS: [Numbering; 2] = [Numbering::MlCommons, Numbering::Casys];

#[test]
fn python_reads_what_we_write() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for numbering in NUMBERINGS {
        let (trace, content) = example(numbering);
        let path = folder.path().join("a.et");
        std::fs::write(&path, encoded(&trace, numbering)).expect("it is written");
        let read: Value = serde_json::from_str(&run(&python, &[Path::new("read"), &path], "")).expect("it is JSON");
        assert_eq!(read, json!([content]), "{numbering}");
    }
}

/// And byte for byte the same as ours.
#[test]
fn we_read_what_python_writes() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for numbering in NUMBERINGS {
        let (trace, content) = example(numbering);
        let prefix = folder.path().join(format!("{numbering:?}"));
        let path = file_path(&prefix, 0);
        run(&python, &[Path::new("write"), &path], &content.to_string());
        assert_eq!(std::fs::read(&path).expect("it was written"), encoded(&trace, numbering), "{numbering}");
        let set = read_set(&prefix, 1, None).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!((set.numbering, &set.traces[0]), (numbering, &trace));
    }
}

/// What converters other than LLMServingSim's may write: fields that nothing here reads, and other types of integers.
#[test]
fn we_read_what_others_write() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let node = |id: u64, node_type: i32, attr: Value| json!({"id": id, "name": "", "type": node_type, "ctrl_deps": [1], "data_deps": [], "duration_micros": 9, "attr": attr});
    let collective = json!([
        ["comm_type", "sint64_val", 2],
        ["comm_size", "fixed64_val", 7],
        ["comm_priority", "sfixed32_val", -2],
        ["op_schema", "string_val", "aten::all_gather"],
        ["stream", "int64_list", [1, 2]],
        ["x", "double_val", 0.5],
    ]);
    let content = json!({
        "metadata": [["version", "int64_val", 3], ["schema", "string_val", "s"], ["w", "string_list", ["a", "b"]]],
        "nodes": [node(1, 7, collective), node(2, 4, json!([["num_ops", "sfixed64_val", 5]]))],
    });
    let prefix = folder.path().join("others");
    run(&python, &[Path::new("write"), &file_path(&prefix, 0)], &content.to_string());
    let set = read_set(&prefix, 1, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((set.numbering, set.num_nodes_with_ctrl_deps), (Numbering::MlCommons, 2));
    let kinds: Vec<&NodeKind> = set.traces[0].nodes.iter().map(|node| &node.kind).collect();
    let gather =
        Collective { kind: CollectiveType::AllGather, bytes: 7, involved: None, priority: -2, group: None, time_ns: 9 };
    let compute = NodeKind::Compute { time_ns: 9, num_ops: 5, tensor_bytes: 0, on_host: false };
    assert_eq!(kinds, [&NodeKind::Collective(gather), &compute]);
    assert_eq!(set.traces[0].metadata.schema.as_deref(), Some("s"));
}
