//! Tables in Parquet files as CSV.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, UInt8Array};
use columnar::{TableText, read_table};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;
use units::{InstanceId, RequestId};

fn file(columns: &[(&str, ArrayRef)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.parquet");
    let columns = columns.iter().map(|(name, array)| (*name, array.clone()));
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let file = File::create(&path).expect("a file in the temporary folder");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("types that are known");
    writer.write(&batch).expect("a batch is written");
    writer.close().expect("a file is written");
    (folder, path)
}

fn whole(numbers: Vec<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(numbers))
}

#[test]
fn cells_are_written_as_text() {
    let lists = [Some(vec![Some(3), Some(-5)]), None, Some(vec![])];
    let (_folder, path) = file(&[
        ("a,b", Arc::new(StringArray::from(vec![Some("x, \"y\""), None, Some("two\nlines")]))),
        ("small", Arc::new(UInt8Array::from(vec![Some(255), None, Some(0)]))),
        ("real", Arc::new(Float64Array::from(vec![0.1, 1e6, -1e300]))),
        ("narrow", Arc::new(Float32Array::from(vec![0.1, 16_777_216.0, -2.5]))),
        ("large", whole(vec![i64::MAX, i64::MIN, 0])),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ]);
    let text = TableText::read(&path).expect("a sound file").text;
    let huge = format!("-1{}", "0".repeat(300));
    let expected = [
        "\"a,b\",small,real,narrow,large,list",
        "\"x, \"\"y\"\"\",255,0.1,0.1,9223372036854775807,\"[3, -5]\"",
        ",,1000000,16777216,-9223372036854775808,",
        &format!("\"two lines\",0,{huge},-2.5,0,[]"),
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn columns_of_a_result_have_the_names_of_the_csv() {
    let (_folder, path) = file(&[("request", whole(vec![1])), ("end_ns", whole(vec![2])), ("ttft_ns", whole(vec![3]))]);
    assert_eq!(TableText::read(&path).expect("a sound file").text, "request id,end_time,TTFT\n1,2,3\n");
    // Of another table, `request` is just a column.
    let (_folder, path) = file(&[("request", whole(vec![1])), ("instance", whole(vec![2]))]);
    assert_eq!(TableText::read(&path).expect("a sound file").text, "request,instance\n1,2\n");
}

#[test]
fn routes_and_what_is_wrong_with_them() {
    let (folder, path) = file(&[("request", whole(vec![3, 1])), ("instance", whole(vec![0, 2]))]);
    let routes = read_table(&path, workload::parse_routes).expect("sound routes");
    assert_eq!(routes, HashMap::from([(RequestId(3), InstanceId(0)), (RequestId(1), InstanceId(2))]));
    drop(folder);

    let (folder, path) = file(&[("request", whole(vec![3, 3, -1])), ("instance", whole(vec![0, 2, 0]))]);
    let faults = read_table(&path, workload::parse_routes).expect_err("faulty routes").to_string();
    let expected = "error: t.parquet at row 2: request 3 stands here a second time\n\
         error: t.parquet at row 3: `-1,0` is not two whole numbers\n  hint: such as `17,2`";
    let told = faults.replace(&format!("{}/", folder.path().display()), "");
    // In the order in which they are found.
    assert_eq!(told, expected);
}

#[test]
fn faults_of_a_result_name_its_columns() {
    let columns = ["request", "input_tokens", "output_tokens", "arrival_ns", "end_ns"];
    let mut columns: Vec<_> = columns.map(|name| (name, whole(vec![5, 6]))).into();
    columns.push(("ttft_ns", whole(vec![0, -7])));
    let (folder, path) = file(&columns);
    let faults = read_table(&path, compare::parse).expect_err("a faulty result").to_string();
    let told = faults.replace(&format!("{}/", folder.path().display()), "");
    let expected =
        "error: t.parquet at row 2, ttft_ns: expected a whole number from 0 to 4000000000000000000, found `-7`";
    assert_eq!(told, expected);
}
