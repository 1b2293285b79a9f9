//! Parquet files of whole commands: what is in them is what is in the other formats.
#![cfg(feature = "parquet")]

mod support;

use std::fs;

use columnar::TableText;
use support::Folder;
use testkit::GeneratedWorkload;

/// Runs the command, which is to have nothing against it.
fn run(folder: &Folder, args: &[&str]) {
    let said = folder.run(&[&["run", "--quiet"], args].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{args:?}");
}

fn text(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path(name)).expect("a file that the command wrote")
}

/// What is said of a command with `args` that is refused.
fn refusal(folder: &Folder, args: &[&str]) -> String {
    let said = folder.run(args);
    assert_eq!(said.code, Some(2), "{args:?}: {said}");
    said.stderr
}

fn csv_of(folder: &Folder, name: &str) -> TableText {
    TableText::read(&folder.path(name)).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The rows of a result as its CSV has them: grouped by instance, in order of completion.
fn result_csv(folder: &Folder, name: &str) -> String {
    let csv = csv_of(folder, name).text;
    let (header, rows) = csv.split_once('\n').expect("a header");
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_by_key(|row| row.split(',').next().and_then(|instance| instance.parse::<u32>().ok()));
    let header = [header];
    let lines = header.into_iter().chain(rows);
    // One latency has no comma in it and so no quotes around it.
    lines.map(|line| format!("{line}\r\n")).collect()
}

const EXAMPLES: [&[&str]; 3] = [&[], &["--example", "dense-prefix-cache"], &["--engine", "vllm"]];

#[test]
fn requests_are_those_of_the_csv() {
    let folder = Folder::new();
    for example in EXAMPLES {
        for columns in [&[][..], &["--output-stamps"], &["--no-itl"], &["--output-stamps", "--no-itl"]] {
            let args = [example, columns].concat();
            run(&folder, &[&args[..], &["--output", "r.csv"]].concat());
            run(&folder, &[&args[..], &["--output", "r.parquet"]].concat());
            assert_eq!(result_csv(&folder, "r.parquet"), text(&folder, "r.csv"), "{args:?}");
        }
    }
}
