//! Chakra traces of the steps of a run, as LLMServingSim's converter writes them.
//!
//! In the folder, each group of instances that step together has a folder `group<g>`, and in it each of its steps one,
//! `batch<k>`, with a trace for each NPU of the group: `llm.<npu>.et`. NPUs are numbered within the group, as in the
//! topology that stands beside the steps for whoever replays them. Two tables say when the steps ran.
//!
//! `batches.csv`, a row for each instance's part of a step, in the order in which they ended:
//!
//! | column | |
//! |---|---|
//! | `group`, `batch` | the step |
//! | `instance` | whose part |
//! | `first_npu`, `num_npus` | its NPUs |
//! | `begin_ns` | when the first of its NPUs was given its trace |
//! | `end_ns` | when all of them were through |
//! | `traces` | the step's files, without `.<npu>.et` |
//!
//! `begins.csv`, a row for each trace that was given to an NPU, in that order: `group,batch,npu,begin_ns`.
//!
//! `run.csv`, a row: `network_model`, whether links were shared.

mod nodes;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use chakra::Numbering;
use diagnostics::Fault;
use engine::{Observer, WaveGraphs};
use network::NetworkModel;
use units::{GroupId, InstanceId, Instant};

use crate::AtomicFile;

const RUN: &str = "run.csv";

/// The name of a step's files before the NPU's number.
const STEM: &str = "llm";

/// Which steps of each group are written; they count from 0.
#[derive(Clone, Debug)]
pub struct Batches(Vec<RangeInclusive<u64>>);

impl Batches {
    /// All of them.
    pub fn all() -> Self {
        Self(vec![0..=u64::MAX])
    }

    /// Those in any of these ranges.
    pub fn of(ranges: Vec<RangeInclusive<u64>>) -> Self {
        Self(ranges)
    }

    fn contain(&self, batch: u64) -> bool {
        self.0.iter().any(|range| range.contains(&batch))
    }
}

/// Writes the traces of a run into a folder.
pub struct TraceWriter {
    batches: Batches,
    numbering: Numbering,
    /// By group the number of dimensions of its topology.
    num_dims: Vec<usize>,
    /// By instance, steps that are under way.
    under_way: BTreeMap<InstanceId, VecDeque<Row>>,
    /// By instance, how many steps it has finished.
    num_finished: BTreeMap<InstanceId, u64>,
    ends: AtomicFile,
    begins: AtomicFile,
    /// The first thing that went wrong. Nothing more is written after it.
    fault: Option<Fault>,
    /// Last, so that it is dropped after the files within it.
    folder: Folder,
}

/// The folder of the traces, which is emptied again where they are given up.
struct Folder {
    path: PathBuf,
    is_new: bool,
    is_kept: bool,
    num_groups: usize,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // There is nobody left to tell what can't be removed.
        for group in 0..self.num_groups {
            let _ = fs::remove_dir_all(self.path.join(format!("group{group}")));
        }
        let _ = fs::remove_file(self.path.join(RUN));
        if self.is_new {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// An instance's part of a step.
struct Row {
    group: GroupId,
    batch: u64,
    first_npu: u32,
    num_npus: usize,
    begin: Option<Instant>,
}

/// A group of instances whose steps are written.
#[derive(Clone, Debug)]
pub struct TraceGroup {
    /// Dimensions of its topology.
    pub num_dims: usize,
    /// Files that stand in its folder: what its traces can be replayed on.
    pub files: Vec<(&'static str, String)>,
}

impl TraceWriter {
    /// Begins writing into `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// When there is anything in the folder, or it can't be written into.
    pub fn create(
        dir: &Path,
        batches: Batches,
        numbering: Numbering,
        groups: &[TraceGroup],
        network_model: NetworkModel,
    ) -> Result<Self, Fault> {
        let is_free = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(_) => !dir.exists(),
        };
        if !is_free {
            let fault = Fault::new(dir.display().to_string(), "is not an empty folder");
            return Err(
                fault.hint("name a folder that is empty or not there: traces of another run would mix with these")
            );
        }
        let folder = Folder { path: dir.to_owned(), is_new: !dir.exists(), is_kept: false, num_groups: groups.len() };
        make_folder(dir)?;
        let write = |path: &Path, text: &str| fs::write(path, text).map_err(|error| unwritable(path, &error));
        write(&dir.join(RUN), &format!("network_model\n{}\n", network_model.name()))?;
        for (group, TraceGroup { files, .. }) in groups.iter().enumerate() {
            let folder = dir.join(format!("group{group}"));
            make_folder(&folder)?;
            for (name, text) in files {
                write(&folder.join(name), text)?;
            }
        }
        let table = |name: &str, header: &[u8]| {
            let mut table = AtomicFile::create(&dir.join(name))?;
            table.write_all(header).map_err(|error| table.fault(&error))?;
            Ok::<_, Fault>(table)
        };
        Ok(Self {
            batches,
            numbering,
            num_dims: groups.iter().map(|group| group.num_dims).collect(),
            under_way: BTreeMap::new(),
            num_finished: BTreeMap::new(),
            ends: table("batches.csv", b"group,batch,instance,first_npu,num_npus,begin_ns,end_ns,traces\n")?,
            begins: table("begins.csv", b"group,batch,npu,begin_ns\n")?,
            fault: None,
            folder,
        })
    }

    /// Ends the tables. Without it, everything that was written is removed.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn commit(mut self) -> Result<(), Fault> {
        self.fault.take().map_or(Ok(()), Err)?;
        self.ends.commit()?;
        self.begins.commit()?;
        self.folder.is_kept = true;
        Ok(())
    }

    fn write_wave(&mut self, wave: &WaveGraphs<'_>) -> Result<(), Fault> {
        let folder = self.folder.path.join(folder(wave.group, wave.wave));
        make_folder(&folder)?;
        let num_dims = self.num_dims[wave.group.index()];
        for member in wave.members {
            let name = format!("instance{}_batch{}.txt", member.instance, wave.wave);
            for (trace, npu) in nodes::traces(member, num_dims, &name).iter().zip(member.first_rank..) {
                let path = chakra::file_path(&folder.join(STEM), npu);
                let file = fs::File::create(&path).map_err(|error| unwritable(&path, &error))?;
                let mut sink = BufWriter::new(file);
                let written = chakra::encode(trace, self.numbering, &mut sink).and_then(|()| sink.flush());
                written.map_err(|error| unwritable(&path, &error))?;
            }
            let row = Row {
                group: wave.group,
                batch: wave.wave,
                first_npu: member.first_rank,
                num_npus: member.graphs.len(),
                begin: None,
            };
            self.under_way.entry(member.instance).or_default().push_back(row);
        }
        Ok(())
    }

    fn write_begin(&mut self, instance: InstanceId, npu: u32, batch: u64, now: Instant) -> Result<(), Fault> {
        let mut rows = self.under_way.get_mut(&instance).into_iter().flatten();
        let Some(row) = rows.find(|row| row.batch == batch) else { return Ok(()) };
        row.begin.get_or_insert(now);
        let line = format!("{},{batch},{},{}\n", row.group, row.first_npu + npu, now.ns());
        self.begins.write_all(line.as_bytes()).map_err(|error| self.begins.fault(&error))
    }

    fn write_end(&mut self, instance: InstanceId, end: Instant) -> Result<(), Fault> {
        let finished = self.num_finished.entry(instance).or_default();
        let number = *finished;
        *finished += 1;
        let Some(rows) = self.under_way.get_mut(&instance) else { return Ok(()) };
        if rows.front().is_none_or(|row| row.batch != number) {
            return Ok(());
        }
        let Some(Row { group, batch, first_npu, num_npus, begin }) = rows.pop_front() else { return Ok(()) };
        let (begin, end) = (begin.map_or(0, Instant::ns), end.ns());
        let line = format!(
            "{group},{batch},{instance},{first_npu},{num_npus},{begin},{end},{}/{STEM}\n",
            folder(group, batch)
        );
        self.ends.write_all(line.as_bytes()).map_err(|error| self.ends.fault(&error))
    }

    fn note(&mut self, result: Result<(), Fault>) {
        if let (Err(fault), None) = (result, &self.fault) {
            self.fault = Some(fault);
        }
    }
}

/// The folder of a step within that of the run.
fn folder(group: GroupId, batch: u64) -> String {
    format!("group{group}/batch{batch}")
}

fn make_folder(path: &Path) -> Result<(), Fault> {
    fs::create_dir_all(path).map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new(path.display().to_string(), format!("can't be written: {error}"))
}

impl Observer for TraceWriter {
    fn wants_graphs(&self, _: GroupId, wave: u64) -> bool {
        self.fault.is_none() && self.batches.contain(wave)
    }

    fn wave_graphs(&mut self, wave: &WaveGraphs<'_>) {
        let result = self.write_wave(wave);
        self.note(result);
    }

    fn graph_given(&mut self, instance: InstanceId, npu: u32, wave: u64, now: Instant) {
        let result = self.write_begin(instance, npu, wave, now);
        self.note(result);
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        let result = self.write_end(instance, now);
        self.note(result);
    }
}
