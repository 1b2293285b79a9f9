//! `servingsim workload`: what is made, what it says about it, and what it refuses.

mod support;

use std::fs;

use serde_json::Value;
use support::{Folder, Said};

fn workload(folder: &Folder, args: &[&str]) -> Said {
    folder.run(&[&["workload"], args].concat())
}

/// Runs a command that is to say nothing.
#[track_caller]
fn silent(folder: &Folder, args: &[&str]) {
    let said = workload(folder, args);
    assert_eq!(said, Said { code: Some(0), stdout: String::new(), stderr: String::new() }, "{said}");
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

const LENGTHS: [&str; 4] =
    ["--input-tokens", "lognormal:median=60,sigma=1,max=500", "--output-tokens", "uniform:2..12"];

#[test]
fn help() {
    let folder = Folder::new();
    insta::assert_snapshot!("help", workload(&folder, &["--help"]));
    for command in ["stats", "generate", "convert"] {
        insta::assert_snapshot!(format!("help_{command}"), workload(&folder, &[command, "--help"]));
    }
}

/// What is made is read, runs, and is finished to the last request.
#[test]
fn what_is_made_runs() {
    let folder = Folder::new();
    let plain = ["generate", "--arrivals", "gamma:20/s,cv=2", "-n", "60", "--seed", "3", "--output", "plain.jsonl"];
    silent(&folder, &[&plain[..], &LENGTHS].concat());
    let sessions = [
        ["generate", "--arrivals", "on-off:on=20/s,off=1/s,on-time=1s,off-time=2s", "--duration", "4s"].as_slice(),
        &["--calls", "uniform:1..4", "--tool-time", "exponential:300ms", "--tool-tokens", "uniform:10..40"],
        &["--prefixes", "count=3,tokens=64,choice=zipf,s=1", "--output", "sessions.jsonl"],
        &LENGTHS,
    ];
    silent(&folder, &sessions.concat());
    for name in ["plain.jsonl", "sessions.jsonl"] {
        let stats = &json(&workload(&folder, &["stats", name, "--format", "json"]))["workloads"][0];
        let said = folder.run(&["run", "--dataset", name, "--quiet", "--format", "json"]);
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said}");
        let summary = json(&said);
        assert_eq!(summary["requests"], stats["requests"], "{name}");
        assert_eq!(summary["prompt_tokens"], stats["input_tokens"]["total"], "{name}");
        assert_eq!(summary["generated_tokens"], stats["output_tokens"]["total"], "{name}");
        assert!(stats["requests"].as_u64() > Some(30), "{stats}");
    }
}

/// Requests that come one after the other to one instance find what the statistics say that they can find.
#[test]
fn shared_prefixes_are_what_a_run_finds() {
    let folder = Folder::new();
    let args = ["generate", "--arrivals", "constant:6/min", "-n", "25", "--prefixes", "count=4,tokens=100,share=0.8"];
    silent(&folder, &[&args[..], &LENGTHS, &["--output", "w.jsonl"]].concat());
    let stats = json(&workload(&folder, &["stats", "w.jsonl", "--format", "json"]));
    let prefixes = &stats["workloads"][0]["prefixes"];
    assert!(prefixes["hit_tokens"].as_u64() > Some(1_000), "{prefixes}");
    let summary =
        json(&folder.run(&["run", "--example", "moe-ep", "--dataset", "w.jsonl", "--quiet", "--format", "json"]));
    assert_eq!(summary["instances"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary["prefix_cache"]["hit_tokens"], prefixes["hit_tokens"]);
    assert_eq!(summary["prefix_cache"]["lookup_tokens"], prefixes["prompt_tokens"]);
}

#[test]
fn the_same_command_writes_the_same_bytes_to_a_file_and_to_standard_output() {
    let folder = Folder::new();
    let args = [&["generate", "--arrivals", "poisson:5/s", "-n", "300", "--token-ids"][..], &LENGTHS].concat();
    let said = workload(&folder, &args);
    assert_eq!((said.code, said.stdout.lines().count()), (Some(0), 300), "{}", said.stderr);
    silent(&folder, &[&args[..], &["--output", "w.jsonl"]].concat());
    assert_eq!(fs::read_to_string(folder.path("w.jsonl")).unwrap(), said.stdout);
    assert_ne!(workload(&folder, &[&args[..], &["--seed", "43"]].concat()).stdout, said.stdout);
}

const AZURE: &str = "\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.5,374,44
2023-11-16 18:15:48.5,396,109
2023-11-16 18:15:49.5,879,55
2023-11-16 18:15:49.75,91,16
";

#[test]
fn statistics() {
    let folder = Folder::new();
    folder.write("azure.csv", AZURE);
    let args = [
        ["generate", "--arrivals", "on-off:on=40/s,off=2/s,on-time=5s,off-time=10s,phases=fixed", "-n", "500"]
            .as_slice(),
        &["--calls", "uniform:1..3", "--tool-time", "lognormal:median=1s,sigma=1", "--tool-tokens", "30"],
        &["--prefixes", "count=2,tokens=200", "--output", "agents.jsonl"],
        &LENGTHS,
    ];
    silent(&folder, &args.concat());
    insta::assert_snapshot!("stats", workload(&folder, &["stats", "azure.csv", "agents.jsonl"]));
    insta::assert_snapshot!(
        "stats_narrow",
        workload(&folder, &["stats", "azure.csv", "--width", "50", "--limit", "3"])
    );
    insta::assert_snapshot!("stats_json", workload(&folder, &["stats", "azure.csv", "--format", "json"]));
}

#[test]
fn conversions() {
    let folder = Folder::new();
    folder.write("azure.csv", AZURE);
    let said = workload(&folder, &["convert", "azure.csv", "--start", "2s", "--end", "3100ms", "--time-scale", "0.5"]);
    let expected = "{\"input_toks\":396,\"output_toks\":109,\"arrival_time_ns\":0}\n\
                    {\"input_toks\":879,\"output_toks\":55,\"arrival_time_ns\":500000000}\n";
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), expected, ""));
    let chats = r#"[{"conversations": [{"from": "human", "value": "12345678"}, {"from": "gpt", "value": "1234"}]}]"#;
    folder.write("chats.json", chats);
    let args = ["convert", "chats.json", "--arrivals", "constant:1/s", "--conversations", "sessions", "--no-token-ids"];
    let said = workload(&folder, &args);
    let session = "{\"session_id\":\"s0\",\"arrival_time_ns\":0,\"sub_requests\":\
                   [{\"input_toks\":2,\"output_toks\":1,\"tool_duration_ns\":0}]}\n";
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), session));
    let note = "note: chats.json: lengths are estimates: a token is 4 characters of text (--chars-per-token)\n";
    assert_eq!(said.stderr, note);
    silent(&folder, &["convert", "azure.csv", "--output", "w.jsonl"]);
    let run = folder.run(&["run", "--dataset", "w.jsonl", "--quiet", "--format", "json"]);
    assert_eq!(json(&run)["requests"], 4);
}

#[test]
fn what_is_refused() {
    let folder = Folder::new();
    folder.write("azure.csv", AZURE);
    folder.write("broken.csv", AZURE.replace("879", "many").replace("91,16", "91"));
    folder.write("old.jsonl", "old");
    let mut shown = String::new();
    let mut check = |args: &[&str]| {
        let said = workload(&folder, args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said}");
        assert!(!said.stderr.contains("panicked"), "{said}");
        shown += &format!("# {}\n{}\n", args.join(" "), said.stderr);
    };
    check(&["convert", "broken.csv", "--output", "old.jsonl"]);
    check(&["convert", "azure.csv", "--start", "1h", "--output", "old.jsonl"]);
    check(&["convert", "azure.csv", "--start", "2s", "--end", "1s"]);
    check(&["convert", "azure.csv", "--from", "mooncake"]);
    check(&["convert", "azure.csv", "--from", "csv"]);
    check(&["stats", "azure.csv", "broken.csv", "nowhere.csv"]);
    check(&["stats"]);
    check(&["generate"]);
    check(&[&["generate", "--arrivals", "poison:10/s"][..], &LENGTHS].concat());
    check(&[&["generate", "--arrivals", "poisson:10/s"][..], &LENGTHS].concat());
    check(&[&["generate", "--arrivals", "poisson:10/s", "-n", "0"][..], &LENGTHS].concat());
    check(&["generate", "--arrivals", "at-once", "-n", "3", "--input-tokens", "5"]);
    check(&["generate", "--arrivals", "at-once", "-n", "3", "--lengths", "azure.csv", "--output-tokens", "5"]);
    check(&["generate", "--arrivals", "at-once", "-n", "3", "--lengths", "broken.csv", "--output", "old.jsonl"]);
    check(&[
        "generate",
        "--arrivals",
        "replay:azure.csv",
        "-n",
        "5",
        "--lengths",
        "azure.csv",
        "--output",
        "old.jsonl",
    ]);
    check(&["generate", "--arrivals", "at-once", "-n", "3", "--lengths", "azure.csv", "--calls", "3"]);
    check(&["generate", "--arrivals", "at-once", "-n", "3", "--lengths", "azure.csv", "--context-max", "3"]);
    insta::assert_snapshot!("refused", shown);
    assert_eq!(fs::read_to_string(folder.path("old.jsonl")).unwrap(), "old", "nothing is replaced by half a workload");
}
