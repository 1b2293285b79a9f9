//! `servingsim collective`, `servingsim replay` and `run --chakra-dir`: what they print, and what they refuse.

mod support;

use chakra::{Collective, CollectiveType, Message, NodeKind, Numbering, Trace, TraceNode};
use serde_json::Value;
use std::time::Instant;
use support::{Folder, Said};

const NETWORK: &str = "topology: [FullyConnected]\nnpus_count: [3]\nbandwidth: [16]\nlatency: [20000]\n";
const SYSTEM: &str = r#"{"endpoint-delay": 10, "all-reduce-implementation": ["ring"],
    "all-gather-implementation": ["ring"], "reduce-scatter-implementation": ["ring"],
    "all-to-all-implementation": ["ring"], "local-mem-bw": 936}"#;
const MEMORY: &str = r#"{"remote_mem": {"memory-type": "PER_NODE_MEMORY_EXPANSION", "mem-bw": 256, "mem-latency": 120,
    "num-devices": 1, "pim-channels": 2}}"#;
const FILES: [&str; 6] = ["--network", "network.yml", "--system", "system.json", "--memory", "memory.json"];

/// A chain of nodes.
fn chain(kinds: &[NodeKind]) -> Trace {
    let nodes = kinds.iter().zip(0..).map(|(kind, id)| TraceNode {
        id,
        name: format!("step {id}"),
        kind: kind.clone(),
        parents: (id > 0).then(|| id - 1).into_iter().collect(),
    });
    Trace { nodes: nodes.collect(), ..Trace::default() }
}

/// A folder with three sound files, and the traces of NPU 0, 1 and so on.
fn folder(traces: &[Trace]) -> Folder {
    let folder = Folder::new();
    for (name, text) in [("network.yml", NETWORK), ("system.json", SYSTEM), ("memory.json", MEMORY)] {
        folder.write(name, text);
    }
    for (npu, trace) in traces.iter().enumerate() {
        let mut bytes = Vec::new();
        chakra::encode(trace, Numbering::Casys, &mut bytes).expect("a vector takes everything");
        folder.write(&format!("t.{npu}.et"), bytes);
    }
    folder
}

fn compute(time_ns: u64) -> NodeKind {
    NodeKind::Compute { time_ns, num_ops: 0, tensor_bytes: 0, on_host: false }
}

fn all_reduce(bytes: u64) -> NodeKind {
    collective(CollectiveType::AllReduce, bytes)
}

fn collective(kind: CollectiveType, bytes: u64) -> NodeKind {
    NodeKind::Collective(Collective { kind, bytes, involved: None, priority: 0, group: None, time_ns: 0 })
}

fn message(from: u32, to: u32) -> Message {
    Message { from, to, bytes: 4096, tag: 7, comm_type: None }
}

fn replay(folder: &Folder, flags: &[&str]) -> Said {
    folder.run(&[&["replay", "--workload", "t"], &FILES[..], flags].concat())
}

#[test]
fn finishing_times_as_astra_sim_prints_them() {
    let send = [compute(1000), NodeKind::Send(message(0, 2)), all_reduce(1 << 20)];
    let receive = [NodeKind::Recv(message(0, 2)), all_reduce(1 << 20), compute(500)];
    let folder = folder(&[chain(&send), chain(&[all_reduce(1 << 20)]), chain(&receive)]);
    let text = replay(&folder, &[]);
    insta::assert_snapshot!("replay", text);
    let json = replay(&folder, &["--format", "json"]);
    let times: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let of_text = text.stdout.lines().map(|line| line.split(", ").nth(1).unwrap().replace(" cycles", ""));
    let of_json = times["finish_ns"].as_array().expect("a list").iter().map(Value::to_string);
    assert!(of_text.eq(of_json), "{json}");

    // ASTRA-Sim's own names of the flags.
    let names = ["--workload-configuration", "--network-configuration", "--system-configuration"];
    let [workload, network, system] = names;
    let args = ["t", network, "network.yml", system, "system.json", "--remote-memory-configuration", "memory.json"];
    assert_eq!(folder.run(&[&["replay", workload], &args[..]].concat()), text);
    assert_eq!(replay(&folder, &["--chakra-schema", "llmservingsim", "--comm-scale", "1"]).stdout, text.stdout);
    let later = replay(&folder, &["--injection-scale", "3"]);
    assert_eq!(later.code, Some(0), "{later}");
    assert_ne!(later.stdout, text.stdout);
}

/// Everything that can be waited for in vain: the NPUs and their nodes are named, the code is 3.
#[test]
fn deadlocks() {
    let chains: [(&str, [Vec<NodeKind>; 3]); 6] = [
        ("no partner", [vec![compute(10), all_reduce(64)], vec![], vec![all_reduce(64)]]),
        ("nobody sends", [vec![], vec![NodeKind::Recv(message(0, 1))], vec![compute(5)]]),
        (
            "another tag",
            [vec![NodeKind::Send(message(0, 1))], vec![NodeKind::Recv(Message { tag: 8, ..message(0, 1) })], vec![]],
        ),
        (
            "two wait for one another",
            [
                vec![NodeKind::Recv(message(1, 0)), NodeKind::Send(message(0, 1))],
                vec![NodeKind::Recv(message(0, 1)), NodeKind::Send(message(1, 0))],
                vec![],
            ],
        ),
        (
            "other collectives",
            [vec![all_reduce(64)], vec![collective(CollectiveType::AllGather, 64)], vec![all_reduce(64)]],
        ),
        (
            "nothing to gather",
            [
                vec![collective(CollectiveType::AllGather, 0)],
                vec![collective(CollectiveType::AllGather, 0)],
                vec![collective(CollectiveType::AllGather, 0)],
            ],
        ),
    ];
    let mut shown = String::new();
    for (what, chains) in chains {
        let said = replay(&folder(&chains.map(|kinds| chain(&kinds))), &[]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(3), ""), "{what}: {said}");
        shown += &format!("# {what}\n{}\n", said.stderr);
    }
    let folder = folder(&[chain(&[NodeKind::Send(message(0, 1))]), chain(&[]), chain(&[])]);
    let said = replay(&folder, &["--rendezvous-protocol"]);
    assert_eq!(said.code, Some(3), "{said}");
    insta::assert_snapshot!(shown + "# nobody asks for it\n" + &said.stderr);
}

#[test]
fn what_cannot_be_replayed() {
    let mut shown = String::new();
    let mut check = |what: &str, said: Said| {
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{what}: {said}");
        assert!(said.stderr.starts_with("error: ") && !said.stderr.contains("panicked"), "{what}: {said}");
        shown += &format!("# {what}\n{}\n", said.stderr);
    };
    let three = |kind: NodeKind| folder(&[chain(&[kind]), chain(&[]), chain(&[])]);
    let good = || folder(&[chain(&[]), chain(&[]), chain(&[])]);
    check("too few traces", replay(&folder(&[chain(&[])]), &[]));
    check("a message to nobody", replay(&three(NodeKind::Send(message(0, 9))), &[]));
    check("a message to itself", replay(&three(NodeKind::Send(message(0, 0))), &[]));
    check("a collective of an unknown kind", replay(&three(collective(CollectiveType::Gather, 8)), &[]));
    let no_dims = Collective {
        involved: Some(vec![]),
        ..match all_reduce(8) {
            NodeKind::Collective(collective) => collective,
            _ => unreachable!(),
        }
    };
    check("too few dimensions", replay(&three(NodeKind::Collective(no_dims)), &[]));
    check("too long", replay(&three(compute(u64::MAX)), &[]));
    let tensor = |location, device| NodeKind::Load(chakra::Tensor { bytes: 8, location, device });
    check("no such memory", replay(&three(tensor(chakra::MemoryKind::Pool, 0)), &[]));
    check("no such device", replay(&three(tensor(chakra::MemoryKind::Host, 1)), &[]));
    let files = good();
    files.write("t.1.et", "{}");
    check("no trace", replay(&files, &[]));
    files.write("system.json", SYSTEM.replace("endpoint-delay", "endpoint_delay"));
    files.write("network.yml", NETWORK.replace("[16]", "[0]"));
    check("faults in several files", replay(&files, &[]));
    check("nothing", good().run(&["replay"]));
    check("half of it", good().run(&["replay", "--workload", "t", "--network", "network.yml"]));
    check("both", good().run(&[&["replay", "--workload", "t", "--schedule", "s"], &FILES[..]].concat()));
    check("no schedule", good().run(&["replay", "--schedule", "missing"]));
    check(
        "a channel too many",
        replay(
            &three(NodeKind::Pim {
                tensor: chakra::Tensor { bytes: 8, location: chakra::MemoryKind::Host, device: 0 },
                channel: 2,
                time_ns: 5,
            }),
            &[],
        ),
    );
    let halving = three(all_reduce(8));
    halving.write("system.json", SYSTEM.replacen("ring", "doubleBinaryTree", 1));
    check("a collective that ASTRA-Sim crashes on", replay(&halving, &[]));
    let ring = good();
    ring.write("network.yml", NETWORK.replace("FullyConnected", "Ring").replace("[3]", "[2]"));
    check("a ring of two", replay(&ring, &["--network-model", "aware"]));
    check("a schedule as JSON", good().run(&["replay", "--schedule", "s", "--format", "json"]));
    check("a wrong model", replay(&good(), &["--network-model", "awre"]));
    check("a wrong scale", replay(&good(), &["--injection-scale", "-1"]));
    insta::assert_snapshot!(shown);
}

#[test]
fn schedules_that_were_changed() {
    let folder = Folder::new();
    let said = folder.run(&["run", "--quiet", "--chakra-dir", "traces", "--chakra-batches", "0"]);
    assert_eq!(said.code, Some(0), "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.path(name)).expect("a text");
    let (begins, batches) = (read("traces/begins.csv"), read("traces/batches.csv"));
    let mut shown = String::new();
    let mut check = |what: &str, name: &str, text: &str| {
        folder.write("traces/begins.csv", &begins);
        folder.write("traces/batches.csv", &batches);
        folder.write(name, text);
        let said = folder.run(&["replay", "--schedule", "traces"]);
        assert!(matches!(said.code, Some(2 | 3)) && said.stdout.lines().count() <= 1, "{what}: {said}");
        shown += &format!("# {what}, code {}\n{}\n", said.code.expect("a code"), said.stderr);
    };
    check("no header", "traces/begins.csv", "");
    check("no number", "traces/begins.csv", &begins.replacen("0,0,0,", "0,0,zero,", 1));
    check("no such NPU", "traces/begins.csv", &begins.replacen("0,0,1,", "0,0,5,", 1));
    check(
        "an NPU never begins",
        "traces/begins.csv",
        &begins.lines().take(2).map(|line| format!("{line}\n")).collect::<String>(),
    );
    check("a column is missing", "traces/batches.csv", &batches.replacen("end_ns", "end", 1));
    insta::assert_snapshot!(shown);
}

/// Sizes at which a careless algorithm takes minutes.
#[test]
fn large_collectives() {
    let folder = Folder::new();
    let start = Instant::now();
    for (flags, time) in [
        ("--kind all_to_all --npus 1024 --latency 0 --endpoint-delay 0 --bytes 1024 --bandwidth 1000", Some("0")),
        (
            "--kind all_gather --algorithm direct --topology Ring --npus 262144 --latency 1 --bytes 1 --bandwidth 100",
            None,
        ),
        (
            "--kind all_reduce --npus 2 --latency 1 --bytes 1000000 --bandwidth 100 --preferred-dataset-splits 65536 \
             --active-chunks-per-dimension 65536",
            None,
        ),
    ] {
        let said = folder.run(&[&["collective"], &flags.split_whitespace().collect::<Vec<_>>()[..]].concat());
        assert_eq!(said.code, Some(0), "{flags}: {said}");
        assert!(time.is_none_or(|time| said.stdout.trim() == time), "{flags}: {said}");
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

/// Links of a schedule are those of its run.
#[test]
fn schedules_of_shared_links() {
    let folder = Folder::new();
    folder.run(&["examples", "--write", "."]);
    let cluster = std::fs::read_to_string(folder.path("moe-dp-ep.cluster.json")).expect("an example");
    folder.write("cluster.json", cluster.replace("\"link_bw\": 16", "\"link_bw\": 1"));
    let run = ["run", "--quiet", "--cluster-config", "cluster.json", "--dataset", "chat.workload.jsonl"];
    let export = ["--network-model", "aware", "--chakra-dir", "traces", "--chakra-batches", "0-5"];
    let said = folder.run(&[&run[..], &export].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let same = folder.run(&["replay", "--schedule", "traces"]);
    assert!(same.stdout.lines().count() > 6 && said.code == Some(0), "{same}");
    assert_eq!(same, folder.run(&["replay", "--schedule", "traces", "--network-model", "aware"]));
    for row in same.stdout.lines().skip(1) {
        let [.., recorded, replayed] = row.split(',').collect::<Vec<_>>()[..] else { panic!("{row}") };
        assert_eq!(recorded, replayed);
    }
}

/// A run that fails leaves nothing behind in the folder.
#[test]
fn traces_of_a_run_that_fails() {
    let folder = Folder::new();
    folder.write("traces/.keep", "");
    std::fs::remove_file(folder.path("traces/.keep")).expect("it is there");
    let said = folder.run(&["run", "--quiet", "--chakra-dir", "traces", "--dataset", "missing.jsonl"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(std::fs::read_dir(folder.path("traces")).expect("it was there before").next().is_none());
    // A row far down is found when the run gets there.
    folder.write("short.jsonl", "{\"input_toks\": 40, \"output_toks\": 3, \"arrival_time_ns\": 0}\n{}\n");
    let said = folder.run(&["run", "--quiet", "--chakra-dir", "new", "--dataset", "short.jsonl"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(!folder.path("new").exists(), "{said}");
}

#[test]
fn traces_that_cannot_be_written() {
    let folder = Folder::new();
    folder.write("full/file", "kept");
    folder.write("file", "kept");
    let mut shown = String::new();
    for flags in [
        &["--chakra-dir", "full"][..],
        &["--chakra-dir", "file"],
        &["--chakra-dir", "new", "--chakra-batches", "3-1"],
        &["--chakra-dir", "new", "--chakra-batches", "a"],
        &["--chakra-batches", "0-9"],
        &["--chakra-schema", "mlcommons"],
    ] {
        let said = folder.run(&[&["run", "--quiet"], flags].concat());
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{flags:?}: {said}");
        assert!(!folder.path("new").exists(), "{flags:?}");
        shown += &format!("# {}\n{}\n", flags.join(" "), said.stderr);
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn collectives() {
    let folder = Folder::new();
    let mut shown = String::new();
    let two_dims = "--topology FullyConnected,FullyConnected --npus 2,4 --bandwidth 64,8 --latency 500,20000";
    let flags = |kind: &str, rest: &str| format!("--kind {kind} {two_dims} {rest}");
    for (flags, code) in [
        (flags("all_reduce", "--bytes 1048576"), 0),
        (flags("all_reduce", "--bytes 1048576 --involved 1,0"), 0),
        (flags("all_gather", "--bytes 1024,1048576 --algorithm direct"), 0),
        (flags("all_to_all", "--bytes 1024,1048576 --per-npu"), 0),
        (flags("reduce_scatter", "--bytes 1048576 --format json"), 0),
        (flags("reduce_scatter", "--bytes 0,8 --format json --per-npu"), 0),
        ("--kind all_reduce --topology Ring --npus 5 --bandwidth 50 --latency 500 --bytes 1000000 --algorithm direct --network-model aware --per-npu --format json".to_owned(), 0),
        ("--kind all_reduce --npus 8 --bandwidth 16 --latency 20000 --bytes 65536 --algorithm doubleBinaryTree --per-npu".to_owned(), 0),
        (flags("all_to_all", "--bytes 8 --algorithm halvingDoubling"), 2),
        (flags("all_gather", "--bytes 0"), 2),
        (flags("all_gather", "--bytes 8 --involved 0,0"), 2),
        (flags("all_gather", "--bytes 8 --involved 1"), 2),
        (flags("all_gather", "--bytes 8 --algorithm ring,ring,ring"), 2),
        (flags("all_gather", "--bytes 99999999999999999999"), 2),
        (flags("all_gather", "--bytes 9999999999999999999"), 2),
        (flags("all_gather", "--bytes 1,0,x"), 2),
        (flags("allgather", "--bytes 8"), 2),
        ("--kind all_reduce --npus 3 --bandwidth 16 --latency 20000 --bytes 8 --algorithm halvingDoubling".to_owned(), 2),
        ("--kind all_reduce --npus 1048576,2 --bandwidth 16 --latency 20000 --bytes 8".to_owned(), 2),
        ("--kind all_to_all --npus 1048576 --bandwidth 16 --latency 20000 --bytes 8 --algorithm direct2".to_owned(), 2),
        ("--kind all_reduce --npus 4 --bandwidth 0 --latency -1 --bytes 8 --topology Torus".to_owned(), 2),
    ] {
        let args: Vec<&str> = std::iter::once("collective").chain(flags.split_whitespace()).collect();
        let said = folder.run(&args);
        assert_eq!(said.code, Some(code), "{flags}: {said}");
        assert!(!said.stderr.contains("panicked") && (code == 0 || said.stdout.is_empty()), "{flags}: {said}");
        shown += &format!("# {flags}\n{}{}\n", said.stdout, said.stderr);
    }
    insta::assert_snapshot!(shown);
}
