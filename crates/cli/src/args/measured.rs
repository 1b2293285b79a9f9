//! Commands that hold a run to measurements of a real server.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use engine::HostTimes;
use units::Duration;

use super::Format;

#[derive(Debug, Args)]
pub(crate) struct CalibrateArgs {
    /// Measured runs: JSON files with a name, the args of `servingsim run` that stand for it, and the measured requests.
    #[arg(value_name = "RUN", required = true)]
    pub(crate) runs: Vec<PathBuf>,
    /// What is fitted; what is not stays zero. Times to form a step show only where they exceed the step before, or with
    /// one batch in flight.
    #[arg(long, value_name = "CONSTANT,…", value_delimiter = ',', default_value = "block", value_parser = constant_names())]
    pub(crate) fit: Vec<String>,
    /// Write the preset to this file (JSON).
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The preset's name.
    #[arg(long, value_name = "NAME", default_value = "calibrated")]
    pub(crate) name: String,
    /// What the preset says of itself.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) about: String,
    /// Instead fit to all runs but one, for each, and tell the error of the one left out.
    #[arg(long, conflicts_with = "output")]
    pub(crate) leave_one_out: bool,
    /// Runs whose errors are averaged at each point: in all but one of them arrivals are up to a millisecond late.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) variants: u64,
    /// Don't tell what is tried.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A result (`run --output`), what a benchmark client wrote (vLLM, SGLang, AIPerf, GenAI-Perf, GuideLLM), a recording of
    /// vLLM (requests.jsonl) or a table of requests (CSV). FILE#2 is the second run of a file with several.
    #[arg(value_name = "A")]
    pub(crate) a: PathBuf,
    /// What it is held to: likewise. Errors are A / B - 1.
    #[arg(value_name = "B")]
    pub(crate) b: PathBuf,
    /// What TTFT and latency are counted from: when requests arrived, when the engine saw them (queued), or the later of
    /// these that both files have.
    #[arg(long, value_name = "STAMP", value_enum, default_value = "auto")]
    pub(crate) from: FromName,
    /// What TTFT is counted to: when the engine had the first token, or when it was handed to who asked. `auto` is the
    /// second where a client measured, and else the first.
    #[arg(long, value_name = "STAMP", value_enum, default_value = "auto")]
    pub(crate) to: ToName,
    /// Seconds that tokens and requests are averaged over, to compare them over time.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = window)]
    pub(crate) window: Duration,
    /// Draw both over each other on a page (HTML).
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// How it is written; JSON adds every window and every request.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results (`run --output`), recordings of vLLM (requests.jsonl) or tables of requests (CSV), as `compare` reads them.
    #[arg(value_name = "RESULT", required = true)]
    pub(crate) results: Vec<PathBuf>,
    /// Write the page to this file.
    #[arg(long, short, value_name = "FILE.html")]
    pub(crate) output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FromName {
    Auto,
    Arrival,
    Queued,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToName {
    Auto,
    Computed,
    Delivered,
}

/// What a host takes time for, as `engine::HostTimes` calls it; a flag may have it with hyphens.
fn constant_names() -> impl TypedValueParser<Value = String> {
    let value = |name: &'static str| PossibleValue::new(name.replace('_', "-")).alias(name);
    let names = HostTimes::default().named().map(|(name, _)| value(name));
    PossibleValuesParser::new(names).map(|given| given.replace('-', "_"))
}

fn window(text: &str) -> Result<Duration, &'static str> {
    let sound = text.parse().ok().filter(|seconds| (1e-6..=1e6).contains(seconds));
    let seconds: f64 = sound.ok_or("expected a number from 0.000001 to 1000000")?;
    Ok(Duration::from_ns((seconds * 1e9).round() as u64))
}
