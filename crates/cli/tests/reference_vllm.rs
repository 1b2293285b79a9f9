//! `--engine vllm` against recorded runs of vLLM 0.19.0: 300 requests each on real GPUs. The shipped preset is fitted to
//! the last two; docs/validation.md has every number.

#[expect(dead_code, reason = "it writes no files")]
mod support;

use std::path::Path;

use serde_json::Value;
use support::Folder;
use testkit::Recording;

/// How far a simulated run is from its recording.
fn compared(reference: &Path, recording: &Recording, is_planned: bool) -> Value {
    let folder = Folder::new();
    let flags = recording.run_flags(reference, is_planned).expect("the recording's settings are there");
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let said = folder.run(&[&["run", "--quiet", "--output-stamps", "--output", "run.csv"], &flags[..]].concat());
    assert_eq!(said.code, Some(0), "{said}");
    let measured = recording.measured(reference);
    let measured = measured.to_str().expect("a path in UTF-8");
    let said = folder.run(&["compare", "run.csv", measured, "--format", "json"]);
    assert_eq!(said.code, Some(0), "{said}");
    serde_json::from_str(&said.stdout).expect("it is JSON")
}

/// What must hold of a run, in per cent and as distances: its mean error, its largest, the distances of TTFT, TPOT and
/// latency.
#[track_caller]
fn check(recording: &Recording, most_mean: f64, most_single: f64, most_ks: f64) {
    let Some(reference) = testkit::reference_dir() else { return };
    for is_planned in [false, true] {
        let comparison = compared(&reference, recording, is_planned);
        let percent = |value: &Value| value.as_f64().expect("a number") * 100.0;
        let (mean, largest) = (percent(&comparison["mean_error"]), percent(&comparison["largest_error"]["error"]));
        let ks =
            ["ttft_ms", "tpot_ms", "latency_ms"].map(|metric| comparison[metric]["ks"].as_f64().expect("a number"));
        println!(
            "{}: mean error {mean:.2} %, largest {largest:+.1} %, KS of TTFT, TPOT, latency {ks:.3?}",
            recording.title
        );
        assert!(mean <= most_mean && largest.abs() <= most_single, "{mean} {largest}");
        assert!(ks.iter().all(|&ks| ks <= most_ks), "{ks:?}");
    }
}

#[test]
fn data_parallel_attention_with_shared_experts() {
    check(&Recording::QWEN3_30B, 1.5, 5.0, 0.08);
}

/// The profile's decode steps of 33 to 64 sequences are too fast here (docs/validation.md).
#[test]
fn a_dense_model() {
    check(&Recording::LLAMA, 2.0, 7.0, 0.105);
}

#[test]
fn a_dense_model_on_two_gpus() {
    check(&Recording::QWEN3_32B, 0.5, 1.0, 0.055);
}

#[test]
fn a_dense_model_short_of_memory() {
    check(&Recording::LLAMA_RTX4090, 1.0, 2.0, 0.095);
}
