//! What faultless lines say, and that no bytes whatever upset the reader.

use std::io::Write;

use engine::{Call, Entry};
use proptest::prelude::*;
use units::{Duration, Instant, RequestId};
use workload::{ReadOptions, Workload, read_file, read_str};

const ALL: ReadOptions = ReadOptions { limit: None, token_ids: true, kept_bytes_max: usize::MAX };

fn read(text: &str, options: &ReadOptions) -> Workload {
    read_str("w.jsonl", text, options, &mut |_| ()).unwrap_or_else(|faults| panic!("{text}: {faults}"))
}

fn entries(text: &str, options: &ReadOptions) -> Vec<Entry> {
    read(text, options).into_entries().collect()
}

fn call(input_tokens: u64, output_tokens: u64, tool_time_ns: u64) -> Call {
    Call { input_tokens, output_tokens, tool_time: Duration::from_ns(tool_time_ns), ..Call::default() }
}

fn entry(arrival_ns: u64, first_id: u64, calls: Vec<Call>) -> Entry {
    Entry::session(Instant::from_ns(arrival_ns), RequestId(first_id), calls).expect("at least one call")
}

#[test]
fn whole_numbers_in_all_their_forms() {
    let check = |text: &str, expected: u64| {
        let line = format!(r#"{{"input_toks": 1, "output_toks": 1, "arrival_time_ns": {text}}}"#);
        assert_eq!(entries(&line, &ALL)[0].arrival.ns(), expected, "{text}");
    };
    check("0", 0);
    check("-0", 0);
    check("-0.0e5", 0);
    check("7", 7);
    check("46926808", 46_926_808);
    check("12.0", 12);
    check("1e6", 1_000_000);
    check("1E+6", 1_000_000);
    check("1.25e2", 125);
    check("125000e-3", 125);
    check("0.5e1", 5);
    check("0e999999999999", 0);
    check("1600000000000000001", 1_600_000_000_000_000_001);
    check("1.600000000000000001e18", 1_600_000_000_000_000_001);
    check("4611686018427387904", 1 << 62);
}

#[test]
fn requests_and_sessions_in_one_file() {
    let calls = r#"{"input_toks": 5, "output_toks": 6, "tool_duration_ns": 70}, {"input_toks": 8, "output_toks": 9}"#;
    let text = [
        &format!(r#"{{"session_id": "a", "arrival_time_ns": 30, "sub_requests": [{calls}]}}"#),
        "",
        "{\"arrival_time_ns\":20,\"output_toks\":2,\"input_toks\":1}\r",
        r#"{"input_toks": 3, "output_toks": 4, "arrival_time_ns": 30}"#,
        "\t{ \"input_toks\" : 1 , \"output_toks\" : 1 , \"arrival_time_ns\" : 0 , \"input_tok_ids\" : [ ] }  ",
    ]
    .join("\n");
    let workload = read(&text, &ALL);
    assert_eq!(workload.num_requests, 5);
    assert!(workload.notes.is_empty());
    assert_eq!(
        workload.into_entries().collect::<Vec<_>>(),
        [
            entry(0, 4, vec![call(1, 1, 0)]),
            entry(20, 2, vec![call(1, 2, 0)]),
            entry(30, 0, vec![call(5, 6, 70), call(8, 9, 0)]),
            entry(30, 3, vec![call(3, 4, 0)]),
        ],
        "ids are in order of the file, entries in order of arrival"
    );
}

#[test]
fn the_limit_counts_lines_and_hides_what_follows() {
    let text = r#"{"arrival_time_ns": 9, "sub_requests": [{"input_toks": 1, "output_toks": 1}, {"input_toks": 1, "output_toks": 1}]}

{"input_toks": 1, "output_toks": 1, "arrival_time_ns": 5}
this is no JSON"#;
    let limited = |limit| read(text, &ReadOptions { limit: Some(limit), ..ALL });
    assert_eq!(limited(1).num_requests, 2);
    assert_eq!(limited(2).num_requests, 3);
    assert!(read_str("w.jsonl", text, &ReadOptions { limit: Some(3), ..ALL }, &mut |_| ()).is_err());
}

#[test]
fn token_ids_are_kept_when_asked_for() {
    let text = r#"{"input_toks": 3, "output_toks": 1, "arrival_time_ns": 0, "input_tok_ids": [1, 20,4294967295], "output_tok_ids": [0]}"#;
    let kept = entries(text, &ALL)[0].first.clone();
    assert_eq!((kept.input_ids, kept.output_ids), (vec![1, 20, u32::MAX], vec![0]));
    let skipped = entries(text, &ReadOptions { token_ids: false, ..ALL })[0].first.clone();
    assert_eq!(skipped, call(3, 1, 0));
}

#[test]
fn a_byte_order_mark_and_empty_sessions_are_passed_over() {
    let text = "\u{feff}{\"arrival_time_ns\": 0, \"sub_requests\": []}\n{\"input_toks\": 1, \"output_toks\": 2, \"arrival_time_ns\": 3}";
    let workload = read(text, &ALL);
    assert_eq!(workload.notes, ["w.jsonl: 1 session without calls is left out"]);
    assert_eq!(workload.into_entries().collect::<Vec<_>>(), [entry(3, 0, vec![call(1, 2, 0)])]);
    // It counts as a line.
    assert!(read_str("w.jsonl", text, &ReadOptions { limit: Some(1), ..ALL }, &mut |_| ()).is_err());
}

#[test]
fn differing_numbers_of_token_ids_are_noted() {
    let text = r#"{"input_toks": 1, "output_toks": 1, "arrival_time_ns": 0, "input_tok_ids": [1]}
{"input_toks": 128, "output_toks": 512, "arrival_time_ns": 0, "input_tok_ids": [1, 2, 3]}"#;
    insta::assert_snapshot!(read(text, &ALL).notes.join("\n"), @"w.jsonl: 1 of 2 requests, the first in line 2, list more or fewer token ids than they have tokens; prefixes are found by the ids, everything else goes by the tokens");
}

const VALID: [&str; 3] = [
    r#"{"input_toks": 3, "output_toks": 2, "arrival_time_ns": 46926808, "input_tok_ids": [128000, 7, 15], "output_tok_ids": [9, 10]}"#,
    r#"{"session_id": "täsk-\u00e9\n", "arrival_time_ns": 12.50e1, "sub_requests": [{"input_toks": 5, "output_toks": 6, "tool_duration_ns": 70}, {"input_toks": 8, "output_toks": 9, "input_tok_ids": []}]}"#,
    r#"{"input_toks":10,"output_toks":70,"arrival_time_ns":0}"#,
];

fn check_not_utf8(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    prop_assert!(read_file(file.path(), &ALL, &mut |_| ()).is_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    /// Bytes put in, taken out, or exchanged: the reader never panics, and takes nothing that is not JSON.
    #[test]
    fn mutated_lines(
        line in 0..VALID.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop_oneof![
            prop::sample::select(br#"{}[]",:-+.eE0123456789 \un"#.to_vec()), any::<u8>()
        ]), 1..5),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = VALID[line].as_bytes().to_vec();
        for (at, edit, byte) in edits {
            let at = at.index(bytes.len());
            match edit {
                0 => bytes.insert(at, byte),
                1 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
        }
        bytes.truncate(end.map_or(bytes.len(), |end| end.index(bytes.len())));
        let Ok(text) = std::str::from_utf8(&bytes) else { return check_not_utf8(&bytes) };
        let kept = read_str("w.jsonl", text, &ALL, &mut |_| ());
        let skipped = read_str("w.jsonl", text, &ReadOptions { token_ids: false, ..ALL }, &mut |_| ());
        if let Ok(workload) = kept {
            prop_assert!(skipped.is_ok());
            let lines = text.split('\n').filter(|line| !line.trim_ascii().is_empty());
            let json: Vec<_> = lines.map(serde_json::from_str::<serde::de::IgnoredAny>).collect();
            prop_assert_eq!(json.len(), workload.into_entries().count());
            prop_assert!(json.iter().all(Result::is_ok), "{:?}", json);
        }
    }

    /// What a general JSON writer writes is read back as it was.
    #[test]
    fn written_lines_are_read_back(
        arrival_ns in 0..=1_u64 << 62,
        calls in prop::collection::vec((1..=u64::from(u32::MAX), 1..100_u64, 0..1_u64 << 50, prop::collection::vec(any::<u32>(), 0..40)), 1..5),
        pretty_spaces in any::<bool>(),
    ) {
        let call_json: Vec<_> = calls.iter().map(|(input, output, tool_ns, ids)| serde_json::json!({
            "input_toks": input, "output_toks": output, "tool_duration_ns": tool_ns, "output_tok_ids": ids,
        })).collect();
        let json = serde_json::json!({"session_id": "a", "arrival_time_ns": arrival_ns, "sub_requests": call_json});
        let text = if pretty_spaces {
            serde_json::to_string_pretty(&json).expect("plain values").replace('\n', " ")
        } else {
            json.to_string()
        };
        let expected = calls.into_iter().map(|(input, output, tool_ns, output_ids)| Call { output_ids, ..call(input, output, tool_ns) });
        prop_assert_eq!(entries(&text, &ALL), [entry(arrival_ns, 0, expected.collect())]);
    }
}
