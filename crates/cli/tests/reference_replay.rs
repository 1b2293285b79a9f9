//! Recorded runs of ASTRA-Sim through `servingsim replay`, to the nanosecond: traces of both numberings, and files of
//! the shape of ASTRA-Sim's own. What never finishes is told as that; what ASTRA-Sim dies of is refused.

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::str::FromStr;

use chakra::{CollectiveType, MemoryKind, Message, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode};
use serde_json::{Map, Value, json};

use support::{Folder, Said};

/// A row of a table by column.
type Row = BTreeMap<String, String>;

/// The rows of a table. A quoted field may hold commas, and quotes written twice.
fn rows(text: &str) -> Vec<Row> {
    let fields = |line: &str| {
        let mut fields = vec![String::new()];
        let mut parts = line.split('"').enumerate().peekable();
        while let Some((index, part)) = parts.next() {
            let is_quoted = index % 2 == 1;
            let mut pieces = if is_quoted { vec![part] } else { part.split(',').collect() }.into_iter();
            *fields.last_mut().expect("a field") += pieces.next().expect("a piece");
            fields.extend(pieces.map(str::to_owned));
            // Nothing between two quoted parts: one quote, written twice.
            if is_quoted && parts.next_if(|&(_, between)| between.is_empty()).is_some() && parts.peek().is_some() {
                *fields.last_mut().expect("a field") += "\"";
            }
        }
        fields
    };
    let mut lines = text.lines();
    let header = fields(lines.next().expect("a header"));
    lines.map(|line| header.iter().cloned().zip(fields(line)).collect()).collect()
}

fn number<N: FromStr<Err: fmt::Debug>>(text: &str) -> N {
    text.parse().unwrap_or_else(|error| panic!("{error:?}: {text}"))
}

fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or_else(|| panic!("no {separator} in {text}"))
}

/// The traces of a graph in the notation of the recordings: NPUs separated by `|` or all alike, nodes by `;`, each
/// after the one before unless `<-` lists its parents.
fn traces(graph: &str, num_npus: usize) -> Vec<Trace> {
    let graphs: Vec<&str> = graph.split('|').collect();
    assert!(graphs.len() == 1 || graphs.len() == num_npus, "{graph}");
    let node = |npu, (text, id): (&str, u64)| {
        let (op, parents) = match text.split_once("<-") {
            Some((op, parents)) => (op, parents.split('.').filter(|id| !id.is_empty()).map(number).collect()),
            None => (text, id.checked_sub(1).into_iter().collect()),
        };
        TraceNode { id, name: op.to_owned(), kind: kind(op, npu), parents }
    };
    let trace = |npu: usize| {
        let nodes = graphs[npu % graphs.len()].trim().split(';').filter(|node| !node.is_empty());
        let nodes = nodes.zip(0..).map(|text| node(npu as u32, text)).collect();
        Trace { metadata: Metadata::of("recording"), nodes }
    };
    (0..num_npus).map(trace).collect()
}

/// `AR4096@01`, `C500`, `S4096>1#2`, `V4096<0#2`, `L4096@R0`, `W4096@C1`, `P500+4096@R0.1` of an NPU.
fn kind(op: &str, npu: u32) -> NodeKind {
    // Two letters first: "C" begins no collective.
    let collective = match op.get(..2) {
        Some("AR") => Some(CollectiveType::AllReduce),
        Some("AG") => Some(CollectiveType::AllGather),
        Some("RS") => Some(CollectiveType::ReduceScatter),
        Some("AA") => Some(CollectiveType::AllToAll),
        _ => None,
    };
    if let Some(kind) = collective {
        let (bytes, mask) = op[2..].split_once('@').map_or((&op[2..], None), |(bytes, mask)| (bytes, Some(mask)));
        let involved = mask.map(|mask| mask.chars().map(|dim| dim == '1').collect());
        let bytes = number(bytes);
        return NodeKind::Collective(chakra::Collective {
            kind,
            bytes,
            involved,
            priority: 0,
            group: None,
            time_ns: 0,
        });
    }
    let rest = &op[1..];
    let message = |arrow| {
        let (bytes, peer) = split(rest, arrow);
        let (peer, tag) = peer.split_once('#').unwrap_or((peer, "0"));
        let (bytes, peer, tag) = (number(bytes), number(peer), number(tag));
        let (from, to) = if arrow == '>' { (npu, peer) } else { (peer, npu) };
        Message { from, to, bytes, tag, comm_type: None }
    };
    match &op[..1] {
        "C" => NodeKind::Compute { time_ns: number(rest), num_ops: 0, tensor_bytes: 0, on_host: false },
        "S" => NodeKind::Send(message('>')),
        "V" => NodeKind::Recv(message('<')),
        "L" => NodeKind::Load(tensor(rest)),
        "W" => NodeKind::Store(tensor(rest)),
        "P" => {
            let (time, place) = split(rest, '+');
            let (place, channel) = split(place, '.');
            NodeKind::Pim { tensor: tensor(place), channel: number(channel), time_ns: number(time) }
        }
        _ => panic!("an unknown operation: {op}"),
    }
}

/// `4096@R0`.
fn tensor(text: &str) -> Tensor {
    let (bytes, place) = split(text, '@');
    let location = match &place[..1] {
        "L" => MemoryKind::Npu,
        "R" => MemoryKind::Host,
        "C" => MemoryKind::Pool,
        _ => panic!("an unknown memory: {place}"),
    };
    Tensor { bytes: number(bytes), location, device: number(&place[1..]) }
}

/// What a row is run on.
struct Setting {
    /// NPUs in each dimension, joined by `x`.
    dims: String,
    system: Map<String, Value>,
    memory: Option<String>,
    flags: Vec<String>,
}

impl Setting {
    /// With ASTRA-Sim's usual system and no memory.
    fn new(dims: &str, local_memory_gb_per_s: f64) -> Self {
        let rings = vec!["ring"; dims.split('x').count()];
        let system = json!({
            "scheduling-policy": "LIFO",
            "endpoint-delay": 10,
            "active-chunks-per-dimension": 1,
            "preferred-dataset-splits": 1,
            "all-reduce-implementation": rings,
            "all-gather-implementation": rings,
            "reduce-scatter-implementation": rings,
            "all-to-all-implementation": rings,
            "collective-optimization": "localBWAware",
            "local-mem-bw": local_memory_gb_per_s,
            "boost-mode": 0
        });
        let Value::Object(system) = system else { unreachable!("an object was written") };
        Self { dims: dims.to_owned(), system, memory: None, flags: Vec::new() }
    }

    /// `network.yml` for the topology and links of `row`, which has one or one for each dimension. Tables in which they
    /// matter to no row leave them out.
    fn network(&self, row: &Row) -> String {
        let dims: Vec<&str> = self.dims.split('x').collect();
        let column = |name: &str, default| row.get(name).map_or(default, String::as_str);
        let list = |key: &str, values: &str| {
            let values: Vec<&str> = values.split('x').collect();
            let values: Vec<&str> = (0..dims.len()).map(|dim| values[dim.min(values.len() - 1)]).collect();
            format!("{key}: [ {} ]\n", values.join(", "))
        };
        let topology = list("topology", column("topology", "FullyConnected"));
        let npus = list("npus_count", &self.dims);
        let bandwidth = list("bandwidth", column("bw", "16"));
        topology + &npus + &bandwidth + &list("latency", column("latency", "20000"))
    }

    /// Runs the traces of `row`.
    fn run(&self, folder: &Folder, row: &Row, traces: &[Trace], numbering: Numbering) -> Said {
        for (npu, trace) in traces.iter().enumerate() {
            let mut bytes = Vec::new();
            chakra::encode(trace, numbering, &mut bytes).expect("traces that can be written");
            folder.write(&format!("trace.{npu}.et"), bytes);
        }
        folder.write("network.yml", self.network(row));
        folder.write("system.json", Value::from(self.system.clone()).to_string());
        let mut args = vec!["replay", "--workload", "trace", "--network", "network.yml", "--system", "system.json"];
        if let Some(memory) = &self.memory {
            folder.write("memory.json", memory);
            args.extend(["--memory", "memory.json"]);
        }
        if let Some(backend) = row.get("backend") {
            args.extend(["--network-model", backend]);
        }
        args.extend(self.flags.iter().map(String::as_str));
        folder.run(&args)
    }
}

/// What became of the rows of a table.
#[derive(Debug, Default)]
struct Tally {
    /// Finished in the recorded nanosecond.
    equal: usize,
    /// Told as never finishing.
    stuck: usize,
    /// Refused, as ASTRA-Sim aborts or exits.
    died: usize,
    /// Refused for an NPU's messages to itself, which make ASTRA-Sim abort or lose what is received.
    to_itself: usize,
    /// Refused for the shared bus, which is not modelled.
    shared_bus: usize,
}

fn sends_to_itself(trace: &Trace) -> bool {
    trace.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Send(message) if message.from == message.to))
}

fn uses_pim(trace: &Trace) -> bool {
    trace.nodes.iter().any(|node| matches!(node.kind, NodeKind::Pim { .. }))
}

/// Runs every row of `file` on its setting; `None` where the reference data is missing.
fn compare(file: &str, setting: impl Fn(&Row) -> Setting) -> Option<Tally> {
    let text = fs::read_to_string(testkit::reference_dir()?.join("astra").join(file)).expect("a readable table");
    let rows = rows(&text);
    let folder = Folder::new();
    let mut tally = Tally::default();
    for (index, row) in rows.iter().enumerate() {
        let setting = setting(row);
        let num_npus = setting.dims.split('x').map(number::<usize>).product();
        let traces = traces(&row["graph"], num_npus);
        // MLCommons knows no computation in memory.
        let is_casys = index % 2 == 1 || traces.iter().any(uses_pim);
        let said = setting.run(&folder, row, &traces, if is_casys { Numbering::Casys } else { Numbering::MlCommons });
        let (count, code, why) = if traces.iter().any(sends_to_itself) {
            (&mut tally.to_itself, 2, "is the NPU of the file")
        } else if setting.system.contains_key("model-shared-bus") {
            (&mut tally.shared_bus, 2, "model-shared-bus")
        } else {
            match row["status"].as_str() {
                "ok" => (&mut tally.equal, 0, ""),
                "stuck" => (&mut tally.stuck, 3, "never finish"),
                "abort" | "exit" | "crash" => (&mut tally.died, 2, ""),
                status => panic!("an unknown status: {status}"),
            }
        };
        *count += 1;
        assert_eq!(said.code, Some(code), "{file}: {row:?}: {said}");
        if code == 0 {
            assert_eq!(finish_times(&said.stdout), expected_times(row, num_npus), "{file}: {row:?}: {said}");
            assert!(said.stderr.lines().all(|line| line.starts_with("note: ")), "{file}: {row:?}: {said}");
        } else {
            assert_eq!(said.stdout, "", "{file}: {row:?}: {said}");
            let first = said.stderr.lines().find(|line| !line.starts_with("note: "));
            let is_error = first.is_some_and(|line| line.starts_with("error: "));
            assert!(is_error && said.stderr.contains(why), "{file}: {row:?}: {said}");
        }
    }
    println!("{file}: {} rows: {tally:?}", rows.len());
    Some(tally)
}

/// The times by NPU that ASTRA-Sim's lines tell.
fn finish_times(stdout: &str) -> Vec<u64> {
    let time = |(npu, line): (usize, &str)| {
        let rest = line.strip_prefix(&format!("sys[{npu}] iteration 0 finished, "))?;
        rest.split_once(" cycles, ")?.0.parse().ok()
    };
    stdout.lines().enumerate().map(|line| time(line).unwrap_or_else(|| panic!("no finish time: {stdout}"))).collect()
}

/// The recorded times by NPU: one stands for all.
fn expected_times(row: &Row, num_npus: usize) -> Vec<u64> {
    let times: Vec<u64> = row["finish"].split(' ').map(number).collect();
    if times.len() == 1 { vec![times[0]; num_npus] } else { times }
}

/// Messages alone; nothing is stored.
#[test]
fn messages() {
    let Some(tally) = compare("p2p.csv", |row| Setting::new(&row["dims"], 768.0)) else { return };
    assert!(tally.equal >= 1660 && tally.stuck >= 9 && tally.died >= 5 && tally.to_itself >= 5, "{tally:?}");
}

#[test]
fn memory_of_every_kind() {
    let tally = compare("memory.csv", |row| Setting {
        memory: Some(row["memory"].clone()),
        ..Setting::new(&row["npus"], 768.0)
    });
    let Some(tally) = tally else { return };
    assert!(tally.equal >= 769 && tally.died >= 2, "{tally:?}");
}

#[test]
fn system_options() {
    let tally = compare("system.csv", |row| {
        let mut setting = Setting::new(&row["dims"], 768.0);
        match row["override"].as_str() {
            flag if flag.starts_with("--") => setting.flags.push(flag.to_owned()),
            options => setting.system.extend(serde_json::from_str::<Map<_, _>>(options).expect("an object")),
        }
        setting
    });
    let Some(tally) = tally else { return };
    assert!(tally.equal >= 609 && tally.shared_bus >= 21, "{tally:?}");
}

/// NPUs of 936 GB/s, `num_hosts` host memories, each with `pim_channels` if any, and a pool.
fn serving(row: &Row, num_hosts: u32, pim_channels: Option<u32>) -> Setting {
    let mut memory = json!({
        "local_mem": {"memory-type": "PER_NPU_MEMORY_EXPANSION", "mem-latency": 30, "mem-bw": 936},
        "remote_mem": {
            "memory-type": "PER_NODE_MEMORY_EXPANSION", "mem-latency": 120, "mem-bw": 256, "num-devices": num_hosts
        },
        "cxl_mem": {"memory-type": "MEMORY_POOL", "mem-latency": 250, "mem-bw": 60, "num-devices": 2}
    });
    if let Some(channels) = pim_channels {
        memory["remote_mem"]["pim-channels"] = channels.into();
    }
    Setting { memory: Some(memory.to_string()), ..Setting::new(&row["dims"], 936.0) }
}

#[test]
fn compositions() {
    let Some(tally) = compare("composition.csv", |row| serving(row, 1, None)) else { return };
    assert!(tally.equal >= 333 && tally.stuck >= 7, "{tally:?}");
}

#[test]
fn graphs_of_the_serving_front_end() {
    let Some(tally) = compare("frontend.csv", |row| serving(row, 2, Some(2))) else { return };
    assert!(tally.equal >= 15, "{tally:?}");
}

#[test]
fn rounding() {
    let Some(tally) = compare("rounding.csv", |row| Setting::new("2", number(&row["local_mem_bw"]))) else { return };
    assert!(tally.equal >= 156, "{tally:?}");
}
