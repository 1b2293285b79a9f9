//! A run as a page: what it was made of, in words.

use std::fs;

use config::{LatencyUsed, Loaded};
use engine::Engine;
use explain::Limitation;
use report::PageText;
use workload::Workload;

use crate::args::RunArgs;
use crate::check_command::facts;
use crate::embedding::Text;
use crate::run::{basis, gib, names_of_inputs};

/// Files up to this size are shown on the page.
const FILE_BYTES_MAX: u64 = 200_000;

/// The page's title: what ran on what.
pub(crate) fn title(args: &RunArgs) -> String {
    let (cluster, workload) = names_of_inputs(args);
    format!("{cluster} · {workload}")
}

/// What there is to say of a run beside its results.
pub(crate) fn text(args: &RunArgs, loaded: &Loaded, preset: Option<String>, workload: &Workload) -> PageText {
    let explanation = explain::explain(&facts(loaded, preset, Vec::new()));
    let (cluster, workload_name) = names_of_inputs(args);
    let mut run = vec![
        ("Cluster".to_owned(), cluster),
        ("Workload".to_owned(), format!("{workload_name}, {} requests", workload.num_requests)),
    ];
    run.extend(options(args, loaded));
    let notes = loaded.notes.iter().chain(&workload.notes).map(|note| sentence(note)).collect();
    PageText {
        configuration: vec![("Run".to_owned(), run), ("Instances".to_owned(), instances(loaded))],
        files: cluster_file(args).into_iter().collect(),
        notes,
        not_modelled: explanation.not_modelled.iter().map(limitation).collect(),
        drawing: Some(report::drawing(&explanation)),
    }
}

fn options(args: &RunArgs, loaded: &Loaded) -> Vec<(String, String)> {
    let options = &loaded.deployment.options;
    let scheduler = &args.scheduler;
    let or_none = |limit: u64| if limit == 0 { "no limit".to_owned() } else { limit.to_string() };
    let engine = match &options.engine {
        Engine::Reference => "one step after the other".to_owned(),
        Engine::Vllm(_) => format!(
            "vLLM's engine core, host times of {}",
            args.engine.preset.as_deref().unwrap_or(config::Preset::DEFAULT)
        ),
    };
    let caching =
        if loaded.deployment.instances.iter().any(|instance| instance.kv.prefix_caching) { "on" } else { "off" };
    let pairs = [
        ("Engine", engine),
        ("Most sequences", or_none(scheduler.max_num_seqs)),
        ("Most tokens of a step", or_none(scheduler.max_num_batched_tokens)),
        ("Prefix caching", caching.to_owned()),
        ("Request routing", args.routing.request_routing_policy.clone()),
        ("Collectives to experts", args.routing.all2all_backend.clone()),
        ("Links", loaded.deployment.system.network_model.name().to_owned()),
        ("Seed", args.engine.seed.to_string()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A line for each run of instances that are alike.
fn instances(loaded: &Loaded) -> Vec<(String, String)> {
    let is_vllm = loaded.deployment.options.engine != Engine::Reference;
    let line = |index: usize| {
        let (spec, instance) = (&loaded.deployment.instances[index], &loaded.instances[index]);
        let latency = match instance.latency {
            LatencyUsed::Profile => "measured profile",
            LatencyUsed::Analytic => "analytic model",
        };
        let role = match spec.role {
            engine::Role::Whole => "",
            engine::Role::Prefill => ", prefill",
            engine::Role::Decode => ", decode",
        };
        format!(
            "{} on {}{role}; tp {}, pp {}, ep {}; times from {latency}; KV cache {} tokens in {} blocks, {:.2} GiB a NPU {}",
            spec.model.name,
            instance.hardware,
            spec.tp,
            spec.pp,
            spec.ep,
            instance.kv_tokens,
            instance.kv_blocks,
            gib(instance.kv_bytes),
            basis(instance.kv_basis, is_vllm),
        )
    };
    let lines: Vec<String> = (0..loaded.instances.len()).map(line).collect();
    let mut start = 0;
    lines
        .chunk_by(|one, next| one == next)
        .map(|alike| {
            let (first, last) = (start, start + alike.len() - 1);
            start += alike.len();
            let name = if first == last { format!("{first}") } else { format!("{first} to {last}") };
            (name, alike[0].clone())
        })
        .collect()
}

fn cluster_file(args: &RunArgs) -> Option<(String, String)> {
    if let Some(Text { name, text }) = &args.input.given.cluster {
        return (text.len() as u64 <= FILE_BYTES_MAX).then(|| (name.clone(), text.clone()));
    }
    let Some(path) = &args.input.cluster_config else {
        let name = args.input.example.as_deref();
        let example = name.map_or(Some(&examples::EXAMPLES[0]), examples::find)?;
        return Some((example.cluster.name.to_owned(), example.cluster.text.to_owned()));
    };
    let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX);
    let text = is_small.then(|| fs::read_to_string(path).ok())??;
    Some((path.display().to_string(), text))
}

/// A limitation as a sentence.
fn limitation(limitation: &Limitation) -> String {
    format!("{}: {}.", limitation.title.trim_end_matches('.'), limitation.here)
}

/// A note, which has no full stop, as a sentence.
fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
