//! `servingsim run --trace`: what Perfetto is given to draw agrees with the results of the run.

mod perfetto_trace;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use perfetto_trace::{PerfettoTrace, Slice};
use serde_json::{Value, json};
use support::{Folder, Said};

/// Runs with `--trace trace.json` and the other flags, and reads the trace.
fn trace(folder: &Folder, flags: &[&str]) -> PerfettoTrace {
    let said = folder.run(&[&["run", "--quiet", "--trace", "trace.json"], flags].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{flags:?}: {said}");
    PerfettoTrace::read(&fs::read(folder.path("trace.json")).expect("a trace"))
}

/// A row of a result by its columns.
type Row = BTreeMap<String, String>;

/// The rows of a result without the latencies between tokens, by request.
fn rows(folder: &Folder, name: &str) -> BTreeMap<u64, Row> {
    let text = fs::read_to_string(folder.path(name)).expect("a result");
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let row = |line: Vec<String>| header.iter().cloned().zip(line).collect::<Row>();
    lines.map(row).map(|row| (number(&row, "request id"), row)).collect()
}

fn number(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

/// Checks requests against the rows of the result: stages follow one another from arrival to end.
fn check_requests(trace: &PerfettoTrace, rows: &BTreeMap<u64, Row>) {
    let requests: Vec<_> = trace.of("request").collect();
    assert_eq!(requests.len(), rows.len());
    for (process, thread, request) in requests {
        let row = &rows[&thread.trim_start_matches("request ").parse().expect("a number")];
        let times = ["arrival", "end_time"].map(|column| number(row, column));
        assert_eq!([request.begin, request.end], times, "{thread}");
        assert_eq!(request.ns("ttft_us"), number(row, "TTFT"));
        assert_eq!(request.ns("latency_us"), number(row, "latency"));
        assert_eq!(request.number("instance"), number(row, "instance id"));
        let slices = &trace.threads[&(process.to_owned(), thread.to_owned())];
        let stages: Vec<&Slice> = slices.iter().filter(|slice| slice.category == "stage").collect();
        let mut now = request.begin;
        for stage in &stages {
            assert_eq!(stage.begin, now, "{thread}: {stage:?}");
            assert_eq!(stage.ns("whole_us"), stage.time());
            now = stage.end;
        }
        assert_eq!(now, request.end, "{thread}");
        let preempted = stages.iter().filter(|stage| stage.name == "preempted").count() as u64;
        assert_eq!(preempted, request.number("preemptions"), "{thread}");
        let first_token = stages.iter().position(|stage| stage.name == "decode").map(|first| stages[first].begin);
        if let (Some(at), true) =
            (first_token, preempted == 0 && stages.iter().all(|s| s.name != "waiting for hand-over"))
        {
            assert_eq!(at - request.begin, number(row, "TTFT"), "{thread}");
        }
        let prefilled = stages.iter().filter(|stage| stage.name == "prefill");
        let tokens: u64 = prefilled.map(|stage| stage.number("tokens")).sum();
        if preempted == 0 {
            assert_eq!(tokens + request.number("prefix_hit_tokens"), number(row, "input"), "{thread}");
        }
    }
}

/// Checks that the parts of NPUs' steps are the steps, and that batches have what they say.
fn check_steps(trace: &PerfettoTrace) {
    for (process, thread, step) in trace.of("step") {
        let parts = ["compute_us", "collectives_us", "waits_us"].map(|key| step.ns(key));
        assert_eq!(parts.iter().sum::<u64>(), step.time(), "{process} {thread} {step:?}");
    }
    for (_, _, batch) in trace.of("batch").filter(|(_, _, batch)| batch.name != "dummy") {
        let [prefills, decodes] = ["prefills", "decodes"].map(|key| batch.number(key));
        assert_eq!(prefills + decodes, batch.number("sequences"));
        assert_eq!(batch.number("prefill_tokens") + decodes, batch.number("tokens"));
        assert!(batch.number("tokens") <= batch.number("padded_tokens"));
        assert!(batch.number("decode_kv_tokens_max") <= batch.number("decode_kv_tokens"));
        let name = match (prefills, decodes) {
            (0, _) => "decode",
            (_, 0) => "prefill",
            _ => "prefill and decode",
        };
        assert_eq!(batch.name, name);
    }
}

/// Checks that what is drawn inside of an NPU's step fills it, and is what the step says.
fn check_layers(trace: &PerfettoTrace) {
    for ((process, thread), slices) in &trace.threads {
        let inside = |category: &'static str, step: &Slice| -> u64 {
            let is_inside = |slice: &&Slice| step.begin <= slice.begin && slice.end <= step.end;
            slices.iter().filter(|slice| slice.category == category).filter(is_inside).map(Slice::time).sum()
        };
        for step in slices.iter().filter(|slice| slice.category == "step").step_by(7) {
            let ranks = slices.iter().filter(|slice| slice.name == "wait for ranks");
            let ranks = ranks.filter(|slice| step.begin <= slice.begin && slice.end <= step.end);
            let for_ranks: u64 = ranks.map(Slice::time).sum();
            let whose = format!("{process} {thread} {}", step.name);
            assert_eq!(inside("compute", step), step.ns("compute_us"), "{whose}");
            assert_eq!(inside("collective", step) - for_ranks, step.ns("collectives_us"), "{whose}");
            assert_eq!(inside("wait", step), step.ns("waits_us"), "{whose}");
        }
    }
}

const VARIANTS: &[&[&str]] = &[&[], &["--polling", "reference"], &["--engine", "vllm"], &["--network-model", "aware"]];

#[test]
fn traces_of_the_built_in_examples_agree_with_their_results() {
    let list = Folder::new().run(&["examples"]).stdout;
    let names: Vec<&str> = list.lines().map_while(|line| line.split_whitespace().next()).collect();
    for name in names {
        // vLLM's engine runs no prefill/decode split.
        let runs = |flags: &[&str]| match name {
            "moe-dp-ep-agents" => flags.is_empty(),
            "dense-pd" => !flags.contains(&"vllm"),
            _ => true,
        };
        for flags in VARIANTS.iter().filter(|flags| runs(flags)) {
            let folder = Folder::new();
            let run = ["--example", name, "--num-reqs", "5", "--no-itl", "--output", "result.csv"];
            let flags = [&run, *flags].concat();
            let traced = trace(&folder, &[&flags[..], &["--trace-level", "layers"]].concat());
            let rows = rows(&folder, "result.csv");
            check_requests(&traced, &rows);
            check_steps(&traced);
            check_layers(&traced);
            let result = fs::read(folder.path("result.csv")).expect("a result");
            let said = folder.run(&[&["run", "--quiet"], &flags[..]].concat());
            assert_eq!(said.code, Some(0), "{said}");
            assert_eq!(fs::read(folder.path("result.csv")).expect("a result"), result, "a trace changes nothing");
        }
    }
}

/// Every token is in one batch, those included of sequences that the scheduler leaves alone.
#[test]
fn batches_add_up_to_the_tokens_of_the_requests() {
    let folder = Folder::new();
    let traced = trace(&folder, &["--no-itl", "--output", "result.csv"]);
    let rows = rows(&folder, "result.csv");
    check_requests(&traced, &rows);
    check_steps(&traced);
    let real = || traced.of("batch").filter(|(_, _, batch)| batch.name != "dummy");
    let total = |key: &str| real().map(|(_, _, batch)| batch.number(key)).sum::<u64>();
    let sum = |column: &str| rows.values().map(|row| number(row, column)).sum::<u64>();
    let found: u64 = traced.of("request").map(|(_, _, request)| request.number("prefix_hit_tokens")).sum();
    // The last token of a request is never computed on.
    assert_eq!(total("tokens"), sum("input") - found + sum("output") - rows.len() as u64);
    assert!(traced.of("batch").any(|(_, _, batch)| batch.name == "dummy"), "members of the group keep pace");
    assert!(traced.of("wait").any(|(_, _, wait)| wait.name == "wait for the group"));
    let size = fs::metadata(folder.path("trace.json")).expect("a trace").len();
    println!("{size} bytes");
    assert!(size < 2_000_000, "the default level keeps a trace small: {size} bytes");
}

/// A prompt of 100 tokens and 5 that follow: KV grows by one a step, and the counters say so.
#[test]
fn a_request_by_itself() {
    let folder = Folder::new();
    folder.write("w.jsonl", "{\"input_toks\": 100, \"output_toks\": 5, \"arrival_time_ns\": 7000000}\n");
    let traced = trace(&folder, &["--example", "dense", "--dataset", "w.jsonl"]);
    let batches: Vec<&Slice> = traced.of("batch").map(|(_, _, batch)| batch).collect();
    let of = |key: &str| batches.iter().map(|batch| batch.number(key)).collect::<Vec<_>>();
    assert_eq!(
        batches.iter().map(|batch| batch.name.as_str()).collect::<Vec<_>>(),
        ["prefill", "decode", "decode", "decode", "decode"]
    );
    assert_eq!(of("prefill_tokens"), [100, 0, 0, 0, 0]);
    assert_eq!(of("decode_kv_tokens"), [0, 100, 101, 102, 103]);
    assert_eq!(of("batch"), [1, 2, 3, 4, 5]);
    let counter = |name: &str| {
        let of_name = traced.counters.iter().find(|((_, other), _)| other == name);
        of_name.map(|(_, values)| values.iter().map(|(at, value)| (*at, value["value"].clone())).collect::<Vec<_>>())
    };
    let end = batches[4].end;
    assert_eq!(counter("running"), Some(vec![(0, json!(0)), (7_000_000, json!(1)), (end, json!(0))]));
    assert_eq!(counter("waiting"), Some(vec![(0, json!(0))]), "it is put into a batch as it comes");
    // 100 tokens are in 7 blocks of 16, as are 104.
    assert_eq!(counter("KV blocks held"), Some(vec![(0, json!(0)), (7_000_000, json!(7)), (end, json!(0))]));
    let rates = traced.counters.iter().find(|((_, name), _)| name == "tokens per second").expect("a rate").1;
    let tokens = |key: &str| -> f64 {
        let spans =
            rates.windows(2).map(|pair| (pair[1].0 - pair[0].0) as f64 * pair[0].1[key].as_f64().expect("a rate"));
        spans.sum::<f64>() / 1e9
    };
    assert!((tokens("prompt") - 100.0).abs() < 0.01 && (tokens("generated") - 5.0).abs() < 0.01, "{rates:?}");
}

/// A prefill instance and a decode instance that holds little.
fn write_split_cluster(folder: &Folder) {
    let instance = |role: &str, num_gpu_blocks: u64| {
        json!({
            "model_name": "meta-llama/Llama-3.1-8B", "hardware": "RTX4090", "tp_size": 1, "pd_type": role,
            "npu_mem": {"mem_size": 24, "mem_bw": 1008, "mem_latency": 0}, "num_gpu_blocks": num_gpu_blocks,
        })
    };
    let cluster = json!({"num_nodes": 1, "link_bw": 64, "link_latency": 500, "nodes": [{
        "num_instances": 2,
        "cpu_mem": {"mem_size": 128, "mem_bw": 256, "mem_latency": 0},
        "instances": [instance("prefill", 1000), instance("decode", 40)],
    }]});
    folder.write("cluster.json", cluster.to_string());
    let line =
        |n: u64| format!("{{\"input_toks\": 200, \"output_toks\": 40, \"arrival_time_ns\": {}}}\n", n * 10_000_000);
    folder.write("w.jsonl", (0..8).map(line).collect::<String>());
}

#[test]
fn requests_that_wait_for_room_move_on_and_lose_it() {
    let folder = Folder::new();
    write_split_cluster(&folder);
    let run = ["--cluster-config", "cluster.json", "--dataset", "w.jsonl", "--no-itl", "--output", "result.csv"];
    let traced = trace(&folder, &[&run[..], &["--trace-level", "layers"]].concat());
    check_requests(&traced, &rows(&folder, "result.csv"));
    check_steps(&traced);
    check_layers(&traced);
    let stages: Vec<&str> = traced.of("stage").map(|(_, _, stage)| stage.name.as_str()).collect();
    for stage in ["queued", "prefill", "waiting for hand-over", "decode", "preempted", "recompute"] {
        assert!(stages.contains(&stage), "{stage}: {stages:?}");
    }
    assert_eq!(traced.arrows.keys().copied().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    for arrow in traced.arrows.values() {
        let [Some((from, begin)), Some((to, end))] = arrow else { panic!("an arrow has two ends: {arrow:?}") };
        assert!(from.contains("prefill") && to.contains("decode") && begin < end, "{arrow:?}");
    }
    let beside: Vec<&str> = traced.of("beside").map(|(_, _, slice)| slice.name.as_str()).collect();
    for name in ["send KV", "receive KV", "load input", "store output"] {
        assert!(beside.contains(&name), "{name}");
    }
}

/// Process, thread, name, begin and end of a slice.
type Drawn = (String, String, String, u64, u64);

/// Slices as a window cuts them; args tell of the whole.
fn cut(trace: &PerfettoTrace, begin: u64, end: u64) -> Vec<Drawn> {
    let slices = trace.threads.iter().flat_map(|((process, thread), slices)| {
        slices.iter().map(move |slice| {
            let thread = thread.split(" (").next().unwrap_or(thread).to_owned();
            (process.clone(), thread, slice.name.clone(), slice.begin.max(begin), slice.end.min(end))
        })
    });
    let mut slices: Vec<_> = slices.filter(|slice| slice.3 < slice.4).collect();
    slices.sort();
    slices
}

#[test]
fn a_window_of_time_is_that_part_of_the_whole() {
    write_and_compare(&["--example", "moe-dp-ep", "--num-reqs", "10"], "300ms..450ms", (300_000_000, 450_000_000));
    write_and_compare(&["--cluster-config", "cluster.json", "--dataset", "w.jsonl"], "..95.5ms", (0, 95_500_000));
    write_and_compare(
        &["--example", "moe-ep", "--num-reqs", "5", "--engine", "vllm"],
        "0.5s..",
        (500_000_000, u64::MAX),
    );
}

fn write_and_compare(run: &[&str], window: &str, (begin, end): (u64, u64)) {
    let folder = Folder::new();
    write_split_cluster(&folder);
    let whole = trace(&folder, &[run, &["--trace-level", "layers"]].concat());
    let part = trace(&folder, &[run, &["--trace-window", window]].concat());
    let (expected, found) = (cut(&whole, begin, end), cut(&part, 0, u64::MAX));
    assert!(found.len() > 100, "{} slices", found.len());
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "{run:?} {window}");
    }
    assert_eq!(expected.len(), found.len(), "{run:?} {window}");
    for (counter, values) in &part.counters {
        let value_at = |values: &[(u64, Value)], at: u64| values.iter().rev().find(|value| value.0 <= at).cloned();
        for &(at, _) in values {
            assert!((begin..=end).contains(&at));
            let [before, now] =
                [&whole.counters[counter], values].map(|values| value_at(values, at).map(|value| value.1));
            assert_eq!(before, now, "{counter:?} at {at}");
        }
    }
}

#[test]
fn a_window_of_steps_is_those_steps() {
    let folder = Folder::new();
    let run = ["--num-reqs", "10"];
    let whole = trace(&folder, &[&run[..], &["--trace-level", "layers"]].concat());
    let part = trace(&folder, &[&run[..], &["--trace-steps", "30..32"]].concat());
    let steps = |trace: &PerfettoTrace| {
        let steps =
            trace.of("step").map(|(process, thread, step)| (process.to_owned(), thread.to_owned(), step.clone()));
        steps.filter(|step| (30..=32).contains(&step.2.number("step"))).collect::<Vec<_>>()
    };
    assert_eq!(part.of("step").count(), 6);
    assert_eq!(steps(&part), steps(&whole));
    let begin = part.of("batch").map(|(_, _, batch)| batch.begin).min().expect("batches");
    let end = part.of("batch").map(|(_, _, batch)| batch.end).max().expect("batches");
    let is_request = |slice: &Drawn| slice.0 == "requests";
    let requests = |slices: Vec<Drawn>| slices.into_iter().filter(is_request).collect::<Vec<_>>();
    assert!(requests(cut(&part, 0, u64::MAX)).len() > 2);
    assert_eq!(requests(cut(&part, 0, u64::MAX)), requests(cut(&whole, begin, end)));
}

#[test]
fn a_compressed_trace_is_the_same_trace_every_time() {
    let folder = Folder::new();
    trace(&folder, &[]);
    let plain = fs::read(folder.path("trace.json")).expect("a trace");
    let compressed = || {
        let said = folder.run(&["run", "--quiet", "--trace", "trace.json.gz"]);
        assert_eq!(said.code, Some(0), "{said}");
        fs::read(folder.path("trace.json.gz")).expect("a trace")
    };
    let bytes = compressed();
    assert_eq!(bytes, compressed());
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut text).expect("a gzip file");
    assert!(text == plain, "compressed and plain differ");
    assert!(bytes.len() * 5 < plain.len(), "{} of {}", bytes.len(), plain.len());
}

#[test]
fn a_small_trace() {
    let folder = Folder::new();
    folder.write("w.jsonl", "{\"input_toks\": 40, \"output_toks\": 2, \"arrival_time_ns\": 1000}\n");
    trace(&folder, &["--dataset", "w.jsonl", "--example", "moe-ep"]);
    insta::assert_snapshot!(fs::read_to_string(folder.path("trace.json")).expect("a trace"));
}

#[test]
fn faults() {
    let folder = Folder::new();
    folder.write("w.jsonl", "{\"input_toks\": 40, \"output_toks\": 2, \"arrival_time_ns\": 1000}\n");
    folder.write("folder/file", "");
    let said = |flags: &[&str]| -> Said {
        let said = folder.run(&[&["run", "--quiet", "--example", "dense", "--dataset", "w.jsonl"], flags].concat());
        assert_eq!(said.code, Some(2), "{flags:?}: {said}");
        said
    };
    for flags in [["--trace-level", "steps"], ["--trace-window", "1s..2s"], ["--trace-steps", "3"]] {
        assert!(said(&flags).stderr.contains("--trace <FILE>"), "{flags:?} without --trace");
    }
    for flags in [["--trace-window", "2s..1s"], ["--trace-window", "1..2"], ["--trace-steps", "2..1"]] {
        let stderr = said(&[&["--trace", "t.json"], &flags[..]].concat()).stderr;
        assert!(stderr.contains("invalid value") && stderr.contains(flags[0]), "{stderr}");
    }
    let both = said(&["--trace", "t.json", "--trace-window", "1s..2s", "--trace-steps", "1..2"]);
    assert!(both.stderr.contains("cannot be used with"), "{both}");
    let told = [["--trace", "w.jsonl"], ["--trace", "folder"], ["--trace", "folder/file/t.json"]]
        .map(|flags| said(&flags).stderr);
    let same = said(&["--trace", "t.csv", "--output", "t.csv"]).stderr;
    insta::assert_snapshot!([&told.concat(), &same[..]].concat());
    assert!(!folder.path("t.json").exists() && !folder.path("t.csv").exists());
}
