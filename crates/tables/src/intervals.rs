//! A row an instance, group or node and log interval.
//!
//! As in the CSV, rows of the three scopes stand in one table, and a row has nulls in the columns of other scopes. Rates
//! and power are not rounded here.

use std::mem;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, Float64Builder, Int64Builder, StringDictionaryBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use metrics::{Component, Energy, GroupResults, InstanceResults, IntervalResults, Layout};
use units::{Duration, Instant};

use crate::{BATCH_ROWS, whole};

const TIME_COLUMNS: [(&str, Kind); 2] = [("interval_end_s", Kind::Real), ("interval_s", Kind::Real)];

const PLACE_COLUMNS: [(&str, Kind); 5] = [
    ("scope", Kind::Name),
    ("instance", Kind::Whole),
    ("group", Kind::Whole),
    ("group_name", Kind::Name),
    ("node", Kind::Whole),
];

const INSTANCE_COLUMNS: [(&str, Kind); 17] = [
    ("running", Kind::Whole),
    ("waiting", Kind::Whole),
    ("batch_sequences", Kind::Whole),
    ("finished_requests", Kind::Whole),
    ("prompt_tok_per_s", Kind::Real),
    ("generated_tok_per_s", Kind::Real),
    ("kv_blocks_held", Kind::Whole),
    ("kv_used_fraction", Kind::Real),
    ("npu_bytes", Kind::Whole),
    ("prefix_lookup_tokens", Kind::Whole),
    ("prefix_hit_tokens", Kind::Whole),
    ("tier_hit_tokens", Kind::Whole),
    ("preemptions", Kind::Whole),
    ("recomputed_tokens", Kind::Whole),
    ("handoff_waits", Kind::Whole),
    ("steps", Kind::Whole),
    ("dummy_steps", Kind::Whole),
];

/// Collectives in the order of `network::CollectiveKind::ALL`.
const GROUP_COLUMNS: [(&str, Kind); 5] = [
    ("waves", Kind::Whole),
    ("all_reduce_bytes", Kind::Whole),
    ("all_gather_bytes", Kind::Whole),
    ("reduce_scatter_bytes", Kind::Whole),
    ("all_to_all_bytes", Kind::Whole),
];

/// Components in the order of [`Component::ALL`].
const POWER_COLUMNS: [(&str, Kind); 8] = [
    ("power_w", Kind::Real),
    ("power_base_w", Kind::Real),
    ("power_npu_w", Kind::Real),
    ("power_cpu_w", Kind::Real),
    ("power_dram_w", Kind::Real),
    ("power_link_w", Kind::Real),
    ("power_nic_w", Kind::Real),
    ("power_storage_w", Kind::Real),
];

/// Components that an instance has a part in.
const INSTANCE_COMPONENTS: [Component; 4] = [Component::Npu, Component::Cpu, Component::Dram, Component::Link];

/// Columns at the beginning that every row has: the times, and the scope.
const NUM_WITHOUT_NULLS: usize = 3;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Real,
    Name,
}

/// What stands in a row.
#[derive(Clone, Copy, Debug)]
enum Cell<'a> {
    Null,
    Whole(u64),
    Real(f64),
    Name(&'a str),
}

/// A column that grows.
enum Column {
    Whole(Int64Builder),
    Real(Float64Builder),
    Name(StringDictionaryBuilder<Int32Type>),
}

/// Log intervals as rows: instances, groups and, where power is modelled, nodes.
///
/// The columns have the names of those of the interval CSV, which `docs/interval-csv.md` describes. Counts and ids are
/// `Int64`, times in seconds, rates, fractions and watts are `Float64`, and names are dictionaries.
pub struct IntervalTable {
    schema: SchemaRef,
    layout: Layout,
    columns: Vec<Column>,
    /// Batches that nobody has taken yet.
    batches: Vec<RecordBatch>,
}

impl IntervalTable {
    /// No rows yet, of a run of a deployment with this `layout`.
    pub fn new(layout: &Layout) -> Self {
        let field = |(index, (name, kind)): (usize, (&str, Kind))| {
            Field::new(name, kind.data_type(), index >= NUM_WITHOUT_NULLS)
        };
        let fields: Vec<Field> = all_columns().enumerate().map(field).collect();
        Self {
            schema: Arc::new(Schema::new(fields)),
            layout: layout.clone(),
            columns: all_columns().map(|(_, kind)| Column::new(kind)).collect(),
            batches: Vec::new(),
        }
    }

    /// The columns, of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds the rows of one interval: its instances, its groups, and its nodes where power is modelled.
    ///
    /// # Panics
    /// When a count needs more than 63 bits.
    pub fn push(&mut self, results: &IntervalResults) {
        let length = results.length;
        let Self { layout, columns, .. } = self;
        let time = [(results.end - Instant::ZERO).secs_f64(), length.secs_f64()].map(Cell::Real);
        for (index, instance) in results.instances.iter().enumerate() {
            let place = instance_place(layout, index);
            let counts = instance_cells(instance, layout.instances[index].kv_blocks, length);
            let power = results.power.as_ref();
            let power = power.map(|power| power_cells(&power.instances[index], &INSTANCE_COMPONENTS, length));
            push_row(columns, [&time, &place, &counts, &blank(GROUP_COLUMNS), &power.unwrap_or(blank(POWER_COLUMNS))]);
        }
        for (index, group) in results.groups.iter().enumerate() {
            let name = group_name(layout, index);
            let place = [Cell::Name("group"), Cell::Null, Cell::Whole(index as u64), name, Cell::Null];
            let counts = group_cells(group);
            push_row(columns, [&time, &place, &blank(INSTANCE_COLUMNS), &counts, &blank(POWER_COLUMNS)]);
        }
        let nodes = results.power.iter().flat_map(|power| &power.nodes);
        for (index, energy) in nodes.enumerate() {
            let place = [Cell::Name("node"), Cell::Null, Cell::Null, Cell::Null, Cell::Whole(index as u64)];
            let power = power_cells(energy, &Component::ALL, length);
            push_row(columns, [&time, &place, &blank(INSTANCE_COLUMNS), &blank(GROUP_COLUMNS), &power]);
        }
        if self.num_rows() >= BATCH_ROWS {
            self.close_batch();
        }
    }

    /// Takes the batches that are full, in order. Rows after them stay until there are more, or until
    /// [`finish`](Self::finish).
    pub fn take(&mut self) -> Vec<RecordBatch> {
        mem::take(&mut self.batches)
    }

    /// Everything that has not been taken; no batch where there is none.
    pub fn finish(mut self) -> Vec<RecordBatch> {
        if self.num_rows() > 0 {
            self.close_batch();
        }
        self.batches
    }

    fn num_rows(&self) -> usize {
        self.columns[0].len()
    }

    fn close_batch(&mut self) {
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let batch = RecordBatch::try_new(self.schema(), arrays);
        self.batches.push(batch.expect("columns of the schema's types, and of one length"));
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Whole => DataType::Int64,
            Kind::Real => DataType::Float64,
            Kind::Name => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        }
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Whole => Column::Whole(Int64Builder::new()),
            Kind::Real => Column::Real(Float64Builder::new()),
            Kind::Name => Column::Name(StringDictionaryBuilder::new()),
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Column::Whole(column), Cell::Whole(number)) => column.append_value(whole(number)),
            (Column::Real(column), Cell::Real(number)) => column.append_value(number),
            (Column::Name(column), Cell::Name(name)) => column.append_value(name),
            (Column::Whole(column), Cell::Null) => column.append_null(),
            (Column::Real(column), Cell::Null) => column.append_null(),
            (Column::Name(column), Cell::Null) => column.append_null(),
            (_, cell) => unreachable!("{cell:?} is not what its column holds"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Column::Whole(column) => column.len(),
            Column::Real(column) => column.len(),
            Column::Name(column) => column.len(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Whole(column) => Arc::new(column.finish()),
            Column::Real(column) => Arc::new(column.finish()),
            Column::Name(column) => Arc::new(column.finish()),
        }
    }
}

fn all_columns() -> impl Iterator<Item = (&'static str, Kind)> {
    let parts: [&'static [(&str, Kind)]; 5] =
        [&TIME_COLUMNS, &PLACE_COLUMNS, &INSTANCE_COLUMNS, &GROUP_COLUMNS, &POWER_COLUMNS];
    parts.into_iter().flatten().copied()
}

fn push_row(columns: &mut [Column], parts: [&[Cell<'_>]; 5]) {
    columns.iter_mut().zip(parts.into_iter().flatten()).for_each(|(column, cell)| column.push(*cell));
}

/// As many nulls as columns.
fn blank<const N: usize>(_: [(&str, Kind); N]) -> [Cell<'static>; N] {
    [Cell::Null; N]
}

fn instance_place(layout: &Layout, index: usize) -> [Cell<'_>; PLACE_COLUMNS.len()] {
    let group = layout.groups.iter().position(|group| group.members.contains(&index.into()));
    let node = layout.nodes.iter().position(|node| node.instances.contains(&index.into()));
    let id = |position: Option<usize>| position.map_or(Cell::Null, |position| Cell::Whole(position as u64));
    let name = group.map_or(Cell::Null, |group| group_name(layout, group));
    [Cell::Name("instance"), Cell::Whole(index as u64), id(group), name, id(node)]
}

fn group_name(layout: &Layout, index: usize) -> Cell<'_> {
    layout.groups[index].name.as_deref().map_or(Cell::Null, Cell::Name)
}

fn instance_cells(
    instance: &InstanceResults,
    kv_blocks: u32,
    length: Duration,
) -> [Cell<'static>; INSTANCE_COLUMNS.len()] {
    let did = &instance.did;
    let known = |number: Option<u64>| number.map_or(Cell::Null, Cell::Whole);
    [
        Cell::Whole(instance.running),
        Cell::Whole(instance.waiting),
        known(instance.batch_sequences),
        Cell::Whole(did.finished_requests),
        Cell::Real(did.prompt_tokens as f64 / length.secs_f64()),
        Cell::Real(did.generated_tokens as f64 / length.secs_f64()),
        Cell::Whole(instance.kv_blocks_held.into()),
        Cell::Real(f64::from(instance.kv_blocks_held) / f64::from(kv_blocks.max(1))),
        known(instance.npu_bytes),
        Cell::Whole(did.prefix_lookup_tokens),
        Cell::Whole(did.prefix_hit_tokens),
        Cell::Whole(did.tier_hit_tokens),
        Cell::Whole(did.preemptions),
        Cell::Whole(did.recomputed_tokens),
        Cell::Whole(did.handoff_waits),
        Cell::Whole(did.steps),
        Cell::Whole(did.dummy_steps),
    ]
}

fn group_cells(group: &GroupResults) -> [Cell<'static>; GROUP_COLUMNS.len()] {
    let [all_reduce, all_gather, reduce_scatter, all_to_all] = group.did.collective_bytes;
    [group.did.waves, all_reduce, all_gather, reduce_scatter, all_to_all].map(Cell::Whole)
}

/// The total, and the components that are `shown`.
fn power_cells(energy: &Energy, shown: &[Component], length: Duration) -> [Cell<'static>; POWER_COLUMNS.len()] {
    let mut cells = [Cell::Null; POWER_COLUMNS.len()];
    cells[0] = Cell::Real(energy.mean_w(length));
    for (cell, component) in cells[1..].iter_mut().zip(Component::ALL) {
        if shown.contains(&component) {
            *cell = Cell::Real(energy.mean_w_of(component, length));
        }
    }
    cells
}
