//! What benchmark clients write. All files of `samples/` tell of the same run, in the shape in which one version of one
//! client would have told it, so all must come to the same numbers, worked out by hand:
//!
//! | request | sent | TTFT | gaps | output | latency |
//! |---|---|---|---|---|---|
//! | 0 | 0 | 50 ms | 10, 20, 10 ms | 4 | 90 ms |
//! | 1 | 0.5 s | 100 ms | 20 ms | 2 | 120 ms |
//! | 2 | | | failed | | |
//! | 3 | 1 s | 30 ms | | 1 | 30 ms |

use std::path::{Path, PathBuf};

use compare::{Comparison, Figure, FirstToken, Metric, Options, Rate, Run, Start, compare, read};

/// Figures of a metric, in the order of [`Figure::ALL`].
const EXPECTED: [(Metric, [f64; 5]); 4] = [
    (Metric::Ttft, [60.0, 50.0, 90.0, 95.0, 99.0]),
    (Metric::Tpot, [50.0 / 3.0, 50.0 / 3.0, 58.0 / 3.0, 59.0 / 3.0, 59.8 / 3.0]),
    (Metric::Latency, [80.0, 90.0, 114.0, 117.0, 119.4]),
    (Metric::Itl, [15.0, 15.0, 20.0, 20.0, 20.0]),
];

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn run(name: &str) -> Run {
    read(&sample(name)).unwrap_or_else(|faults| panic!("{name}: {faults}"))
}

fn compared(a: &str, b: &str) -> Comparison {
    compare(&run(a), &run(b), &Options::default()).unwrap_or_else(|faults| panic!("{a}, {b}: {faults}"))
}

fn expected(metric: Metric, figure: Figure) -> f64 {
    let (_, figures) = EXPECTED.into_iter().find(|&(other, _)| other == metric).expect("the metric is known");
    let place = Figure::ALL.into_iter().position(|other| other == figure).expect("the figure is known");
    figures[place]
}

/// Stamps that went through seconds since 1970 as an `f64` are exact to a quarter of a microsecond.
fn is_near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-3
}

/// Files with every request and when it was sent.
const WITH_REQUESTS: [&str; 5] =
    ["vllm-detailed.json", "sglang-details-start-times.jsonl", "aiperf.jsonl", "guidellm.json", "guidellm-0.3.json"];

/// Files with every request, each on a clock of its own.
const APART: [&str; 2] = ["vllm-benchmark-serving.json", "sglang-details.jsonl"];

/// Files with sums, and how many numbers of [`EXPECTED`] they tell.
const SUMS: [(&str, usize); 5] = [
    ("vllm-summary.json", 20),
    ("vllm-benchmark-serving-summary.json", 9),
    ("sglang.jsonl", 13),
    ("aiperf-summary.json", 20),
    ("genai-perf-summary.json", 15),
];

#[test]
fn requests_come_to_the_same() {
    for name in WITH_REQUESTS.into_iter().chain(APART) {
        let run = run(name);
        let one_clock = WITH_REQUESTS.contains(&name);
        assert_eq!((run.requests.len(), run.at_client, run.one_clock), (3, true, one_clock), "{name}");
        // GuideLLM counts one more that was never finished.
        assert_eq!(run.num_failed, if name.starts_with("guidellm") { 2 } else { 1 }, "{name}");
        assert_eq!(run.requests.iter().map(|request| request.output_tokens).sum::<u64>(), 7, "{name}");
        assert_eq!(run.requests.iter().filter_map(|request| request.input_tokens).sum::<u64>(), 700, "{name}");
        let comparison = compare(&run, &run, &Options::default()).expect("it can be compared with itself");
        assert_eq!((comparison.a.from, comparison.a.to), (Start::Arrival, FirstToken::Delivered), "{name}");
        for (metric, _) in EXPECTED {
            // GuideLLM keeps no gaps.
            let Some(found) = comparison.metric(metric) else {
                assert!(metric == Metric::Itl && name.starts_with("guidellm"), "{name}: {metric:?}");
                continue;
            };
            for figure in Figure::ALL {
                let (found, expected) = (found.a.get(figure), expected(metric, figure));
                assert!(is_near(found, expected), "{name}: {metric:?} {figure:?} {found} for {expected}");
            }
        }
        // 7 tokens in 1.03 s.
        assert_eq!(comparison.series.len(), usize::from(one_clock), "{name}");
        assert!(comparison.series.iter().all(|series| is_near(series.a.mean, 7.0 / 1.03)), "{name}");
    }
}

#[test]
fn arrivals_are_kept() {
    for name in WITH_REQUESTS {
        let mut offsets: Vec<f64> =
            run(name).arrival_offsets().expect("arrivals are known").iter().map(|offset| offset.secs_f64()).collect();
        offsets.sort_by(f64::total_cmp);
        assert!(offsets.iter().zip([0.0, 0.5, 1.0]).all(|(&found, at)| is_near(found, at)), "{name}: {offsets:?}");
    }
    for name in APART {
        assert_eq!(run(name).arrival_offsets(), None, "{name}");
    }
}

/// Requests go by their place in the file where that is the workload's order, by their number, or else by arrival.
#[test]
fn requests_are_paired() {
    let pairs = |a, b| {
        let pairs = compared(a, b).pairs.expect("they can be paired");
        let of = |id: &str| pairs.requests.iter().find(|pair| pair.id_a == id).map(|pair| pair.id_b.clone());
        (pairs.by.name(), of("0"), of("3"))
    };
    for name in ["sglang-details-start-times.jsonl", "aiperf.jsonl", "vllm-benchmark-serving.json"] {
        assert_eq!(pairs("vllm-detailed.json", name), ("id", Some("0".into()), Some("3".into())), "{name}");
    }
    let id = |letter: char| Some(format!("5ddc3a3e-0c6f-4f0e-8e8a-00000000000{letter}"));
    assert_eq!(pairs("vllm-detailed.json", "guidellm.json"), ("order", id('a'), id('d')));
}

#[test]
fn sums_are_those_of_the_requests() {
    for (name, num) in SUMS {
        let run = run(name);
        let summary = run.summary.as_ref().expect("it has sums");
        assert_eq!((summary.num_requests, summary.input_tokens), (Some(3), Some(700)), "{name}");
        assert_eq!(summary.output_tokens, Some(7), "{name}");
        assert_eq!(run.num_failed, u64::from(!name.starts_with("sglang") && !name.starts_with("genai")), "{name}");
        for told in &summary.told {
            let expected = expected(told.metric, told.figure);
            assert!(is_near(told.ms, expected), "{name}: {told:?} for {expected}");
        }
        assert_eq!(summary.told.len(), num, "{name}");
        // What is worked out from requests is what the client told.
        let comparison = compared("vllm-detailed.json", name);
        assert_eq!(comparison.figures.len(), num, "{name}");
        assert!(comparison.mean_error().is_some_and(|error| error < 1e-6), "{name}");
        assert!(comparison.metrics.is_empty() && comparison.series.is_empty() && comparison.pairs.is_none(), "{name}");
        // By the client's clock the run took 1.05 s.
        for rate in comparison.rates {
            let number = if rate.rate == Rate::RequestsPerS { 3.0 } else { 7.0 };
            assert!(is_near(rate.a, number / 1.03) && is_near(rate.b, number / 1.05), "{name}: {rate:?}");
        }
        let both = compared(name, name);
        assert_eq!((both.figures.len(), both.mean_error()), (num, Some(0.0)), "{name}");
    }
}

/// GuideLLM's percentiles are values that occurred, and its latency is in seconds.
#[test]
fn sums_of_guidellm() {
    let run = run("guidellm-sweep.json#1");
    let summary = run.summary.as_ref().expect("its requests were left out");
    assert_eq!((summary.num_requests, summary.output_tokens, run.num_failed), (Some(3), Some(7), 2));
    assert_eq!((summary.requests_per_s, summary.output_tokens_per_s), (Some(2.9), Some(6.8)));
    let figures = |metric| Figure::ALL.map(|figure| summary.get(metric, figure));
    assert_eq!(figures(Metric::Ttft), [60.0, 50.0, 100.0, 100.0, 100.0].map(Some));
    assert_eq!(figures(Metric::Latency), [80.0, 90.0, 120.0, 120.0, 120.0].map(Some));
    assert_eq!(figures(Metric::Itl), [Some(15.0), None, None, None, None]);
    assert_eq!(figures(Metric::Tpot), [None; 5]);
}

#[test]
fn one_of_several_runs() {
    assert_eq!(run("sglang-two-runs.jsonl#1").summary.and_then(|summary| summary.num_requests), Some(2));
    assert_eq!(run("sglang-two-runs.jsonl#2").requests.len(), 3);
    assert_eq!(run("vllm-appended.json#2").requests.len(), 3);
    assert_eq!(run("guidellm-sweep.json#2").requests.len(), 3);
    assert_eq!(run("guidellm.json#1").requests.len(), 3);
    for name in ["sglang-two-runs.jsonl", "vllm-appended.json", "guidellm-sweep.json"] {
        let faults = read(&sample(name)).expect_err("one must be named").to_string();
        assert!(faults.contains("holds 2 runs\n  hint: name one of them: `"), "{faults}");
        assert!(faults.ends_with(&format!("{name}#2`")), "{faults}");
        let faults = read(&sample(&format!("{name}#3"))).expect_err("there are two").to_string();
        assert!(faults.contains("holds 2 runs, and none is number 3"), "{faults}");
    }
    for name in ["aiperf.jsonl#2", "aiperf-summary.json#2"] {
        let faults = read(&sample(name)).expect_err("there is one").to_string();
        assert!(faults.contains("holds 1 run, and none is number 2"), "{faults}");
    }
}

#[test]
fn stamps_that_a_client_does_not_know() {
    let (client, sums) = (run("vllm-detailed.json"), run("vllm-summary.json"));
    for run in [&client, &sums] {
        let fault = |options: Options| compare(run, run, &options).expect_err("it is not known").to_string();
        let computed = fault(Options { to: Some(FirstToken::Computed), ..Options::default() });
        assert!(computed.contains("`--to delivered`"), "{computed}");
        let queued = fault(Options { from: Some(Start::Queued), ..Options::default() });
        assert!(queued.contains("`--from arrival`"), "{queued}");
    }
    // A simulated run that tells no deliveries is counted to what it knows, and that is told.
    let mut simulated = Run { at_client: false, ..client.clone() };
    let notes = |simulated: &Run| compare(simulated, &client, &Options::default()).expect("they go together").notes;
    assert!(!notes(&simulated).iter().any(|note| note.contains("--output-stamps")));
    simulated.requests.iter_mut().for_each(|request| request.first_delivered = None);
    assert!(notes(&simulated).iter().any(|note| note.contains("--output-stamps")));
}

/// Replaces something in a sample. In `expected`, `<…>` is the place where that text comes to stand.
#[track_caller]
fn check_fault(name: &str, from: &str, to: &str, expected: &str) {
    let text = std::fs::read_to_string(sample(name)).expect("the sample is there");
    assert!(text.contains(from), "{name} has {from}");
    let text = text.replacen(from, to, 1);
    let mut placed = String::new();
    for (index, part) in expected.split(['<', '>']).enumerate() {
        if index % 2 == 0 {
            placed += part;
            continue;
        }
        let before = &text[..text.find(part).expect("it stands there")];
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        placed += &format!("f:{}:{column}", before.matches('\n').count() + 1);
    }
    assert_eq!(compare::parse("f", &text).expect_err("it is broken").to_string(), placed, "{name}: {from}");
}

#[test]
fn faults_have_places() {
    check_fault(
        "vllm-detailed.json",
        "\"ttfts\": [0.05, 0.1",
        "\"ttfts\": [-0.05, \"0.1\"",
        "error: <-0.05> at $.ttfts[0]: expected a number from 0 to 4000000000, found -0.05\n\
         error: <\"0.1\"> at $.ttfts[1]: expected a number from 0 to 4000000000, found \"0.1\"",
    );
    check_fault(
        "vllm-detailed.json",
        "[0.02], [], []]",
        "[0.02], []]",
        "error: <[[0.01> at $.itls: `itls` has 3 elements where `ttfts` has 4",
    );
    check_fault("sglang-details.jsonl", "\"output_lens\"", "\"lens\"", "error: f:1:1 at $: missing key `output_lens`");
    check_fault(
        "vllm-detailed.json",
        "\"latencies\": [0.09",
        "\"latencies\": [0.04",
        "error: <0.05, 0.1> at $.ttfts[0]: the last token comes before the first token",
    );
    check_fault(
        "sglang.jsonl",
        "\"mean_ttft_ms\": 60.0",
        "\"mean_ttft_ms\": NaN",
        "error: <NaN> at $.mean_ttft_ms: expected a number from 0 to 4000000000000, found NaN",
    );
    check_fault(
        "aiperf.jsonl",
        "\"value\": 100.0, \"unit\": \"ms\"",
        "\"value\": 100.0, \"unit\": \"min\"",
        "error: <\"min\"> at $.metrics.time_to_first_token.unit: expected a unit of time, found \"min\"\n  \
         hint: `ns`, `us`, `ms` and `sec` are known",
    );
    check_fault(
        "aiperf-summary.json",
        "\"avg\": 80.0",
        "\"avg\": \"80\"",
        "error: <\"80\"> at $.request_latency.avg: expected a number from 0 to 4000000000000000000, found \"80\"",
    );
    check_fault(
        "guidellm-0.3.json",
        "\"first_token_time\": 1754000000.85",
        "\"first_token_time\": null",
        "error: <{\n            \"type_\": \"generative_text_response\"> at $.benchmarks[0].requests.successful[0]: missing key \
         `first_token_time`\n  hint: measure with streaming on: without it nothing is known of first tokens",
    );
    check_fault(
        "guidellm.json",
        "\"request_start\": 1754000000.75",
        "\"request_start\": \"now\"",
        "error: <\"now\"> at $.benchmarks[0].requests.successful[0].info.timings.request_start: expected a number \
         from 0 to 4000000000, found \"now\"",
    );
}

#[test]
fn what_no_run_can_be_made_of() {
    let parsed = |text: &str| compare::parse("f", text).expect_err("it is no run").to_string();
    let cut = std::fs::read_to_string(sample("guidellm-0.3.json")).expect("the sample is there");
    let cut = parsed(&cut[..5000]);
    assert!(cut.starts_with("error: f:") && cut.contains("not JSON: unterminated"), "{cut}");
    assert!(parsed(r#"{"experiments": []}"#).contains("`profile_export_genai_perf.json`"));
    assert_eq!(parsed(r#"{"benchmarks": []}"#), "error: f: holds no runs");
    let failed = r#"{"input_lens": [9], "output_lens": [0], "ttfts": [0.0], "itls": [[]], "errors": ["gone"]}"#;
    assert_eq!(parsed(failed), "error: f: no requests: 1 failed");
    let unstreamed = r#"{"input_lens": [9], "output_lens": [5], "ttfts": [0.0], "itls": [[]], "errors": [""]}"#;
    assert!(
        parsed(unstreamed).contains("f:1:50 at $.ttfts: all first tokens come after 0 s"),
        "{}",
        parsed(unstreamed)
    );
}

/// Sums of a run whose responses were not streamed have no first tokens.
#[test]
fn sums_of_whole_responses() {
    let text = std::fs::read_to_string(sample("vllm-summary.json")).expect("the sample is there");
    let zero = |text: String, key: &str, value: &str| {
        text.replace(&format!("\"{key}_ttft_ms\": {value}"), &format!("\"{key}_ttft_ms\": 0.0"))
    };
    let text = [("mean", "60.0"), ("median", "50.0"), ("p90", "90.0"), ("p95", "95.0"), ("p99", "99.0")]
        .into_iter()
        .fold(text, |text, (key, value)| zero(text, key, value));
    let run = compare::parse("f", &text).expect("latencies remain");
    let summary = run.summary.expect("it has sums");
    assert!(summary.told.len() == 5 && summary.told.iter().all(|told| told.metric == Metric::Latency), "{summary:?}");
    assert!(run.notes[0].contains("not streamed"), "{:?}", run.notes);
}
