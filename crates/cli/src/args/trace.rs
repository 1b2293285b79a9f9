//! What a run is drawn as.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use report::{PerfettoOptions, TraceLevel, TraceWindow};
use units::Instant;

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// Write who did what when to this file, for Perfetto's page (ui.perfetto.dev): requests, batches, NPUs, counters.
    /// Compressed if the name ends with `.gz`.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Of the run, only so much simulated time, such as `1.5s..2s`, `..500ms` or `30s..`.
    #[arg(long, value_name = "FROM..TO", value_parser = window, requires = "trace", conflicts_with = "trace_steps")]
    pub(crate) trace_window: Option<(Instant, Instant)>,
    /// Of the run, only these steps of each group, counted from 0, such as `100..120`, the last one included.
    #[arg(long, value_name = "FIRST..LAST", value_parser = steps, requires = "trace")]
    pub(crate) trace_steps: Option<RangeInclusive<u64>>,
    /// In what detail: requests and counters; batches and steps of NPUs as well; layers, collectives, memory accesses and
    /// waits of NPUs as well [default: steps, and layers with --trace-window or --trace-steps].
    #[arg(long, value_name = "LEVEL", value_enum, requires = "trace")]
    pub(crate) trace_level: Option<Level>,
}

/// In what detail a run is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Requests,
    Steps,
    Layers,
}

impl TraceArgs {
    pub(crate) fn options(&self) -> PerfettoOptions {
        let window = match (self.trace_window, &self.trace_steps) {
            (Some((begin, end)), _) => TraceWindow::Time(begin, end),
            (None, Some(steps)) => TraceWindow::Steps(steps.clone()),
            (None, None) => TraceWindow::All,
        };
        let level = match self.trace_level {
            Some(Level::Requests) => TraceLevel::Requests,
            Some(Level::Steps) => TraceLevel::Steps,
            Some(Level::Layers) => TraceLevel::Layers,
            None if window == TraceWindow::All => TraceLevel::Steps,
            None => TraceLevel::Layers,
        };
        PerfettoOptions { window, level }
    }
}

fn window(text: &str) -> Result<(Instant, Instant), String> {
    let expected = "expected two times of the run such as 1.5s..2s, in s, ms, us or ns";
    let (from, to) = text.split_once("..").ok_or(expected)?;
    let begin = if from.is_empty() { Some(Instant::ZERO) } else { time(from) };
    let end = if to.is_empty() { Some(Instant::from_ns(u64::MAX)) } else { time(to) };
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => Ok((begin, end)),
        (Some(_), Some(_)) => Err("it ends before it begins".to_owned()),
        _ => Err(expected.to_owned()),
    }
}

/// A number with a unit, in whole nanoseconds.
fn time(text: &str) -> Option<Instant> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let decimals = match unit {
        "s" => 9,
        "ms" => 6,
        "us" => 3,
        "ns" => 0,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > decimals || !is_number(whole) || !is_number(part) {
        return None;
    }
    let ns: u64 = format!("{whole}{part:0<decimals$}").parse().ok()?;
    Some(Instant::from_ns(ns))
}

fn steps(text: &str) -> Result<RangeInclusive<u64>, &'static str> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err("expected a step such as 7, or the first and the last such as 100..120"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_nanoseconds() {
        let check =
            |text: &str, begin, end| assert_eq!(window(text), Ok((Instant::from_ns(begin), Instant::from_ns(end))));
        check("1.5s..2s", 1_500_000_000, 2_000_000_000);
        check("0.1s..250ms", 100_000_000, 250_000_000);
        check("..1us", 0, 1_000);
        check("7ns..", 7, u64::MAX);
        for text in
            ["", "1s", "1..2", "2s..1s", "1s..1s", "-1s..2s", "1.5ns..2s", "1m..2m", "1e3s..2s", "s..2s", "1 s..2s"]
        {
            assert!(window(text).is_err(), "{text}");
        }
        assert!(window("99999999999s..").is_err(), "584 years");
    }

    #[test]
    fn steps_are_from_the_first_to_the_last() {
        assert_eq!(steps("100..120"), Ok(100..=120));
        assert_eq!(steps("7"), Ok(7..=7));
        for text in ["", "..", "3..1", "1..", "a..b", "1...3"] {
            assert!(steps(text).is_err(), "{text}");
        }
    }
}
