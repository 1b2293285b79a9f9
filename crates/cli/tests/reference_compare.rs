//! `servingsim compare` against summaries that LLMServingSim's own validation printed, of four runs of 300 requests on
//! real GPUs.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::Recording;

/// The names of a summary's rows, and our keys.
const METRICS: [(&str, &str); 3] = [("TTFT", "ttft_ms"), ("TPOT", "tpot_ms"), ("Latency", "latency_ms")];
const FIGURES: [(&str, &str); 5] =
    [("Mean", "mean"), ("Median", "median"), ("P90", "p90"), ("P95", "p95"), ("P99", "p99")];

fn compared(a: &Path, b: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_servingsim"))
        .env_clear()
        .arg("compare")
        .args([a, b])
        .args(["--format", "json"])
        .output()
        .expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

/// Compares to the precision that the summary is printed in. There, vLLM is counted from when it queued a request, the
/// simulation from its arrival.
#[test]
fn summaries_of_four_runs() {
    let Some(reference) = testkit::reference_dir() else { return };
    for recording in Recording::ALL {
        let run = recording.title;
        let file = |name: &str| recording.file(&reference, name);
        let json = compared(&file("outputs/sim.csv"), &recording.measured(&reference));
        assert_eq!((&json["a"]["from"], &json["b"]["from"]), (&"arrival".into(), &"queued".into()), "{run}");
        let summary = fs::read_to_string(file("validation/summary.txt")).expect("the summary is there");
        let mut rows = 0;
        for (metric, metric_key) in METRICS {
            for (figure, figure_key) in FIGURES {
                let name = [metric, figure];
                let row = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let row = row.into_iter().find(|cells| cells.starts_with(&name)).expect("the summary has the row");
                let number = |of: &str| json[metric_key][of][figure_key].as_f64().expect("a number");
                let (b, a, error) = (number("b"), number("a"), number("error") * 100.0);
                let ours = [format!("{b:.1}"), format!("{a:.1}"), format!("{error:+.1}%")];
                assert_eq!(row[2..], ours, "{run}: {metric} {figure}");
                rows += 1;
            }
        }
        let percent = json["mean_error"].as_f64().expect("a number") * 100.0;
        println!("{run}: {rows} rows are the same, the mean error is {percent:.2} %");
    }
}
