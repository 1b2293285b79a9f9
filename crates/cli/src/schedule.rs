//! `servingsim replay --schedule`: the traces of a whole run, each begun when it was begun in the run.
//!
//! All groups run side by side, with the memory that they share. What is printed is when each instance's part of a step
//! ended in the run, and when it ends now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use astra::{Files, Loaded, Setup};
use diagnostics::{Fault, Faults, Position};
use network::{CollectiveKind, Graph, NetworkModel, Schedule, System};
use units::{Instant, NpuId};

use crate::Failure;
use crate::args::ReplayArgs;
use crate::replay_command::{options, read_set, reason};

/// NPUs that a deadlock names.
const NPUS_NAMED_MAX: usize = 8;

/// The latest that a step may begin.
const LATEST_NS: u64 = 1_000_000_000_000_000_000;

const CHANGED: &str = "the folder is not as it was written";

/// A group and one of its steps.
type Step = (u64, u64);

pub(crate) fn replay(dir: &Path, args: &ReplayArgs) -> Result<(), Failure> {
    let columns = ["group", "batch", "npu", "begin_ns"];
    let begins_file = dir.join("begins.csv");
    let begins = table(&begins_file, columns)?;
    let columns = ["group", "batch", "instance", "first_npu", "num_npus", "end_ns"];
    let parts_file = dir.join("batches.csv");
    let parts = table(&parts_file, columns)?;
    let mut cluster = Cluster::read(dir, args)?;
    let of_begins = |what: String| Fault::new(begins_file.display().to_string(), what).hint(CHANGED);
    for [group, batch, npu, begin_ns] in begins {
        if begin_ns > LATEST_NS {
            return Err(of_begins(format!("{begin_ns} ns is later than in 31 years")).into());
        }
        cluster.begin((group, batch), npu, Instant::from_ns(begin_ns), args, &of_begins)?;
    }
    cluster.schedule.run();
    if let Some(deadlock) = cluster.deadlock() {
        return Err(Failure::Deadlock(deadlock));
    }
    let mut text = "group,batch,instance,recorded_ns,replayed_ns\n".to_owned();
    for [group, batch, instance, first_npu, num_npus, end_ns] in parts {
        let ends = (first_npu..first_npu.saturating_add(num_npus)).map(|npu| cluster.end((group, batch), npu));
        let Some(last) = ends.collect::<Option<Vec<_>>>().and_then(|ends| ends.into_iter().max()) else {
            let what = format!("batch {batch} of group {group} was not given to all NPUs of instance {instance}");
            return Err(Fault::new(parts_file.display().to_string(), what).hint(CHANGED).into());
        };
        text += &format!("{group},{batch},{instance},{end_ns},{}\n", last.ns());
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// The model of links that a run had.
fn network_model(dir: &Path) -> Result<NetworkModel, Fault> {
    let path = dir.join("run.csv");
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&name, &error))?;
    let known = text.strip_prefix("network_model\n").and_then(|model| model.trim_end().parse().ok());
    known.ok_or_else(|| Fault::new(name, "does not name a model of links").hint(CHANGED))
}

fn unreadable(name: &str, error: &io::Error) -> Fault {
    Fault::new(name, format!("can't be read: {error}")).hint("name a folder that `servingsim run --chakra-dir` wrote")
}

/// The groups of a run, side by side.
struct Cluster {
    groups: Vec<Group>,
    num_npus: usize,
    schedule: Schedule,
    /// What was given, in order: a step, and an NPU of its group.
    given: Vec<(Step, u64)>,
    /// Where that is.
    numbers: HashMap<(Step, u64), usize>,
    /// Graphs of steps that not all NPUs were given yet.
    graphs: HashMap<Step, Vec<Option<Rc<Graph>>>>,
}

struct Group {
    dir: PathBuf,
    setup: Setup,
    first_npu: usize,
}

impl Group {
    /// Whether another group may share this one's system and memory.
    fn is_alike(&self, other: &Setup) -> bool {
        let (this, other) = (&self.setup.fabric, &other.fabric);
        let num_dims = this.topology.dims().len().max(other.topology.dims().len());
        let algorithms_agree = CollectiveKind::ALL.iter().all(|&kind| {
            (0..num_dims).all(|dim| this.system.algorithms.get(kind, dim) == other.system.algorithms.get(kind, dim))
        });
        let rest = System { algorithms: this.system.algorithms.clone(), ..other.system.clone() };
        algorithms_agree && this.system == rest && this.memory == other.memory
    }
}

impl Cluster {
    fn read(dir: &Path, args: &ReplayArgs) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let (mut groups, mut first_npu) = (Vec::<Group>::new(), 0);
        let network_model = network_model(dir)?;
        for number in 0.. {
            let group = dir.join(format!("group{number}"));
            if !group.is_dir() {
                break;
            }
            let [network, system, memory] = ["network.yml", "system.json", "memory.json"].map(|name| group.join(name));
            let files = Files { network: &network, system: &system, memory: Some(&memory) };
            match astra::read(&files, &options(args, network_model)) {
                Ok(Loaded { setup, .. }) => {
                    if let Some(first) = groups.first().filter(|first| !first.is_alike(&setup)) {
                        let message = format!("differs from {} in the system or the memory", first.dir.display());
                        let fault = Fault::new(group.display().to_string(), message);
                        faults.push(fault.hint("groups of one run share them; replay other groups one by one"));
                    }
                    let num_npus = setup.fabric.topology.num_npus();
                    groups.push(Group { dir: group, setup, first_npu });
                    first_npu += num_npus;
                }
                Err(more) => faults.extend(more),
            }
        }
        faults.into_result(())?;
        let Some(first) = groups.first() else {
            let fault = Fault::new(dir.display().to_string(), "has no folder `group0`");
            return Err(fault.hint("name a folder that `servingsim run --chakra-dir` wrote").into());
        };
        let fabric = &first.setup.fabric;
        let topologies = groups.iter().map(|group| group.setup.fabric.topology.clone()).collect();
        let schedule = Schedule::new(topologies, fabric.system.clone(), fabric.memory);
        let (given, numbers, graphs) = (Vec::new(), HashMap::new(), HashMap::new());
        Ok(Self { groups, num_npus: first_npu, schedule, given, numbers, graphs })
    }

    /// Gives an NPU its part of a step at `at`, after everything that happens before.
    fn begin(
        &mut self,
        step: Step,
        npu: u64,
        at: Instant,
        args: &ReplayArgs,
        unknown: &impl Fn(String) -> Fault,
    ) -> Result<(), Faults> {
        let group = self.groups.get(step.0 as usize);
        let group = group.ok_or_else(|| unknown(format!("there is no group {}", step.0)))?;
        if at < self.schedule.now() {
            return Err(unknown(format!("{at} stands after {}", self.schedule.now())).into());
        }
        let first_npu = group.first_npu;
        let graphs = match self.graphs.entry(step) {
            Entry::Occupied(read) => read.into_mut(),
            Entry::Vacant(unread) => {
                let prefix = group.dir.join(format!("batch{}", step.1)).join("llm");
                let set = read_set(&prefix, group.setup.fabric.topology.num_npus(), args)?;
                let built = astra::graphs(&set, &group.setup, &prefix)?;
                unread.insert(built.into_iter().map(|built| Some(built.graph)).collect())
            }
        };
        let graph = graphs.get_mut(npu as usize).and_then(Option::take);
        let graph =
            graph.ok_or_else(|| unknown(format!("NPU {npu} is given batch {} twice, or is not there", step.1)))?;
        let number = self.schedule.begin(at, NpuId::from(first_npu + npu as usize), graph);
        self.given.push((step, npu));
        self.numbers.insert((step, npu), number);
        Ok(())
    }

    /// When an NPU of a group was through with a step, if it was given it.
    fn end(&self, step: Step, npu: u64) -> Option<Instant> {
        self.schedule.end(*self.numbers.get(&(step, npu))?)
    }

    /// Who waits for what, if anybody does.
    fn deadlock(&self) -> Option<String> {
        let stuck = self.schedule.stuck();
        let mut text = format!("{} of {} NPUs never finish", stuck.len(), self.num_npus);
        for (_, number, waiting) in stuck.iter().take(NPUS_NAMED_MAX) {
            let ((group, batch), npu) = self.given[*number];
            let Some(first) = waiting.first() else { continue };
            let why = reason(first);
            text += &format!("\n  NPU {npu} of group {group}: node {} of batch {batch} {why}", first.node);
        }
        if stuck.len() > NPUS_NAMED_MAX {
            text += &format!("\n  and {} more NPUs", stuck.len() - NPUS_NAMED_MAX);
        }
        (!stuck.is_empty()).then_some(text)
    }
}

/// The rows of a table of whole numbers, those of these columns.
fn table<const N: usize>(path: &Path, columns: [&str; N]) -> Result<Vec<[u64; N]>, Faults> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&name, &error))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let mut faults = Faults::new();
    let places = columns.map(|column| {
        let place = header.iter().position(|other| *other == column);
        if place.is_none() {
            faults.push(Fault::new(name.as_str(), format!("has no column `{column}`")));
        }
        place.unwrap_or_default()
    });
    let mut rows = Vec::new();
    for (line, number) in lines.zip(2..) {
        let fields: Vec<&str> = line.split(',').collect();
        let values = places.map(|place| fields.get(place).and_then(|field| field.parse().ok()));
        match values.iter().copied().collect::<Option<Vec<u64>>>().and_then(|row| row.try_into().ok()) {
            Some(row) => rows.push(row),
            None => {
                let at = Position { line: number, column: 1 };
                faults.push(Fault::new(name.as_str(), "a row has something else than whole numbers").at(at));
                break;
            }
        }
    }
    faults.into_result(rows)
}
