//! Fitting what a host takes: to runs whose host is known, and what is said of faulty descriptions.

mod support;

use support::Folder;

/// A run of an example, with results where `measured.csv` is.
fn describe(folder: &Folder, file: &str, name: &str, args: &str) {
    let args: Vec<String> = args.split(' ').map(|arg| format!("{arg:?}")).collect();
    let text = format!(r#"{{"name": "{name}", "args": [{}], "measured": "{name}.csv"}}"#, args.join(", "));
    folder.write(file, text);
}

/// The microseconds of `key` in a preset.
fn of_preset(folder: &Folder, key: &str) -> f64 {
    let text = std::fs::read_to_string(folder.path("fitted.json")).expect("the preset was written");
    let preset: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    preset["host_us"][key].as_f64().expect("a number")
}

#[test]
fn the_times_of_a_host_are_found_again() {
    let folder = Folder::new();
    folder.write("true.json", r#"{"name": "true", "host_us": {"step": 640, "block": 60}}"#);
    // Where one batch is in flight, a step's host time shows.
    let runs =
        [("a", "--example moe-ep --engine vllm --no-async-scheduling"), ("b", "--example moe-dp-ep --engine vllm")];
    for (name, args) in runs {
        let output = format!("{name}.csv");
        let measured = ["run", "--quiet", "--preset", "true.json", "--output-stamps", "--output", &output];
        let said = folder.run(&[&measured[..], &args.split(' ').collect::<Vec<_>>()].concat());
        assert_eq!(said.code, Some(0), "{said}");
        describe(&folder, &format!("{name}.json"), name, args);
    }
    let fit = ["calibrate", "a.json", "b.json", "--fit", "step,block", "--variants", "1", "--name", "mine"];
    let said = folder.run(&[&fit[..], &["--output", "fitted.json"]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let (step, block) = (of_preset(&folder, "step"), of_preset(&folder, "block"));
    println!("step {step} µs of 640, block {block} µs of 60");
    assert!((step - 640.0).abs() <= 160.0 && (block - 60.0).abs() <= 5.0, "{said}");
    assert!(said.stderr.contains("% with step 0 µs, block 0 µs"), "{said}");

    // The preset is one: a run that has it says so.
    let said = folder.run(&["run", "--engine", "vllm", "--preset", "fitted.json", "--format", "json"]);
    assert!(said.stdout.contains(r#""preset": "mine""#), "{said}");
    // Each alone tells the same.
    folder.write("true.json", r#"{"name": "true", "host_us": {"block": 60}}"#);
    for (name, args) in runs {
        let output = format!("{name}.csv");
        let measured = ["run", "--quiet", "--preset", "true.json", "--output-stamps", "--output", &output];
        folder.run(&[&measured[..], &args.split(' ').collect::<Vec<_>>()].concat());
    }
    let said = folder.run(&["calibrate", "a.json", "b.json", "--variants", "1", "-q", "--leave-one-out"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert_eq!(said.stdout.matches("block 60 µs").count(), 2, "{said}");
}

/// A result with stamps, as `vllm bench serve --save-detailed` would have written it: seconds, counted to delivery.
fn as_client(result: &str) -> String {
    let mut lines = result.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let mut rows: Vec<Vec<&str>> = lines.collect();
    // A client has them in the order in which it sent them, a result in that in which they ended.
    let id = header.iter().position(|&name| name == "request id").expect("the column is there");
    rows.sort_by_key(|row| row[id].parse::<u64>().expect("a whole number"));
    let column = |name: &str| -> Vec<u64> {
        let place = header.iter().position(|&other| other == name).expect("the column is there");
        rows.iter().map(|row| row[place].parse().expect("a whole number")).collect()
    };
    let (arrivals, ends) = (column("arrival"), column("end_time"));
    let seconds = |ns: &u64| *ns as f64 / 1e9;
    let since = |stamps: &[u64]| -> Vec<f64> {
        stamps.iter().zip(&arrivals).map(|(stamp, arrival)| seconds(&(stamp - arrival))).collect()
    };
    let itls: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    serde_json::json!({
        "input_lens": column("input"),
        "output_lens": column("output"),
        "start_times": arrivals.iter().map(|arrival| 7000.0 + seconds(arrival)).collect::<Vec<_>>(),
        "ttfts": since(&column("first_delivered")),
        "latencies": since(&ends),
        "itls": itls,
        "errors": vec![""; rows.len()],
    })
    .to_string()
}

#[test]
fn a_client_measured() {
    let folder = Folder::new();
    folder.write("true.json", r#"{"name": "true", "host_us": {"block": 60}}"#);
    let run = ["run", "--quiet", "--example", "dense", "--engine", "vllm", "--preset", "true.json", "--no-itl"];
    let said = folder.run(&[&run[..], &["--output", "server.csv", "--output-stamps"]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let result = std::fs::read_to_string(folder.path("server.csv")).expect("the result was written");
    folder.write("bench.json", as_client(&result));
    folder.run(&["examples", "--write", "d"]);
    let files = r#""--cluster-config", "d/dense.cluster.json", "--dataset", "d/chat.workload.jsonl""#;
    let args = format!(r#""--engine", "vllm", {files}, "--arrivals-from", "bench.json""#);
    folder.write("run.json", format!(r#"{{"name": "a", "args": [{args}], "measured": "bench.json"}}"#));
    let said = folder.run(&["calibrate", "run.json", "--variants", "1", "-q", "--name", "mine"]);
    assert!(said.stdout.starts_with("mine: block 60 µs"), "{said}");
    // Of a file with sums only there is nothing to fit to.
    folder.write("bench.json", r#"{"completed": 64, "request_throughput": 6.0, "mean_ttft_ms": 50.0}"#);
    folder.write(
        "run.json",
        r#"{"name": "a", "args": ["--engine", "vllm", "--example", "dense"], "measured": "bench.json"}"#,
    );
    let said = folder.run(&["calibrate", "run.json", "-q"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("bench.json: has sums of all requests and none of them"), "{said}");
}

#[test]
fn faulty_descriptions() {
    let folder = Folder::new();
    let check = |text: &str, expected: &str| {
        folder.write("run.json", text);
        let said = folder.run(&["calibrate", "run.json", "--output", "preset.json"]);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said}");
        assert!(said.stderr.contains(expected), "{expected} in {said}");
        assert!(!folder.path("preset.json").exists());
    };
    folder.write("empty.csv", "request_id,output_tokens,ttft_ms,latency_ms\n");
    check("{", "run.json");
    check(r#"{"name": "a", "args": [], "measured": "m.csv", "kind": 1}"#, "unknown key `kind`");
    check(r#"{"name": "a", "args": [3]}"#, "`measured`");
    check(r#"{"name": "a", "args": ["--engin", "vllm"], "measured": "m.csv"}"#, "unexpected argument '--engin'");
    check(r#"{"name": "a", "args": ["--example", "moe-ep"], "measured": "m.csv"}"#, "add \"--engine\", \"vllm\"");
    let example = r#"{"name": "a", "args": ["--example", "moe-ep", "--engine", "vllm"], "measured": "X"}"#;
    check(&example.replace('X', "missing.csv"), "missing.csv");
    check(&example.replace('X', "empty.csv"), "empty.csv");
    // What is read is not replaced; what would do nothing is refused.
    folder.run(&["run", "--quiet", "--engine", "vllm", "--output-stamps", "--output", "m.csv"]);
    let whole = r#"{"name": "a", "args": ["--example", "moe-dp-ep", "--engine", "vllm"], "measured": "m.csv"}"#;
    check(&whole.replace("\"vllm\"", "\"vllm\", \"--preset\", \"none\""), "--preset does nothing here");
    check(&whole.replace("\"vllm\"", "\"vllm\", \"--output\", \"x.csv\""), "--output does nothing here");
    check(&whole.replace("moe-dp-ep", "moe-ep-no"), "a run that run.json describes");
    check(&whole.replace("\"vllm\"", "\"vllm\", \"--num-reqs\", \"3\""), "and the workload 3");
    check(&whole.replace("\"--example\"", "\"--help\", \"--example\""), "asks for help");
    folder.write("run.json", whole);
    for (flags, expected) in [
        (&["--output", "run.json"][..], "run.json is read by run.json"),
        (&["--output", "m.csv"], "m.csv is read by run.json"),
        (&["--leave-one-out"], "needs at least two runs"),
        (&["--fit", "frontend_request"], "frontend_request shows in none of the runs"),
    ] {
        let said = folder.run(&[&["calibrate", "run.json"][..], flags].concat());
        assert!(said.code == Some(2) && said.stderr.contains(expected), "{expected} in {said}");
    }
    let said = folder.run(&["run", "--engine", "vllm", "--preset", "run.json", "--output", "run.json"]);
    assert!(said.code == Some(2) && said.stderr.contains("is the file that --preset names"), "{said}");
    let said = folder.run(&["calibrate"]);
    assert_eq!(said.code, Some(2), "{said}");
}
