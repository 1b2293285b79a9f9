//! `servingsim calibrate`: what an engine's host takes, fitted to measured runs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use calibrate::{Experiment, Fit};
use clap::Parser;
use clap::error::ErrorKind;
use config::Preset;
use diagnostics::{Fault, Faults};
use documents::schema::{DocumentKind, Key, Shape, Value};
use documents::{Document, json};
use engine::HostTimes;
use report::AtomicFile;

use crate::Failure;
use crate::args::{CalibrateArgs, Cli, Command, EngineName};
use crate::parquet::read_run;
use crate::run::{Job, check_output, is_same_file};

pub(crate) fn calibrate(args: &CalibrateArgs) -> Result<(), Failure> {
    let mut faults = Faults::new();
    let read = |path: &PathBuf| experiment(path, args).map_err(|more| faults.extend(more)).ok();
    let experiments: Vec<Experiment> = args.runs.iter().filter_map(read).collect();
    let free: Vec<&str> = args.fit.iter().map(String::as_str).collect();
    if faults.is_empty() {
        for name in free.iter().filter(|name| !experiments.iter().any(|experiment| experiment.shows(name))) {
            let fault = Fault::new(
                "--fit",
                format!("{name} shows in none of the runs: they are measured behind the front end"),
            );
            faults.push(fault.hint("fit the others, or measure arrivals and deliveries"));
        }
    }
    if args.leave_one_out && args.runs.len() < 2 {
        faults.push(Fault::new("--leave-one-out", "needs at least two runs: one to leave out, and one to fit to"));
    }
    faults.into_result(())?;
    for experiment in experiments.iter().filter(|_| !args.quiet) {
        experiment.notes().iter().for_each(|note| eprintln!("note: {}: {note}", experiment.name()));
    }
    let experiments: Vec<&Experiment> = experiments.iter().collect();
    let mut out = io::stdout().lock();
    if args.leave_one_out {
        return Ok(write_left_out(&mut out, &experiments, &free)?);
    }

    let file = args.output.as_deref().map(AtomicFile::create).transpose()?;
    let mut num_tried = 0;
    // The first that is tried is a host of no time.
    let mut untouched = Vec::new();
    let fit = calibrate::fit(&experiments, &free, |tried| {
        if num_tried == 0 {
            untouched.clone_from(&tried.errors);
        }
        num_tried += 1;
        if !args.quiet {
            eprintln!("{:.3} % with {}", tried.mean_error() * 100.0, times(tried.host, &free));
        }
    });
    let preset = Preset { name: args.name.clone(), about: args.about.clone(), host: fit.host };
    if let (Some(mut file), Some(path)) = (file, &args.output) {
        let written = write!(file, "{preset}");
        written.map_err(|error| Fault::new(path.display().to_string(), format!("can't be written: {error}")))?;
        file.commit()?;
    }
    writeln!(out, "{}: {}, of {num_tried} tried", args.name, times(fit.host, &free))?;
    writeln!(out, "\n{:<48}{:>12}{:>26}", "Mean error", "", "with a host of no time")?;
    for ((experiment, error), untouched) in experiments.iter().zip(&fit.errors).zip(untouched) {
        writeln!(out, "{:<48}{:>10.2} %{:>24.2} %", experiment.name(), error * 100.0, untouched * 100.0)?;
    }
    Ok(())
}

/// What each run comes to with times fitted to all others.
fn write_left_out(out: &mut impl Write, experiments: &[&Experiment], free: &[&str]) -> io::Result<()> {
    writeln!(out, "{:<48}{:>12}  Fitted to the others", "Left out", "Mean error")?;
    let fits: Vec<(Fit, f64)> = calibrate::leave_one_out(experiments, free);
    for (experiment, (fit, error)) in experiments.iter().zip(fits) {
        writeln!(out, "{:<48}{:>10.2} %  {}", experiment.name(), error * 100.0, times(fit.host, free))?;
    }
    Ok(())
}

/// The times that were free, in microseconds.
fn times(host: HostTimes, free: &[&str]) -> String {
    let named = host.named().into_iter().filter(|(name, _)| free.contains(name));
    named.map(|(name, time)| format!("{name} {} µs", time.ns() as f64 / 1e3)).collect::<Vec<_>>().join(", ")
}

/// A file that describes a measured run.
pub(crate) const MEASURED_RUN: DocumentKind = DocumentKind {
    name: "measured-run",
    title: "Measured run",
    about: "A run on a real server, and the arguments of `servingsim run` that stand for it: the files that \
            `servingsim calibrate` takes.",
    null_is_absent: true,
    root: &Shape::of(
        "measured-run",
        "A measured run.",
        &[
            Key::required("name", Value::Text, "What it is called in what is told."),
            Key::required("args", Value::List(&Value::Text), "Arguments of `servingsim run`, with `--engine vllm`."),
            Key::required("measured", Value::Text, "The measured requests: requests.jsonl of a recording, or a CSV."),
        ],
    ),
};

/// A file that describes a measured run: its name, the arguments of `servingsim run` that stand for it, and the
/// measurements.
struct Described {
    name: String,
    args: Vec<String>,
    measured: String,
}

/// Reads a description and what it names. Faults name the description: there may be several.
fn experiment(path: &Path, options: &CalibrateArgs) -> Result<Experiment, Faults> {
    let source = path.display().to_string();
    let described = describe(Document::read(path)?)?;
    let arguments = ["servingsim", "run"].into_iter().chain(described.args.iter().map(String::as_str));
    let fault = |message: &str| Fault::new(source.as_str(), message).path("$.args");
    let parsed = Cli::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => fault("asks for help, and describes no run"),
        _ => fault(first_line(&error.to_string())),
    })?;
    let Command::Run(args) = parsed.command else { unreachable!("`run` stands before the arguments") };
    let mut faults = Faults::new();
    if args.engine.engine != EngineName::Vllm {
        let message = "only vLLM's engine core has a host that takes time";
        faults.push(fault(message).hint("add \"--engine\", \"vllm\""));
    }
    for (is_given, flag) in [
        (args.engine.preset.is_some(), "--preset"),
        (args.output.output.is_some(), "--output"),
        (args.output.output_stamps, "--output-stamps"),
        (args.output.no_itl, "--no-itl"),
        (args.output.timings, "--timings"),
        (args.output.interval_output.is_some(), "--interval-output"),
        (args.output.chakra_dir.is_some(), "--chakra-dir"),
    ] {
        if is_given {
            faults.push(
                fault(&format!("{flag} does nothing here: times are fitted, and no results written"))
                    .hint("leave it out"),
            );
        }
    }
    let measured = Path::new(&described.measured);
    if let Some(output) = &options.output {
        check_output("--output", output, &args, &mut faults);
        if is_same_file(output, path) || is_same_file(output, measured) {
            let fault = Fault::new("--output", format!("{} is read by {source}", output.display()));
            faults.push(fault.hint("name another file: the preset would replace it"));
        }
    }
    faults.into_result(())?;
    let of_run = |faults: Faults| {
        let mut named = Faults::new();
        for fault in faults.iter() {
            named
                .push(Fault { message: format!("{} (a run that {source} describes)", fault.message), ..fault.clone() });
        }
        named
    };
    let Job { loaded, mut workload, routes, .. } = Job::prepare(&args, usize::MAX).map_err(of_run)?;
    let measured = read_run(measured).map_err(of_run)?;
    let (deployment, entries) = (loaded.deployment, workload.keep()?);
    Experiment::new(described.name, deployment, routes, entries, measured, options.variants).map_err(of_run)
}

fn describe(document: Document) -> Result<Described, Faults> {
    let mut faults = Faults::new();
    let described = json::read(&Arc::new(document), &mut faults, |outermost| {
        let object = outermost.object()?;
        object.reject_unknown_in(MEASURED_RUN.root);
        let string = |key: &str| Some(object.require(key)?.string()?.value);
        let (name, measured) = (string("name"), string("measured"));
        let args = object.require("args").and_then(|value| value.array());
        let args = args.and_then(|args| args.iter().map(|arg| Some(arg.string()?.value)).collect());
        Some(Described { name: name?, args: args?, measured: measured? })
    });
    described.filter(|_| faults.is_empty()).ok_or(faults)
}

/// Of what the parser of arguments has to say.
fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}
