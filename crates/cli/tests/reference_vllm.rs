//! `--engine vllm` against recorded runs of vLLM 0.19.0: 300 requests each on real GPUs. Nothing in the engine was fitted
//! to them.

#[expect(dead_code, reason = "it writes no files")]
mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::Folder;

/// One request, in milliseconds since its engine saw it.
struct Request {
    ttft: f64,
    /// None where there is one token only.
    tpot: Option<f64>,
    latency: f64,
}

impl Request {
    fn new(queued: f64, first_token: f64, last_token: f64, output_tokens: f64) -> Self {
        let (ttft, latency) = (first_token - queued, last_token - queued);
        Self { ttft, tpot: (output_tokens > 1.0).then(|| (latency - ttft) / (output_tokens - 1.0)), latency }
    }
}

/// TTFT, TPOT and latency of all requests, sorted.
type Distributions = [Vec<f64>; 3];

fn distributions(requests: &[Request]) -> Distributions {
    let mut all = [
        requests.iter().map(|request| request.ttft).collect(),
        requests.iter().filter_map(|request| request.tpot).collect(),
        requests.iter().map(|request| request.latency).collect(),
    ];
    all.iter_mut().for_each(|values: &mut Vec<f64>| values.sort_by(f64::total_cmp));
    all
}

/// Mean, median, P90, P95 and P99 of sorted values, percentiles interpolated as NumPy does.
fn figures(sorted: &[f64]) -> [f64; 5] {
    let percentile = |percent: f64| {
        let place = (sorted.len() - 1) as f64 * percent / 100.0;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * place.fract()
    };
    let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
    [mean, percentile(50.0), percentile(90.0), percentile(95.0), percentile(99.0)]
}

/// The largest distance between two empirical distribution functions (Kolmogorov and Smirnov).
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let share =
        |sorted: &[f64], value: f64| sorted.partition_point(|&other| other <= value) as f64 / sorted.len() as f64;
    a.iter().chain(b).map(|&value| (share(a, value) - share(b, value)).abs()).fold(0.0, f64::max)
}

fn recorded(dir: &Path) -> Distributions {
    let text = fs::read_to_string(dir.join("vllm/requests.jsonl")).expect("the recording is there");
    let requests = text.lines().map(|line| {
        let request: Value = serde_json::from_str(line).expect("each line is JSON");
        let ms = |key: &str| request[key].as_f64().expect("a time") * 1e3;
        let output_tokens = request["output_toks"].as_f64().expect("a number");
        Request::new(ms("queued_ts"), ms("first_token_ts"), ms("last_token_ts"), output_tokens)
    });
    distributions(&requests.collect::<Vec<_>>())
}

fn simulated(reference: &Path, dir: &Path, workload: &str, engine: &str) -> Distributions {
    let text = fs::read_to_string(dir.join("vllm/meta.json")).expect("the recording's settings are there");
    let meta: Value = serde_json::from_str(&text).expect("they are JSON");
    let limit = |key: &str| meta["engine_kwargs"][key].to_string();
    let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
    let flags = [
        ("--engine", engine.to_owned()),
        ("--cluster-config", path(&dir.join("config.json"))),
        ("--dataset", path(&reference.join("workloads").join(workload))),
        ("--profile-dir", path(&reference.join("profiles"))),
        ("--model-dir", path(&reference.join("models"))),
        ("--dtype", "bfloat16".to_owned()),
        ("--max-num-seqs", limit("max_num_seqs")),
        ("--max-num-batched-tokens", limit("max_num_batched_tokens")),
        ("--output", "out.csv".to_owned()),
    ];
    let folder = Folder::new();
    let flags: Vec<&str> = flags.iter().flat_map(|(flag, value)| [*flag, value]).collect();
    let said = folder.run(&[&["run", "--quiet", "--output-stamps"], &flags[..]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let rows = fs::read_to_string(folder.path("out.csv")).expect("the command wrote its results");
    let requests = rows.lines().skip(1).map(|row| {
        // All but the list of latencies between tokens, which has commas of its own.
        let (before, stamps) = (row.split(',').collect::<Vec<_>>(), row.rsplit(',').collect::<Vec<_>>());
        let number = |text: &str| text.parse::<f64>().expect("a number");
        let ms = |text: &str| number(text) / 1e6;
        Request::new(ms(stamps[3]), ms(stamps[1]), ms(before[6]), number(before[4]))
    });
    distributions(&requests.collect::<Vec<_>>())
}

/// The mean error over mean, median, P90, P95 and P99 of TTFT, TPOT and latency, in per cent, and the distances of the
/// three distributions.
fn compare(what: &str, recorded: &Distributions, simulated: &Distributions) -> (f64, [f64; 3]) {
    let mut errors = Vec::new();
    let mut line = String::new();
    for (recorded, simulated) in recorded.iter().zip(simulated) {
        line += " |";
        for (recorded, simulated) in figures(recorded).iter().zip(figures(simulated)) {
            let error = (simulated / recorded - 1.0) * 100.0;
            line += &format!(" {error:+6.1}");
            errors.push(error.abs());
        }
    }
    let mean_error = errors.iter().sum::<f64>() / errors.len() as f64;
    let distances = [0, 1, 2].map(|index| distance(&recorded[index], &simulated[index]));
    println!("{what:<50} mean error {mean_error:4.2} %, KS {distances:.3?}{line}");
    (mean_error, distances)
}

#[test]
fn runs_of_vllm() {
    let Some(reference) = testkit::reference_dir() else { return };
    println!(
        "TTFT, TPOT, latency: errors of mean, median, P90, P95, P99 in per cent, counted from when the engine saw a request"
    );
    // What was reached once, rounded up.
    for (name, workload, most_error, most_distance) in [
        ("RTXPRO6000/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl", 2.1, 0.10),
        ("RTXPRO6000/Qwen3-32B", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl", 1.0, 0.07),
        ("RTXPRO6000/Qwen3-30B-A3B-Instruct-2507", "sharegpt-qwen3-30b-a3b-300-sps10.jsonl", 3.1, 0.15),
        ("RTX4090/Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl", 0.9, 0.08),
    ] {
        let dir = reference.join("golden/bench").join(name);
        let recorded = recorded(&dir);
        let of_engine = |engine: &str| {
            compare(&format!("{name}, {engine}"), &recorded, &simulated(&reference, &dir, workload, engine))
        };
        let (_, reference_distances) = of_engine("reference");
        let (error, distances) = of_engine("vllm");
        assert!(error <= most_error, "{name}: a mean error of {error} %");
        assert!(distances.iter().all(|&distance| distance <= most_distance), "{name}: {distances:?}");
        if name.contains("A3B") {
            assert!(distances[0] < reference_distances[0] / 4.0, "{name}: TTFT {distances:?}");
        }
    }
}
