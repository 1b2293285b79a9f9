//! What is told while a run goes.
//!
//! Interval lines belong to the text output, so they go to standard output with it; beside JSON they go to standard
//! error, as everything that is not data does. The progress bar is there where standard error is a terminal.

use std::io::{self, IsTerminal, Write};

use engine::{FinishedRequest, Interval, Observer, Wave};
use indicatif::{ProgressBar, ProgressStyle};
use metrics::{Layout, RequestStatistics};
use report::{AtomicFile, CsvWriter, IntervalLog};

use crate::args::{Format, LogLevel, OutputArgs};

/// Requests between two updates of the progress bar.
const PROGRESS_STEP: u64 = 64;

/// Writes a line.
type LineSink = Box<dyn FnMut(&str)>;

/// Everybody who watches a run from the command line.
pub(crate) struct Console {
    statistics: RequestStatistics,
    csv: Option<CsvWriter<AtomicFile>>,
    intervals: Option<IntervalLog<LineSink>>,
    level: LogLevel,
    progress: ProgressBar,
    num_finished: u64,
}

impl Console {
    /// Watches a run of `num_requests` requests, whose rows go to `csv`.
    pub(crate) fn new(
        args: &OutputArgs,
        layout: &Layout,
        num_requests: u64,
        csv: Option<CsvWriter<AtomicFile>>,
    ) -> Self {
        let progress = progress_bar(num_requests, args.quiet);
        let intervals =
            (!args.quiet).then(|| IntervalLog::new(layout.clone(), line_sink(progress.clone(), args.format)));
        Self {
            statistics: RequestStatistics::new(),
            csv,
            intervals,
            level: if args.quiet { LogLevel::Warning } else { args.log_level },
            progress,
            num_finished: 0,
        }
    }

    /// What was collected, and the file that is yet to be put in place.
    pub(crate) fn finish(self) -> (RequestStatistics, Option<CsvWriter<AtomicFile>>) {
        self.progress.finish_and_clear();
        (self.statistics, self.csv)
    }
}

impl Observer for Console {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.statistics.request_finished(request);
        if let Some(csv) = &mut self.csv {
            csv.request_finished(request);
        }
        if self.level >= LogLevel::Debug {
            self.progress.suspend(|| {
                eprintln!(
                    "[DEBUG] {:.6}s request {} finished on instance {}: {} + {} tokens, ttft {:.3} ms, latency {:.3} ms",
                    request.end.secs_f64(),
                    request.id,
                    request.instance,
                    request.input_tokens,
                    request.output_tokens,
                    request.ttft.millis_f64(),
                    request.latency().millis_f64(),
                );
            });
        }
        self.num_finished += 1;
        if self.num_finished.is_multiple_of(PROGRESS_STEP) {
            self.progress.set_position(self.num_finished);
        }
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        self.statistics.wave_started(wave);
        if self.level >= LogLevel::Info {
            let member = |step: &engine::MemberStep| match step.is_dummy() {
                true => "dummy".to_owned(),
                false => format!("{} in {}", step.tokens, step.sequences),
            };
            let members: Vec<_> = wave.members.iter().map(member).collect();
            self.progress.suspend(|| {
                eprintln!(
                    "[INFO] {:.6}s group {}: step of {} tokens ({})",
                    wave.start.secs_f64(),
                    wave.group,
                    wave.padded_tokens,
                    members.join(", ")
                );
            });
        }
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.statistics.interval_ended(interval);
        if let Some(intervals) = &mut self.intervals {
            intervals.interval_ended(interval);
        }
    }
}

/// Where interval lines go. A line that can't be written is let go: what reads the output has stopped reading, and the
/// summary will find that out.
fn line_sink(progress: ProgressBar, format: Format) -> LineSink {
    Box::new(move |line| {
        progress.suspend(|| match format {
            Format::Text => drop(writeln!(io::stdout(), "{line}")),
            Format::Json => drop(writeln!(io::stderr(), "{line}")),
        });
    })
}

/// A bar on standard error; one that never shows where that is not a terminal.
fn progress_bar(num_requests: u64, is_quiet: bool) -> ProgressBar {
    if is_quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} requests");
    ProgressBar::new(num_requests).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
