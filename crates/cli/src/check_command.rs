//! `servingsim check`: reads everything that a run would, and explains what it would simulate.

use std::io::{self, Write};

use config::{InstanceSummary, KvBasis, Loaded};
use diagnostics::{Fault, Faults};
use engine::{Engine, StepPiece};
use explain::{Explanation, Facts, InstanceFacts, WorkloadFacts};
use report::AtomicFile;
use workload::ReadOptions;

use crate::Failure;
use crate::args::{CheckArgs, Format, ToldArgs};
use crate::run::{Read, check_output};
use crate::timings::Timings;

pub(crate) fn check(args: CheckArgs) -> Result<(), Failure> {
    let (run, told) = args.into_run();
    let mut faults = Faults::new();
    if let Some(path) = &told.drawing {
        check_output("--drawing", path, &run, &mut faults);
    }
    if run.input.cluster_config.is_some() && run.input.dataset.is_none() {
        let unused = [
            (run.input.num_reqs > 0, "--num-reqs"),
            (run.routing.request_routing_file.is_some(), "--request-routing-file"),
        ];
        for (_, flag) in unused.into_iter().filter(|(is_given, _)| *is_given) {
            faults.push(Fault::new(flag, "no workload is given").hint("name it with --dataset, or leave this out"));
        }
    }
    let mut workload_facts = WorkloadFacts::default();
    let each = &mut |entry: &engine::Entry| workload_facts.add(entry);
    let read = match Read::all(&run, ReadOptions::KEPT_BYTES_MAX, &mut Timings::begin(), each) {
        Ok(read) if faults.is_empty() => read,
        Ok(_) => return Err(faults.into()),
        Err(more) => {
            faults.extend(more);
            return Err(faults.into());
        }
    };
    let Read { loaded, mut workload, preset, .. } = read;
    if let (Some(_), Some(workload)) = (&run.input.arrivals_from, &mut workload) {
        workload_facts.replace_arrivals(workload.keep()?.iter().map(|entry| entry.arrival));
    }
    let workload_notes = workload.iter().flat_map(|workload| workload.notes.iter().cloned());
    let notes = loaded.notes.iter().cloned().chain(workload_notes).collect();
    let batches: Vec<Vec<StepPiece>> = told.batch.iter().map(|batch| batch.0.clone()).collect();
    let facts = facts(&loaded, preset, notes);
    let workload = workload.is_some().then_some(&workload_facts);
    let explanation = explain::explain(&Facts { workload, batches: &batches, ..facts });
    write(&explanation, &told)
}

fn write(explanation: &Explanation, told: &ToldArgs) -> Result<(), Failure> {
    if let Some(path) = &told.drawing {
        let mut file = AtomicFile::create(path)?;
        let written = file.write_all(report::drawing(explanation).as_bytes());
        written.map_err(|error| Fault::new(path.display().to_string(), format!("can't be written: {error}")))?;
        file.commit()?;
    }
    let mut out = io::stdout().lock();
    match told.format {
        Format::Json => write!(out, "{}", report::explanation_json(explanation))?,
        Format::Text if told.quiet => {}
        Format::Text => write!(out, "{}", report::explanation_text(explanation))?,
    }
    Ok(())
}

/// What is known of a deployment, with nothing of a workload and no batches asked for.
pub(crate) fn facts(loaded: &Loaded, preset: Option<String>, notes: Vec<String>) -> Facts<'_> {
    Facts {
        deployment: &loaded.deployment,
        instances: instances(loaded),
        host_memory_bytes: &loaded.host_memory_bytes,
        pool_memory_bytes: loaded.pool_memory_bytes,
        preset,
        workload: None,
        batches: &[],
        notes,
    }
}

/// What is known of each instance beside the deployment.
fn instances(loaded: &Loaded) -> Vec<InstanceFacts> {
    let null_blocks = u64::from(loaded.deployment.options.engine != Engine::Reference);
    let of = |instance: &InstanceSummary| {
        let (utilization, overheads) = match instance.kv_basis {
            KvBasis::Given => (None, None),
            KvBasis::Share { utilization, overheads } => (Some(utilization), overheads),
        };
        InstanceFacts {
            npu_memory_bytes: instance.npu_memory_bytes,
            weights: instance.weights,
            utilization,
            activation_peak_bytes: overheads.map(|overheads| overheads.activation_peak_bytes),
            runtime_context_bytes: overheads.map(|overheads| overheads.runtime_context_bytes),
            null_blocks,
            profile: instance.profile.clone(),
        }
    };
    loaded.instances.iter().map(of).collect()
}
