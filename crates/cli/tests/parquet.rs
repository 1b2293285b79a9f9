//! Parquet files of whole commands: what is in them is what is in the other formats.
#![cfg(feature = "parquet")]

mod inputs;
mod support;

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use columnar::TableText;
use inputs::{BUNDLE, INPUT_FLAGS, write_inputs};
use serde_json::Value;
use support::{Folder, Said};

const RUNS: [&[&str]; 4] = [
    &[],
    &["--example", "dense"],
    &["--example", "moe-dp-ep-agents", "--engine", "vllm"],
    &["--example", "moe-ep", "--num-reqs", "1"],
];

/// Runs the command, which is to have nothing against it.
fn run(folder: &Folder, args: &[&str]) -> Said {
    let said = folder.run(args);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{args:?}");
    said
}

fn text(folder: &Folder, name: &str) -> String {
    fs::read_to_string(folder.path(name)).expect("a file that the command wrote")
}

fn csv_of(folder: &Folder, name: &str) -> String {
    TableText::read(&folder.path(name)).unwrap_or_else(|fault| panic!("{fault}")).text
}

/// The rows of a result as its CSV has them: grouped by instance, in order of completion.
fn result_csv(folder: &Folder, name: &str) -> String {
    let csv = csv_of(folder, name);
    let (header, rows) = csv.split_once('\n').expect("a header");
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_by_key(|row| row.split(',').next().and_then(|instance| instance.parse::<u32>().ok()));
    [header].into_iter().chain(rows).map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn requests_are_those_of_the_csv() {
    let folder = Folder::new();
    for of_run in RUNS {
        for columns in [&[][..], &["--output-stamps"], &["--no-itl"], &["--output-stamps", "--no-itl"]] {
            let args = [&["run", "--quiet"], of_run, columns].concat();
            let said = run(&folder, &[&args[..], &["--format", "json", "--output", "r.csv"]].concat());
            let of_parquet = run(&folder, &[&args[..], &["--format", "json", "--output", "r.PARQUET"]].concat());
            assert_eq!(of_parquet, said);
            assert_eq!(result_csv(&folder, "r.PARQUET"), text(&folder, "r.csv"), "{args:?}");
        }
    }
}

#[test]
fn intervals_are_those_of_the_csv() {
    let folder = Folder::new();
    for of_run in RUNS {
        let args = [&["run", "--quiet", "--log-interval", "0.3"], of_run].concat();
        run(&folder, &[&args[..], &["--interval-output", "i.csv"]].concat());
        run(&folder, &[&args[..], &["--interval-output", "i.parquet"]].concat());
        let (found, expected) = (csv_of(&folder, "i.parquet"), text(&folder, "i.csv"));
        assert_eq!(found.lines().next(), expected.lines().next());
        assert_eq!(found.lines().count(), expected.lines().count());
        for (found, expected) in found.lines().zip(expected.lines()).skip(1) {
            let cells = found.split(',').zip(expected.split(','));
            cells.for_each(|(found, expected)| assert_eq!(rounded(found, expected), expected, "{found} in {args:?}"));
            assert_eq!(found.split(',').count(), expected.split(',').count());
        }
    }
}

/// A real with as many decimals as another has.
fn rounded(number: &str, like: &str) -> String {
    match like.split_once('.') {
        Some((_, decimals)) => format!("{:.*}", decimals.len(), number.parse::<f64>().expect("a number")),
        None => number.to_owned(),
    }
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let folder = Folder::new();
    let bytes = |names: [&str; 2]| {
        run(&folder, &["run", "--quiet", "--output", names[0], "--interval-output", names[1]]);
        names.map(|name| fs::read(folder.path(name)).expect("a file that the command wrote"))
    };
    assert_eq!(bytes(["r.parquet", "i.parquet"]), bytes(["again.parquet", "i-again.parquet"]));
}

#[test]
fn results_are_compared() {
    let folder = Folder::new();
    for name in ["r.csv", "r.parquet"] {
        run(&folder, &["run", "--quiet", "--output", name, "--output-stamps"]);
    }
    run(&folder, &["run", "--quiet", "--engine", "vllm", "--output", "b.csv", "--output-stamps"]);
    let compared = |name| {
        let text = run(&folder, &["compare", name, "b.csv", "--format", "json"]).stdout;
        let mut told: Value = serde_json::from_str(&text).expect("JSON");
        told["a"]["name"] = Value::Null;
        // Requests are told in the order of their rows, which is another.
        let requests = told["requests"]["all"].as_array_mut().expect("a list of requests");
        assert_eq!(requests.len(), 64);
        requests.sort_by_key(|request| request["id_a"].to_string());
        told
    };
    assert_alike(&compared("r.parquet"), &compared("r.csv"));
}

/// The same but for the last digits of numbers: sums depend on the order.
fn assert_alike(found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(found, expected)| assert_alike(found, expected));
        }
        (Value::Object(found), Value::Object(expected)) => {
            assert!(found.keys().eq(expected.keys()));
            found.iter().for_each(|(key, found)| assert_alike(found, &expected[key]));
        }
        (Value::Number(found), Value::Number(expected)) => {
            let (found, expected) = (found.as_f64().expect("a number"), expected.as_f64().expect("a number"));
            assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} instead of {expected}");
        }
        _ => assert_eq!(found, expected),
    }
}

#[test]
fn arrivals_are_read() {
    let folder = Folder::new();
    run(&folder, &["examples", "--write", "."]);
    let common = ["run", "--quiet", "--cluster-config", "dense.cluster.json", "--dataset", "chat.workload.jsonl"];
    run(&folder, &["run", "--quiet", "--output", "m.csv"]);
    run(&folder, &["run", "--quiet", "--output", "m.parquet"]);
    for (name, of) in [("m.csv", "a.csv"), ("m.parquet", "b.csv")] {
        run(&folder, &[&common[..], &["--arrivals-from", name, "--output", of]].concat());
    }
    assert_eq!(text(&folder, "a.csv"), text(&folder, "b.csv"));
}

#[test]
fn what_is_wrong_is_told_with_its_row() {
    let folder = Folder::new();
    folder.write("text.parquet", "request,instance\n");
    run(&folder, &["run", "--quiet", "--output", "r.parquet"]);
    run(&folder, &["run", "--quiet", "--interval-output", "i.parquet"]);
    let refusals = [
        &["run", "--cluster-config", "text.parquet", "--dataset", "r.parquet"][..],
        &["run", "--cluster-config", "text.parquet", "--dataset", "text.parquet"],
        &["compare", "text.parquet", "i.parquet"],
        &["run", "--request-routing-file", "i.parquet", "--request-routing-policy", "CUSTOM"],
        &["run", "--output", "x.parquet", "--interval-output", "x.parquet"],
        &["run", "--cluster-config", "c.json", "--dataset", "r.parquet", "--output", "r.parquet"],
        &["run", "--output", "r.parquet/x.parquet"],
    ];
    let told = refusals.map(|args| {
        let said = folder.run(args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{args:?}");
        format!("$ servingsim {}\n{}", args.join(" "), said.stderr)
    });
    insta::assert_snapshot!(told.join("\n"));
}

/// A disk that is full is told, and nothing is left in the place of the file.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let folder = Folder::new();
    std::os::unix::fs::symlink("/dev/full", folder.path("full.parquet")).expect("a link in the temporary folder");
    for flag in ["--output", "--interval-output"] {
        let said = folder.run(&["run", "--quiet", flag, "full.parquet"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
        assert!(said.stderr.starts_with("error: full.parquet: can't be written: "), "{said}");
    }
}

/// A script of this folder in the Python of the tests; `None`, loudly, where there is none.
fn python(folder: &Folder, script: &str, args: &[&str]) -> Option<String> {
    let Some(python) = env::var_os("SERVINGSIM_PYTHON") else {
        eprintln!("SKIPPED: no Python with Parquet readers (set SERVINGSIM_PYTHON, or run `cargo xtask test`)");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let said = Said::by(Command::new(python).arg(script).args(args).current_dir(folder.path("")));
    assert_eq!(said.code, Some(0), "{said}");
    Some(said.stdout)
}

/// Other programs read the numbers that are in the CSV.
#[test]
fn others_read_what_is_written() {
    let folder = Folder::new();
    for (index, of_run) in RUNS.into_iter().enumerate() {
        let names = ["r.csv", "r.parquet", "i.csv", "i.parquet"];
        for files in names.chunks(1) {
            let flag = if files[0].starts_with('r') { "--output" } else { "--interval-output" };
            let more: &[&str] = if flag == "--output" && index % 2 == 1 { &["--output-stamps"] } else { &[] };
            run(&folder, &[&["run", "--quiet", flag, files[0]], of_run, more].concat());
        }
        python(&folder, "read_results.py", &names);
    }
}

/// What other programs write gives the run that the JSONL gives.
#[test]
fn what_others_write_is_read() {
    let folder = Folder::new();
    run(&folder, &["examples", "--write", "."]);
    for workload in ["chat.workload.jsonl", "agents.workload.jsonl"] {
        let common = ["run", "--quiet", "--cluster-config", "moe-dp-ep.cluster.json", "--dataset"];
        run(&folder, &[&common[..], &[workload, "--output", "expected.csv"]].concat());
        let Some(written) = python(&folder, "write_datasets.py", &[workload]) else { return };
        assert!(written.lines().count() >= 4, "{written}");
        for name in written.lines() {
            run(&folder, &[&common[..], &[name, "--output", "found.csv"]].concat());
            assert_eq!(text(&folder, "found.csv"), text(&folder, "expected.csv"), "{name} of {workload}");
        }
    }
}

/// Tables of profiles that are Parquet files give the times of the CSV.
#[test]
fn profiles_are_read() {
    let folder = Folder::new();
    write_inputs(&folder);
    let args = [&["run", "--quiet", "--latency-source", "profile"], &INPUT_FLAGS[..]].concat();
    run(&folder, &[&args[..], &["--output", "expected.csv"]].concat());
    let dense = format!("{BUNDLE}/tp1/dense");
    let sound = text(&folder, &format!("{dense}.csv"));
    if python(&folder, "convert_profile.py", &[BUNDLE]).is_none() {
        return;
    }
    assert!(!folder.path(&format!("{dense}.csv")).exists());
    run(&folder, &[&args[..], &["--output", "found.csv"]].concat());
    assert_eq!(text(&folder, "found.csv"), text(&folder, "expected.csv"));

    folder.write(&format!("{dense}.csv"), sound.replacen(",40.0", ",-40.0", 1));
    python(&folder, "convert_profile.py", &[BUNDLE]);
    let told = format!("error: {dense}.parquet at row 2, time_us: -40 is not a time from 0 to 4294967295 µs\n");
    let dirs = ["--profile-dir", "profiles", "--model-dir", "models"];
    for args in [args, [&["profile", "compare", "--hardware", "RTXPRO6000"], &dirs[..]].concat()] {
        let said = folder.run(&args);
        assert_eq!((said.code, said.stderr), (Some(2), told.clone()), "{args:?}");
    }
}

/// The examples of the page run as they stand there.
#[test]
fn the_page_runs() {
    let folder = Folder::new();
    let page = include_str!("../../../docs/parquet.md");
    let scripts: Vec<&str> =
        page.split("```python\n").skip(1).map(|rest| rest.split("```").next().expect("a part")).collect();
    assert!(scripts.len() >= 3);
    run(&folder, &["run", "--quiet", "--output", "result.parquet", "--interval-output", "intervals.parquet"]);
    folder.write("page.py", scripts.join("\n"));
    let page = folder.path("page.py");
    if python(&folder, page.to_str().expect("a plain path"), &[]).is_some() {
        run(&folder, &["examples", "--write", "."]);
        let cluster = ["run", "--quiet", "--cluster-config", "moe-dp-ep.cluster.json"];
        run(&folder, &[&cluster[..], &["--dataset", "workload.parquet", "--output", "faster.parquet"]].concat());
        assert_eq!(
            csv_of(&folder, "faster.parquet").lines().count(),
            csv_of(&folder, "result.parquet").lines().count()
        );
    }
}
