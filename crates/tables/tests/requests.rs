//! The table of requests, row by row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use engine::{FinishedRequest, Observer, Stamps};
use metrics::{InstanceLayout, Layout};
use tables::{RequestColumns, RequestTable};
use units::{Duration, InstanceId, Instant, RequestId};

const ALL: RequestColumns = RequestColumns { itl: true, stamps: true };

fn layout(models: &[&str]) -> Layout {
    let instance = |model: &&str| InstanceLayout { model: (*model).to_owned(), ..InstanceLayout::default() };
    Layout { instances: models.iter().map(instance).collect(), ..Layout::default() }
}

fn finish(table: &mut impl Observer, instance: u32, id: u64, itl_ns: &[u64]) {
    let itl: Vec<_> = itl_ns.iter().copied().map(Duration::from_ns).collect();
    let stamps = [1_100, 1_200, 1_400, 1_450].map(Instant::from_ns);
    let [queued, first_scheduled, first_token, first_delivered] = stamps;
    table.request_finished(&FinishedRequest {
        instance: InstanceId(instance),
        id: RequestId(id),
        input_tokens: 10,
        output_tokens: 1 + itl.len() as u64,
        arrival: Instant::from_ns(1_000),
        end: Instant::from_ns(1_500 + itl_ns.iter().sum::<u64>()),
        queuing_delay: Duration::from_ns(200),
        ttft: Duration::from_ns(500),
        itl: itl.as_slice().into(),
        prefix_hit_tokens: 0,
        preemptions: 0,
        stamps: Stamps { queued, first_scheduled, first_token, first_delivered },
    });
}

fn whole(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    assert_eq!(column.null_count(), 0);
    column.as_primitive::<Int64Type>().values().to_vec()
}

fn models(batch: &RecordBatch) -> Vec<&str> {
    let column = batch.column_by_name("model").expect("a column of models").as_dictionary::<Int32Type>();
    let names = column.values().as_string::<i32>();
    column.keys().values().iter().map(|&key| names.value(key as usize)).collect()
}

fn latencies(batch: &RecordBatch) -> Vec<Vec<i64>> {
    let column = batch.column_by_name("itl_ns").expect("a column of latencies").as_list::<i64>();
    let list = |list: Option<Arc<dyn Array>>| list.expect("no nulls").as_primitive::<Int64Type>().values().to_vec();
    column.iter().map(list).collect()
}

#[test]
fn rows_stand_in_order_of_completion() {
    let mut table = RequestTable::new(&layout(&["a", "b", "a"]), ALL);
    finish(&mut table, 2, 7, &[10, 20]);
    finish(&mut table, 0, 5, &[]);
    finish(&mut table, 1, 6, &[1]);
    assert!(table.take().is_empty(), "no batch is full");
    let batches = table.finish();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    for (name, expected) in [
        ("instance", [2, 0, 1]),
        ("request", [7, 5, 6]),
        ("input_tokens", [10, 10, 10]),
        ("output_tokens", [3, 1, 2]),
        ("arrival_ns", [1_000, 1_000, 1_000]),
        ("end_ns", [1_530, 1_500, 1_501]),
        ("latency_ns", [530, 500, 501]),
        ("queuing_delay_ns", [200, 200, 200]),
        ("ttft_ns", [500, 500, 500]),
        ("tpot_ns", [15, 0, 1]),
        ("queued_ns", [1_100, 1_100, 1_100]),
        ("first_scheduled_ns", [1_200, 1_200, 1_200]),
        ("first_token_ns", [1_400, 1_400, 1_400]),
        ("first_delivered_ns", [1_450, 1_450, 1_450]),
    ] {
        assert_eq!(whole(batch, name), expected, "{name}");
    }
    assert_eq!(models(batch), ["a", "a", "b"]);
    assert_eq!(latencies(batch), [vec![10, 20], vec![], vec![1]]);
}

#[test]
fn columns_can_be_left_out() {
    let names = |itl, stamps| {
        let mut table = RequestTable::new(&layout(&["a"]), RequestColumns { itl, stamps });
        finish(&mut table, 0, 0, &[10, 20]);
        let schema = table.schema();
        let batch = table.finish().remove(0);
        assert_eq!(batch.schema(), schema);
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    let all = names(true, true);
    assert_eq!(all.len(), 16);
    assert_eq!(names(true, false), all[..12]);
    assert_eq!(names(false, false), all[..11]);
    assert_eq!(names(false, true), [&all[..11], &all[12..]].concat());
}

#[test]
fn batches_are_bounded() {
    let row_counts = |num_rows: u64, itl_ns: &[u64]| {
        let mut table = RequestTable::new(&layout(&["a"]), ALL);
        let mut batches = Vec::new();
        for id in 0..num_rows {
            finish(&mut table, 0, id, itl_ns);
            batches.extend(table.take());
        }
        batches.extend(table.finish());
        let ids: Vec<i64> = batches.iter().flat_map(|batch| whole(batch, "request")).collect();
        assert!(ids.into_iter().eq(0..num_rows as i64));
        batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>()
    };
    assert_eq!(row_counts(0, &[]), [0usize; 0]);
    assert_eq!(row_counts(1 << 16, &[]), [1 << 16]);
    assert_eq!(row_counts((1 << 17) + 5, &[3]), [1 << 16, 1 << 16, 5]);
    assert_eq!(row_counts(9, &[1; 1 << 16]), [4, 4, 1]);
    assert_eq!(row_counts(2, &[1; (1 << 18) + 1]), [1, 1]);
}

#[test]
fn a_deployment_without_instances_has_columns() {
    let table = RequestTable::new(&Layout::default(), RequestColumns::default());
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    assert_eq!(table.schema().field(2).data_type(), &dictionary);
    assert_eq!(table.schema().fields().len(), 12);
    assert!(table.finish().is_empty());
}

/// The page that describes the columns names each of them, in their order, with its type.
#[test]
fn columns_are_described() {
    let page = include_str!("../../../docs/parquet.md");
    let (_, results) = page.split_once("## Results").expect("a part about results");
    let (results, _) = results.split_once("## Workloads").expect("a part about workloads");
    let described = results.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
    });
    let schema = RequestTable::new(&layout(&["a"]), ALL).schema();
    let found = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Int64 => "int64",
            DataType::Dictionary(..) => "dictionary of strings",
            DataType::LargeList(item) if item.data_type() == &DataType::Int64 => "list of int64",
            other => panic!("{other}"),
        };
        (field.name().clone(), data_type.to_owned())
    });
    assert_eq!(described.collect::<Vec<_>>(), found.collect::<Vec<_>>());
}
