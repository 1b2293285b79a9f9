//! The whole command against LLMServingSim's own results: same files in, same bytes out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest relative deviation of a time that still counts as the same result, and the absolute one below which it
/// does not matter.
const TOLERANCE: f64 = 0.005;
const TOLERANCE_NS: f64 = 1e6;

/// Columns of the result file.
const EXACT_COLUMNS: [(usize, &str); 5] =
    [(0, "instance"), (1, "request"), (3, "input"), (4, "output"), (5, "arrival")];
const TIME_COLUMNS: [(usize, &str); 3] = [(7, "latency"), (9, "TTFT"), (10, "TPOT")];

/// One run of LLMServingSim whose results are at hand.
struct Case {
    name: String,
    cluster: PathBuf,
    workload: PathBuf,
    expected: PathBuf,
    flags: Vec<String>,
}

#[test]
fn results_are_those_of_llmservingsim() {
    let Some(reference) = testkit::reference_dir() else { return };
    let cases: Vec<Case> =
        examples(&reference).into_iter().chain(bench(&reference)).chain(handmade(&reference)).collect();
    assert_eq!(cases.len(), 34, "runs to compare with");
    let mut num_identical = 0;
    let mut failed = Vec::new();
    for case in &cases {
        let outcome = compare(case, &reference);
        println!("{:<45} {outcome}", case.name);
        num_identical += usize::from(matches!(outcome, Outcome::Identical));
        if !outcome.is_acceptable() {
            failed.push(&case.name);
        }
    }
    println!("{num_identical} of {} identical", cases.len());
    assert!(failed.is_empty(), "beyond tolerance: {failed:?}");
    assert_eq!(num_identical, cases.len(), "every one of these was identical once");
}

/// The example runs: all but the one whose workload is too large to be at hand.
fn examples(reference: &Path) -> Vec<Case> {
    let text = fs::read_to_string(reference.join("golden/examples/manifest.json")).expect("the manifest is there");
    let manifest: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("the manifest is JSON");
    let case = |(name, run): (String, serde_json::Value)| {
        let path = |key: &str| reference.join(run[key].as_str().expect("a path"));
        let flags = run["flags"].as_array().expect("flags").iter();
        Case {
            cluster: path("cluster"),
            workload: path("workload"),
            expected: reference.join("golden/examples").join(&name),
            flags: flags.map(|flag| flag.as_str().expect("a flag").to_owned()).collect(),
            name,
        }
    };
    manifest.into_iter().map(case).filter(|case| case.name != "example_moe_dp_ep_run.csv").collect()
}

/// The runs that were also measured with vLLM, under vLLM's batch limits.
fn bench(reference: &Path) -> Vec<Case> {
    let runs = [
        ("RTXPRO6000/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl"),
        ("RTXPRO6000/Qwen3-32B", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl"),
        ("RTXPRO6000/Qwen3-30B-A3B-Instruct-2507", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl"),
        ("RTX4090/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl"),
    ];
    let case = |(name, workload): (&str, &str)| {
        let dir = reference.join("golden/bench").join(name);
        let text = fs::read_to_string(dir.join("vllm/meta.json")).expect("the recording's settings are there");
        let meta: serde_json::Value = serde_json::from_str(&text).expect("they are JSON");
        let limit = |key: &str| meta["engine_kwargs"][key].to_string();
        let flags = ["--dtype", "bfloat16", "--block-size", "16"].map(str::to_owned);
        let max_num_seqs = ["--max-num-seqs".to_owned(), limit("max_num_seqs")];
        let max_num_batched_tokens = ["--max-num-batched-tokens".to_owned(), limit("max_num_batched_tokens")];
        Case {
            name: format!("bench/{name}"),
            cluster: dir.join("config.json"),
            workload: reference.join("workloads").join(workload),
            expected: dir.join("outputs/sim.csv"),
            flags: [flags.to_vec(), max_num_seqs.to_vec(), max_num_batched_tokens.to_vec()].concat(),
        }
    };
    runs.into_iter().map(case).collect()
}

/// Further runs.
fn handmade(reference: &Path) -> Vec<Case> {
    let dir = reference.join("cases");
    let entries = fs::read_dir(&dir).expect("the cases are there").flatten();
    let mut dirs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    dirs.sort();
    let case = |dir: PathBuf| {
        let flags = fs::read_to_string(dir.join("flags")).expect("a case has flags");
        let common = ["--dtype", "bfloat16", "--block-size", "16"];
        Case {
            name: format!("cases/{}", dir.file_name().expect("a name").to_string_lossy()),
            cluster: dir.join("cluster.json"),
            workload: dir.join("workload.jsonl"),
            expected: dir.join("expected.csv"),
            flags: common.into_iter().chain(flags.split_whitespace()).map(str::to_owned).collect(),
        }
    };
    dirs.into_iter().map(case).collect()
}

enum Outcome {
    Identical,
    /// The same requests at the same places; the largest deviation of a time, and where.
    Deviates {
        relative: f64,
        absolute_ns: f64,
        place: String,
    },
    /// Not the same requests at the same places.
    Differs(String),
}

impl Outcome {
    fn is_acceptable(&self) -> bool {
        match *self {
            Outcome::Identical => true,
            Outcome::Deviates { relative, absolute_ns, .. } => relative <= TOLERANCE || absolute_ns <= TOLERANCE_NS,
            Outcome::Differs(_) => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Identical => f.write_str("identical"),
            Outcome::Deviates { relative, absolute_ns, place } => {
                write!(f, "worst deviation {:.4} % ({absolute_ns} ns) at {place}", relative * 100.0)
            }
            Outcome::Differs(what) => write!(f, "differs: {what}"),
        }
    }
}

fn compare(case: &Case, reference: &Path) -> Outcome {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = dir.path().join("result.csv");
    let status = Command::new(env!("CARGO_BIN_EXE_servingsim"))
        .args(["run", "--quiet", "--engine", "reference", "--polling", "reference", "--latency-source", "profile"])
        .args(&case.flags)
        .arg("--cluster-config")
        .arg(&case.cluster)
        .arg("--dataset")
        .arg(&case.workload)
        .arg("--output")
        .arg(&output)
        .arg("--profile-dir")
        .arg(reference.join("profiles"))
        .arg("--model-dir")
        .arg(reference.join("models"))
        .arg("--architecture-dir")
        .arg(reference.join("architectures"))
        .arg("--pim-dir")
        .arg(reference.join("pim"))
        .status()
        .expect("the command starts");
    if !status.success() {
        return Outcome::Differs(format!("the command failed with {status}"));
    }
    let expected = fs::read_to_string(&case.expected).expect("the expected results are there");
    let actual = fs::read_to_string(&output).expect("the command wrote its results");
    if expected == actual { Outcome::Identical } else { deviation(&rows(&expected), &rows(&actual)) }
}

fn rows(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().skip(1).map(|line| line.splitn(12, ',').collect()).collect()
}

/// The worst deviation, requests found by their id.
fn deviation(expected: &[Vec<&str>], actual: &[Vec<&str>]) -> Outcome {
    if expected.len() != actual.len() {
        return Outcome::Differs(format!("{} rows instead of {}", actual.len(), expected.len()));
    }
    let by_id: HashMap<&str, &Vec<&str>> = actual.iter().map(|row| (row[1], row)).collect();
    let mut deviations = Vec::new();
    for row in expected {
        let Some(other) = by_id.get(row[1]) else { return Outcome::Differs(format!("request {} is missing", row[1])) };
        for (column, name) in EXACT_COLUMNS {
            if row[column] != other[column] {
                let (is, should) = (other[column], row[column]);
                return Outcome::Differs(format!("request {}: {name} is {is} instead of {should}", row[1]));
            }
        }
        for (column, name) in TIME_COLUMNS {
            let [should, is] = [row[column], other[column]].map(|cell| cell.parse::<f64>().expect("a time"));
            let absolute_ns = (is - should).abs();
            let place = format!("{name} of request {}", row[1]);
            deviations.push(Outcome::Deviates { relative: absolute_ns / should.max(1.0), absolute_ns, place });
        }
    }
    let severity = |outcome: &Outcome| match outcome {
        Outcome::Deviates { relative, .. } => (!outcome.is_acceptable(), *relative),
        _ => (false, 0.0),
    };
    let worst = deviations.into_iter().max_by(|a, b| {
        let (a, b) = (severity(a), severity(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    worst.unwrap_or_else(|| Outcome::Differs("there are no requests".to_owned()))
}
