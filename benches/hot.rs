//! The hot parts one by one, by the clock on the wall: `cargo bench --package benches`.
//!
//! Times are from the analytic model, so that nothing beyond the repository is needed.

use std::fs;
use std::path::PathBuf;

use benches::{Rows, load, read};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use engine::{Deployment, Entry, Observer, Simulation};
use metrics::Layout;
use report::CsvWriter;
use testkit::{GeneratedCluster, GeneratedWorkload};

const WORKLOAD: GeneratedWorkload = GeneratedWorkload { num_requests: 1_000, requests_per_s: 10.0, seed: 1 };

fn main() {
    divan::main();
}

/// Watches nothing.
struct Nobody;

impl Observer for Nobody {}

/// Where inputs are written.
fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder.join(name)
}

/// All entries of the workload.
fn read_all() -> Vec<Entry> {
    read(&workload_file(), &mut |_| ()).expect("it is right").into_entries().collect()
}

fn workload_file() -> PathBuf {
    let path = file("hot.workload.jsonl");
    WORKLOAD.write(&path).expect("the workload can be written");
    path
}

fn deployment(engine: &str) -> Deployment {
    let path = file("hot.cluster.json");
    GeneratedCluster::llama(1).write(&path).expect("the cluster can be written");
    load(&path, None, engine).expect("the cluster is right").deployment
}

#[divan::bench]
fn read_workload(bencher: Bencher<'_, '_>) {
    let path = workload_file();
    bencher
        .counter(ItemsCount::new(WORKLOAD.num_requests))
        .bench(|| read(black_box(&path), &mut |_| ()).expect("it is right"));
}

/// Batches formed, timed and completed; items are requests.
#[divan::bench(args = ["reference", "vllm"])]
fn step(bencher: Bencher<'_, '_>, engine: &str) {
    let deployment = deployment(engine);
    let entries = read_all();
    bencher
        .counter(ItemsCount::new(WORKLOAD.num_requests))
        .with_inputs(|| entries.clone())
        .bench_values(|entries| Simulation::new(&deployment, entries.into_iter()).run(&mut Nobody));
}

#[divan::bench]
fn write_csv(bencher: Bencher<'_, '_>) {
    let deployment = deployment("reference");
    let entries = read_all();
    let mut rows = Rows::default();
    Simulation::new(&deployment, entries.into_iter()).run(&mut rows);
    let layout = Layout::of(&deployment);
    bencher.counter(ItemsCount::new(WORKLOAD.num_requests)).bench(|| {
        let mut csv = CsvWriter::new(std::io::sink(), &layout);
        rows.replay(&mut csv);
        csv.finish().expect("nothing fails to be written nowhere")
    });
}
