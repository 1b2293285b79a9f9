//! Every recorded run of ASTRA-Sim's analytical backends, to the nanosecond; the shared bus aside, which is not simulated.
//!
//! Each run goes through a [`Machine`]; where its graphs are chains, it is also worked out without events, from
//! [`Plan`](network::Plan)s, message delays and a [`DeviceQueue`](network::DeviceQueue), as an exact clock does it.

mod astra;
mod common;

use astra::graphs::{Node, build, parse_graphs};
use astra::{Row, chains, read_table};
use common::finish_times;
use network::{
    Algorithms, Block, Dimension, Machine, Memory, MemoryDevices, MemorySpeed, Op, Optimization, System, Topology,
};
use serde_json::Value;
use std::collections::HashMap;
use units::{Duration, Instant, NpuId};

const ENDPOINT_DELAY_NS: u64 = 10;

/// What a run is run on.
struct Setting {
    topology: Topology,
    system: System,
    memory: Memory,
}

impl Setting {
    /// The topology, links and backend of `row`, and no memory worth mentioning.
    fn new(row: &Row, dims: &[u32], local_memory_gb_per_s: f64) -> Setting {
        let (bandwidths, latencies) = (row.list::<f64>("bw", 'x'), row.list::<f64>("latency", 'x'));
        let blocks: Vec<&str> = row.get("topology").unwrap_or("FullyConnected").split('x').collect();
        let of_dim = |len: usize, dim: usize| dim.min(len - 1);
        let dims = dims.iter().enumerate().map(|(dim, &npus)| Dimension {
            block: block(blocks[of_dim(blocks.len(), dim)]),
            npus,
            bandwidth_gib_per_s: bandwidths[of_dim(bandwidths.len(), dim)],
            latency_ns: latencies[of_dim(latencies.len(), dim)],
        });
        let algorithms = row.get("impl").unwrap_or("ring").split('x');
        let algorithms = algorithms.map(|name| name.parse().expect("a known algorithm")).collect();
        Setting {
            topology: Topology::new(dims.collect()),
            system: System {
                algorithms: Algorithms::of_all_kinds(algorithms),
                network_model: row.get("backend").unwrap_or("unaware").parse().expect("a known backend"),
                ..System::new(ENDPOINT_DELAY_NS, local_memory_gb_per_s)
            },
            memory: MemoryDevices::new(0.0, 1.0, 1).into(),
        }
    }

    fn machine(&self) -> Machine {
        Machine::new(vec![self.topology.clone()], self.system.clone(), self.memory)
    }
}

fn block(name: &str) -> Block {
    Block::ALL.into_iter().find(|block| block.name() == name).expect("a known topology")
}

/// Counts the rows of one file.
struct Tally {
    file: &'static str,
    by_machine: usize,
    by_chains: usize,
}

impl Tally {
    /// Lets `check` see each row of `file`, if it is there, and asserts that at least `by_machine` rows were compared,
    /// and `by_chains` of them in the second way too.
    fn over(file: &'static str, by_machine: usize, by_chains: usize, mut check: impl FnMut(&mut Tally, &Row)) {
        let Some(dir) = testkit::reference_dir() else { return };
        let rows = read_table(&dir.join("astra").join(file));
        let mut tally = Tally { file, by_machine: 0, by_chains: 0 };
        for row in &rows {
            check(&mut tally, row);
        }
        println!(
            "{file}: {} rows; {} equal by Machine, {} of them in closed form too",
            rows.len(),
            tally.by_machine,
            tally.by_chains
        );
        assert!(tally.by_machine >= by_machine, "only {} rows of {file} compared by Machine", tally.by_machine);
        assert!(tally.by_chains >= by_chains, "only {} rows of {file} compared in closed form", tally.by_chains);
    }

    /// Runs `graph` and compares with the row, when it says how the run ended and all of it can be simulated.
    fn check(&mut self, row: &Row, setting: &Setting, graph: &str) {
        let num_npus = setting.topology.num_npus();
        let expected = match row.text("status") {
            "ok" => Some(row.list::<u64>("finish", ' ')),
            "stuck" => None,
            _ => return,
        };
        let graphs = parse_graphs(graph, num_npus);
        // Nobody sends to itself: ASTRA-Sim aborts, or loses what is received.
        let sends_to_itself = |(npu, nodes): (u32, &Vec<Node>)| {
            nodes.iter().any(|node| matches!(node.op, Op::Send { to, .. } if to == npu))
        };
        if (0..).zip(&graphs).any(sends_to_itself) {
            return;
        }
        let check = |how: &str, got: &[Option<Instant>]| match &expected {
            None => assert!(got.contains(&None), "{} by {how}: finished: {row:?}", self.file),
            Some(expected) => {
                let expected = if expected.len() == 1 { &vec![expected[0]; num_npus] } else { expected };
                let expected: Vec<_> = expected.iter().map(|&ns| Some(Instant::from_ns(ns))).collect();
                assert_eq!(got, expected, "{} by {how}: {row:?}", self.file);
            }
        };
        let built: Vec<_> = graphs.iter().map(|nodes| build(nodes)).collect();
        check("Machine", &finish_times(&mut setting.machine(), &built));
        self.by_machine += 1;
        if let Some(got) = chains::finish_times(&setting.topology, &setting.system, setting.memory, &graphs) {
            check("closed form", &got);
            self.by_chains += 1;
        }
    }
}

#[test]
fn collectives_in_one_dimension() {
    Tally::over("collectives.csv", 4855, 3039, |tally, row| {
        let setting = Setting::new(row, &[row.number("npus")], row.number("local_mem_bw"));
        tally.check(row, &setting, &format!("{}{}", row.text("kind"), row.text("size")));
    });
}

#[test]
fn collectives_in_several_dimensions() {
    Tally::over("multidim.csv", 1254, 1236, |tally, row| {
        let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), row.number("local_mem_bw"));
        let mask = match row.text("involved") {
            "none" => String::new(),
            mask => format!("@{mask}"),
        };
        tally.check(row, &setting, &format!("{}{}{mask}", row.text("kind"), row.text("size")));
    });
}

/// The system a `system.csv` override asks for; `None` for the shared bus, which is not simulated.
fn overridden(text: &str) -> Option<System> {
    let mut system = System::new(ENDPOINT_DELAY_NS, 768.0);
    match text {
        "--injection-scale=2" => system.endpoint_delay_ns *= 2,
        "--num-queues-per-dim=2" => system.queues_per_dim = 2,
        "--rendezvous-protocol=true" => system.has_rendezvous = true,
        "--comm-scale=2" | "--compute-scale=2" => {}
        _ => {
            let options: HashMap<String, Value> = serde_json::from_str(text).expect("an object");
            for (option, value) in &options {
                match option.as_str() {
                    "endpoint-delay" => system.endpoint_delay_ns = value.as_u64()?,
                    "local-mem-bw" => system.local_memory_gb_per_s = value.as_f64()?,
                    "preferred-dataset-splits" => system.num_chunks = value.as_u64()?,
                    "active-chunks-per-dimension" => system.active_chunks_per_dim = value.as_u64()? as u32,
                    "collective-optimization" if value == "baseline" => system.optimization = Optimization::Baseline,
                    // Without effect, alone.
                    "scheduling-policy" | "local-reduction-delay" | "boost-mode" | "peak-perf" | "trace-enabled" => {}
                    "L" | "o" | "g" | "G" => {}
                    "model-shared-bus" => return None,
                    _ => panic!("an unknown option: {option}"),
                }
            }
        }
    }
    Some(system)
}

#[test]
fn system_options() {
    Tally::over("system.csv", 609, 469, |tally, row| {
        if let Some(system) = overridden(row.text("override")) {
            let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), system.local_memory_gb_per_s);
            tally.check(row, &Setting { system, ..setting }, row.text("graph"));
        }
    });
}

/// Both files give their NPUs a host of 256 GB/s and a pool of 60 GB/s.
fn serving_memory(num_hosts: u32) -> Memory {
    Memory {
        host: MemoryDevices::new(120.0, 256.0, num_hosts),
        pool: Some(MemoryDevices::new(250.0, 60.0, 2)),
        npu: Some(MemorySpeed::new(30.0, 936.0)),
    }
}

#[test]
fn compositions() {
    Tally::over("composition.csv", 340, 269, |tally, row| {
        let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), 936.0);
        tally.check(row, &Setting { memory: serving_memory(1), ..setting }, row.text("graph"));
    });
}

#[test]
fn graphs_of_the_serving_front_end() {
    Tally::over("frontend.csv", 15, 1, |tally, row| {
        let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), 936.0);
        tally.check(row, &Setting { memory: serving_memory(2), ..setting }, row.text("graph"));
    });
}

/// The memory of a `memory.csv` row, host memory without devices where it has none.
fn memory(text: &str) -> Memory {
    let kinds: HashMap<String, HashMap<String, Value>> = serde_json::from_str(text).expect("an object");
    let mut memory = Memory::from(MemoryDevices::new(0.0, 1.0, 0));
    for (kind, options) in &kinds {
        let number = |option: &str| options[option].as_f64().expect("a number");
        let (latency, bandwidth, num_devices) = (number("mem-latency"), number("mem-bw"), number("num-devices") as u32);
        let devices = MemoryDevices::new(latency, bandwidth, num_devices);
        match kind.as_str() {
            "remote_mem" => memory.host = devices,
            "cxl_mem" => memory.pool = Some(devices),
            "local_mem" => memory.npu = Some(MemorySpeed::new(latency, bandwidth)),
            _ => panic!("an unknown kind of memory: {kind}"),
        }
    }
    memory
}

#[test]
fn memory_of_every_kind() {
    Tally::over("memory.csv", 769, 415, |tally, row| {
        if row.text("status") == "exit" {
            return;
        }
        let memory = memory(row.text("memory"));
        let dim = Dimension::fully_connected(row.number("npus"), 16.0, 20_000.0);
        let system = System::new(ENDPOINT_DELAY_NS, 768.0);
        tally.check(row, &Setting { topology: Topology::new(vec![dim]), system, memory }, row.text("graph"));
    });
}

#[test]
fn messages() {
    Tally::over("p2p.csv", 1669, 1018, |tally, row| {
        tally.check(row, &Setting::new(row, &row.list::<u32>("dims", 'x'), 768.0), row.text("graph"));
    });
}

#[test]
fn rounding() {
    Tally::over("rounding.csv", 156, 156, |tally, row| {
        tally.check(row, &Setting::new(row, &[2], row.number("local_mem_bw")), row.text("graph"));
    });
}

/// One poll: which NPU was asked, the number of its iteration, the cycle, and the reply.
type Poll = (usize, u64, u64, String);

/// The reference's outer loop: steps, or lets a millisecond pass, and then asks the idle NPUs, end NPUs first. Gives
/// the recorded replies, and returns the polls as they came.
fn converse(setting: &Setting, scenario: &Row, recorded: &[Poll]) -> Vec<Poll> {
    let num_npus = setting.topology.num_npus();
    let (starts, ends) = (scenario.list::<usize>("start_npus", ' '), scenario.list::<usize>("end_npus", ' '));
    let mut machine = setting.machine();
    let begin = |machine: &mut Machine, npu: usize, graph: &str| {
        let graphs = parse_graphs(graph, num_npus);
        machine.begin(NpuId::from(npu), build(&graphs[npu]));
    };
    for npu in 0..num_npus {
        begin(&mut machine, npu, scenario.text("first_workload"));
    }
    let mut asleep = vec![false; num_npus];
    let mut polls = Vec::new();
    loop {
        if !machine.step() {
            machine.idle_for(Duration::from_ns(1_000_000));
        }
        for &npu in ends.iter().chain(&starts) {
            let id = NpuId::from(npu);
            if asleep[npu] || !machine.is_idle(id) {
                continue;
            }
            let Some((.., reply)) = recorded.get(polls.len()) else { return polls };
            polls.push((npu, machine.graphs_begun(id) - 1, machine.now().ns(), reply.clone()));
            match reply.as_str() {
                "exit" => return polls,
                "done" => asleep[npu] = true,
                "pass" => {}
                missing if missing.starts_with('!') => {}
                graph => {
                    // A start NPU's workload goes to those between it and the next one, too.
                    if let Some(index) = starts.iter().position(|&start| start == npu) {
                        let next = starts.get(index + 1).copied().unwrap_or(num_npus);
                        for follower in (npu + 1..next).filter(|follower| !ends.contains(follower)) {
                            begin(&mut machine, follower, graph);
                        }
                    }
                    begin(&mut machine, npu, graph);
                }
            }
        }
    }
}

#[test]
fn polling() {
    let Some(dir) = testkit::reference_dir() else { return };
    let mut recorded: HashMap<String, Vec<Poll>> = HashMap::new();
    for row in read_table(&dir.join("astra/protocol.csv")) {
        if !row.text("npu").is_empty() {
            let poll = (row.number("npu"), row.number("iteration"), row.number("cycle"), row.text("reply").to_owned());
            recorded.entry(row.text("scenario").to_owned()).or_default().push(poll);
        }
    }
    let (mut scenarios, mut polls) = (0, 0);
    for scenario in read_table(&dir.join("astra/protocol_scenarios.csv")) {
        let name = scenario.text("scenario");
        let setting = Setting::new(&scenario, &scenario.list::<u32>("dims", 'x'), 768.0);
        let got = converse(&setting, &scenario, &recorded[name]);
        assert_eq!(got, recorded[name], "{name}");
        scenarios += 1;
        polls += got.len();
    }
    println!("protocol.csv: {polls} polls of {scenarios} scenarios equal");
    assert!(scenarios >= 21 && polls >= 316, "only {polls} polls of {scenarios} scenarios compared");
}
