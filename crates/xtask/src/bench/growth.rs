//! How cost grows with requests, instances and the size of batches.

use testkit::GeneratedCluster;

use super::Findings;
use super::lab::{ENGINES, Lab, Runs, Scenario, Spent, median_of};
use super::plot::{Plot, Series};
use super::rows::{Goal, Row};
use super::targets::{REQUESTS_PER_S, pairs, with_engines};

/// Requests of a run, where their number grows.
const REQUESTS: [u64; 5] = [10_000, 30_000, 100_000, 300_000, 1_000_000];
/// Instances of the large run.
const MANY_INSTANCES: u64 = 128;
/// Instances, where their number grows; each at the same load, and as many requests in all.
const INSTANCES: [u64; 6] = [1, 4, 16, 64, 256, 1_024];
const REQUESTS_OVER_INSTANCES: u64 = 256_000;
/// Most sequences of a batch, where batches grow; requests wait for room all the time.
const BATCHES: [u64; 6] = [8, 16, 32, 64, 128, 256];
const BATCH_REQUESTS: u64 = 10_000;
const BATCH_REQUESTS_PER_S: f64 = 1_000.0;

pub(crate) fn scale(lab: &Lab) -> Result<Findings, String> {
    let large = large(lab)?;
    let few = over_requests(lab, 1, "requests-1")?;
    let many = over_requests(lab, MANY_INSTANCES, "requests-128")?;
    let instances = over_instances(lab)?;
    Ok(Findings::all([large, few, many, instances]))
}

const GROUP: &str = "scale";

/// A million requests over 128 instances.
fn large(lab: &Lab) -> Result<Findings, String> {
    let (cluster, dataset) = llama(lab, MANY_INSTANCES, 1_000_000)?;
    let output = ["--output", &lab.file("scale.csv")];
    let scenarios: Vec<Scenario> =
        [&output[..], &[]].into_iter().flat_map(|flags| with_engines(lab, &cluster, &dataset, flags)).collect();
    let runs = lab.measure("scale, the large run", &scenarios);
    let rows = pairs(&runs).zip(["full output", "summary only"]).flat_map(|(engines, what)| {
        let what = format!("10^6 requests, {MANY_INSTANCES} instances, {what}");
        let cpu = Goal::at_most(10.0, "s");
        let peak = Goal::at_most(512.0, "MiB");
        [
            Row::of_engines(GROUP, what.clone(), cpu, engines, |spent| spent.cpu_s),
            Row::of_engines(GROUP, format!("{what}, peak resident"), peak, engines, |spent| spent.peak_mib),
        ]
    });
    Ok(Findings::rows(rows))
}

fn over_requests(lab: &Lab, num_instances: u64, file: &'static str) -> Result<Findings, String> {
    let curve = Curve {
        file,
        title: format!("Cost of a request by their number, {}", instances(num_instances)),
        x_label: "requests",
        y_label: "CPU µs per request",
        points: REQUESTS.map(|num_requests| (num_instances, num_requests)).into(),
        x: |_, num_requests| num_requests as f64,
    };
    let what = format!("cost of a request, 10^4 to 10^6 of them, {}, most over least", instances(num_instances));
    curve.measure(lab, what, 1.25)
}

fn over_instances(lab: &Lab) -> Result<Findings, String> {
    let curve = Curve {
        file: "instances",
        title: format!("Cost of a request by instances, {REQUESTS_OVER_INSTANCES} requests in all"),
        x_label: "instances",
        y_label: "CPU µs per request",
        points: INSTANCES.map(|num_instances| (num_instances, REQUESTS_OVER_INSTANCES)).into(),
        x: |num_instances, _| num_instances as f64,
    };
    curve.measure(lab, "cost of a request, 1 to 1,024 instances, most over least".to_owned(), 1.5)
}

fn instances(number: u64) -> String {
    if number == 1 { "1 instance".to_owned() } else { format!("{number} instances") }
}

/// Files for so many instances of Llama-3.1-8B with so many requests in all.
fn llama(lab: &Lab, num_instances: u64, num_requests: u64) -> Result<(String, String), String> {
    let cluster = lab.cluster(&GeneratedCluster::llama(num_instances))?;
    Ok((cluster, lab.workload(num_requests, REQUESTS_PER_S * num_instances as f64)?))
}

/// Runs that differ in one number.
struct Curve {
    file: &'static str,
    title: String,
    x_label: &'static str,
    y_label: &'static str,
    /// Instances and requests.
    points: Vec<(u64, u64)>,
    /// Which of them grows.
    x: fn(u64, u64) -> f64,
}

impl Curve {
    /// The cost of a request, which must stay flat: the most over the least.
    fn measure(self, lab: &Lab, what: String, goal: f64) -> Result<Findings, String> {
        let mut scenarios = Vec::new();
        for &(num_instances, num_requests) in &self.points {
            let (cluster, dataset) = llama(lab, num_instances, num_requests)?;
            scenarios.extend(with_engines(lab, &cluster, &dataset, &[]));
        }
        let runs = lab.measure(&format!("scale, {}", self.file), &scenarios);
        let series = [0, 1].map(|engine| -> Result<Vec<(f64, f64)>, String> {
            let points = pairs(&runs).zip(&self.points).map(|(engines, &(num_instances, num_requests))| {
                let us = median_of(engines[engine], |spent| spent.cpu_s * 1e6 / num_requests as f64)?;
                Ok(((self.x)(num_instances, num_requests), us))
            });
            points.collect()
        });
        let flat = series.each_ref().map(|series| series.as_ref().map(|points| spread(points)).map_err(String::clone));
        let row = Row::of_each(GROUP, what, Goal::at_most(goal, ""), flat);
        let plot = Plot::new(self.file, self.title, self.x_label, self.y_label, with_names(series));
        Ok(Findings { plots: vec![plot], ..Findings::rows([row]) })
    }
}

/// The largest value over the least.
fn spread(points: &[(f64, f64)]) -> f64 {
    let values = points.iter().map(|point| point.1);
    values.clone().fold(0.0, f64::max) / values.fold(f64::INFINITY, f64::min)
}

/// What could be measured, each with its engine's name.
fn with_names(series: [Result<Vec<(f64, f64)>, String>; 2]) -> Vec<Series> {
    let named = series.into_iter().zip(ENGINES).filter_map(|(points, engine)| Some((points.ok()?, engine)));
    named.map(|(points, engine)| Series { name: format!("--engine {engine}"), points }).collect()
}

/// The cost of a step and of a token by the size of batches. Nothing is asked of it.
pub(crate) fn batch(lab: &Lab) -> Result<Findings, String> {
    let cluster = lab.cluster(&GeneratedCluster::llama(1))?;
    let dataset = lab.workload(BATCH_REQUESTS, BATCH_REQUESTS_PER_S)?;
    let scenarios: Vec<Scenario> = BATCHES
        .iter()
        .flat_map(|most| {
            with_engines(lab, &cluster, &dataset, &["--format", "json", "--max-num-seqs", &most.to_string()])
        })
        .collect();
    let runs = lab.measure("batch", &scenarios);
    let plot = |file, title: &str, y_label, figure: fn(&Spent) -> f64| {
        let series = [0, 1].map(|engine| -> Result<Vec<(f64, f64)>, String> {
            let points = pairs(&runs).zip(BATCHES);
            points
                .map(|(engines, most): ([&Runs; 2], u64)| Ok((most as f64, median_of(engines[engine], figure)?)))
                .collect()
        });
        Plot::new(file, title.to_owned(), "sequences of a batch", y_label, with_names(series))
    };
    let steps = plot("batch-step", "Cost of a step by sequences of a batch", "CPU µs per step", |spent| {
        spent.cpu_s * 1e6 / spent.json("steps")
    });
    let tokens = plot("batch-token", "Cost of a token by sequences of a batch", "CPU ns per token", |spent| {
        spent.cpu_s * 1e9 / spent.json("generated_tokens")
    });
    Ok(Findings { plots: vec![steps, tokens], ..Findings::default() })
}
