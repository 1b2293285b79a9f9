//! `servingsim replay`: Chakra traces, run on what ASTRA-Sim's files describe.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use astra::{Files, Loaded, Options, TraceGraph};
use chakra::TraceSet;
use diagnostics::{Fault, Faults};
use network::{NetworkModel, Op, Outcome, Reason, Waiting, replay as run};
use units::{Duration, Instant, NpuId};

use crate::Failure;
use crate::args::{Format, ReplayArgs};
use crate::schedule;

/// NPUs, and nodes of each, that a deadlock names.
const NPUS_NAMED_MAX: usize = 8;
const NODES_NAMED_MAX: usize = 3;

pub(crate) fn replay(args: &ReplayArgs) -> Result<(), Failure> {
    for (flag, value) in [("--comm-scale", args.comm_scale), ("--compute-scale", args.compute_scale)] {
        if value.is_some() {
            eprintln!("note: {flag} changes nothing, in ASTRA-Sim neither");
        }
    }
    match (&args.workload, &args.network, &args.system, &args.schedule) {
        (_, _, _, Some(dir)) => schedule::replay(dir, args),
        (Some(workload), Some(network), Some(system), None) => {
            replay_set(workload, &Files { network, system, memory: args.memory.as_deref() }, args)
        }
        _ => unreachable!("a workload requires its files"),
    }
}

pub(crate) fn options(args: &ReplayArgs, default: NetworkModel) -> Options {
    Options {
        network_model: args.network_model.map_or(default, |model| model.0),
        injection_scale: args.injection_scale,
        queues_per_dim: args.num_queues_per_dim,
        has_rendezvous: args.rendezvous_protocol,
    }
}

fn replay_set(workload: &Path, files: &Files<'_>, args: &ReplayArgs) -> Result<(), Failure> {
    let Loaded { setup, notes } = astra::read(files, &options(args, NetworkModel::default()))?;
    let set = read_set(workload, setup.fabric.topology.num_npus(), args)?;
    let graphs = astra::graphs(&set, &setup, workload)?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    let runs: Vec<_> = graphs.iter().map(|built| built.graph.clone()).collect();
    match run(&setup.fabric, &runs) {
        Outcome::Finished(finished) => {
            let text = match args.format {
                Format::Text => as_astra_sim_says(&finished, &graphs),
                Format::Json => report::finish_json(&finished),
            };
            io::stdout().lock().write_all(text.as_bytes())?;
            Ok(())
        }
        Outcome::Deadlock { finished, waiting } => {
            Err(Failure::Deadlock(deadlock(&set, &graphs, finished.iter().flatten().count(), &waiting)))
        }
    }
}

/// Reads the traces, and tells what in them is not followed.
pub(crate) fn read_set(prefix: &Path, num_npus: usize, args: &ReplayArgs) -> Result<TraceSet, Faults> {
    let num_npus = u32::try_from(num_npus)
        .map_err(|_| Fault::new("--network", format!("{num_npus} NPUs are more than there can be traces")))?;
    let set = chakra::read_set(prefix, num_npus, args.chakra_schema.map(crate::args::Schema::numbering))?;
    if set.num_nodes_with_ctrl_deps > 0 {
        eprintln!(
            "note: `ctrl_deps` of {} nodes are not followed, as in ASTRA-Sim: only `data_deps` are",
            set.num_nodes_with_ctrl_deps
        );
    }
    Ok(set)
}

/// A line for each NPU. What is exposed of communication is all time in which the NPU does not compute.
fn as_astra_sim_says(finished: &[Instant], graphs: &[TraceGraph]) -> String {
    let mut text = String::with_capacity(finished.len() * 80);
    for ((npu, end), built) in finished.iter().enumerate().zip(graphs) {
        let ops = (0..built.graph.num_nodes() as u32).map(|node| built.graph.op(node));
        let computes: Duration = ops.map(|op| if let Op::Compute(time) = op { time } else { Duration::ZERO }).sum();
        let (end, exposed) = (end.ns(), end.ns() - computes.ns());
        let line =
            format_args!("sys[{npu}] iteration 0 finished, {end} cycles, exposed communication {exposed} cycles.\n");
        text.write_fmt(line).expect("a string takes all text");
    }
    text
}

/// Why a node never ends.
pub(crate) fn reason(waiting: &Waiting) -> String {
    match waiting.reason {
        Reason::Impossible(why) => why.to_string(),
        Reason::Members => "waits for other members of the collective".to_owned(),
        Reason::Message { from } => format!("waits for a message of NPU {from}"),
        Reason::Receiver { to } => format!("waits for NPU {to} to ask for the message"),
        Reason::Itself => "waits for nodes that wait for it".to_owned(),
    }
}

/// Who waits for what.
fn deadlock(set: &TraceSet, graphs: &[TraceGraph], num_finished: usize, waiting: &[(NpuId, Vec<Waiting>)]) -> String {
    let mut text = format!("{} of {} NPUs never finish", waiting.len(), waiting.len() + num_finished);
    for (npu, nodes) in waiting.iter().take(NPUS_NAMED_MAX) {
        for waiting in nodes.iter().take(NODES_NAMED_MAX) {
            let place = graphs[npu.index()].nodes[waiting.node as usize];
            let node = &set.traces[npu.index()].nodes[place];
            text += &format!("\n  NPU {npu}: node {} ({}) {}", node.id, node.name, reason(waiting));
        }
        if nodes.len() > NODES_NAMED_MAX {
            text += &format!("\n  NPU {npu}: {} more nodes wait", nodes.len() - NODES_NAMED_MAX);
        }
    }
    if waiting.len() > NPUS_NAMED_MAX {
        text += &format!("\n  and {} more NPUs", waiting.len() - NPUS_NAMED_MAX);
    }
    text
}
