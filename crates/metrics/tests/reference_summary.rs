//! Means and percentiles of the reference's recorded runs, against those it worked out itself.

use std::fs;
use std::path::Path;

use engine::{FinishedRequest, InstanceTotals, Observer, RunTotals};
use metrics::{InstanceLayout, Layout, RequestStatistics, Spread, Summary};
use units::{Duration, InstanceId, Instant, RequestId};

#[test]
fn latencies_are_those_of_the_reference() {
    let Some(dir) = testkit::reference_dir() else { return };
    let (mut num_values, mut worst_ms) = (0, 0.0_f64);
    for run in [
        "RTX4090/Llama-3.1-8B",
        "RTXPRO6000/Llama-3.1-8B",
        "RTXPRO6000/Qwen3-30B-A3B-Instruct-2507",
        "RTXPRO6000/Qwen3-32B",
    ] {
        let dir = dir.join("golden/bench").join(run);
        let summary = summary(&dir.join("outputs/sim.csv"));
        for (name, expected_ms) in expected(&dir.join("validation/summary.txt")) {
            let (latency, statistic) = name.split_once(' ').expect("two words");
            let spread = match latency {
                "TTFT" => summary.ttft,
                "TPOT" => summary.tpot,
                _ => summary.latency,
            };
            let Spread { mean, median, p90, p99, .. } = spread.expect("there are requests");
            let found_ms = match statistic {
                "Mean" => mean,
                "Median" => median,
                "P90" => p90,
                "P99" => p99,
                _ => continue,
            };
            let deviation_ms = (found_ms - expected_ms).abs();
            // Printed to a tenth of a millisecond.
            assert!(deviation_ms <= 0.0501, "{run}: {name} is {found_ms} ms, recorded as {expected_ms} ms");
            worst_ms = worst_ms.max(deviation_ms);
            num_values += 1;
        }
    }
    println!("{num_values} values, the worst off by {worst_ms:.4} ms where 0.05 ms are rounding");
    assert_eq!(num_values, 4 * 3 * 4);
}

/// The summary of the requests in a result file.
fn summary(path: &Path) -> Summary {
    let text = fs::read_to_string(path).expect("a readable result");
    let mut statistics = RequestStatistics::new();
    for line in text.lines().skip(1) {
        let columns: Vec<_> = line.split(',').take(11).collect();
        let number = |index: usize| columns[index].parse::<u64>().expect("a whole number");
        statistics.request_finished(&FinishedRequest {
            instance: InstanceId(0),
            id: RequestId(number(1)),
            input_tokens: number(3),
            output_tokens: number(4),
            arrival: Instant::from_ns(number(5)),
            end: Instant::from_ns(number(6)),
            queuing_delay: Duration::from_ns(number(8)),
            ttft: Duration::from_ns(number(9)),
            itl: [].as_slice().into(),
            prefix_hit_tokens: 0,
            preemptions: 0,
            stamps: engine::Stamps::default(),
        });
    }
    let instance = InstanceTotals { finished_requests: statistics.num_requests(), ..InstanceTotals::default() };
    let totals = RunTotals { instances: vec![instance], ..RunTotals::default() };
    let layout = Layout { instances: vec![InstanceLayout::default()], ..Layout::default() };
    Summary::new(&layout, &statistics, None, &totals)
}

/// Names such as `TTFT Mean`, and the simulator's own value in milliseconds.
fn expected(path: &Path) -> Vec<(String, f64)> {
    let text = fs::read_to_string(path).expect("a readable summary");
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [latency @ ("TTFT" | "TPOT" | "Latency"), statistic, _vllm, simulated, _difference] = words[..] else {
            return None;
        };
        Some((format!("{latency} {statistic}"), simulated.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}
