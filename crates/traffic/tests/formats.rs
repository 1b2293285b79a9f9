//! Traces in every format, with totals that were added up by hand.

use std::path::{Path, PathBuf};

use traffic::{Conversations, Conversion, Converter, Format, Item, ReadOptions, StatsBuilder, Trace, Writer};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn open(name: &str, options: &ReadOptions) -> Trace {
    Trace::open(&sample(name), options).unwrap_or_else(|faults| panic!("{faults}"))
}

/// What a sample is converted to, and what is odd about it.
fn converted(name: &str, options: &ReadOptions, conversion: Conversion) -> (Vec<Item>, Vec<String>) {
    let mut converter = Converter::new(open(name, options), conversion).expect("no file of arrivals");
    let items: Vec<Item> = converter.by_ref().collect();
    let (num, notes) = converter.finish().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(num, items.len() as u64);
    let short = |note: String| note.rsplit_once(&format!("{name}: ")).expect("a note names its file").1.to_owned();
    (items, notes.into_iter().map(short).collect())
}

/// Arrival in nanoseconds, prompt and answer of each request.
type Row = (u64, u64, u64);

fn rows(items: &[Item]) -> Vec<Row> {
    let row = |item: &Item| (item.arrival_ns.unwrap(), item.calls[0].input_tokens, item.calls[0].output_tokens);
    items.iter().map(row).collect()
}

#[track_caller]
fn check(name: &str, format: Format, expected: &[Row], expected_notes: &[&str]) {
    assert_eq!(open(name, &ReadOptions::default()).format(), format, "{name} shows what it is");
    let (items, notes) = converted(name, &ReadOptions::default(), Conversion::default());
    assert_eq!(rows(&items), expected, "{name}");
    assert_eq!(notes, expected_notes, "{name}");
}

#[test]
fn azure() {
    let of_2023 = [(0, 374, 44), (4_314_579_000, 396, 109), (4_541_877_000, 879, 55), (4_710_427_000, 91, 16)];
    check("azure-2023.csv", Format::Azure, &of_2023, &[]);
    // Over midnight.
    let of_2024 = [(0, 2162, 5), (1_007_405_000, 2399, 6), (1_007_405_000, 76, 15), (1_990_070_000, 2376, 7)];
    check("azure-2024.csv", Format::Azure, &of_2024, &[]);
    check("azure-2025.csv", Format::Azure, &[(0, 900, 120), (500_000_000, 300, 80)], &["`NumImages` not read"]);
}

#[test]
fn burstgpt() {
    let first = [(0, 472, 18), (40_000_000_000, 1087, 230), (113_000_000_000, 417, 276), (180_000_000_000, 14, 9)];
    let failed =
        |line| format!("1 request without input or output tokens, which failed, left out; the first is in line {line}");
    check("burstgpt-1.csv", Format::BurstGpt, &first, &[&failed(5)]);
    let third = [(0, 906, 446), (51_000_000_000, 36, 29), (82_000_000_000, 1779, 123)];
    check("burstgpt-3.csv", Format::BurstGpt, &third, &[&failed(4), "`Session ID`, `Elapsed time` not read"]);
}

#[test]
fn splitwise_and_vidur() {
    // A batch of two is two requests.
    let rows =
        [(1_000_000_000, 4096, 32), (3_250_000_000, 2048, 8), (3_250_000_000, 2048, 8), (4_000_000_000, 1024, 16)];
    check("splitwise.csv", Format::Splitwise, &rows, &[]);
    check("vidur.csv", Format::Vidur, &[(0, 500, 20), (125_000_000, 700, 30)], &[]);
}

#[test]
fn mooncake() {
    let rows = [(0, 1100, 5), (40_000_000, 700, 6), (27_482_000_000, 1025, 2)];
    let failed = "1 request without input or output tokens left out; the first is in line 4";
    check("mooncake.jsonl", Format::Mooncake, &rows, &[failed]);
    let (items, _) = converted("mooncake.jsonl", &ReadOptions::default(), Conversion::default());
    let ids: Vec<&[u32]> = items.iter().map(|item| item.calls[0].input_ids.as_slice()).collect();
    assert_eq!(ids.iter().map(|ids| ids.len()).collect::<Vec<_>>(), [1100, 700, 1025]);
    assert_eq!(ids[0][..512], ids[1][..512], "block 0");
    assert_ne!(ids[0][512..600], ids[1][512..600], "blocks 1 and 3");
    assert_eq!(ids[0][..1024], ids[2][..1024], "blocks 0 and 1");
    assert_ne!(ids[0][1024], ids[2][1024], "blocks 2 and 4");

    // The second request finds 512 tokens, and the third 1,024, in blocks of 16 as in blocks of 512.
    for block_size in [16, 512] {
        let trace = open("mooncake.jsonl", &ReadOptions::default());
        let prefixes = StatsBuilder::new(block_size).read(trace, None).unwrap().prefixes.unwrap();
        assert_eq!((prefixes.lookup_tokens, prefixes.hit_tokens), (2825, 1536));
    }
    let without = ReadOptions { token_ids: false, ..ReadOptions::default() };
    let (items, _) = converted("mooncake.jsonl", &without, Conversion::default());
    assert!(items.iter().all(|item| item.calls[0].input_ids.is_empty()));
}

#[test]
fn vllm() {
    // In order of their starts; the third had started before the second.
    let rows = [(0, 100, 3), (1_250_000_000, 50, 8), (1_500_000_000, 200, 2)];
    check("vllm.json", Format::Vllm, &rows, &["1 request without input or output tokens, which failed, left out"]);
}

fn every_second() -> Conversion {
    Conversion { arrivals: Some("constant:1/s".parse().unwrap()), ..Conversion::default() }
}

const ESTIMATES: &str = "lengths are estimates: a token is 4 characters of text (--chars-per-token)";

#[test]
fn sharegpt() {
    // "You help." has 9 characters, so 3 tokens, and the question of 20 has 5; "Four." has 2. The second conversation is
    // left empty, and nobody answers in the fourth. "Hi" is one token, and "Hello! ☃☃" with 9 characters has 3.
    let (items, notes) = converted("sharegpt.json", &ReadOptions::default(), every_second());
    assert_eq!(rows(&items), [(0, 8, 2), (1_000_000_000, 1, 3)]);
    assert_eq!(notes, [ESTIMATES, "2 conversations without a question and an answer left out"]);
    let by_two = ReadOptions { chars_per_token: 2.0, ..ReadOptions::default() };
    let (items, _) = converted("sharegpt.json", &by_two, every_second());
    assert_eq!(rows(&items), [(0, 15, 3), (1_000_000_000, 1, 5)]);

    let sessions = ReadOptions { conversations: Conversations::Sessions, ..ReadOptions::default() };
    let conversion = Conversion { tool_time: Some("3s".parse().unwrap()), ..every_second() };
    let (items, _) = converted("sharegpt.json", &sessions, conversion);
    // "And é?" has 2 tokens, so the second prompt has 8 + 2 + 2; "A letter." has 3.
    let lengths = |item: &Item| -> Vec<(u64, u64, u64)> {
        item.calls.iter().map(|call| (call.input_tokens, call.output_tokens, call.tool_time.ns())).collect()
    };
    assert_eq!(lengths(&items[0]), [(8, 2, 3_000_000_000), (12, 3, 0)]);
    assert_eq!(lengths(&items[1]), [(1, 3, 0)]);
    let [first, second] = &items[0].calls[..] else { panic!("two answers") };
    assert!(second.input_ids.starts_with(&[first.input_ids.as_slice(), &first.output_ids].concat()));
    assert_eq!((second.input_ids.len(), items[1].session_id.as_deref()), (12, Some("s2")));
}

#[test]
fn conversations_may_stand_in_lines_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.jsonl");
    let line = r#"{"conversations": [{"role": "user", "content": "12345678"}, {"role": "assistant", "content": "1"}]}"#;
    std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
    let trace = Trace::open(&path, &ReadOptions::default()).unwrap();
    assert_eq!(trace.format(), Format::ShareGpt);
    let stats = StatsBuilder::new(16).read(trace, None).unwrap();
    assert_eq!((stats.num_requests, stats.input_tokens.sum(), stats.output_tokens.sum()), (2, 4, 2));
}

#[test]
fn parts_of_a_trace_on_another_clock() {
    let convert = |conversion| rows(&converted("azure-2023.csv", &ReadOptions::default(), conversion).0);
    let part = Conversion { start_s: 4.0, end_s: Some(4.6), ..Conversion::default() };
    assert_eq!(convert(part), [(314_579_000, 396, 109), (541_877_000, 879, 55)]);
    let fast = Conversion { time_scale: 0.5, limit: Some(2), ..Conversion::default() };
    assert_eq!(convert(fast), [(0, 374, 44), (2_157_289_500, 396, 109)]);
    let other = Conversion { limit: Some(2), time_scale: 2.0, ..every_second() };
    assert_eq!(convert(other), [(0, 374, 44), (2_000_000_000, 396, 109)]);
    // The clock of Splitwise's traces begins before their first request.
    let (items, _) =
        converted("splitwise.csv", &ReadOptions::default(), Conversion { start_s: 1.5, ..Conversion::default() });
    assert_eq!(rows(&items)[0], (1_750_000_000, 2048, 8));
}

/// What is written is read as what it was.
#[test]
fn workloads_of_traces_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = ReadOptions { conversations: Conversations::Sessions, ..ReadOptions::default() };
    for (name, options, conversion) in [
        ("azure-2024.csv", ReadOptions::default(), Conversion::default()),
        ("mooncake.jsonl", ReadOptions::default(), Conversion::default()),
        ("sharegpt.json", sessions, Conversion { tool_time: Some("3s".parse().unwrap()), ..every_second() }),
    ] {
        let (items, _) = converted(name, &options, conversion);
        let mut writer = Writer::new(Vec::new());
        items.iter().for_each(|item| writer.write(item).unwrap());
        let path = folder.path().join("w.jsonl");
        std::fs::write(&path, writer.into_inner()).unwrap();
        let mut trace = Trace::open(&path, &ReadOptions::default()).unwrap();
        assert_eq!(trace.format(), Format::Workload);
        let again: Vec<Item> = trace.by_ref().collect();
        assert_eq!(trace.finish(), Ok(Vec::new()));
        let essence = |items: &[Item]| -> Vec<_> { items.iter().map(|i| (i.arrival_ns, i.calls.clone())).collect() };
        assert_eq!(essence(&again), essence(&items), "{name}");
    }
}
