//! The reference's own workloads, whole.

use std::path::Path;

use engine::Entry;
use workload::{ReadOptions, read_file};

#[test]
fn every_reference_workload_is_read() {
    let Some(dir) = testkit::reference_dir() else { return };
    let check = |name: &str, requests: usize, expected_tokens: (u64, u64), token_ids: bool| {
        let read = |token_ids, limit| {
            let options = ReadOptions { limit, token_ids, kept_bytes_max: usize::MAX };
            read_file(&dir.join("workloads").join(name), &options, &mut |_| ())
                .unwrap_or_else(|faults| panic!("{faults}"))
        };
        let mut workload = read(true, None);
        assert_eq!(workload.num_requests, requests as u64, "{name}");
        assert!(workload.notes.is_empty(), "{name}: {:?}", workload.notes);
        let entries = workload.keep().expect("they are in memory");
        assert_eq!(entries.len(), requests, "{name}");
        assert!(entries.is_sorted_by_key(|entry| entry.arrival), "{name}");
        let calls = || entries.iter().flat_map(Entry::calls);
        let tokens = (calls().map(|call| call.input_tokens).sum::<u64>(), calls().map(|call| call.output_tokens).sum());
        assert_eq!(tokens, expected_tokens, "{name}");
        assert!(calls().all(|call| call.input_ids.len() as u64 == if token_ids { call.input_tokens } else { 0 }));
        let bare = read(false, None);
        assert!(bare.into_entries().all(|entry| entry.calls().all(|call| call.input_ids.is_empty())), "{name}");
        assert_eq!(read(true, Some(7)).num_requests, 7, "{name}");
        println!("{name}: {requests} requests, {} + {} tokens", tokens.0, tokens.1);
        name.to_owned()
    };
    // Tokens of prompts and answers, as a general JSON reader adds them up.
    let mut checked = vec![
        check("example_trace.jsonl", 10, (120, 591), true),
        check("sharegpt-llama-3.1-8b-300-sps10.jsonl", 300, (257_239, 195_753), true),
        check("sharegpt-qwen3-30b-a3b-300-sps10.jsonl", 300, (258_691, 199_486), true),
        check("workload_me2_01_mixed.jsonl", 608, (5_604_402, 1_837_003), false),
    ];
    checked.sort_unstable();
    assert_eq!(checked, files(&dir.join("workloads")), "each file is checked");
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the folder of workloads");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("a folder entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
