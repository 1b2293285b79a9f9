//! Broken traces: every fault has its place, and says what was expected.

use std::fs;
use std::path::Path;

use traffic::{Conversion, Converter, Format, ReadOptions, Trace};

/// The faults of a trace with this text, and how many requests were given out all the same.
fn faults(folder: &Path, name: &str, text: &[u8], format: Option<Format>) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("a temporary file");
    let convert = || {
        let trace = Trace::open(&path, &ReadOptions { format, ..ReadOptions::default() })?;
        // Without arrivals, that they are needed would be the first fault of conversations.
        let arrivals = (name != "arrivals.json").then(|| "constant:1/s".parse().expect("arrivals"));
        let conversation = trace.format() == Format::ShareGpt;
        let conversion = Conversion { arrivals: arrivals.filter(|_| conversation), ..Conversion::default() };
        let mut converter = Converter::new(trace, conversion)?;
        converter.by_ref().for_each(drop);
        converter.finish()
    };
    let faults = convert().expect_err(&format!("{name} is at fault")).to_string();
    faults.replace(&format!("{}/", folder.display()), "")
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut shown = String::new();
    let mut check = |name: &str, text: &str, format: Option<Format>| {
        shown += &format!("# {name}\n{}\n\n", faults(folder.path(), name, text.as_bytes(), format));
    };
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    check("empty.csv", "", None);
    check("blank.csv", "\n \n", None);
    check("header.csv", azure, None);
    let rows = "2023-11-16 18:15:4x,374,44\n2023-11-16 18:15:47,-3,4.5\n2023-11-16 18:15:48,5\n\n16.11.2023,,\"7\"\n";
    check("rows.csv", &format!("{azure}{rows}"), None);
    check("many.csv", &format!("{azure}{}", "now,1,1\n".repeat(25)), None);
    check("backwards.csv", &format!("{azure}2023-11-16 18:15:48,5,5\n2023-11-16 18:15:47,5,5\n"), None);
    check("column.csv", "TIMESTAMP,ContextToken,GeneratedTokens\n", None);
    check("another.csv", "a,b\n1,2\n", None);
    check("named.csv", "a,b\n1,2\n", Some(Format::BurstGpt));
    check("burst.csv", "Timestamp,Model,Request tokens,Response tokens\nsoon,x,1,1\n5,x,1e3,99999999999\n", None);
    check("batch.csv", "arrival_timestamp,batch_size,prompt_size,token_size\n1,0,5,5\n", None);

    let mooncake = [
        r#"{"timestamp": 0, "input_length": "x", "output_length": 5, "hash_ids": [0, -1, 2.5]}"#,
        r#"{"timestamp": -4, "input_length": 5, "hash_ids": {}}"#,
        r#"["timestamp", "input_length"]"#,
        r#"{"timestamp": 0, "input_length": 5, "output_leng"#,
    ];
    check("m.jsonl", &mooncake.join("\n"), Some(Format::Mooncake));
    let turn = |what: &str| format!(r#"[{{"id": "a", "conversations": [{{"from": "human", "value": "x"}}, {what}]}}"#);
    check("turns.json", &(turn(r#"{"from": "gpt"}, 3, {"from": 1, "value": 2}"#) + ",\n {\"id\": \"b\"}\n]"), None);
    check("cut.json", &turn("{\"fro"), None);
    check("end.json", &turn(r#"{"from": "gpt", "value": "x"}"#), None);
    check("comma.json", &(turn(r#"{"from": "gpt", "value": "x"}"#) + " {}]"), None);
    check("more.json", &(turn(r#"{"from": "gpt", "value": "x"}"#) + "] []"), None);
    check("numbers.json", "[1, 2]", None);
    check("arrivals.json", &(turn(r#"{"from": "gpt", "value": "x"}"#) + "]"), None);
    let vllm = |lists: &str| format!("{{\"backend\": \"vllm\",\n{lists}}}");
    check("brief.json", &vllm("\"num_prompts\": 3"), None);
    check("lists.json", &vllm("\"input_lens\": [1, 2], \"output_lens\": [1]"), None);
    check("kind.json", &vllm("\"input_lens\": [1, \"2\"]"), None);
    check("starts.json", &vllm("\"input_lens\": [1], \"output_lens\": [1], \"start_times\": [-1.5]"), None);
    check("twice.json", &(vllm("\"num_prompts\": 3") + "\n{}"), None);
    check("unstarted.json", &vllm("\"input_lens\": [1], \"output_lens\": [1]"), None);
    check("other.json", "{\"a\": 1}", None);
    check("w.jsonl", "{\"input_toks\": 5, \"output_toks\": 0, \"arrival_time_ns\": 0}\n", None);
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let zipped = faults(folder.path(), "t.csv.gz", &[0x1f, 0x8b, 8, 0], None);
    assert_eq!(zipped, "error: t.csv.gz: is compressed\n  hint: unpack it first, with gunzip or unzstd");
    for format in Format::ALL {
        // Whatever it is taken for, it is a fault and no panic.
        let said = faults(folder.path(), "bytes", &[0xff, 0xfe, b'{', 0, b'\n', 0xc3, b',', b'['], Some(format));
        assert!(said.starts_with("error: bytes"), "{format}: {said}");
    }
    let missing = Trace::open(Path::new("nowhere.csv"), &ReadOptions::default()).unwrap_err();
    assert_eq!(missing.to_string(), "error: nowhere.csv: no such file");
    let dir = Trace::open(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(dir.to_string().contains("is a folder"), "{dir}");
}
