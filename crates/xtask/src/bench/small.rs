//! LLMServingSim's example runs and those recorded with vLLM, against what LLMServingSim spends on them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use testkit::Recording;

use super::Findings;
use super::lab::{Lab, Runs, Scenario, median_of, median_ratio};
use super::rows::{Goal, Row, Vllm, markdown, number};

const GROUP: &str = "small";

/// In which ways each runs: as LLMServingSim polls, which gives its very result, and with either engine. Targets are of
/// the last two, which is how people run; the first is told beside them.
const WAYS: [&[&str]; 3] =
    [&["--engine", "reference", "--polling", "reference"], &["--engine", "reference"], &["--engine", "vllm"]];

/// A run of LLMServingSim.
struct Case {
    name: String,
    is_example: bool,
    flags: Vec<String>,
    /// CPU seconds of LLMServingSim as it is, and with its trace converter in process.
    llmservingsim_s: [f64; 2],
}

pub(crate) fn small(lab: &Lab) -> Result<Findings, String> {
    let cases = cases(lab)?;
    let scenarios: Vec<Scenario> = cases.iter().flat_map(|case| WAYS.map(|way| scenario(lab, case, way))).collect();
    let runs = lab.measure(GROUP, &scenarios);
    let runs = runs.as_chunks::<3>().0;
    let all: Vec<(&Case, &[Runs; 3])> = cases.iter().zip(runs).collect();
    let (examples, recorded): (Vec<_>, Vec<_>) = all.iter().partition(|(case, _)| case.is_example);
    let mut rows = Vec::new();
    rows.push(slowest(format!("slowest of {} examples", examples.len()), 12.0, &examples));
    rows.push(least("less than LLMServingSim", 1_000.0, 0, &examples));
    rows.push(least("less with its converter in process", 250.0, 1, &examples));
    rows.push(slowest(format!("slowest of {} recorded runs", recorded.len()), 60.0, &recorded));
    Ok(Findings { details: details(&all), ..Findings::rows(rows) })
}

/// The slowest of `cases`, and what vLLM's engine costs, at most, where both run.
fn slowest(what: String, most_ms: f64, cases: &[(&Case, &[Runs; 3])]) -> Row {
    let worst = |way: usize| -> Result<f64, String> {
        let times = cases.iter().map(|(case, runs)| {
            median_of(&runs[way], |spent| spent.cpu_s * 1e3).map_err(|message| format!("{}: {message}", case.name))
        });
        times.collect::<Result<Vec<_>, _>>().map(|times| times.into_iter().fold(0.0, f64::max))
    };
    let vllm = {
        let both: Vec<_> = cases.iter().filter(|(_, runs)| runs[2].is_ok()).collect();
        let costs = both.iter().flat_map(|(_, runs)| median_ratio(&runs[2], &runs[1], |spent| spent.cpu_s));
        let times = both.iter().flat_map(|(_, runs)| median_of(&runs[2], |spent| spent.cpu_s * 1e3));
        match both.is_empty() {
            true => Err("none of them runs".to_owned()),
            false => Ok(Vllm::beside(times.fold(0.0, f64::max), costs.fold(0.0, f64::max))),
        }
    };
    Row::new(GROUP, what, Goal::at_most(most_ms, "ms"), worst(1), Some(vllm))
}

/// By how much `cases` are cheaper than LLMServingSim, at least.
fn least(what: &str, goal: f64, converter: usize, cases: &[(&Case, &[Runs; 3])]) -> Row {
    let ratios =
        cases.iter().map(|(case, runs)| median_of(&runs[1], |spent| case.llmservingsim_s[converter] / spent.cpu_s));
    let least = ratios.collect::<Result<Vec<_>, _>>().map(|ratios| ratios.into_iter().fold(f64::INFINITY, f64::min));
    Row::new(GROUP, what, Goal::at_least(goal, "times"), least, None)
}

fn details(cases: &[(&Case, &[Runs; 3])]) -> String {
    let head = [
        "run",
        "LLMServingSim, CPU s",
        "converter in process, CPU s",
        "as it polls, ms",
        "default polling, ms",
        "`--engine vllm`, ms",
        "times less, default polling",
        "converter in process",
    ];
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    for (case, runs) in cases {
        let ms = |way: usize| median_of(&runs[way], |spent| spent.cpu_s * 1e3);
        let cell = |way: usize| ms(way).map_or_else(|_| "does not run".to_owned(), |ms| format!("{ms:.1}"));
        let less = |seconds: f64| ms(1).map_or_else(|_| String::new(), |ms| number(seconds * 1e3 / ms));
        let [whole, converter] = case.llmservingsim_s;
        lines.push(vec![
            case.name.clone(),
            whole.to_string(),
            converter.to_string(),
            cell(0),
            cell(1),
            cell(2),
            less(whole),
            less(converter),
        ]);
    }
    format!("Small runs one by one:\n\n{}", markdown(&lines))
}

fn scenario(lab: &Lab, case: &Case, way: &[&str]) -> Scenario {
    let common = [
        ["--latency-source".to_owned(), "profile".to_owned()],
        ["--profile-dir".to_owned(), lab.reference("profiles")],
        ["--model-dir".to_owned(), lab.reference("models")],
        ["--architecture-dir".to_owned(), lab.reference("architectures")],
        ["--pim-dir".to_owned(), lab.reference("pim")],
        ["--output".to_owned(), lab.file("small.csv")],
    ];
    let mut args: Vec<String> = ["run", "--quiet"].map(str::to_owned).into();
    args.extend(way.iter().map(|&flag| flag.to_owned()));
    args.extend(case.flags.iter().cloned());
    args.extend(common.into_iter().flatten());
    Scenario::servingsim(args)
}

/// Everything that there is a time of.
fn cases(lab: &Lab) -> Result<Vec<Case>, String> {
    let read = |path: &str| {
        let path = lab.reference(path);
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let manifest: BTreeMap<String, Value> =
        serde_json::from_str(&read("golden/examples/manifest.json")?).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    for line in read("golden/examples/timing.csv")?.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [name, whole, _, _, converter, ..] = cells[..] else { return Err(format!("timing.csv: {line}")) };
        let seconds = |cell: &str| cell.parse().map_err(|error| format!("timing.csv: {cell}: {error}"));
        let llmservingsim_s = [seconds(whole)?, seconds(converter)?];
        let recording = name.strip_prefix("bench/");
        let flags = match recording {
            Some(folder) => recorded_flags(lab, folder)?,
            None => example_flags(lab, manifest.get(name).ok_or_else(|| format!("manifest.json lacks {name}"))?),
        };
        let name = name.trim_end_matches(".csv").to_owned();
        cases.push(Case { name, is_example: recording.is_none(), flags, llmservingsim_s });
    }
    Ok(cases)
}

fn example_flags(lab: &Lab, run: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = |key: &str| lab.reference(&text(&run[key]));
    let files = ["--cluster-config".to_owned(), path("cluster"), "--dataset".to_owned(), path("workload")];
    files.into_iter().chain(run["flags"].as_array().into_iter().flatten().map(text)).collect()
}

/// The flags of a recorded run, requests arriving as planned, without those that say how it runs.
fn recorded_flags(lab: &Lab, folder: &str) -> Result<Vec<String>, String> {
    let recording = Recording::ALL.iter().find(|recording| recording.folder == folder);
    let recording = recording.ok_or_else(|| format!("no recording is in {folder}"))?;
    let flags = recording.run_flags(&lab.reference, true)?;
    let ours = ["--engine", "--profile-dir", "--model-dir"];
    Ok(flags.as_chunks::<2>().0.iter().filter(|[flag, _]| !ours.contains(&flag.as_str())).flatten().cloned().collect())
}
