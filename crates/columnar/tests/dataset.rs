//! Workloads in Parquet files: entries as a JSONL file would give them, and what is told of those that are at fault.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int16Array, Int64Array, LargeStringArray, ListArray, RecordBatch,
    StringArray, StructArray, UInt32Array, UInt64Array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, Fields};
use columnar::read_workload;
use engine::Entry;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;
use workload::{ReadOptions, Workload};

const OPTIONS: ReadOptions = ReadOptions { limit: None, token_ids: true, kept_bytes_max: usize::MAX };

/// A file of these columns.
fn file(columns: &[(&str, ArrayRef)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.parquet");
    write(&path, &[batch(columns)]);
    (folder, path)
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().map(|(name, array)| (*name, array.clone())))
        .expect("columns of one length")
}

/// Each batch is a row group.
fn write(path: &std::path::Path, batches: &[RecordBatch]) {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path).expect("a file in the temporary folder");
    let mut writer = ArrowWriter::try_new(file, batches[0].schema(), Some(properties)).expect("types that are known");
    for batch in batches {
        writer.write(batch).and_then(|()| writer.flush()).expect("a batch is written");
    }
    writer.close().expect("a file is written");
}

fn whole(numbers: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(numbers.to_vec()))
}

fn ids(lists: &[Option<&[i32]>]) -> ArrayRef {
    let lists = lists.iter().map(|list| list.map(|ids| ids.iter().copied().map(Some).collect::<Vec<_>>()));
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists))
}

/// A list of calls for each row; `None` for a row without.
fn calls(lists: &[Option<usize>], columns: &[(&str, ArrayRef)]) -> ArrayRef {
    let fields: Fields =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let calls = StructArray::new(fields.clone(), columns.iter().map(|(_, array)| array.clone()).collect(), None);
    let ends = OffsetBuffer::from_lengths(lists.iter().map(|length| length.unwrap_or(0)));
    let nulls = lists.iter().map(Option::is_some).collect::<Vec<_>>().into();
    let item = Arc::new(Field::new("item", DataType::Struct(fields), true));
    Arc::new(ListArray::new(item, ends, Arc::new(calls), Some(nulls)))
}

fn entries(workload: Workload) -> Vec<Entry> {
    let mut entries = workload.into_entries();
    let all = entries.by_ref().collect();
    entries.finish().expect("the file is as it was");
    all
}

/// The entries of the file at `path` are those of `jsonl`, read once or twice.
#[track_caller]
fn check(path: &std::path::Path, jsonl: &str) {
    let expected = workload::read_str("w", jsonl, &OPTIONS, &mut |_| ()).unwrap_or_else(|faults| panic!("{faults}"));
    let expected_notes = expected.notes.len();
    let expected = entries(expected);
    for kept_bytes_max in [usize::MAX, 0] {
        let options = ReadOptions { kept_bytes_max, ..OPTIONS };
        let mut seen = Vec::new();
        let found = read_workload(path, &options, &mut |entry| seen.push(entry.clone()));
        let found = found.unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(
            (found.num_requests, found.notes.len()),
            (expected.iter().map(Entry::num_calls).sum::<usize>() as u64, expected_notes)
        );
        assert_eq!(entries(found), expected);
        seen.sort_by_key(|entry| entry.arrival);
        assert_eq!(seen, expected);
    }
}

#[test]
fn plain_requests() {
    let expected = "{\"input_toks\": 8, \"output_toks\": 4, \"arrival_time_ns\": 0}\n\
         {\"input_toks\": 300, \"output_toks\": 1, \"arrival_time_ns\": 1700000000000000001}\n";
    let arrivals = whole(&[0, 1_700_000_000_000_000_001]);
    let outputs: ArrayRef = Arc::new(UInt64Array::from(vec![4, 1]));
    for inputs in [
        whole(&[8, 300]),
        Arc::new(Int16Array::from(vec![8, 300])) as ArrayRef,
        Arc::new(UInt32Array::from(vec![8, 300])),
        // As pandas has whole numbers some of which are missing.
        Arc::new(Float64Array::from(vec![8.0, 300.0])),
    ] {
        let columns = [("arrival_time_ns", arrivals.clone()), ("input_toks", inputs), ("output_toks", outputs.clone())];
        let (_folder, path) = file(&columns);
        check(&path, expected);
    }
}

#[test]
fn token_ids_and_missing_ones() {
    let (_folder, path) = file(&[
        ("input_toks", whole(&[3, 2, 2])),
        ("output_toks", whole(&[1, 2, 1])),
        ("arrival_time_ns", whole(&[5, 7, 6])),
        ("input_tok_ids", ids(&[Some(&[7, 8, 9]), None, Some(&[])])),
        ("output_tok_ids", ids(&[Some(&[1]), Some(&[2, 3]), None])),
    ]);
    let jsonl = "{\"input_toks\": 3, \"output_toks\": 1, \"arrival_time_ns\": 5, \"input_tok_ids\": [7, 8, 9], \
         \"output_tok_ids\": [1]}\n\
         {\"input_toks\": 2, \"output_toks\": 2, \"arrival_time_ns\": 7, \"output_tok_ids\": [2, 3]}\n\
         {\"input_toks\": 2, \"output_toks\": 1, \"arrival_time_ns\": 6, \"input_tok_ids\": []}\n";
    check(&path, jsonl);

    let options = ReadOptions { token_ids: false, ..OPTIONS };
    let without = read_workload(&path, &options, &mut |_| ()).expect("a sound file");
    assert!(!without.has_token_ids);
    assert!(entries(without).iter().flat_map(Entry::calls).all(|call| call.input_ids.is_empty()));
}

#[test]
fn requests_and_sessions_in_one_file() {
    let (_folder, path) = file(&[
        ("session_id", Arc::new(LargeStringArray::from(vec![None, Some("say \"a\""), Some("b")]))),
        ("arrival_time_ns", whole(&[3, 1, 2])),
        ("input_toks", Arc::new(Int64Array::from(vec![Some(9), None, None]))),
        ("output_toks", Arc::new(Int64Array::from(vec![Some(2), None, None]))),
        (
            "sub_requests",
            calls(
                &[None, Some(2), Some(1)],
                &[
                    ("input_toks", whole(&[10, 20, 30])),
                    ("output_toks", whole(&[1, 2, 3])),
                    ("tool_duration_ns", Arc::new(Int64Array::from(vec![Some(500), None, None]))),
                    ("input_tok_ids", ids(&[None, None, Some(&[4; 30])])),
                ],
            ),
        ),
    ]);
    let ids = vec!["4"; 30].join(", ");
    let jsonl = format!(
        "{{\"arrival_time_ns\": 3, \"input_toks\": 9, \"output_toks\": 2}}\n\
         {{\"arrival_time_ns\": 1, \"session_id\": \"say \\\"a\\\"\", \"sub_requests\": [\
         {{\"input_toks\": 10, \"output_toks\": 1, \"tool_duration_ns\": 500}}, \
         {{\"input_toks\": 20, \"output_toks\": 2}}]}}\n\
         {{\"arrival_time_ns\": 2, \"session_id\": \"b\", \"sub_requests\": [\
         {{\"input_toks\": 30, \"output_toks\": 3, \"input_tok_ids\": [{ids}]}}]}}\n"
    );
    check(&path, &jsonl);
}

/// Several row groups and many batches, and what limits the rows.
#[test]
fn many_rows() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.parquet");
    let rows = |range: std::ops::Range<i64>| {
        let column = |of: fn(i64) -> i64| whole(&range.clone().map(of).collect::<Vec<_>>());
        let inputs = column(|n| 1 + n % 977);
        batch(&[("input_toks", inputs), ("output_toks", column(|n| 1 + n % 7)), ("arrival_time_ns", column(|n| n / 3))])
    };
    write(&path, &[rows(0..4_000), rows(4_000..4_001), rows(4_001..10_000)]);
    let line = |n: i64| {
        let (input, output, arrival) = (1 + n % 977, 1 + n % 7, n / 3);
        format!("{{\"input_toks\": {input}, \"output_toks\": {output}, \"arrival_time_ns\": {arrival}}}\n")
    };
    check(&path, &(0..10_000).map(line).collect::<String>());
    let limited = read_workload(&path, &ReadOptions { limit: Some(5_000), ..OPTIONS }, &mut |_| ());
    assert_eq!(limited.expect("a sound file").num_requests, 5_000);
}

#[track_caller]
fn faults(columns: &[(&str, ArrayRef)]) -> String {
    let (folder, path) = file(columns);
    let faults = read_workload(&path, &OPTIONS, &mut |_| ()).expect_err("a fault").to_string();
    faults.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn faulty_rows_are_told_with_their_columns() {
    let sound =
        || [("input_toks", whole(&[3, 2])), ("output_toks", whole(&[1, 2])), ("arrival_time_ns", whole(&[5, 7]))];
    let with = |name: &'static str, array: ArrayRef| {
        let mut columns: Vec<_> = sound().into_iter().filter(|(column, _)| *column != name).collect();
        columns.push((name, array));
        faults(&columns)
    };
    insta::assert_snapshot!(
        "rows",
        [
            with("input_toks", whole(&[3, 0])),
            with("output_toks", whole(&[-1, 1 << 40])),
            with("arrival_time_ns", Arc::new(Float64Array::from(vec![0.5, f64::NAN]))),
            with("arrival_time_ns", Arc::new(Int64Array::from(vec![None, Some(7)]))),
            with("input_tok_ids", ids(&[Some(&[1, -2, 3]), None])),
            with("sub_requests", calls(&[Some(1), None], &[("input_toks", whole(&[1])), ("output_toks", whole(&[1]))])),
            faults(&[
                ("arrival_time_ns", whole(&[0, 1])),
                (
                    "sub_requests",
                    calls(&[Some(2), Some(0)], &[("input_toks", whole(&[1, 0])), ("output_toks", whole(&[1, 1]))])
                ),
            ]),
            with("session_id", Arc::new(StringArray::from(vec![None, Some("a")]))),
            faults(&[
                ("input_toks", whole(&[0; 30])),
                ("output_toks", whole(&[1; 30])),
                ("arrival_time_ns", whole(&[0; 30]))
            ]),
            faults(&[("input_toks", whole(&[])), ("output_toks", whole(&[])), ("arrival_time_ns", whole(&[]))]),
        ]
        .join("\n\n")
    );
}

#[test]
fn faulty_columns_are_told_once() {
    let numbers = || whole(&[1; 100]);
    insta::assert_snapshot!(
        "columns",
        [
            faults(&[("input_tokens", numbers()), ("output_toks", numbers())]),
            faults(&[
                ("input_toks", Arc::new(StringArray::from(vec!["1"; 100]))),
                ("output_toks", Arc::new(BooleanArray::from(vec![true; 100]))),
                ("arrival_time_ns", numbers()),
                ("__index_level_0__", numbers()),
                ("colour", numbers()),
                ("input_tok_ids", numbers()),
                ("session_id", ids(&[Some(&[1][..]); 100])),
            ]),
            faults(&[("arrival_time_ns", numbers()), ("sub_requests", ids(&[Some(&[1][..]); 100])),]),
            faults(&[
                ("arrival_time_ns", whole(&[1])),
                ("sub_requests", calls(&[Some(1)], &[("input_tokens", whole(&[1])), ("arrival_time_ns", whole(&[1]))])),
            ]),
        ]
        .join("\n\n")
    );
}

#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let told = |name: &str| {
        let faults = read_workload(&folder.path().join(name), &OPTIONS, &mut |_| ()).expect_err(name).to_string();
        faults.replace(&folder.path().display().to_string(), "DIR")
    };
    std::fs::write(folder.path().join("text.parquet"), "{\"input_toks\": 8}\n").expect("a file");
    std::fs::write(folder.path().join("empty.parquet"), "").expect("a file");
    std::fs::create_dir(folder.path().join("folder.parquet")).expect("a folder");
    let names = ["text.parquet", "empty.parquet", "folder.parquet", "missing.parquet"];
    insta::assert_snapshot!("files", names.map(told).join("\n"));
}

/// A file that is written over while a run reads it again gives nothing out that was not checked.
#[test]
fn a_file_that_changes_is_told() {
    let rows = |first: i64| {
        let column = |of: i64| whole(&(0..50_000).map(|n| n + of).collect::<Vec<_>>());
        batch(&[
            ("input_toks", whole(&[1; 50_000])),
            ("output_toks", whole(&[2; 50_000])),
            ("arrival_time_ns", column(first)),
        ])
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.parquet");
    write(&path, &[rows(0)]);
    let options = ReadOptions { kept_bytes_max: 0, ..OPTIONS };
    let workload = read_workload(&path, &options, &mut |_| ()).expect("a sound file");
    write(&path, &[rows(1)]);
    let mut entries = workload.into_entries();
    assert_eq!(entries.by_ref().count(), 0);
    let fault = entries.finish().expect_err("the file has changed").to_string();
    assert!(fault.contains("has changed since it was checked"), "{fault}");
}

/// Whatever byte is another, the file is read or refused.
#[test]
fn damaged_files_are_read_or_refused() {
    let (_folder, path) = file(&[
        ("input_toks", whole(&[3, 2, 2])),
        ("output_toks", whole(&[1, 2, 1])),
        ("arrival_time_ns", whole(&[5, 7, 6])),
        ("input_tok_ids", ids(&[Some(&[7, 8, 9]), None, Some(&[])])),
    ]);
    let sound = std::fs::read(&path).expect("the file is there");
    let mut num_refused = 0;
    for at in 0..sound.len() {
        for flips in [0x01, 0x80, 0xff] {
            let mut damaged = sound.clone();
            damaged[at] ^= flips;
            std::fs::write(&path, &damaged).expect("a file in the temporary folder");
            num_refused += usize::from(read_workload(&path, &OPTIONS, &mut |_| ()).is_err());
        }
    }
    println!("{num_refused} of {} damaged files are refused", 3 * sound.len());
    assert!(num_refused > sound.len());
}
