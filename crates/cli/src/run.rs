//! `servingsim run`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use config::{Flags, Inputs, KvBasis, LatencySource, LatencyUsed, Loaded, Preset, Source, WorkloadLimits};
use diagnostics::{Fault, Faults};
use engine::{Engine, Entry, RoutingTable, RunTotals, Simulation, Stuck, Vllm};
use examples::{Example, TextFile};
use metrics::{IntervalMeter, Layout, RequestStatistics, Summary};
use report::Page;
use units::Duration;
use workload::{Entries, ReadOptions, Workload};

use crate::args::{EngineArgs, EngineName, Format, OutputArgs, RunArgs};
use crate::console::{Console, OutputFiles};
use crate::embedding::Text;
use crate::refused::refused_flags;
use crate::timings::Timings;
use crate::{Failure, page, parquet, recordings, report_command};

/// Requests that don't fit are told one by one up to so many.
const UNFIT_REQUESTS_MAX: usize = 20;

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    simulate_and_tell(args, Job::prepare(args, ReadOptions::KEPT_BYTES_MAX)?)
}

fn simulate_and_tell(args: &RunArgs, job: Job) -> Result<(), Failure> {
    if !args.output.quiet {
        introduce(args, &job.loaded, &job.workload);
    }
    let done = simulate(args, job, |simulation, console| {
        let totals = simulation.try_run(console)?;
        console.end(&totals);
        Ok(Some(totals))
    })?;
    let mut done = done.expect("nobody broke the run off");
    let mut out = io::stdout().lock();
    match args.output.format {
        Format::Json => write!(out, "{}", report::summary_json(&done.summary()))?,
        Format::Text if args.output.quiet => {}
        Format::Text => write!(out, "{}", report::summary_table(&done.summary()))?,
    }
    done.timings.end("summary");
    if args.output.timings {
        eprint!("{}", done.timings.of(&done.totals));
    }
    Ok(())
}

/// Runs `job`, which `drive` takes to its end, and puts its files in place; `None`, and no files, when `drive` broke it
/// off.
pub(crate) fn simulate(
    args: &RunArgs,
    job: Job,
    drive: impl FnOnce(Simulation<'_, &mut Entries>, &mut Console) -> Result<Option<RunTotals>, Stuck>,
) -> Result<Option<Done>, Failure> {
    let Job { loaded, workload, preset, routes, files, mut timings } = job;
    let mut layout = Layout::of(&loaded.deployment);
    layout.engine.preset = preset;
    let mut console = Console::new(&args.output, &layout, workload.num_requests, files);
    let page_text =
        args.output.report.as_ref().map(|_| page::text(args, &loaded, layout.engine.preset.clone(), &workload));
    let has_token_ids = workload.has_token_ids;
    let mut entries = workload.into_entries();
    let mut simulation = Simulation::new(&loaded.deployment, entries.by_ref());
    if !has_token_ids {
        simulation = simulation.without_prefixes();
    }
    if args.output.trace.trace.is_some() {
        simulation = simulation.telling_activity();
    }
    if let Some(routes) = routes {
        simulation = simulation.route_with(Box::new(routes));
    }
    let totals = drive(simulation, &mut console);
    // Results of a workload that broke off are none, not even that requests wait for ever.
    entries.finish()?;
    let Some(totals) = totals.map_err(Failure::Stuck)? else { return Ok(None) };
    timings.end(Timings::SIMULATION);
    let watched = console.finish();
    let (statistics, intervals) = (watched.statistics, watched.intervals);
    let mut done = Done { layout, statistics, intervals, totals, timings };
    if let (Some((file, recorder)), Some(text)) = (watched.page, page_text) {
        let run = recorder.finish(page::title(args), &done.layout, &done.summary(), &done.statistics, text);
        report_command::write_to(file, &Page::new(page::title(args)).with(run))?;
    }
    watched.files.commit()?;
    done.timings.end("rows left, files in place");
    Ok(Some(done))
}

/// A run that has ended.
pub(crate) struct Done {
    layout: Layout,
    statistics: RequestStatistics,
    intervals: IntervalMeter,
    totals: RunTotals,
    pub(crate) timings: Timings,
}

impl Done {
    pub(crate) fn summary(&self) -> Summary {
        Summary::new(&self.layout, &self.statistics, self.intervals.power(), &self.totals)
    }
}

/// Everything that a run needs, read and checked.
pub(crate) struct Job {
    pub(crate) loaded: Loaded,
    pub(crate) workload: Workload,
    /// Of what the engines' host takes.
    preset: Option<String>,
    /// Where each request goes, where that is recorded.
    pub(crate) routes: Option<RoutingTable>,
    files: OutputFiles,
    timings: Timings,
}

impl Job {
    /// Reads all inputs, and tells all their faults at once. Up to `kept_bytes_max` bytes of entries stay in memory.
    pub(crate) fn prepare(args: &RunArgs, kept_bytes_max: usize) -> Result<Self, Faults> {
        let mut timings = Timings::begin();
        let Read { loaded, workload, preset, routes } = Read::all(args, kept_bytes_max, &mut timings, &mut |_| ())?;
        let workload = workload.expect("a cluster file requires a workload");
        // The output comes last, so that nothing is created for a run that can't be.
        let files = OutputFiles::create(&args.output, &loaded.deployment)?;
        timings.end("workload");
        Ok(Self { loaded, workload, preset, routes, files, timings })
    }
}

/// What the inputs come to.
pub(crate) struct Read {
    pub(crate) loaded: Loaded,
    /// `None` where none is named.
    pub(crate) workload: Option<Workload>,
    pub(crate) preset: Option<String>,
    routes: Option<RoutingTable>,
}

impl Read {
    /// Reads all inputs, and tells all their faults at once. `each` sees every entry of the workload.
    pub(crate) fn all(
        args: &RunArgs,
        kept_bytes_max: usize,
        timings: &mut Timings,
        each: &mut dyn FnMut(&Entry),
    ) -> Result<Self, Faults> {
        let mut faults = refused_flags(args);
        let Some(example) = keep(example(args).map_err(Faults::from), &mut faults) else { return Err(faults) };
        check_outputs(args, &mut faults);
        let Some((engine, preset)) = keep(engine(&args.engine), &mut faults) else { return Err(faults) };
        let mut loaded = keep(config::load(&inputs(args, example, engine)).map_err(parquet::place_rows), &mut faults);
        if let (Some(path), Some(loaded)) = (&args.routing.expert_routing_file, &mut loaded) {
            keep(recordings::route_experts(path, &mut loaded.deployment), &mut faults);
        }
        timings.end("cluster and operator times");
        let mut unfit = Faults::new();
        let mut workload = match Named::of(args, example) {
            Some(named) => {
                let (workload, those_unfit) = read_workload(args, &named, loaded.as_ref(), kept_bytes_max, each);
                unfit = those_unfit;
                keep(workload, &mut faults)
            }
            None => None,
        };
        if let (Some(path), Some(workload)) = (&args.input.arrivals_from, &mut workload) {
            keep(recordings::replay_arrivals(path, workload), &mut faults);
        }
        let mut routes = None;
        if let (Some(loaded), Some(workload)) = (&loaded, &workload) {
            faults.extend(unfit);
            if let Some(path) = &args.routing.request_routing_file {
                routes = keep(recordings::read_routes(path, &loaded.deployment, workload.num_requests), &mut faults);
            }
        }
        let (Some(loaded), true) = (loaded, faults.is_empty()) else { return Err(faults) };
        Ok(Self { loaded, workload, preset, routes })
    }
}

/// The workload that is asked for.
enum Named<'a> {
    File(&'a Path),
    Text { name: &'a str, text: &'a str },
}

impl<'a> Named<'a> {
    fn of(args: &'a RunArgs, example: Option<&Example>) -> Option<Self> {
        match (&args.input.given.workload, &args.input.dataset, example) {
            (Some(Text { name, text }), ..) => Some(Named::Text { name, text }),
            (None, Some(path), _) => Some(Named::File(path)),
            (None, None, Some(example)) => {
                Some(Named::Text { name: example.workload.name, text: example.workload.text })
            }
            (None, None, None) => None,
        }
    }
}

fn keep<T>(result: Result<T, Faults>, faults: &mut Faults) -> Option<T> {
    result.map_err(|more| faults.extend(more)).ok()
}

/// Results must not replace what they come from.
fn check_outputs(args: &RunArgs, faults: &mut Faults) {
    let OutputArgs { output, interval_output, report, trace, .. } = &args.output;
    let outputs =
        [("--output", output), ("--interval-output", interval_output), ("--report", report), ("--trace", &trace.trace)];
    for (flag, path) in outputs.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?))) {
        check_output(flag, path, args, faults);
    }
}

/// The file at `path`, which `output_flag` names, must not be one that a run with `args` reads.
pub(crate) fn check_output(output_flag: &str, path: &Path, args: &RunArgs, faults: &mut Faults) {
    let preset = args.engine.preset.as_ref().map(PathBuf::from);
    for (flag, input) in [
        ("--cluster-config", &args.input.cluster_config),
        ("--dataset", &args.input.dataset),
        ("--arrivals-from", &args.input.arrivals_from),
        ("--preset", &preset),
        ("--request-routing-file", &args.routing.request_routing_file),
        ("--expert-routing-file", &args.routing.expert_routing_file),
    ] {
        if input.as_ref().is_some_and(|input| is_same_file(path, input)) {
            let fault = Fault::new(output_flag, format!("{} is the file that {flag} names", path.display()));
            faults.push(fault.hint("name another file: the results would replace it"));
        }
    }
}

/// Whether both are one plain file. What is none, such as a terminal, can be read and written.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().ok().filter(|place| place.is_file());
    place(a).is_some_and(|a| place(b).is_some_and(|b| a == b))
}

/// The cluster and the workload of a run, as the user named them.
pub(crate) fn names_of_inputs(args: &RunArgs) -> (String, String) {
    let example = example(args).ok().flatten();
    let name = |given: &Option<Text>, path: &Option<PathBuf>| {
        let given = given.as_ref().map(|text| text.name.clone());
        given.or_else(|| path.as_ref().map(|path| path.display().to_string()))
    };
    let cluster = name(&args.input.given.cluster, &args.input.cluster_config);
    let workload = name(&args.input.given.workload, &args.input.dataset);
    let of_example =
        |of: fn(&Example) -> &TextFile| example.map(|example| of(example).name.to_owned()).unwrap_or_default();
    (
        cluster.unwrap_or_else(|| of_example(|example| &example.cluster)),
        workload.unwrap_or_else(|| of_example(|example| &example.workload)),
    )
}

/// The example that was asked for, or the first where no cluster was named.
fn example(args: &RunArgs) -> Result<Option<&'static Example>, Fault> {
    let Some(name) = &args.input.example else {
        return Ok(args.input.cluster_config.is_none().then(|| &examples::EXAMPLES[0]));
    };
    let names: Vec<&str> = examples::EXAMPLES.iter().map(|example| example.name).collect();
    let unknown = || Fault::new("--example", format!("no example is called `{name}`"));
    examples::find(name).map(Some).ok_or_else(|| unknown().hint(format!("there are {}", names.join(", "))))
}

fn inputs(args: &RunArgs, example: Option<&Example>, engine: Engine) -> Inputs {
    let cluster = match (&args.input.given.cluster, &args.input.cluster_config, example) {
        (Some(Text { name, text }), _, _) => Source::Text { name: name.clone(), text: text.clone() },
        (None, Some(path), _) => Source::File(path.clone()),
        (None, None, Some(example)) => {
            Source::Text { name: example.cluster.name.to_owned(), text: example.cluster.text.to_owned() }
        }
        (None, None, None) => unreachable!("without a cluster file an example runs"),
    };
    Inputs {
        cluster,
        profile_dir: args.dirs.profile_dir.clone(),
        other_tables: Some(parquet::TABLES),
        model_dir: args.dirs.model_dir.clone(),
        architecture_dir: args.dirs.architecture_dir.clone(),
        pim_dir: args.model.pim_dir.clone(),
        latency_source: match args.model.latency_source.as_deref() {
            Some("profile") => LatencySource::Profile,
            Some("analytic") => LatencySource::Analytic,
            _ => LatencySource::Auto,
        },
        gpu_constants: args.model.gpu_constants.clone(),
        flags: flags(args, engine),
    }
}

/// How engines step, and the preset of what their host takes.
fn engine(args: &EngineArgs) -> Result<(Engine, Option<String>), Faults> {
    if args.engine == EngineName::Reference {
        return Ok((Engine::Reference, None));
    }
    let Preset { name, host, .. } = Preset::load(args.preset.as_deref().unwrap_or(Preset::DEFAULT))?;
    let mut vllm = Vllm {
        async_scheduling: !args.no_async_scheduling,
        host,
        warm_up: Duration::from_ns((args.warm_up.unwrap_or(0.0) * 1e6) as u64),
        ..Vllm::default()
    };
    for (name, is_in) in vllm.parts_mut() {
        *is_in = !args.without.iter().any(|part| part == name);
    }
    Ok((Engine::Vllm(vllm), Some(name)))
}

fn flags(args: &RunArgs, engine: Engine) -> Flags {
    let RunArgs { model, scheduler, routing, engine: args, output, .. } = args;
    Flags {
        network_model: args.network_model.0,
        dtype: model.dtype.as_deref().map(known),
        kv_cache_dtype: match model.kv_cache_dtype.as_str() {
            "fp8" => model::KvCacheDtype::Fp8,
            _ => model::KvCacheDtype::Auto,
        },
        block_size: model.block_size,
        max_num_seqs: scheduler.max_num_seqs,
        max_num_batched_tokens: scheduler.max_num_batched_tokens,
        long_prefill_token_threshold: scheduler.long_prefill_token_threshold,
        chunked_prefill: !scheduler.no_enable_chunked_prefill,
        prefix_caching: !scheduler.no_enable_prefix_caching,
        prefix_storage: known(&model.prefix_storage),
        prefix_sharing: model.enable_prefix_sharing,
        reserve_full_isl: !scheduler.no_reserve_full_isl,
        block_copy: !routing.no_enable_block_copy,
        local_offloading: model.enable_local_offloading,
        attn_offloading: model.enable_attn_offloading,
        sub_batch_interleaving: model.enable_sub_batch_interleaving,
        skip_prefill: scheduler.skip_prefill,
        npu_memory_utilization: model.npu_memory_utilization,
        request_routing: policy(&routing.request_routing_policy),
        expert_routing: match &routing.expert_routing_policy {
            Some(name) => policy(name),
            None if engine == Engine::Reference => moe::Policy::Balanced,
            None => moe::Policy::Uniform,
        },
        all2all_backend: known(&routing.all2all_backend),
        polling: known(&args.polling),
        engine,
        capture_sizes: if args.enforce_eager { Some(Vec::new()) } else { args.cudagraph_capture_sizes.clone() },
        log_interval_s: output.log_interval,
        seed: args.seed,
    }
}

/// The value of a name that the argument parser has let through.
fn known<T: std::str::FromStr>(name: &str) -> T {
    name.parse().unwrap_or_else(|_| panic!("`{name}` is on the list of values but not a value"))
}

/// The policy of this name. `CUSTOM` is refused, so what stands in for it here never runs.
fn policy<T: std::str::FromStr + Default>(name: &str) -> T {
    if name == "CUSTOM" { T::default() } else { known(name) }
}

/// The workload, and those of its requests that `loaded` could never finish.
fn read_workload(
    args: &RunArgs,
    named: &Named<'_>,
    loaded: Option<&Loaded>,
    kept_bytes_max: usize,
    each: &mut dyn FnMut(&Entry),
) -> (Result<Workload, Faults>, Faults) {
    let has_prefix_caches =
        |loaded: &Loaded| loaded.deployment.instances.iter().any(|instance| instance.kv.prefix_caching);
    let options = ReadOptions {
        limit: (args.input.num_reqs > 0).then_some(args.input.num_reqs),
        token_ids: loaded.is_some_and(has_prefix_caches),
        kept_bytes_max,
    };
    let mut unfit = UnfitRequests {
        limits: loaded.map(|loaded| WorkloadLimits::of(&loaded.deployment)),
        ..UnfitRequests::default()
    };
    let source = match named {
        Named::File(path) => path.display().to_string(),
        Named::Text { name, .. } => (*name).to_owned(),
    };
    let mut each = |entry: &Entry| {
        unfit.check(&source, entry);
        each(entry);
    };
    let workload = match named {
        Named::File(path) => parquet::read_workload(path, &options, &mut each),
        Named::Text { name, text } => workload::read_str(name, text, &options, &mut each),
    };
    (workload, unfit.into_faults(&source))
}

/// Requests that could never be finished.
#[derive(Default)]
struct UnfitRequests {
    /// `None` when no deployment is there to finish them.
    limits: Option<WorkloadLimits>,
    /// Of the first.
    faults: Vec<Fault>,
    num_faults: usize,
}

impl UnfitRequests {
    fn check(&mut self, source: &str, entry: &Entry) {
        let Some(limits) = &self.limits else { return };
        let mut faults = Faults::new();
        limits.check(source, entry, &mut faults);
        for fault in faults.iter() {
            self.num_faults += 1;
            if self.faults.len() < UNFIT_REQUESTS_MAX {
                self.faults.push(fault.clone());
            }
        }
    }

    fn into_faults(self, source: &str) -> Faults {
        let mut faults = Faults::new();
        let more = self.num_faults - self.faults.len();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if more > 0 {
            faults.push(Fault::new(source, format!("{more} more requests do not fit")));
        }
        faults
    }
}

pub(crate) fn gib(bytes: u64) -> f64 {
    bytes as f64 / units::GIB as f64
}

/// What the size of a KV cache follows from.
pub(crate) fn basis(basis: KvBasis, is_vllm: bool) -> String {
    match basis {
        KvBasis::Given => "as num_gpu_blocks says".to_owned(),
        KvBasis::Share { utilization, overheads: Some(overheads) } => format!(
            "at utilization {utilization:.2} less {:.2} GiB of activations and {:.2} GiB of runtime context",
            gib(overheads.activation_peak_bytes),
            gib(overheads.runtime_context_bytes),
        ),
        KvBasis::Share { utilization, overheads: None } if is_vllm => {
            format!("at utilization {utilization:.2} (mem_util), which counts weights and KV alone")
        }
        KvBasis::Share { utilization, overheads: None } => format!("at utilization {utilization:.2}"),
    }
}

/// Tells what will run, on standard error.
fn introduce(args: &RunArgs, loaded: &Loaded, workload: &Workload) {
    for (index, instance) in loaded.instances.iter().enumerate() {
        let model = &loaded.deployment.instances[index].model.name;
        let latency = match instance.latency {
            LatencyUsed::Profile => "measured profile",
            LatencyUsed::Analytic => "analytic model",
        };
        let is_vllm = loaded.deployment.options.engine != Engine::Reference;
        eprintln!(
            "instance {index}: {model} on {}, times from {latency}; KV cache {} tokens in {} blocks{}, {:.2} GiB a NPU {}",
            instance.hardware,
            instance.kv_tokens,
            instance.kv_blocks,
            if is_vllm { " and the null block" } else { "" },
            gib(instance.kv_bytes),
            basis(instance.kv_basis, is_vllm),
        );
    }
    for note in loaded.notes.iter().chain(&workload.notes) {
        eprintln!("note: {note}");
    }
    for flag in args.files.given() {
        eprintln!("note: {flag} changes nothing: servingsim runs in one process and writes no intermediate files");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    /// Arguments of a run of `workload` on the first example's cluster, results of which go to the other two files.
    fn args(folder: &Path) -> RunArgs {
        let path = |name: &str| folder.join(name).display().to_string();
        let (workload, output, intervals) = (path("w.jsonl"), path("out.csv"), path("intervals.csv"));
        let args = ["servingsim", "run", "--quiet", "--dataset", &workload, "--output", &output];
        let cli = Cli::parse_from(args.iter().copied().chain(["--interval-output", &intervals]));
        let Command::Run(args) = cli.command else { panic!("these are arguments of a run") };
        *args
    }

    fn workload() -> String {
        let session = r#"{"arrival_time_ns": 0, "sub_requests": [{"input_toks": 9, "output_toks": 3}, {"input_toks": 20, "output_toks": 2}]}"#;
        let line = |n: u64| {
            let (input, output, arrival_ns) = (5 + n * 7 % 90, 1 + n % 11, n * 3_000_000);
            format!("{{\"input_toks\": {input}, \"output_toks\": {output}, \"arrival_time_ns\": {arrival_ns}}}\n")
        };
        format!("{session}\n") + &(0..300).map(line).collect::<String>()
    }

    /// The files that a run writes, of whose workload up to `kept_bytes_max` stay in memory.
    fn results(kept_bytes_max: usize) -> [String; 2] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let args = args(folder.path());
        fs::write(folder.path().join("w.jsonl"), workload()).expect("a file in the temporary folder");
        let job = Job::prepare(&args, kept_bytes_max).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(job.workload.is_kept(), kept_bytes_max > 0);
        assert_eq!(job.workload.num_requests, 302);
        simulate_and_tell(&args, job).expect("a run");
        ["out.csv", "intervals.csv"].map(|name| fs::read_to_string(folder.path().join(name)).expect("results"))
    }

    #[test]
    fn a_workload_that_is_read_again_gives_the_same_results() {
        let kept = results(usize::MAX);
        assert_eq!(kept[0].lines().count(), 303);
        assert_eq!(results(0), kept);
    }

    #[test]
    fn a_workload_that_changes_during_the_run_is_a_fault_and_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let args = args(folder.path());
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a temporary file");
        write("w.jsonl", &workload());
        write("out.csv", "old");
        let job = Job::prepare(&args, 0).unwrap_or_else(|faults| panic!("{faults}"));
        write("w.jsonl", &workload().replacen("99", "98", 1));
        let Err(Failure::Input(faults)) = simulate_and_tell(&args, job) else { panic!("the workload has changed") };
        assert!(faults.to_string().contains("w.jsonl: has changed since it was checked"), "{faults}");
        assert_eq!(fs::read_to_string(folder.path().join("out.csv")).expect("the old file"), "old");
        let mut names: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|file| file.expect("a file").file_name()).collect();
        names.sort();
        assert_eq!(names, ["out.csv", "w.jsonl"]);
    }
}
