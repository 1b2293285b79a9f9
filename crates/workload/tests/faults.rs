//! Every way a workload can be wrong, with the whole text a user gets to see.

use std::fmt::Write;
use std::path::Path;

use workload::{ReadOptions, read_file, read_str};

const ALL: ReadOptions = ReadOptions { limit: None, token_ids: true, kept_bytes_max: usize::MAX };

/// One faulty line each.
const LINES: &[&str] = &[
    // Not JSON, or cut off.
    r#"{"input_toks": 8, "output_toks": 4, "arrival"#,
    r#"{"input_toks": 8, "output_toks": 4,"#,
    r#"{"input_toks": 8, "output_toks":"#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "input_tok_ids": [5, 6"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 0} {"input_toks": 8}"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 0},"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 0,}"#,
    r#"{'input_toks': 8, 'output_toks': 4, 'arrival_time_ns': 0}"#,
    r#"{"input_toks" 8}"#,
    r#"["#,
    r#"8, 4, 0"#,
    r#"// a comment"#,
    r#"{"session_id": "\x", "arrival_time_ns": 0}"#,
    "{\"session_id\": \"a\tb\", \"arrival_time_ns\": 0}",
    // Numbers.
    r#"{"input_toks": 0, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": -4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 4.5, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 1e-1, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 4294967296, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 1e300, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 4611686018427387905}"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 99999999999999999999}"#,
    r#"{"input_toks": 08, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8., "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8e, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": NaN, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": +8, "output_toks": 4, "arrival_time_ns": 0}"#,
    // Types.
    r#"{"input_toks": "8", "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": [8], "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": {}, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": null, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "input_tok_ids": [5, "6"]}"#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "input_tok_ids": [5, -6]}"#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "input_tok_ids": [5 6]}"#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "output_tok_ids": [[[[[["#,
    r#"{"input_toks": 2, "output_toks": 4, "arrival_time_ns": 0, "output_tok_ids": 5}"#,
    // Keys.
    r#"{}"#,
    r#"{"input_toks": 8, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 4}"#,
    r#"{"input_tokens": 8, "output_toks": 4, "arrival_time_ns": 0}"#,
    r#"{"input_toks": 8, "output_toks": 4, "arrival_time_ns": 0, "priority": 3}"#,
    r#"{"input_toks": 8, "output_toks": 4, "input_toks": 8, "arrival_time_ns": 0}"#,
    // Sessions.
    r#"{"session_id": "a", "arrival_time_ns": 0, "sub_requests": {}}"#,
    r#"{"session_id": "a", "arrival_time_ns": 0, "sub_requests": [[]]}"#,
    r#"{"session_id": "a", "arrival_time_ns": 0}"#,
    r#"{"session_id": true, "arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1}]}"#,
    r#"{"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1}, {"input_toks": 1}]}"#,
    r#"{"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1, "tool_duration": 5}]}"#,
    r#"{"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1, "arrival_time_ns": 5}]}"#,
    r#"{"input_toks": 1, "arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1}]}"#,
    r#"{"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1, "tool_duration_ns": 1e12}, {"input_toks": 1, "output_toks": 1, "tool_duration_ns": 4611686018427387904}]}"#,
    r#"{"input_toks": "naïve", "output_toks": 4, "é": 0}"#,
    r#"{"é": 0}"#,
];

#[test]
fn every_faulty_line_says_where_and_why() {
    let mut shown = String::new();
    for line in LINES {
        let faults = read_str("w.jsonl", line, &ALL, &mut |_| ()).expect_err(line);
        writeln!(shown, "{line}\n{faults}\n").expect("a string takes all that is written");
        // A list that is not kept is only looked over: a missing comma goes unseen, all else does not.
        match read_str("w.jsonl", line, &ReadOptions { token_ids: false, ..ALL }, &mut |_| ()) {
            Ok(_) => assert!(line.contains("[5 6]"), "{line} is accepted without its token ids"),
            Err(without_ids) => assert_eq!(without_ids, faults),
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn all_faulty_lines_are_listed_up_to_twenty() {
    let mut text = r#"{"input_toks": 1, "output_toks": 1, "arrival_time_ns": 0}"#.to_owned();
    text += "\n\n";
    text += &"{}\n".repeat(25);
    let faults = read_str("w.jsonl", &text, &ALL, &mut |_| ()).expect_err("25 faulty lines");
    assert_eq!(faults.iter().count(), 21);
    let lines: Vec<_> = faults.iter().filter_map(|fault| Some(fault.position?.line)).collect();
    assert_eq!(lines, (3..23).collect::<Vec<_>>());
    assert_eq!(faults.iter().last().map(ToString::to_string).as_deref(), Some("w.jsonl: 5 more faulty lines"));
}

#[test]
fn faults_of_whole_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |name: &str, bytes: Option<&[u8]>, expected: &str| {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).expect("a file in the temporary folder");
        }
        let faults = read_file(&path, &ALL, &mut |_| ()).expect_err(name).to_string();
        let folder = Path::new(folder.path()).display().to_string();
        assert_eq!(faults.replace(&folder, "DIR"), expected);
    };
    let no_requests = "no requests\n  hint: each line is one JSON object with `input_toks`, `output_toks` and \
                       `arrival_time_ns`";
    check("missing.jsonl", None, "error: DIR/missing.jsonl: no such file");
    check("", None, "error: DIR/: is a folder, not a workload file\n  hint: name one .jsonl file in it");
    check("empty.jsonl", Some(b""), &format!("error: DIR/empty.jsonl: {no_requests}"));
    check("blank.jsonl", Some(b"\n  \r\n"), &format!("error: DIR/blank.jsonl: {no_requests}"));
    check("latin1.jsonl", Some(b"{\"session_id\": \"\xe9\"}"), "error: DIR/latin1.jsonl:1:17: not UTF-8 text");
}
