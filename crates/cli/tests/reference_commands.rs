//! The command lines in LLMServingSim's documentation: `python -m serving` becomes `servingsim run`, and where its
//! profiles and models are is told beside. Whatever it documents runs as it stands, but for ns-3.

mod support;

use std::fs;
use std::path::Path;

use support::Folder;

/// Largest deviation of a mean latency: the results at hand were made with idle instances asked for work now and
/// then only, and here they see it at once.
const TOLERANCE: f64 = 0.02;

/// Runs of two-member groups on several NPUs each. LLMServingSim gives their members dummies in turn, so that each waits
/// for the other's step: an artefact of its polling, that makes latency up to twice as long.
const ALTERNATING: [&str; 2] = ["example_moe_dp_tp_run.csv", "example_dual_moe_dp_ep_run.csv"];

/// Command lines of its documentation: those of the run script, of the quick start, of the examples and of the
/// contributor's guide.
const FOLLOWED: &[&str] = &[
    "--cluster-config 'configs/cluster/single_node_single_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_single_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_multi_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_multi_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_moe_single_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_moe_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_dp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_dp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_moe_dp_tp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_moe_dp_tp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/dual_node_moe_dp_ep_intra_inter_instance.json' --dtype bfloat16 \
     --block-size 16 --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_dual_moe_dp_ep_run.csv' \
     --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_single_instance.json' --dtype bfloat16 --block-size 16 \
     --enable-prefix-caching --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_prefix_run.csv' \
     --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_single_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_single_run.csv' --log-interval 1.0",
    "--cluster-config configs/cluster/single_node_single_instance.json --dataset workloads/example_trace.jsonl \
     --output outputs/smoke.csv --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_multi_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/multi_instance_run.csv' \
     --request-routing-policy LOAD --log-interval 1.0",
    "--cluster-config 'configs/cluster/single_node_single_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/tp2_run.csv' --log-interval 1.0",
    "--cluster-config 'configs/cluster/single_node_moe_single_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/moe_ep2_run.csv' --log-interval 1.0",
    "--cluster-config 'configs/cluster/single_node_single_instance.json' --dtype bfloat16 --kv-cache-dtype fp8 \
     --block-size 16 --dataset 'workloads/example_trace.jsonl' --output 'outputs/fp8_kv_run.csv' --log-interval 1.0",
    "--cluster-config 'configs/cluster/single_node_multi_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/prefix_default_run.csv'",
    "--cluster-config 'configs/cluster/single_node_moe_dp_ep_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/swe-bench-qwen3-30b-a3b-50-sps0.2.jsonl' --output 'outputs/swebench_run.csv' --num-reqs 1",
    "--cluster-config 'configs/cluster/single_node_pd_instance.json' --dtype bfloat16 --block-size 16 --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_pd_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_cxl_instance.json' --dtype bfloat16 --block-size 16 --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_cxl_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_power_instance.json' --dtype bfloat16 --block-size 16 \
     --log-interval 0.1 --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_power_run.csv' \
     --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_pp_instance.json' --dtype bfloat16 --block-size 16 --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_pp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_tp_pp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_tp_pp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_moe_pp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_moe_pp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_moe_dp_pp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_moe_dp_pp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_moe_dp_tp_pp_instance.json' --dtype bfloat16 --block-size 16 \
     --dataset 'workloads/example_trace.jsonl' --output 'outputs/example_moe_dp_tp_pp_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_multi_instance.json' --dtype bfloat16 --block-size 16 \
     --enable-prefix-caching --enable-prefix-sharing --prefix-storage CPU --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_prefix_cpu_mem_pool_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/dual_node_multi_instance.json' --dtype bfloat16 --block-size 16 \
     --enable-prefix-caching --enable-prefix-sharing --prefix-storage CPU --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_dual_prefix_cpu_mem_pool_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_pim_instance.json' --dtype bfloat16 --block-size 16 \
     --enable-attn-offloading --log-level WARNING --dataset 'workloads/example_trace.jsonl' --output \
     'outputs/example_pim_run.csv' --num-reqs 10",
    "--cluster-config 'configs/cluster/single_node_pim_instance.json' --dtype bfloat16 --block-size 16 \
     --enable-attn-offloading --enable-sub-batch-interleaving --log-level WARNING --dataset \
     'workloads/example_trace.jsonl' --output 'outputs/example_pim_sub_batch_run.csv' --num-reqs 10",
];

/// A stand-in for the agentic workload, which is too large to be at hand: two sessions, of three calls and of one.
const SESSIONS: &str = r#"{"session_id": "a", "arrival_time_ns": 1000000, "sub_requests": [{"input_toks": 300, "output_toks": 20, "tool_duration_ns": 400000000}, {"input_toks": 350, "output_toks": 30, "tool_duration_ns": 0}, {"input_toks": 420, "output_toks": 10}]}
{"session_id": "b", "arrival_time_ns": 5000000, "sub_requests": [{"input_toks": 200, "output_toks": 10}]}
"#;

#[test]
fn documented_commands_carry_over() {
    let Some(reference) = testkit::reference_dir() else { return };
    let folder = checkout(&reference);
    let mut num_compared = 0;
    for command in FOLLOWED {
        let args = args(command, &reference);
        let said = folder.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(said.code, Some(0), "{command}\n{said}");
        let output = &args[1 + args.iter().position(|arg| arg == "--output").expect("each has an output")];
        let rows = fs::read_to_string(folder.path(output)).expect("the results are where they were asked for");
        let num_calls = if command.contains("swe-bench") { 3 } else { 10 };
        assert_eq!(rows.lines().count(), 1 + num_calls, "{command}");
        let name = output.strip_prefix("outputs/").expect("all results go to one folder");
        if let Ok(expected) = fs::read_to_string(reference.join("golden/examples").join(name)) {
            assert_eq!(rows.lines().next(), expected.lines().next(), "{command}: the header");
            let deviation = mean_latency(&rows) / mean_latency(&expected) - 1.0;
            println!("{name:<36} mean latency {:+.2} %", deviation * 100.0);
            num_compared += 1;
            let lowest = if ALTERNATING.contains(&name) { -0.5 } else { -TOLERANCE };
            assert!((lowest..=TOLERANCE).contains(&deviation), "{name}: mean latency {:+.2} %", deviation * 100.0);
        }
    }
    assert_eq!(num_compared, 19, "commands with results to compare with");
}

#[test]
fn ns3_is_refused_with_what_to_use_instead() {
    let Some(reference) = testkit::reference_dir() else { return };
    let folder = checkout(&reference);
    let command = "--cluster-config configs/cluster/single_node_single_instance.json --dtype bfloat16 --block-size 16 \
                   --dataset 'workloads/example_trace.jsonl' --output 'outputs/refused.csv' --network-backend 'ns3'";
    let args = args(command, &reference);
    let said = folder.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said}");
    assert!(said.stderr.contains("--network-backend") && said.stderr.contains("analytical"), "{said}");
    assert!(!folder.path("outputs").exists());
}

/// Cluster files for hardware that there is neither a profile of nor constants for, and which.
const NO_TIMES: [(&str, &str); 1] = [("single_node_single_instance_H100.json", "H100")];

#[test]
fn every_cluster_file_runs_to_the_end() {
    let Some(reference) = testkit::reference_dir() else { return };
    let folder = checkout(&reference);
    let clusters = fs::read_dir(folder.path("configs/cluster")).expect("the clusters are there");
    let mut names: Vec<String> =
        clusters.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(names.len() >= 27, "{names:?}");
    for name in names {
        let command = format!(
            "--cluster-config configs/cluster/{name} --dataset workloads/example_trace.jsonl --output outputs/out.csv \
             --interval-output outputs/intervals.csv"
        );
        let args = args(&command, &reference);
        let said = folder.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some((_, hardware)) = NO_TIMES.iter().find(|(without, _)| *without == name) {
            assert_eq!(said.code, Some(2), "{name}: {said}");
            assert!(said.stderr.contains(hardware), "{name}: {said}");
            continue;
        }
        assert_eq!(said.code, Some(0), "{name}: {said}");
        let rows = fs::read_to_string(folder.path("outputs/out.csv")).expect("the results are there");
        assert_eq!(rows.lines().count(), 11, "{name}");
        let intervals = fs::read_to_string(folder.path("outputs/intervals.csv")).expect("the intervals are there");
        assert!(intervals.lines().count() > 1, "{name}: {intervals}");
        println!("{name:<50} mean latency {:.1} ms", mean_latency(&rows) / 1e6);
        fs::remove_dir_all(folder.path("outputs")).expect("they can be removed");
    }
}

/// A folder in which the files that the commands name are where they are in LLMServingSim's own.
fn checkout(reference: &Path) -> Folder {
    let folder = Folder::new();
    let clusters = fs::read_dir(reference.join("clusters")).expect("the clusters are there");
    for cluster in clusters.map(|entry| entry.expect("an entry").path()) {
        let name = cluster.file_name().expect("a file name").to_string_lossy().into_owned();
        folder.write(&format!("configs/cluster/{name}"), fs::read(&cluster).expect("a cluster"));
    }
    let trace = fs::read(reference.join("workloads/example_trace.jsonl")).expect("a workload");
    folder.write("workloads/example_trace.jsonl", trace);
    folder.write("workloads/swe-bench-qwen3-30b-a3b-50-sps0.2.jsonl", SESSIONS);
    folder
}

/// What follows `python -m serving`, as it follows `servingsim`.
fn args(command: &str, reference: &Path) -> Vec<String> {
    let data = ["--profile-dir", "profiles", "--model-dir", "models", "--pim-dir", "pim"];
    let data =
        data.map(|arg| if arg.starts_with("--") { arg.into() } else { reference.join(arg).display().to_string() });
    let unquoted = command.split_whitespace().map(|arg| arg.trim_matches('\'').to_owned());
    ["run".to_owned()].into_iter().chain(unquoted).chain(data).collect()
}

/// Mean of the column `latency` in ns.
fn mean_latency(csv: &str) -> f64 {
    let latency = |row: &str| row.split(',').nth(7).and_then(|cell| cell.parse::<f64>().ok()).expect("a latency");
    let all: Vec<f64> = csv.lines().skip(1).map(latency).collect();
    all.iter().sum::<f64>() / all.len() as f64
}
