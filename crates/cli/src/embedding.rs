//! `servingsim run` for programs that embed this crate, such as the Python package.
//!
//! A program gives the flags of the command, and instead of files what it has in memory. All of it is read and checked
//! as the command does. Nothing is printed; a [`Watcher`] sees requests and log intervals as they come, and may break
//! the run off. Files that flags name are written as by the command.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, Parser};
use config::Loaded;
use diagnostics::{Fault, Faults};
use engine::{
    Deployment, FinishedRequest, Interval, LoadChange, NpuPart, Observer, RequestEvent, RequestRouter, RunTotals,
    Simulation, StepDetails, Stuck, Wave, WaveGraphs,
};
use metrics::{IntervalResults, Layout, Summary};
use units::{GroupId, InstanceId, Instant};
use workload::{Entries, ReadOptions};

use crate::Failure;
use crate::args::{Cli, Command, RunArgs};
use crate::console::Console;
use crate::run::{self, Job};

/// A flag of `servingsim run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFlag {
    /// Its name, without dashes at its beginning.
    pub name: String,
    /// Other names that it has.
    pub aliases: Vec<String>,
    /// Whether a value follows.
    pub takes_value: bool,
    /// Whether that is a list, with commas between its items.
    pub takes_list: bool,
    /// How its value is called.
    pub value_name: Option<String>,
    /// All values that it can have, where they are few.
    pub values: Vec<String>,
    /// What it has where it is not given.
    pub default: Option<String>,
    /// What it does; `None` for those that are kept for LLMServingSim's sake and do nothing.
    pub help: Option<String>,
}

/// Every flag of `servingsim run`, in the order of its help.
pub fn run_flags() -> Vec<RunFlag> {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand("run").expect("a command `run`");
    let flags = run.get_arguments().filter_map(|arg| {
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        let name = arg.get_long().filter(|name| *name != "help")?.to_owned();
        let values = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        Some(RunFlag {
            name,
            aliases: arg.get_all_aliases().unwrap_or_default().into_iter().map(str::to_owned).collect(),
            takes_value,
            takes_list: arg.get_value_delimiter().is_some(),
            value_name: arg.get_value_names().filter(|_| takes_value).map(|names| names[0].to_string()),
            values: if takes_value { values } else { Vec::new() },
            default: arg.get_default_values().first().filter(|_| takes_value).map(|value| text(value)),
            help: (!arg.is_hide_set()).then(|| arg.get_help().map(ToString::to_string).unwrap_or_default()),
        })
    });
    flags.collect()
}

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

/// A text that stands for a file, and the name that faults give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What a program has in memory instead of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The cluster, as JSON.
    pub cluster: Option<Text>,
    /// The workload, one request or session a line. Where there is none, and no flag names one, a built-in one is taken.
    pub workload: Option<Text>,
}

/// Watches a run, and says whether it goes on.
pub trait Watcher {
    /// A request yielded its last token.
    fn request_finished(&mut self, request: &FinishedRequest<'_>);

    /// A log interval is over, or is what was left at the end.
    fn interval_ended(&mut self, results: &IntervalResults);

    /// Whether to go on. Asked after every instant at which something happened; the answer counts from the next on.
    fn goes_on(&mut self) -> bool;

    /// The run is at its end; whether its files are put in place.
    fn ends(&mut self) -> bool {
        true
    }
}

/// A run that is read and checked.
pub struct Run {
    args: Box<RunArgs>,
    job: Job,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its results.
    pub summary: Summary,
    /// What the program spent its own time on, in order.
    pub timings: Vec<(&'static str, Duration)>,
}

impl Run {
    /// Reads and checks everything. Each of `flags` is a flag as the command takes it, such as `--seed=1`.
    ///
    /// # Errors
    /// Everything that is wrong with the input, at once.
    pub fn prepare(flags: &[OsString], given: Given) -> Result<Self, Faults> {
        let mut args = parse(flags, &given)?;
        args.output.quiet = true;
        args.input.given = given;
        if args.input.given.workload.is_none() && args.input.dataset.is_none() && args.input.example.is_none() {
            let workload = examples::EXAMPLES[0].workload;
            args.input.given.workload = Some(Text { name: workload.name.to_owned(), text: workload.text.to_owned() });
        }
        let job = Job::prepare(&args, ReadOptions::KEPT_BYTES_MAX)?;
        Ok(Self { args, job })
    }

    /// What will run.
    pub fn deployment(&self) -> &Deployment {
        &self.job.loaded.deployment
    }

    /// What will run, to set policies of one's own.
    pub fn deployment_mut(&mut self) -> &mut Deployment {
        &mut self.job.loaded.deployment
    }

    /// What observers need to know of it.
    pub fn layout(&self) -> Layout {
        Layout::of(self.deployment())
    }

    /// Requests of the workload, every call of a session counted.
    pub fn num_requests(&self) -> u64 {
        self.job.workload.num_requests
    }

    /// What a user should know about how the input was read, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let Loaded { notes, .. } = &self.job.loaded;
        let idle = self.args.files.given().map(|flag| format!("{flag} changes nothing"));
        notes.iter().chain(&self.job.workload.notes).cloned().chain(idle).collect()
    }

    /// Runs it, with requests routed by `router` where there is one; `None`, and no files, when the watcher broke it off.
    ///
    /// # Errors
    /// When it came to a standstill, the workload's file changed, or results could not be written.
    pub fn run(
        self,
        router: Option<Box<dyn RequestRouter>>,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<Outcome>, Failure> {
        let Self { mut args, job } = self;
        if router.is_some() {
            args.routing.request_routing_policy = "CUSTOM".to_owned();
        }
        let done = run::simulate(&args, job, |simulation, console| {
            console.keep_intervals();
            let simulation = match router {
                Some(router) => simulation.route_with(router),
                None => simulation,
            };
            drive(simulation, console, watcher)
        })?;
        Ok(done.map(|mut done| {
            let summary = done.summary();
            done.timings.end("summary");
            Outcome { summary, timings: done.timings.stretches() }
        }))
    }
}

fn drive(
    mut simulation: Simulation<'_, &mut Entries>,
    console: &mut Console,
    watcher: &mut dyn Watcher,
) -> Result<Option<RunTotals>, Stuck> {
    let mut both = Both { console, watcher };
    loop {
        let is_over = !simulation.step(&mut both);
        if !both.watcher.goes_on() {
            return Ok(None);
        }
        if is_over {
            break;
        }
    }
    let totals = simulation.finish()?;
    both.console.end(&totals);
    both.hand_on_intervals();
    if !both.watcher.ends() {
        return Ok(None);
    }
    Ok(Some(totals))
}

/// The flags, resolved. All values that make no sense are told at once, else what does not go together.
fn parse(flags: &[OsString], given: &Given) -> Result<Box<RunArgs>, Faults> {
    let command = |flags: &[OsString]| {
        Cli::try_parse_from(["servingsim", "run"].map(OsString::from).into_iter().chain(flags.iter().cloned()))
    };
    let mut faults = Faults::new();
    for flag in flags {
        if let Err(error) = command(std::slice::from_ref(flag))
            && matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::UnknownArgument)
        {
            faults.push(fault(&error));
        }
    }
    faults.into_result(())?;
    // The parser may want a workload's file, in place of which something is in memory or built in.
    let has_file = |name: &str| flags.iter().any(|flag| flag.to_string_lossy().starts_with(name));
    let has_none = given.workload.is_some() || (has_file("--cluster-config=") && !has_file("--dataset="));
    let mut all = flags.to_vec();
    all.extend(has_none.then(|| OsString::from("--dataset=-")));
    let mut args = match command(&all) {
        Ok(Cli { command: Command::Run(args) }) => args,
        Ok(_) => unreachable!("`run` was said"),
        Err(error) => return Err(fault(&error).into()),
    };
    if has_none {
        args.input.dataset = None;
    }
    if given.cluster.is_some() && args.input.example.is_some() {
        return Err(Fault::new("--example", "a cluster is given too").hint("leave out either").into());
    }
    Ok(args)
}

/// What the parser of arguments has to say, of the flag it is about.
fn fault(error: &clap::Error) -> Fault {
    let text = error.render().to_string();
    let text = text.split("\n\nUsage").next().unwrap_or_default().split("\n\nFor more").next().unwrap_or_default();
    let mut lines = text.lines().map(|line| line.trim().trim_start_matches(['[', '+']).trim_end_matches(']'));
    let mut message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) => flag.split(' ').next().map(str::to_owned),
        _ => None,
    };
    let mut rest: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    if message.ends_with(':') {
        message = format!("{message} {}", std::mem::take(&mut rest).join(", "));
    }
    let fault = Fault::new(flag.unwrap_or_else(|| "options".to_owned()), message);
    if rest.is_empty() { fault } else { fault.hint(rest.join("; ")) }
}

/// Shows a run to the console, which adds up and writes files, and to a watcher.
struct Both<'a> {
    console: &'a mut Console,
    watcher: &'a mut dyn Watcher,
}

impl Both<'_> {
    fn hand_on_intervals(&mut self) {
        self.console.take_intervals().iter().for_each(|results| self.watcher.interval_ended(results));
    }
}

impl Observer for Both<'_> {
    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.console.step_finished(instance, now);
    }

    fn tokens_yielded(&mut self, latency: units::Duration, num_tokens: u64) {
        self.console.tokens_yielded(latency, num_tokens);
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.console.request_finished(request);
        self.watcher.request_finished(request);
    }

    fn wants_work(&self) -> bool {
        self.console.wants_work()
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        self.console.wave_started(wave);
    }

    fn wants_details(&self) -> bool {
        self.console.wants_details()
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        self.console.wave_detailed(wave, members);
    }

    fn wants_graphs(&self, group: GroupId, wave: u64) -> bool {
        self.console.wants_graphs(group, wave)
    }

    fn wave_graphs(&mut self, wave: &WaveGraphs<'_>) {
        self.console.wave_graphs(wave);
    }

    fn graph_given(&mut self, instance: InstanceId, npu: u32, wave: u64, now: Instant) {
        self.console.graph_given(instance, npu, wave, now);
    }

    fn wants_activity(&self, group: GroupId, wave: u64, now: Instant) -> bool {
        self.console.wants_activity(group, wave, now)
    }

    fn npu_part_ended(&mut self, part: &NpuPart<'_>) {
        self.console.npu_part_ended(part);
    }

    fn request_event(&mut self, event: &RequestEvent) {
        self.console.request_event(event);
    }

    fn load_changed(&mut self, change: &LoadChange) {
        self.console.load_changed(change);
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.console.interval_ended(interval);
        self.hand_on_intervals();
    }
}

#[cfg(test)]
mod tests;
