//! The table of metrics, held to what summaries have: every key of the JSON and every row of the text, both ways.

mod support;

use std::collections::BTreeSet;

use report::{METRICS, SPREAD};
use serde_json::Value;
use support::Folder;

/// A cluster that splits prefill and decode, with measured collectives and power.
const SPLIT: &str = r#"{
  "num_nodes": 1, "link_bw": 16, "link_latency": 1000,
  "link_model": [{"all_reduce": [[8, 1000], [1000000, 50000]]}],
  "nodes": [{
    "num_instances": 2, "cpu_mem": {"mem_size": 512, "mem_bw": 256, "mem_latency": 0},
    "instances": [
      {"model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTXPRO6000", "tp_size": 2, "pd_type": "prefill",
       "npu_mem": {"mem_size": 96, "mem_bw": 1597, "mem_latency": 0}},
      {"model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTXPRO6000", "tp_size": 2, "pd_type": "decode",
       "npu_mem": {"mem_size": 96, "mem_bw": 1597, "mem_latency": 0}}
    ],
    "power": {
      "base_node_power": 60,
      "npu": {"RTXPRO6000": {"idle_power": 35, "standby_power": 300, "active_power": 600, "standby_duration": 18}},
      "cpu": {"idle_power": 10, "active_power": 200, "util": 0.15},
      "dram": {"dimm_size": 32, "idle_power": 1, "energy_per_bit": 6.0},
      "link": {"num_links": 1, "idle_power": 5, "energy_per_bit": 4.0},
      "nic": {"num_nics": 1, "idle_power": 20}, "storage": {"num_devices": 2, "idle_power": 5}
    }
  }]
}"#;

/// Keys of `value`, with those that they stand below; spreads are one.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) if object.contains_key("median") => {
            let names: BTreeSet<&str> = object.keys().map(String::as_str).collect();
            assert_eq!(names, SPREAD.iter().map(|(key, _)| *key).collect(), "{path}");
            found.insert(format!("{path}.*"));
        }
        Value::Object(object) => {
            let dot = if path.is_empty() { "" } else { "." };
            object.iter().for_each(|(key, value)| keys(value, &format!("{path}{dot}{key}"), found));
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            values.iter().for_each(|value| keys(value, &format!("{path}[]"), found));
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

/// What stands at the beginning of the lines of a summary, but for tables of nodes and instances.
fn labels(text: &str) -> BTreeSet<String> {
    let is_table = |line: &&str| !line.starts_with("Node ") && !line.starts_with("Energy (");
    let lines = text.lines().skip_while(|line| !line.starts_with("Makespan"));
    let lines = lines.take_while(|line| !line.starts_with("Instance ")).filter(is_table);
    let label = |line: &str| line.split("  ").next().unwrap_or_default().trim().to_owned();
    lines.map(label).filter(|label| !label.is_empty() && label != "Latency (ms)").collect()
}

#[test]
fn metrics_are_those_of_summaries() {
    let folder = Folder::new();
    folder.write("split.json", SPLIT);
    folder.write("w.jsonl", r#"{"input_toks": 40, "output_toks": 5, "arrival_time_ns": 0}"#);
    let runs: [&[&str]; 4] = [
        &[],
        &["--example", "moe-ep", "--prefix-storage", "CPU"],
        &["--cluster-config", "split.json", "--dataset", "w.jsonl", "--network-model", "aware"],
        &["--engine", "vllm", "--warm-up", "3", "--without", "waves"],
    ];
    let (mut found, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for args in runs {
        let json = folder.run(&[&["run", "--format", "json", "--quiet"], args].concat());
        assert_eq!(json.code, Some(0), "{json}");
        keys(&serde_json::from_str(&json.stdout).expect("it is JSON"), "", &mut found);
        shown.extend(labels(&folder.run(&[&["run"], args].concat()).stdout));
    }
    let described: BTreeSet<String> = METRICS.iter().map(|metric| metric.key.to_owned()).collect();
    assert_eq!(found, described);
    let named = METRICS.iter().map(|metric| metric.label.to_owned()).filter(|label| !label.is_empty());
    assert_eq!(shown, named.collect());
}
