//! The reference's examples: their traces, replayed, end as the runs did.

mod exports;
#[expect(dead_code, reason = "it writes no files")]
mod support;

use std::collections::BTreeMap;
use std::fs;

use exports::{Compared, export_and_replay};
use support::Folder;

#[test]
fn traces_of_the_examples_replay_as_the_runs_went() {
    let Some(reference) = testkit::reference_dir() else { return };
    let text = fs::read_to_string(reference.join("golden/examples/manifest.json")).expect("the manifest is there");
    let mut manifest: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).expect("the manifest is JSON");
    // Its workload is too large to be at hand.
    manifest.remove("example_moe_dp_ep_run.csv");
    let path = |name: &str| reference.join(name).into_os_string().into_string().expect("a path in UTF-8");
    let [profiles, models, pim] = ["profiles", "models", "pim"].map(path);
    let mut total = Compared::default();
    for (name, run) in &manifest {
        let [cluster, workload] = ["cluster", "workload"].map(|key| path(run[key].as_str().expect("a path")));
        let dirs = ["--profile-dir", &profiles, "--model-dir", &models, "--pim-dir", &pim];
        let inputs = ["--cluster-config", &cluster, "--dataset", &workload];
        let flags = run["flags"].as_array().expect("flags").iter().map(|flag| flag.as_str().expect("a flag"));
        let flags: Vec<&str> = inputs.into_iter().chain(dirs).chain(flags).collect();
        for polling in ["exact", "reference"] {
            let folder = Folder::new();
            let compared = export_and_replay(&folder, &[&flags, &["--polling", polling][..]].concat(), "0-9");
            println!("{name:<45} {polling:<9} {compared:?}");
            total += compared;
        }
    }
    println!("batches that end as in the run, of {} examples: {total:?}", manifest.len());
    assert!(manifest.len() >= 19 && total.scheduled >= 300 && total.alone >= 100, "{total:?}");
}
