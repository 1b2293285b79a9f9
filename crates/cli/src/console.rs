//! What is told while a run goes.
//!
//! Interval lines belong to the text output, so they go to standard output with it; beside JSON they go to standard
//! error, as everything that is not data does. The progress bar is there where standard error is a terminal.

use std::io::{self, IsTerminal, Write};

use diagnostics::{Fault, Faults};
use engine::{
    Deployment, FinishedRequest, Interval, LoadChange, NpuPart, Observer, RequestEvent, RunTotals, StepDetails, Wave,
    WaveGraphs,
};
use indicatif::{ProgressBar, ProgressStyle};
use metrics::{IntervalMeter, IntervalResults, Layout, RequestStatistics};
use report::{AtomicFile, IntervalLog, PageRecorder, PerfettoWriter, TraceWriter};
use units::{Duration, GroupId, InstanceId, Instant};

use crate::args::{Format, LogLevel, OutputArgs};
use crate::parquet::{IntervalRows, RequestRows};
use crate::traces;

/// Requests between two updates of the progress bar.
const PROGRESS_STEP: u64 = 64;

/// More bytes of events than that are too many for Perfetto's page.
const TRACE_BYTES_MAX: u64 = 1 << 30;

/// Writes a line.
type LineSink = Box<dyn FnMut(&str)>;

/// Everybody who watches a run from the command line.
pub(crate) struct Console {
    statistics: RequestStatistics,
    intervals: IntervalMeter,
    files: OutputFiles,
    page: Option<PageRecorder>,
    log: Option<IntervalLog<LineSink>>,
    /// Log intervals that were shown, where somebody else wants them too.
    shown: Option<Vec<IntervalResults>>,
    level: LogLevel,
    progress: ProgressBar,
    num_finished: u64,
    has_large_trace: bool,
}

/// The files that a run writes, which are not in their places before [`commit`](Self::commit).
pub(crate) struct OutputFiles {
    requests: Option<RequestRows>,
    intervals: Option<IntervalRows>,
    traces: Option<TraceWriter>,
    page: Option<AtomicFile>,
    perfetto: Option<PerfettoWriter>,
}

/// What was collected, and the files that are yet to be put in place.
pub(crate) struct Watched {
    pub(crate) statistics: RequestStatistics,
    pub(crate) intervals: IntervalMeter,
    pub(crate) files: OutputFiles,
    /// What a page is drawn from, and where it goes.
    pub(crate) page: Option<(AtomicFile, PageRecorder)>,
}

impl OutputFiles {
    /// Begins those that are asked for.
    pub(crate) fn create(args: &OutputArgs, deployment: &Deployment) -> Result<Self, Faults> {
        let layout = &Layout::of(deployment);
        let trace = args.trace.trace.as_deref();
        let outputs = [
            ("--output", args.output.as_deref()),
            ("--interval-output", args.interval_output.as_deref()),
            ("--report", args.report.as_deref()),
            ("--trace", trace),
        ];
        for (place, (flag, path)) in outputs.iter().enumerate().filter(|(_, (_, path))| path.is_some()) {
            if let Some((other, _)) = outputs[..place].iter().find(|(_, other)| other == path) {
                return Err(Fault::new(*flag, format!("is the same file as {other}")).hint("name another").into());
            }
        }
        Ok(Self {
            requests: args.output.as_ref().map(|path| RequestRows::create(path, args, layout)).transpose()?,
            intervals: args.interval_output.as_ref().map(|path| IntervalRows::create(path, layout)).transpose()?,
            traces: args.chakra_dir.as_ref().map(|dir| traces::create(dir, args, deployment)).transpose()?,
            page: args.report.as_ref().map(|path| AtomicFile::create(path)).transpose()?,
            perfetto: trace.map(|path| PerfettoWriter::create(path, deployment, args.trace.options())).transpose()?,
        })
    }

    /// Puts them in their places.
    pub(crate) fn commit(self) -> Result<(), Fault> {
        self.traces.map_or(Ok(()), TraceWriter::commit)?;
        self.perfetto.map_or(Ok(()), PerfettoWriter::commit)?;
        self.requests.map_or(Ok(()), RequestRows::commit)?;
        self.intervals.map_or(Ok(()), IntervalRows::commit)
    }
}

impl Console {
    /// Watches a run of `num_requests` requests, whose rows go to `files`.
    pub(crate) fn new(args: &OutputArgs, layout: &Layout, num_requests: u64, files: OutputFiles) -> Self {
        let progress = progress_bar(num_requests, args.quiet);
        let log = (!args.quiet).then(|| IntervalLog::new(layout.clone(), line_sink(progress.clone(), args.format)));
        Self {
            statistics: RequestStatistics::new(),
            intervals: IntervalMeter::new(layout),
            page: files.page.as_ref().map(|_| PageRecorder::new(layout)),
            files,
            log,
            shown: None,
            level: if args.quiet { LogLevel::Warning } else { args.log_level },
            progress,
            num_finished: 0,
            has_large_trace: false,
        }
    }

    /// Keeps log intervals for [`take_intervals`](Self::take_intervals) from here on.
    pub(crate) fn keep_intervals(&mut self) {
        self.shown = Some(Vec::new());
    }

    /// Takes the log intervals that were kept.
    pub(crate) fn take_intervals(&mut self) -> Vec<IntervalResults> {
        self.shown.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Shows what is left of a run that came to `totals`.
    pub(crate) fn end(&mut self, totals: &RunTotals) {
        self.intervals.finish(totals);
        self.show_intervals();
    }

    /// Ends the watch, after [`end`](Self::end).
    pub(crate) fn finish(mut self) -> Watched {
        self.progress.finish_and_clear();
        let page = self.files.page.take().zip(self.page);
        Watched { statistics: self.statistics, intervals: self.intervals, files: self.files, page }
    }

    /// Warns of a trace that grows too large, once.
    fn note_large_trace(&mut self) {
        let num_bytes = self.files.perfetto.as_ref().map_or(0, PerfettoWriter::num_bytes);
        if num_bytes > TRACE_BYTES_MAX && !self.has_large_trace {
            self.has_large_trace = true;
            let what = "--trace has over 1 GiB of events, more than Perfetto's page may hold";
            self.progress.suspend(|| {
                eprintln!("note: {what}; --trace-window, --trace-steps and --trace-level keep it small");
            });
        }
    }

    /// Shows the log intervals that have ended.
    fn show_intervals(&mut self) {
        for results in self.intervals.take() {
            if let Some(log) = &mut self.log {
                log.write(&results);
            }
            if let Some(rows) = &mut self.files.intervals {
                rows.write(&results);
            }
            if let Some(shown) = &mut self.shown {
                shown.push(results);
            }
        }
    }
}

impl Observer for Console {
    fn tokens_yielded(&mut self, latency: Duration, num_tokens: u64) {
        self.statistics.tokens_yielded(latency, num_tokens);
    }

    fn wants_work(&self) -> bool {
        self.intervals.wants_work()
    }

    fn wants_details(&self) -> bool {
        self.page.is_some() || self.files.perfetto.as_ref().is_some_and(Observer::wants_details)
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        if let Some(page) = &mut self.page {
            page.wave_detailed(wave, members);
        }
        if let Some(perfetto) = self.files.perfetto.as_mut().filter(|perfetto| perfetto.wants_details()) {
            perfetto.wave_detailed(wave, members);
        }
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.intervals.step_finished(instance, now);
        if let Some(page) = &mut self.page {
            page.step_finished(instance, now);
        }
        if let Some(traces) = &mut self.files.traces {
            traces.step_finished(instance, now);
        }
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.step_finished(instance, now);
            self.note_large_trace();
        }
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.statistics.request_finished(request);
        if let Some(page) = &mut self.page {
            page.request_finished(request);
        }
        if let Some(rows) = &mut self.files.requests {
            rows.request_finished(request);
        }
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.request_finished(request);
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
        self.intervals.wave_started(wave);
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.wave_started(wave);
        }
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

    fn wants_activity(&self, group: GroupId, wave: u64, now: Instant) -> bool {
        self.files.perfetto.as_ref().is_some_and(|perfetto| perfetto.wants_activity(group, wave, now))
    }

    fn npu_part_ended(&mut self, part: &NpuPart<'_>) {
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.npu_part_ended(part);
        }
    }

    fn request_event(&mut self, event: &RequestEvent) {
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.request_event(event);
        }
    }

    fn load_changed(&mut self, change: &LoadChange) {
        if let Some(perfetto) = &mut self.files.perfetto {
            perfetto.load_changed(change);
        }
    }

    fn wants_graphs(&self, group: GroupId, wave: u64) -> bool {
        self.files.traces.as_ref().is_some_and(|traces| traces.wants_graphs(group, wave))
    }

    fn wave_graphs(&mut self, wave: &WaveGraphs<'_>) {
        if let Some(traces) = &mut self.files.traces {
            traces.wave_graphs(wave);
        }
    }

    fn graph_given(&mut self, instance: InstanceId, npu: u32, wave: u64, now: Instant) {
        if let Some(traces) = &mut self.files.traces {
            traces.graph_given(instance, npu, wave, now);
        }
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.statistics.interval_ended(interval);
        self.intervals.interval_ended(interval);
        self.show_intervals();
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
