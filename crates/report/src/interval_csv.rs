//! The CSV of log intervals: a table of instances, one of groups and one of nodes in a single file.
//!
//! What is counted by instance, by group and by node stands in rows of different scopes, so that within a scope every
//! column may be added up and nothing is counted twice. A row leaves the columns of other scopes empty. The columns are
//! described in `docs/reference/csv.md`, which is made from the tables here. Lines end in `\n`.

use std::array;
use std::io::{self, Write};
use std::path::Path;

use diagnostics::Fault;
use metrics::{Component, Energy, GroupResults, InstanceResults, IntervalResults, Layout};
use units::{Duration, Instant};

use crate::csv::field;
use crate::{AtomicFile, Column};

const ALL: &[&str] = &["instance", "group", "node"];
const INSTANCE: &[&str] = &["instance"];
const GROUP: &[&str] = &["group"];
const NODE: &[&str] = &["node"];

const TIME_COLUMNS: [Column; 2] = [
    Column::of(ALL, "interval_end_s", "s", "when the interval ended, since the start of the run"),
    Column::of(ALL, "interval_s", "s", "how long it was"),
];

const PLACE_COLUMNS: [Column; 5] = [
    Column::of(ALL, "scope", "", "`instance`, `group` or `node`"),
    Column::of(INSTANCE, "instance", "", "its id, counting from 0 in the order of the cluster file"),
    Column::of(&["instance", "group"], "group", "", "the group's id"),
    Column::of(&["instance", "group"], "group_name", "", "its `dp_group`; empty for a lone instance"),
    Column::of(&["instance", "node"], "node", "", "the node's id"),
];

const INSTANCE_COLUMNS: [Column; 17] = [
    Column::of(INSTANCE, "running", "sequences", "sequences running at the end of the interval"),
    Column::of(INSTANCE, "waiting", "requests", "requests waiting then"),
    Column::of(
        INSTANCE,
        "batch_sequences",
        "sequences",
        "sequences in the latest batch; only of whole log intervals that had requests, else empty",
    ),
    Column::of(INSTANCE, "finished_requests", "requests", "requests finished in the interval"),
    Column::of(
        INSTANCE,
        "prompt_tok_per_s",
        "tokens/s",
        "prompt tokens through prefill, prefix hits and recomputed ones included, by the length of the interval",
    ),
    Column::of(INSTANCE, "generated_tok_per_s", "tokens/s", "tokens generated, by the length of the interval"),
    Column::of(INSTANCE, "kv_blocks_held", "blocks", "KV blocks that sequences held at the end of the interval"),
    Column::of(INSTANCE, "kv_used_fraction", "", "the same by the blocks there are, from 0 to 1"),
    Column::of(
        INSTANCE,
        "npu_bytes",
        "bytes",
        "bytes in use on each NPU then: weights, blocks held, and free blocks that still hold a findable prefix; empty where `batch_sequences` is",
    ),
    Column::of(INSTANCE, "prefix_lookup_tokens", "tokens", "prompt tokens looked up in prefix caches in the interval"),
    Column::of(INSTANCE, "prefix_hit_tokens", "tokens", "of these, found on the NPU"),
    Column::of(INSTANCE, "tier_hit_tokens", "tokens", "of these, found in the tier below instead"),
    Column::of(INSTANCE, "preemptions", "", "times a sequence lost its blocks"),
    Column::of(INSTANCE, "recomputed_tokens", "tokens", "tokens computed again after that"),
    Column::of(
        INSTANCE,
        "handoff_waits",
        "requests",
        "requests that had to wait for room when they came from a prefill instance",
    ),
    Column::of(INSTANCE, "steps", "steps", "steps that ended in the interval, dummies included"),
    Column::of(INSTANCE, "dummy_steps", "steps", "of these, run only to keep pace with the group"),
];

/// Collectives in the order of [`network::CollectiveKind::ALL`].
const GROUP_COLUMNS: [Column; 5] = [
    Column::of(GROUP, "waves", "waves", "waves that started in the interval"),
    Column::of(
        GROUP,
        "all_reduce_bytes",
        "bytes",
        "bytes handed to all-reduces by waves that started in the interval, counted once per collective and not once per rank",
    ),
    Column::of(GROUP, "all_gather_bytes", "bytes", "the same of all-gathers"),
    Column::of(GROUP, "reduce_scatter_bytes", "bytes", "the same of reduce-scatters"),
    Column::of(GROUP, "all_to_all_bytes", "bytes", "the same of all-to-alls"),
];

/// Components in the order of [`Component::ALL`].
const POWER_COLUMNS: [Column; 8] = [
    Column::of(&["instance", "node"], "power_w", "W", "mean power in the interval: the sum of the next columns"),
    Column::of(NODE, "power_base_w", "W", "everything that is not one of the others"),
    Column::of(&["instance", "node"], "power_npu_w", "W", "NPUs; for an instance its own, for a node all of them"),
    Column::of(
        &["instance", "node"],
        "power_cpu_w",
        "W",
        "processors; for an instance what its computing adds to them",
    ),
    Column::of(
        &["instance", "node"],
        "power_dram_w",
        "W",
        "host memory and processing in it; for an instance what its steps add",
    ),
    Column::of(&["instance", "node"], "power_link_w", "W", "links; for an instance what its steps add"),
    Column::of(NODE, "power_nic_w", "W", "network cards"),
    Column::of(NODE, "power_storage_w", "W", "storage devices"),
];

/// Components that an instance has a part in.
const INSTANCE_COMPONENTS: [Component; 4] = [Component::Npu, Component::Cpu, Component::Dram, Component::Link];

/// Bytes after which rows are passed on.
const BUFFER_BYTES: usize = 1 << 16;

/// All columns, in order.
pub fn interval_columns() -> Vec<Column> {
    [&TIME_COLUMNS[..], &PLACE_COLUMNS, &INSTANCE_COLUMNS, &GROUP_COLUMNS, &POWER_COLUMNS].concat()
}

/// Writes log intervals as CSV.
#[derive(Debug)]
pub struct IntervalCsvWriter<W> {
    sink: W,
    layout: Layout,
    /// Text that the sink has not seen.
    rows: String,
    /// The first failure of the sink. Nothing more is written after it.
    error: Option<io::Error>,
}

impl IntervalCsvWriter<AtomicFile> {
    /// Begins a file at `path`, which [`commit`](Self::commit) puts in its place.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(path: &Path, layout: &Layout) -> Result<Self, Fault> {
        Ok(Self::new(AtomicFile::create(path)?, layout))
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// When anything at all could not be written; an older file is then left as it was.
    pub fn commit(mut self) -> Result<(), Fault> {
        match self.write_all() {
            Ok(()) => self.sink.commit(),
            Err(error) => Err(self.sink.fault(&error)),
        }
    }
}

impl<W: Write> IntervalCsvWriter<W> {
    /// Writes intervals of a run of a deployment with this `layout` to `sink`.
    pub fn new(sink: W, layout: &Layout) -> Self {
        let header: Vec<&str> = interval_columns().iter().map(|column| column.name).collect();
        Self { sink, layout: layout.clone(), rows: header.join(",") + "\n", error: None }
    }

    /// Writes the rows of one interval: its instances, its groups, and its nodes where power is modelled.
    pub fn write(&mut self, results: &IntervalResults) {
        if self.error.is_some() {
            return;
        }
        self.push_rows(results);
        if self.rows.len() >= BUFFER_BYTES {
            self.error = self.sink.write_all(self.rows.as_bytes()).err();
            self.rows.clear();
        }
    }

    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// The first error of the sink since the beginning.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_all()?;
        Ok(self.sink)
    }

    fn write_all(&mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.sink.write_all(self.rows.as_bytes())?;
        self.rows.clear();
        self.sink.flush()
    }

    fn push_rows(&mut self, results: &IntervalResults) {
        let length = results.length;
        let time = [seconds(results.end - Instant::ZERO), seconds(length)];
        let Self { layout, rows, .. } = self;
        for (index, instance) in results.instances.iter().enumerate() {
            let place = instance_place(layout, index);
            let counts = instance_cells(instance, layout.instances[index].kv_blocks, length);
            let power =
                results.power.as_ref().map(|power| power_cells(&power.instances[index], &INSTANCE_COMPONENTS, length));
            push_row(rows, [&time, &place, &counts, &blank(GROUP_COLUMNS), &power.unwrap_or(blank(POWER_COLUMNS))]);
        }
        for (index, group) in results.groups.iter().enumerate() {
            let name = group_name(layout, index);
            let place = ["group".to_owned(), String::new(), index.to_string(), name, String::new()];
            let counts = group_cells(group);
            push_row(rows, [&time, &place, &blank(INSTANCE_COLUMNS), &counts, &blank(POWER_COLUMNS)]);
        }
        let nodes = results.power.iter().flat_map(|power| &power.nodes);
        for (index, energy) in nodes.enumerate() {
            let place = ["node".to_owned(), String::new(), String::new(), String::new(), index.to_string()];
            let power = power_cells(energy, &Component::ALL, length);
            push_row(rows, [&time, &place, &blank(INSTANCE_COLUMNS), &blank(GROUP_COLUMNS), &power]);
        }
    }
}

fn push_row(rows: &mut String, parts: [&[String]; 5]) {
    *rows += &parts.concat().join(",");
    rows.push('\n');
}

/// As many empty cells as columns.
fn blank<const N: usize>(_: [Column; N]) -> [String; N] {
    array::from_fn(|_| String::new())
}

fn instance_place(layout: &Layout, index: usize) -> [String; PLACE_COLUMNS.len()] {
    let group = layout.groups.iter().position(|group| group.members.contains(&index.into()));
    let node = layout.nodes.iter().position(|node| node.instances.contains(&index.into()));
    let id = |position: Option<usize>| position.map_or_else(String::new, |position| position.to_string());
    let name = group.map_or_else(String::new, |group| group_name(layout, group));
    ["instance".to_owned(), index.to_string(), id(group), name, id(node)]
}

fn group_name(layout: &Layout, index: usize) -> String {
    let name = layout.groups[index].name.as_deref().unwrap_or_default();
    field(name)
}

fn instance_cells(instance: &InstanceResults, kv_blocks: u32, length: Duration) -> [String; INSTANCE_COLUMNS.len()] {
    let did = &instance.did;
    let known = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    [
        instance.running.to_string(),
        instance.waiting.to_string(),
        known(instance.batch_sequences),
        did.finished_requests.to_string(),
        format!("{:.3}", did.prompt_tokens as f64 / length.secs_f64()),
        format!("{:.3}", did.generated_tokens as f64 / length.secs_f64()),
        instance.kv_blocks_held.to_string(),
        format!("{:.6}", f64::from(instance.kv_blocks_held) / f64::from(kv_blocks.max(1))),
        known(instance.npu_bytes),
        did.prefix_lookup_tokens.to_string(),
        did.prefix_hit_tokens.to_string(),
        did.tier_hit_tokens.to_string(),
        did.preemptions.to_string(),
        did.recomputed_tokens.to_string(),
        did.handoff_waits.to_string(),
        did.steps.to_string(),
        did.dummy_steps.to_string(),
    ]
}

fn group_cells(group: &GroupResults) -> [String; GROUP_COLUMNS.len()] {
    let [all_reduce, all_gather, reduce_scatter, all_to_all] = group.did.collective_bytes;
    [group.did.waves, all_reduce, all_gather, reduce_scatter, all_to_all].map(|number| number.to_string())
}

/// The total, and the components that are `shown`.
fn power_cells(energy: &Energy, shown: &[Component], length: Duration) -> [String; POWER_COLUMNS.len()] {
    let watts = |component: Component| match shown.contains(&component) {
        true => format!("{:.3}", energy.mean_w_of(component, length)),
        false => String::new(),
    };
    let total = format!("{:.3}", energy.mean_w(length));
    let mut cells = [total].into_iter().chain(Component::ALL.map(watts));
    array::from_fn(|_| cells.next().expect("a column for the total and for each component"))
}

/// Seconds to the nanosecond.
fn seconds(duration: Duration) -> String {
    let ns = duration.ns();
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}
