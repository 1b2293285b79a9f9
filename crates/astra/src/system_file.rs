//! `system.json`: how collectives are run, and whether computation goes by a roofline.
//!
//! ASTRA-Sim multiplies a delay that the file gives by `--injection-scale`, and leaves the one it assumes as it is. Where
//! no number of splits is given it divides by zero; here a collective is one chunk then. Where no algorithms are given
//! it has no dimensions to run a collective in; here it is a ring in each.

use std::sync::Arc;

use documents::json::{self, Cursor, Object};
use documents::{Bounds, Document, suggest};
use network::{Algorithm, Algorithms, CollectiveKind, Optimization, System};

use crate::report::{Report, count, optional};
use crate::setup::{Options, Setup};

/// What ASTRA-Sim assumes.
const ENDPOINT_DELAY_NS: u64 = 10;
const ENDPOINT_DELAY: Bounds = Bounds::From { least: 0.0, most: 1e9 };
/// Keeps the time of a reduction within 64 bits.
const LOCAL_BANDWIDTH: Bounds = Bounds::From { least: 1e-3, most: 1e9 };
const PEAK: Bounds = Bounds::Positive { most: 1e9 };
const MOST_CHUNKS: u32 = 1 << 20;

/// What has no effect, all of it for want of something that it would act on: an NPU runs one collective at a time.
const IGNORED: [&str; 8] =
    ["scheduling-policy", "boost-mode", "trace-enabled", "local-reduction-delay", "L", "o", "g", "G"];
const KNOWN: [&str; 13] = [
    "endpoint-delay",
    "active-chunks-per-dimension",
    "preferred-dataset-splits",
    "all-reduce-implementation",
    "all-gather-implementation",
    "reduce-scatter-implementation",
    "all-to-all-implementation",
    "collective-optimization",
    "local-mem-bw",
    "peak-perf",
    "roofline-enabled",
    "model-shared-bus",
    "replay-only",
];
const SCHEDULING_POLICIES: [&str; 3] = ["LIFO", "FIFO", "EXPLICIT"];
const OPTIMIZATIONS: [(&str, Optimization); 2] =
    [("localBWAware", Optimization::LocalBandwidthAware), ("baseline", Optimization::Baseline)];
const ALGORITHMS: &str =
    "`ring`, `direct`, `direct` with a window as in `direct4`, `halvingDoubling`, `doubleBinaryTree`";

fn algorithms_key(kind: CollectiveKind) -> &'static str {
    match kind {
        CollectiveKind::AllReduce => "all-reduce-implementation",
        CollectiveKind::AllGather => "all-gather-implementation",
        CollectiveKind::ReduceScatter => "reduce-scatter-implementation",
        CollectiveKind::AllToAll => "all-to-all-implementation",
    }
}

fn chakra_key(kind: CollectiveKind) -> String {
    format!("{}-chakra", algorithms_key(kind))
}

/// The system, and the peak of the roofline in TFLOP/s if there is one. `num_dims` are the network's, where they are
/// known.
pub(crate) fn read(
    document: &Arc<Document>,
    num_dims: Option<usize>,
    options: &Options,
    report: &mut Report,
) -> Option<(System, Option<f64>)> {
    let mut notes = Vec::new();
    let system = json::read(document, &mut report.faults, |root| {
        let object = root.object()?;
        reject_keys(&object);
        let algorithms = algorithms(&object, num_dims, &mut notes);
        let system = system(&object, algorithms, options, &mut notes);
        Some((system?, roofline(&object)?))
    });
    let (system, (peak_tflops, ignored)) = system?;
    report.notes.extend(notes.into_iter().map(|note| format!("{}: {note}", document.name)));
    report.note_ignored(document, &ignored);
    Some((system, peak_tflops))
}

/// Records what is unknown, what is not modelled, and a policy that does not exist.
fn reject_keys(object: &Object<'_>) {
    let chakra_keys = CollectiveKind::ALL.map(chakra_key);
    object.reject_unknown_but(&[&KNOWN[..], &IGNORED].concat(), |key| chakra_keys.iter().any(|other| other == key));
    for kind in CollectiveKind::ALL {
        if let Some(value) = object.get(&chakra_key(kind)) {
            let message = format!("`{}` is not modelled", chakra_key(kind));
            let hint = format!("list an algorithm for each dimension in `{}`", algorithms_key(kind));
            object.push(value.place().fault(message).hint(hint));
        }
    }
    for (key, message) in [
        ("model-shared-bus", "a shared bus is not modelled"),
        ("replay-only", "replaying recorded times alone is not modelled"),
    ] {
        let Some(value) = object.get(key) else { continue };
        if value.whole(0, 1).is_some_and(|switch| switch.value == 1) {
            object.push(value.place().fault(message).hint("leave it out, or write 0"));
        }
    }
    if let Some(value) = object.get("scheduling-policy") {
        value.name_of(&SCHEDULING_POLICIES, |name| name);
    }
}

fn algorithms(object: &Object<'_>, num_dims: Option<usize>, notes: &mut Vec<String>) -> Option<Algorithms> {
    let mut algorithms = Algorithms::default();
    let mut is_sound = true;
    let mut missing = Vec::new();
    for kind in CollectiveKind::ALL {
        let key = algorithms_key(kind);
        let by_dim = match object.get(key) {
            Some(value) => algorithms_by_dim(&value, key, num_dims),
            None => {
                missing.push(key);
                Some(vec![Algorithm::Ring; num_dims.unwrap_or(0)])
            }
        };
        match by_dim {
            Some(by_dim) => algorithms.set(kind, by_dim),
            None => is_sound = false,
        }
    }
    if !missing.is_empty() {
        notes.push(format!("without {}, a ring is taken in each dimension", suggest::listed(&missing)));
    }
    is_sound.then_some(algorithms)
}

fn algorithms_by_dim(value: &Cursor<'_>, key: &str, num_dims: Option<usize>) -> Option<Vec<Algorithm>> {
    let entries = value.array()?;
    let algorithms: Vec<Option<Algorithm>> = entries.iter().map(algorithm).collect();
    if let Some(num_dims) = num_dims.filter(|&num_dims| num_dims != entries.len()) {
        let s = |count| if count == 1 { "" } else { "s" };
        let (found, dims) = (entries.len(), format!("{num_dims} dimension{}", s(num_dims)));
        let message = format!("`{key}` has {found} algorithm{} for the {dims} of the network", s(found));
        value.push(value.place().fault(message).hint("list one for each"));
        return None;
    }
    algorithms.into_iter().collect()
}

fn algorithm(value: &Cursor<'_>) -> Option<Algorithm> {
    let name = value.string()?;
    match name.value.parse() {
        Ok(algorithm) => Some(algorithm),
        Err(()) => {
            let is_known = ["oneRing", "oneDirect", "oneHalvingDoubling"].iter().any(|one| name.value.starts_with(one));
            let fault = if is_known {
                let message = format!("`{}` runs over all dimensions at once, which is not modelled", name.value);
                name.place.fault(message).hint("list an algorithm for each dimension")
            } else {
                let message = format!("unknown algorithm `{}`", name.value);
                name.place.fault(message).hint(format!("known are {ALGORITHMS}"))
            };
            value.push(fault);
            None
        }
    }
}

fn system(
    object: &Object<'_>,
    algorithms: Option<Algorithms>,
    options: &Options,
    notes: &mut Vec<String>,
) -> Option<System> {
    let endpoint_delay_ns = optional(object, "endpoint-delay", ENDPOINT_DELAY_NS, |value| {
        let delay = value.number(ENDPOINT_DELAY)?.value;
        Some((delay.trunc() * options.injection_scale) as u64)
    });
    let [num_chunks, active_chunks_per_dim] = ["preferred-dataset-splits", "active-chunks-per-dimension"]
        .map(|key| optional(object, key, 1, |value| count(value, 1, MOST_CHUNKS)));
    let local_memory = object.require("local-mem-bw").and_then(|value| value.number(LOCAL_BANDWIDTH));
    let optimization = optional(object, "collective-optimization", OPTIMIZATIONS[0], |value| {
        value.name_of(&OPTIMIZATIONS, |(name, _)| name).map(|placed| placed.value)
    });
    if object.get("collective-optimization").is_none() {
        notes.push(format!("without `collective-optimization`, `{}` is taken", OPTIMIZATIONS[0].0));
    }
    Some(System {
        endpoint_delay_ns: endpoint_delay_ns?,
        local_memory_gb_per_s: local_memory?.value,
        algorithms: algorithms?,
        optimization: optimization?.1,
        num_chunks: u64::from(num_chunks?),
        active_chunks_per_dim: active_chunks_per_dim?,
        queues_per_dim: options.queues_per_dim,
        has_rendezvous: options.has_rendezvous,
        network_model: options.network_model,
        measured: None,
    })
}

/// The peak in TFLOP/s if there is a roofline, and the keys that change nothing.
fn roofline(object: &Object<'_>) -> Option<(Option<f64>, Vec<String>)> {
    let is_enabled = optional(object, "roofline-enabled", 0, |value| count(value, 0, 1)).map(|switch| switch == 1);
    let peak = optional(object, "peak-perf", None, |value| value.number(PEAK).map(|peak| Some(peak.value)));
    let (is_enabled, peak) = (is_enabled?, peak?);
    if is_enabled && peak.is_none() {
        object.push(object.place().fault("missing key `peak-perf`").hint("`roofline-enabled` needs it, in TFLOP/s"));
        return None;
    }
    let is_ignored = |key: &str| IGNORED.contains(&key) || (key == "peak-perf" && !is_enabled);
    let ignored = object.entries().map(|(key, _)| key.to_owned()).filter(|key| is_ignored(key)).collect();
    Some((peak.filter(|_| is_enabled), ignored))
}

/// The file of a setup. What ASTRA-Sim has no default for is written even where it changes nothing.
pub(crate) fn text(setup: &Setup) -> String {
    let system = &setup.fabric.system;
    let num_dims = setup.fabric.topology.dims().len();
    let optimization = OPTIMIZATIONS.iter().find(|(_, optimization)| *optimization == system.optimization);
    let mut entries = vec![
        ("scheduling-policy", format!("{:?}", SCHEDULING_POLICIES[0])),
        ("endpoint-delay", system.endpoint_delay_ns.to_string()),
        ("active-chunks-per-dimension", system.active_chunks_per_dim.to_string()),
        ("preferred-dataset-splits", system.num_chunks.to_string()),
    ];
    for kind in CollectiveKind::ALL {
        let names: Vec<_> = (0..num_dims).map(|dim| format!("\"{}\"", system.algorithms.get(kind, dim))).collect();
        entries.push((algorithms_key(kind), format!("[{}]", names.join(", "))));
    }
    entries.extend(optimization.map(|(name, _)| ("collective-optimization", format!("{name:?}"))));
    entries.push(("local-mem-bw", format!("{:?}", system.local_memory_gb_per_s)));
    if let Some(peak) = setup.peak_tflops {
        entries.extend([("roofline-enabled", "1".to_owned()), ("peak-perf", format!("{peak:?}"))]);
    }
    let lines: Vec<_> = entries.iter().map(|(key, value)| format!("  \"{key}\": {value}")).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
