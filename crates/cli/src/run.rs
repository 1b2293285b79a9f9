//! `servingsim run`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use config::{Flags, Inputs, KvBasis, LatencySource, LatencyUsed, Loaded, Preset, Source, WorkloadLimits};
use diagnostics::{Fault, Faults};
use engine::{Engine, RoutingTable, Simulation, Vllm};
use examples::Example;
use metrics::{Layout, Summary};
use units::Duration;
use workload::{ReadOptions, Workload};

use crate::Failure;
use crate::args::{EngineArgs, EngineName, Format, RunArgs};
use crate::console::{Console, OutputFiles};
use crate::recordings;
use crate::refused::refused_flags;

/// Requests that don't fit are told one by one up to so many.
const UNFIT_REQUESTS_MAX: usize = 20;

pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let Job { loaded, workload, preset, routes, files } = Job::prepare(args)?;
    let mut layout = Layout::of(&loaded.deployment);
    layout.engine.preset = preset;
    let mut console = Console::new(&args.output, &layout, workload.num_requests, files);
    if !args.output.quiet {
        introduce(args, &loaded, &workload);
    }
    let mut simulation = Simulation::new(&loaded.deployment, workload.entries.into_iter());
    if let Some(routes) = routes {
        simulation = simulation.route_with(Box::new(routes));
    }
    let totals = simulation.try_run(&mut console).map_err(Failure::Stuck)?;
    let watched = console.finish(&totals);
    watched.files.commit()?;
    let summary = || Summary::new(&layout, &watched.statistics, watched.intervals.power(), &totals);
    let mut out = io::stdout().lock();
    match args.output.format {
        Format::Json => write!(out, "{}", report::summary_json(&summary()))?,
        Format::Text if args.output.quiet => {}
        Format::Text => write!(out, "{}", report::summary_table(&summary()))?,
    }
    Ok(())
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
}

impl Job {
    /// Reads all inputs, and tells all their faults at once.
    pub(crate) fn prepare(args: &RunArgs) -> Result<Self, Faults> {
        let mut faults = refused_flags(args);
        let Some(example) = keep(example(args).map_err(Faults::from), &mut faults) else { return Err(faults) };
        check_outputs(args, &mut faults);
        let Some((engine, preset)) = keep(engine(&args.engine), &mut faults) else { return Err(faults) };
        let mut loaded = keep(config::load(&inputs(args, example, engine)), &mut faults);
        if let (Some(path), Some(loaded)) = (&args.routing.expert_routing_file, &mut loaded) {
            keep(recordings::route_experts(path, &mut loaded.deployment), &mut faults);
        }
        let wants_token_ids = loaded
            .as_ref()
            .is_some_and(|loaded| loaded.deployment.instances.iter().any(|instance| instance.kv.prefix_caching));
        let (source, workload) = read_workload(args, example, wants_token_ids);
        let mut workload = keep(workload, &mut faults);
        if let (Some(path), Some(workload)) = (&args.input.arrivals_from, &mut workload) {
            keep(recordings::replay_arrivals(path, workload), &mut faults);
        }
        let mut routes = None;
        if let (Some(loaded), Some(workload)) = (&loaded, &workload) {
            faults.extend(unfit_requests(&source, loaded, workload));
            if let Some(path) = &args.routing.request_routing_file {
                routes = keep(recordings::read_routes(path, &loaded.deployment, workload), &mut faults);
            }
        }
        // The output comes last, so that nothing is created for a run that can't be.
        let (Some(loaded), Some(workload), true) = (loaded, workload, faults.is_empty()) else { return Err(faults) };
        let files = OutputFiles::create(&args.output, &loaded.deployment)?;
        Ok(Self { loaded, workload, preset, routes, files })
    }
}

fn keep<T>(result: Result<T, Faults>, faults: &mut Faults) -> Option<T> {
    result.map_err(|more| faults.extend(more)).ok()
}

/// Results must not replace what they come from.
fn check_outputs(args: &RunArgs, faults: &mut Faults) {
    let outputs = [("--output", &args.output.output), ("--interval-output", &args.output.interval_output)];
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
    let cluster = match (&args.input.cluster_config, example) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(example)) => {
            Source::Text { name: example.cluster.name.to_owned(), text: example.cluster.text.to_owned() }
        }
        (None, None) => unreachable!("without a cluster file an example runs"),
    };
    Inputs {
        cluster,
        profile_dir: args.dirs.profile_dir.clone(),
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

/// The workload, and what its faults call it.
fn read_workload(args: &RunArgs, example: Option<&Example>, token_ids: bool) -> (String, Result<Workload, Faults>) {
    let limit = (args.input.num_reqs > 0).then_some(args.input.num_reqs);
    let options = ReadOptions { limit, token_ids };
    match (&args.input.dataset, example) {
        (Some(path), _) => (path.display().to_string(), workload::read_file(path, &options)),
        (None, Some(example)) => {
            let file = example.workload;
            (file.name.to_owned(), workload::read_str(file.name, file.text, &options))
        }
        (None, None) => unreachable!("a cluster file requires a workload"),
    }
}

/// Requests that could never be finished.
fn unfit_requests(source: &str, loaded: &Loaded, workload: &Workload) -> Faults {
    let limits = WorkloadLimits::of(&loaded.deployment);
    let mut all = Faults::new();
    for entry in &workload.entries {
        limits.check(source, entry, &mut all);
    }
    let mut faults = Faults::new();
    all.iter().take(UNFIT_REQUESTS_MAX).for_each(|fault| faults.push(fault.clone()));
    let more = all.iter().count().saturating_sub(UNFIT_REQUESTS_MAX);
    if more > 0 {
        faults.push(Fault::new(source, format!("{more} more requests do not fit")));
    }
    faults
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / units::GIB as f64
}

/// What the size of a KV cache follows from.
fn basis(basis: KvBasis, is_vllm: bool) -> String {
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
