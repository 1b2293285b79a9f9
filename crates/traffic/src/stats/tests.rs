use std::fs;

use units::Duration;

use super::*;
use crate::formats::ReadOptions;

fn call(input_tokens: u64, output_tokens: u64) -> Call {
    Call { input_tokens, output_tokens, ..Call::default() }
}

fn stats(items: &[Item], block_size: u32) -> Stats {
    let mut builder = StatsBuilder::new(block_size);
    items.iter().for_each(|item| builder.add(item));
    builder.finish("w".to_owned(), Format::Workload, Vec::new())
}

/// Worked by hand: the squares of the distances from the mean add up to 7,252; percentiles as NumPy defines them.
#[test]
fn lengths() {
    let mut counts = Counts::default();
    [5, 1, 9, 5, 100].into_iter().for_each(|value| counts.add(value));
    assert_eq!((counts.num(), counts.sum(), counts.mean()), (5, 120, 24.0));
    assert!((counts.deviation() - 38.08412).abs() < 1e-5, "{}", counts.deviation());
    let sorted = counts.sorted();
    let percentiles = [0.0, 10.0, 25.0, 50.0, 90.0, 99.0, 100.0].map(|percent| sorted.percentile(percent));
    let expected = [1.0, 2.6, 5.0, 5.0, 63.6, 96.36, 100.0];
    assert!(percentiles.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{percentiles:?}");
    assert_eq!([sorted.count_between(1, 6), sorted.count_between(6, 100), sorted.count_between(2, 5)], [3, 1, 0]);
}

#[test]
fn arrivals() {
    let at = |seconds: f64| Item::plain(Some((seconds * 1e9) as u64), call(1, 1));
    let found = |times: &[f64]| stats(&times.iter().map(|&time| at(time)).collect::<Vec<_>>(), 16).arrivals.unwrap();
    // Gaps of 1, 2 and 3 seconds: mean 2, variance 2/3.
    let gaps = found(&[10.0, 11.0, 13.0, 16.0]);
    assert_eq!((gaps.first_s, gaps.duration_s, gaps.per_s), (10.0, 6.0, Some(0.5)));
    assert!((gaps.gap_cv.unwrap() - (2.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
    let (stretch_s, stretches) = gaps.binned.stretches(6);
    assert!((stretch_s - 1.0).abs() < 1e-6);
    // Bins are small beside a stretch, but the arrival at a boundary can be counted on either side.
    assert!((stretches.iter().sum::<f64>() - 4.0).abs() < 1e-9, "{stretches:?}");
    assert_eq!(found(&[10.0, 12.0, 11.0, 13.0]).gap_cv, None, "they are not in order");
    assert_eq!(found(&[10.0, 12.0, 11.0, 13.0]).duration_s, 3.0);
    let at_once = found(&[3.0, 3.0, 3.0]);
    assert_eq!((at_once.per_s, at_once.gap_cv, at_once.duration_s), (None, None, 0.0));
    assert!(stats(&[Item::plain(None, call(1, 1))], 16).arrivals.is_none());
}

#[test]
fn bins_become_wider_and_lose_nothing() {
    let mut binned = Binned::default();
    for second in 0..100_000_u64 {
        binned.add(second * 1_000_000_000);
    }
    let (width_s, counts) = binned.merged(100);
    assert!(counts.len() <= 100, "{}", counts.len());
    assert_eq!(counts.iter().sum::<u64>(), 100_000);
    let (_, others) = counts.split_last().unwrap();
    // Seconds in a bin, one more or less at its ends.
    assert!(others.iter().all(|&count| (count as f64 - width_s).abs() <= 1.0), "{width_s} {counts:?}");
    let (_, stretches) = binned.stretches(10);
    assert!(stretches.iter().all(|count| (count - 10_000.0).abs() < 60.0), "{stretches:?}");
}

/// Worked by hand, in blocks of 4 tokens.
#[test]
fn shared_prefixes() {
    let prompt = |input: &[u32], output: &[u32]| {
        let call = Call { input_ids: input.to_vec(), output_ids: output.to_vec(), ..call(input.len() as u64, 2) };
        Item::plain(Some(0), call)
    };
    let a = [1, 2, 3, 4, 5, 6, 7, 8];
    let items = [
        // Nothing is there. Of the answer, 10 is computed and 11 is not: two blocks, and the third lacks a token.
        prompt(&a, &[9, 10, 11, 12]),
        // 4: the last token is always computed, so the second block is not found though it is there.
        prompt(&a, &[]),
        // 8.
        prompt(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], &[]),
        // Nothing: what comes before a block is part of it.
        prompt(&[0, 2, 3, 4, 5, 6, 7, 8, 9], &[]),
        // 12, as the third request had the third block.
        prompt(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14], &[]),
        Item::plain(Some(0), call(1000, 1)),
    ];
    let found = stats(&items, 4);
    let prefixes = found.prefixes.unwrap();
    let lookup_tokens = 8 + 8 + 13 + 9 + 13;
    assert_eq!((prefixes.lookup_tokens, prefixes.hit_tokens), (lookup_tokens, 4 + 8 + 12));
    // Three of the first chain, two of the fourth request.
    assert_eq!((prefixes.num_requests, prefixes.num_blocks), (5, 5));
    assert!(stats(&items[5..], 4).prefixes.is_none());
}

#[test]
fn sessions_and_their_tools() {
    let with_tool = |seconds: u64| Call { tool_time: Duration::from_ns(seconds * 1_000_000_000), ..call(10, 2) };
    let session = Item {
        arrival_ns: Some(0),
        session_id: Some("s".to_owned()),
        calls: vec![with_tool(1), with_tool(3), with_tool(99)],
    };
    let found = stats(&[session, Item::plain(Some(5), call(7, 7))], 16);
    assert_eq!((found.num_requests, found.num_arrivals), (4, 2));
    let sessions = found.sessions.unwrap();
    assert_eq!((sessions.calls.num(), sessions.calls.sum()), (1, 3));
    // What follows the last call comes before no other.
    assert_eq!(sessions.tool_time_ns.len(), 2);
    assert!((sessions.tool_time_ns.mean() / 1e9 - 2.0).abs() < 0.002);
}

#[test]
fn as_json() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.jsonl");
    fs::write(&path, "{\"input_toks\": 3, \"output_toks\": 4, \"arrival_time_ns\": 5000000000}\n".repeat(2)).unwrap();
    let trace = Trace::open(&path, &ReadOptions::default()).unwrap();
    let stats = StatsBuilder::new(16).read(trace, None).unwrap();
    let json: serde_json::Value = serde_json::from_str(&stats_json(&[stats])).unwrap();
    let workload = &json["workloads"][0];
    assert_eq!(workload["requests"], 2);
    assert_eq!(workload["input_tokens"]["total"], 6);
    assert_eq!(workload["output_tokens"]["p99"], 4.0);
    assert_eq!(workload["first_arrival_s"], 5.0);
    assert_eq!(workload["duration_s"], 0.0);
    assert!(workload["arrivals_per_s"].is_null() && workload["prefixes"].is_null() && workload["sessions"].is_null());
    assert_eq!(workload["arrivals_over_time"]["arrivals"], serde_json::json!([2]));
}
