//! Every recorded run of ASTRA-Sim's congestion-unaware backend that uses only what is simulated, to the nanosecond.
//!
//! Each run goes through a [`Machine`]; where its graphs are chains that meet in the same collectives, it also goes
//! through [`Plan`]s and a [`DeviceQueue`], as the exact clock does it.

mod astra;
mod common;

use astra::{Node, Row, build, memory_kinds, parse_graphs, read_table};
use common::finish_times;
use network::{Collective, DeviceQueue, Dimension, Machine, MemoryDevices, Op, Plan, System, Topology};
use serde_json::Value;
use std::collections::HashMap;
use units::{Duration, Instant, NpuId};

const ENDPOINT_DELAY_NS: u64 = 10;

/// What a run is run on.
struct Setting {
    topology: Topology,
    system: System,
    memory: MemoryDevices,
}

impl Setting {
    /// The topology and links of `row`, and no memory worth mentioning.
    fn new(row: &Row, dims: &[u32], local_memory_gb_per_s: f64) -> Setting {
        let (bandwidths, latencies) = (row.list::<f64>("bw", 'x'), row.list::<f64>("latency", 'x'));
        let dims = dims.iter().enumerate().map(|(index, &npus)| Dimension {
            npus,
            bandwidth_gib_per_s: bandwidths[index.min(bandwidths.len() - 1)],
            latency_ns: latencies[index.min(latencies.len() - 1)],
        });
        Setting {
            topology: Topology::new(dims.collect()),
            system: System { endpoint_delay_ns: ENDPOINT_DELAY_NS, local_memory_gb_per_s },
            memory: MemoryDevices::new(0.0, 1.0, 1),
        }
    }

    fn machine(&self) -> Machine {
        Machine::new(vec![self.topology.clone()], self.system, self.memory)
    }
}

/// Counts the rows of one file.
struct Tally {
    file: &'static str,
    by_machine: usize,
    by_plans: usize,
}

impl Tally {
    /// Lets `check` see each row of `file`, if it is there, and asserts that at least `by_machine` rows were compared,
    /// and `by_plans` of them in the second way too.
    fn over(file: &'static str, by_machine: usize, by_plans: usize, mut check: impl FnMut(&mut Tally, &Row)) {
        let Some(dir) = testkit::reference_dir() else { return };
        let rows = read_table(&dir.join("astra").join(file));
        let mut tally = Tally { file, by_machine: 0, by_plans: 0 };
        for row in &rows {
            check(&mut tally, row);
        }
        println!(
            "{file}: {} rows; {} equal by Machine, {} of them by Plan too",
            rows.len(),
            tally.by_machine,
            tally.by_plans
        );
        assert!(tally.by_machine >= by_machine, "only {} rows of {file} compared by Machine", tally.by_machine);
        assert!(tally.by_plans >= by_plans, "only {} rows of {file} compared by Plan", tally.by_plans);
    }

    /// Runs `graph` and compares with the row, when it says how the run ended and all of it can be simulated.
    fn check(&mut self, row: &Row, setting: &Setting, graph: &str) {
        let num_npus = setting.topology.num_npus();
        let expected = match row.text("status") {
            "ok" => Some(row.list::<u64>("finish", ' ')),
            "stuck" => None,
            _ => return,
        };
        let Some(graphs) = parse_graphs(graph, num_npus) else { return };
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
        if let Some(got) = by_plans(setting, &graphs) {
            check("Plan", &got);
            self.by_plans += 1;
        }
    }
}

/// When each NPU is done, without events. `None` where that does not apply: graphs that are not chains, whose
/// collectives differ, or that share memory devices.
fn by_plans(setting: &Setting, graphs: &[Vec<Node>]) -> Option<Vec<Option<Instant>>> {
    let is_chain =
        |graph: &Vec<Node>| graph.iter().zip(0u32..).all(|(node, id)| id.checked_sub(1).as_slice() == node.parents);
    if !graphs.iter().all(is_chain) {
        return None;
    }
    let mut memory = DeviceQueue::new(setting.memory);
    let mut at = vec![Instant::ZERO; graphs.len()];
    let mut rests: Vec<_> = graphs.iter().map(|graph| graph.iter()).collect();
    loop {
        let mut meeting = Vec::new();
        for (at, rest) in at.iter_mut().zip(&mut rests) {
            let collective = loop {
                match rest.next().map(|node| node.op) {
                    Some(Op::Compute(time)) => *at += time,
                    Some(Op::Memory { device, bytes }) if graphs.len() == 1 => *at = memory.serve(device, *at, bytes),
                    Some(Op::Memory { .. }) => return None,
                    Some(Op::Collective(collective)) => break Some(collective),
                    None => break None,
                }
            };
            meeting.push(collective);
        }
        let first: Option<Collective> = meeting[0];
        if meeting.iter().any(|other| *other != first) {
            return None;
        }
        let Some(collective) = first else { return Some(at.into_iter().map(Some).collect()) };
        let Some(plan) = Plan::new(&setting.topology, &setting.system, collective) else {
            return Some(vec![None; graphs.len()]);
        };
        if at.iter().all(|other| *other == at[0]) {
            let together = at[0] + plan.together();
            plan.advance(&mut at);
            assert_eq!(at, vec![together; graphs.len()], "advance and together disagree on {collective:?}");
        } else {
            plan.advance(&mut at);
        }
    }
}

#[test]
fn collectives_in_one_dimension() {
    Tally::over("collectives.csv", 200, 200, |tally, row| {
        if (row.text("backend"), row.text("topology"), row.text("impl")) == ("unaware", "FullyConnected", "ring") {
            let setting = Setting::new(row, &[row.number("npus")], row.number("local_mem_bw"));
            tally.check(row, &setting, &format!("{}{}", row.text("kind"), row.text("size")));
        }
    });
}

#[test]
fn collectives_in_several_dimensions() {
    Tally::over("multidim.csv", 1000, 1000, |tally, row| {
        let all = |column, value| row.text(column).split('x').all(|each| each == value);
        if all("topology", "FullyConnected") && all("impl", "ring") {
            let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), row.number("local_mem_bw"));
            let mask = match row.text("involved") {
                "none" => String::new(),
                mask => format!("@{mask}"),
            };
            tally.check(row, &setting, &format!("{}{}{mask}", row.text("kind"), row.text("size")));
        }
    });
}

/// The system a `system.csv` override asks for, when it changes only what is simulated.
fn overridden(text: &str) -> Option<System> {
    let mut system = System { endpoint_delay_ns: ENDPOINT_DELAY_NS, local_memory_gb_per_s: 768.0 };
    match text {
        "--injection-scale=2" => system.endpoint_delay_ns *= 2,
        "--num-queues-per-dim=2" | "--comm-scale=2" | "--compute-scale=2" => {}
        _ if text.starts_with("--") => return None,
        _ => {
            let options: HashMap<String, Value> = serde_json::from_str(text).expect("an object");
            for (option, value) in &options {
                match option.as_str() {
                    "endpoint-delay" => system.endpoint_delay_ns = value.as_u64()?,
                    "local-mem-bw" => system.local_memory_gb_per_s = value.as_f64()?,
                    // Without effect, alone.
                    "scheduling-policy" | "local-reduction-delay" | "boost-mode" | "peak-perf" | "trace-enabled" => {}
                    "L" | "o" | "g" | "G" => {}
                    "active-chunks-per-dimension" if options.len() == 1 => {}
                    _ => return None,
                }
            }
        }
    }
    Some(system)
}

#[test]
fn system_options() {
    Tally::over("system.csv", 400, 400, |tally, row| {
        if let Some(system) = overridden(row.text("override")) {
            let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), system.local_memory_gb_per_s);
            tally.check(row, &Setting { system, ..setting }, row.text("graph"));
        }
    });
}

/// The only kind of memory a graph uses, as `kinds` has it: none does for any. `None` when it uses another, or several.
fn only_memory(graph: &str, kinds: &[(char, MemoryDevices)]) -> Option<MemoryDevices> {
    match memory_kinds(graph)[..] {
        [] => Some(kinds[0].1),
        [kind] => kinds.iter().find(|(other, _)| *other == kind).map(|(_, memory)| *memory),
        _ => None,
    }
}

#[test]
fn compositions() {
    let kinds = [('R', MemoryDevices::new(120.0, 256.0, 1)), ('C', MemoryDevices::new(250.0, 60.0, 2))];
    Tally::over("composition.csv", 250, 230, |tally, row| {
        if (row.text("backend"), row.text("topology")) == ("unaware", "FullyConnected")
            && let Some(memory) = only_memory(row.text("graph"), &kinds)
        {
            let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), 936.0);
            tally.check(row, &Setting { memory, ..setting }, row.text("graph"));
        }
    });
}

#[test]
fn graphs_of_the_serving_front_end() {
    let kinds = [('R', MemoryDevices::new(120.0, 256.0, 2)), ('C', MemoryDevices::new(250.0, 60.0, 2))];
    Tally::over("frontend.csv", 7, 1, |tally, row| {
        if let Some(memory) = only_memory(row.text("graph"), &kinds) {
            let setting = Setting::new(row, &row.list::<u32>("dims", 'x'), 936.0);
            tally.check(row, &Setting { memory, ..setting }, row.text("graph"));
        }
    });
}

#[test]
fn shared_memory() {
    Tally::over("memory.csv", 550, 280, |tally, row| {
        let memory: HashMap<String, Value> = serde_json::from_str(row.text("memory")).expect("an object");
        let only = memory.values().next().expect("a memory");
        let shared = ["PER_NODE_MEMORY_EXPANSION", "MEMORY_POOL"].map(Value::from).contains(&only["memory-type"]);
        if memory.len() == 1 && shared {
            let number = |option: &str| only[option].as_f64().expect("a number");
            let devices = MemoryDevices::new(number("mem-latency"), number("mem-bw"), number("num-devices") as u32);
            let dim = Dimension { npus: row.number("npus"), bandwidth_gib_per_s: 16.0, latency_ns: 20_000.0 };
            let system = System { endpoint_delay_ns: ENDPOINT_DELAY_NS, local_memory_gb_per_s: 768.0 };
            let setting = Setting { topology: Topology::new(vec![dim]), system, memory: devices };
            tally.check(row, &setting, row.text("graph"));
        }
    });
}

/// A message from one NPU to the other costs what an all-gather of two does without endpoint delays.
#[test]
fn rounding() {
    Tally::over("rounding.csv", 150, 150, |tally, row| {
        let mut setting = Setting::new(row, &[2], row.number("local_mem_bw"));
        let graph = row.text("graph");
        match graph.strip_prefix('S').and_then(|send| send.split_once('>')) {
            Some((bytes, _)) => {
                setting.system.endpoint_delay_ns = 0;
                tally.check(row, &setting, &format!("AG{bytes}"));
            }
            None => tally.check(row, &setting, graph),
        }
    });
}

/// One poll: which NPU was asked, the number of its iteration, the cycle, and the reply.
type Poll = (usize, u64, u64, String);

/// The reference's outer loop: steps, or lets a millisecond pass, and then asks the idle NPUs, end NPUs first. Gives
/// the recorded replies, and returns the polls as they came.
fn converse(setting: &Setting, scenario: &Row, recorded: &[Poll]) -> Option<Vec<Poll>> {
    let num_npus = setting.topology.num_npus();
    let (starts, ends) = (scenario.list::<usize>("start_npus", ' '), scenario.list::<usize>("end_npus", ' '));
    let mut machine = setting.machine();
    let begin = |machine: &mut Machine, npu: usize, graph: &str| {
        machine.begin(NpuId::from(npu), build(&parse_graphs(graph, num_npus)?[npu]));
        Some(())
    };
    for npu in 0..num_npus {
        begin(&mut machine, npu, scenario.text("first_workload"))?;
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
            let Some((.., reply)) = recorded.get(polls.len()) else { return Some(polls) };
            polls.push((npu, machine.graphs_begun(id) - 1, machine.now().ns(), reply.clone()));
            match reply.as_str() {
                "exit" => return Some(polls),
                "done" => asleep[npu] = true,
                "pass" => {}
                missing if missing.starts_with('!') => {}
                graph => {
                    // A start NPU's workload goes to those between it and the next one, too.
                    if let Some(index) = starts.iter().position(|&start| start == npu) {
                        let next = starts.get(index + 1).copied().unwrap_or(num_npus);
                        for follower in (npu + 1..next).filter(|follower| !ends.contains(follower)) {
                            begin(&mut machine, follower, graph)?;
                        }
                    }
                    begin(&mut machine, npu, graph)?;
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
        if let Some(got) = converse(&setting, &scenario, &recorded[name]) {
            assert_eq!(got, recorded[name], "{name}");
            scenarios += 1;
            polls += got.len();
        }
    }
    println!("protocol.csv: {polls} polls of {scenarios} scenarios equal");
    assert!(scenarios >= 18 && polls >= 250, "only {polls} polls of {scenarios} scenarios compared");
}
