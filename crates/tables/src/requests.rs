//! A row a request.
//!
//! Nearly all of a table is the inter-token latencies. They are read off the engine's log of steps straight into the
//! column's buffer, which becomes the array without being copied.

use std::mem;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, LargeListArray, RecordBatch, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use engine::{FinishedRequest, Observer, TokenLatencies};
use metrics::Layout;

use crate::{BATCH_ROWS, whole};

/// Most inter-token latencies of a batch of several rows: 2 MiB, which caches hold while a batch is written.
const BATCH_LATENCIES: usize = 1 << 18;

const IDS: [&str; 2] = ["instance", "request"];

const MODEL: &str = "model";

const NUMBERS: [&str; 8] =
    ["input_tokens", "output_tokens", "arrival_ns", "end_ns", "latency_ns", "queuing_delay_ns", "ttft_ns", "tpot_ns"];

const ITL: &str = "itl_ns";

const STAMPS: [&str; 4] = ["queued_ns", "first_scheduled_ns", "first_token_ns", "first_delivered_ns"];

/// Which columns there are beside those that always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestColumns {
    /// The inter-token latencies, which are most of a table.
    pub itl: bool,
    /// When a request passed through its engine.
    pub stamps: bool,
}

impl Default for RequestColumns {
    /// Those of a result file where nothing else is asked for.
    fn default() -> Self {
        Self { itl: true, stamps: false }
    }
}

/// Finished requests as rows, in the order in which they finish.
///
/// All columns are `Int64` without nulls, but for `model`, a dictionary of names, and `itl_ns`, a `LargeList` of `Int64`:
/// `instance`, `request`, `model`, `input_tokens`, `output_tokens`, `arrival_ns`, `end_ns`, `latency_ns`,
/// `queuing_delay_ns`, `ttft_ns`, `tpot_ns`, `itl_ns`, `queued_ns`, `first_scheduled_ns`, `first_token_ns`,
/// `first_delivered_ns`. The last five are there where [`RequestColumns`] says so.
#[derive(Debug)]
pub struct RequestTable {
    schema: SchemaRef,
    columns: RequestColumns,
    /// The names of models, each once.
    names: Arc<StringArray>,
    /// By instance, which of these.
    models: Vec<i32>,
    rows: Rows,
    /// Batches that nobody has taken yet.
    batches: Vec<RecordBatch>,
}

/// Columns that grow.
#[derive(Debug, Default)]
struct Rows {
    ids: [Vec<i64>; IDS.len()],
    models: Vec<i32>,
    numbers: [Vec<i64>; NUMBERS.len()],
    latencies: Vec<i64>,
    num_latencies: Vec<usize>,
    stamps: [Vec<i64>; STAMPS.len()],
}

impl RequestTable {
    /// No rows yet, of a run of a deployment with this `layout`.
    pub fn new(layout: &Layout, columns: RequestColumns) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut models = Vec::new();
        for instance in &layout.instances {
            let known = names.iter().position(|name| *name == instance.model);
            let index = known.unwrap_or_else(|| {
                names.push(&instance.model);
                names.len() - 1
            });
            models.push(index.try_into().expect("fewer models than 2^31"));
        }
        Self {
            schema: schema(columns),
            columns,
            names: Arc::new(StringArray::from(names)),
            models,
            rows: Rows::default(),
            batches: Vec::new(),
        }
    }

    /// The columns, of every batch.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Adds a row.
    ///
    /// # Panics
    /// When a time is later than 292 years after the start of the run.
    pub fn push(&mut self, request: &FinishedRequest<'_>) {
        let rows = &mut self.rows;
        push_each(&mut rows.ids, [request.instance.index() as u64, request.id.0]);
        rows.models.push(self.models[request.instance.index()]);
        push_each(&mut rows.numbers, numbers(request));
        if self.columns.itl {
            let before = rows.latencies.len();
            push_latencies(&mut rows.latencies, &request.itl);
            rows.num_latencies.push(rows.latencies.len() - before);
        }
        if self.columns.stamps {
            let stamps = request.stamps;
            let stamps = [stamps.queued, stamps.first_scheduled, stamps.first_token, stamps.first_delivered];
            push_each(&mut rows.stamps, stamps.map(|stamp| stamp.ns()));
        }
        if rows.models.len() >= BATCH_ROWS || rows.latencies.len() >= BATCH_LATENCIES {
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
        if !self.rows.models.is_empty() {
            self.close_batch();
        }
        self.batches
    }

    fn close_batch(&mut self) {
        let Rows { ids, models, numbers, latencies, num_latencies, stamps } = mem::take(&mut self.rows);
        let model = DictionaryArray::<Int32Type>::new(models.into(), self.names.clone());
        let mut arrays: Vec<ArrayRef> = ids.into_iter().map(whole_numbers).collect();
        arrays.push(Arc::new(model));
        arrays.extend(numbers.into_iter().map(whole_numbers));
        if self.columns.itl {
            let ends = OffsetBuffer::from_lengths(num_latencies);
            arrays.push(Arc::new(LargeListArray::new(latency_field(), ends, whole_numbers(latencies), None)));
        }
        if self.columns.stamps {
            arrays.extend(stamps.into_iter().map(whole_numbers));
        }
        let batch = RecordBatch::try_new(self.schema(), arrays);
        self.batches.push(batch.expect("columns of the schema's types, and of one length"));
    }
}

impl Observer for RequestTable {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.push(request);
    }

    fn wants_work(&self) -> bool {
        false
    }
}

fn schema(columns: RequestColumns) -> SchemaRef {
    let number = |name: &&str| Field::new(*name, DataType::Int64, false);
    let mut fields: Vec<Field> = IDS.iter().map(number).collect();
    fields.push(Field::new_dictionary(MODEL, DataType::Int32, DataType::Utf8, false));
    fields.extend(NUMBERS.iter().map(number));
    if columns.itl {
        fields.push(Field::new(ITL, DataType::LargeList(latency_field()), false));
    }
    if columns.stamps {
        fields.extend(STAMPS.iter().map(number));
    }
    Arc::new(Schema::new(fields))
}

fn latency_field() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int64, false))
}

fn whole_numbers(numbers: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(numbers))
}

/// In the order of their names.
fn numbers(request: &FinishedRequest<'_>) -> [u64; NUMBERS.len()] {
    [
        request.input_tokens,
        request.output_tokens,
        request.arrival.ns(),
        request.end.ns(),
        request.latency().ns(),
        request.queuing_delay.ns(),
        request.ttft.ns(),
        request.tpot().ns(),
    ]
}

/// Adds a number to each column.
fn push_each<const N: usize>(columns: &mut [Vec<i64>; N], numbers: [u64; N]) {
    columns.iter_mut().zip(numbers).for_each(|(column, number)| column.push(whole(number)));
}

fn push_latencies(column: &mut Vec<i64>, latencies: &TokenLatencies<'_>) {
    let TokenLatencies::Steps { runs, log } = *latencies else {
        return column.extend(latencies.iter().map(|latency| whole(latency.ns())));
    };
    for run in runs {
        column.extend(run.lead.map(|lead| whole(lead.ns())));
        let mut before = log.end(run.first);
        column.extend((0..run.more).map(|index| {
            let end = log.end(run.first + 1 + index);
            whole((end - mem::replace(&mut before, end)).ns())
        }));
    }
}
