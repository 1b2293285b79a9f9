//! `servingsim collective`: how long one collective takes, from the command line.

use std::io::{self, Write};
use std::rc::Rc;
use std::str::FromStr;

use diagnostics::{Fault, Faults};
use network::{
    Algorithm, Algorithms, Block, Collective, DimMask, Dimension, Fabric, Graph, MemoryDevices, NetworkModel, Op,
    Outcome, Plan, System, Topology, replay,
};
use report::CollectiveTime;
use units::Instant;

use crate::Failure;
use crate::args::{CollectiveArgs, Format};

/// A sixth of what the clock holds.
const LONGEST_NS: f64 = 3e18;

/// Most messages that are run one by one: some minutes.
const MESSAGES_MAX: f64 = 1e9;

/// Most NPUs.
const NPUS_MAX: u64 = 1 << 20;

pub(crate) fn collective(args: &CollectiveArgs) -> Result<(), Failure> {
    let (topology, system, dims) = resolve(args)?;
    let mut faults = Faults::new();
    let mut times = Vec::with_capacity(args.bytes.len());
    for &bytes in &args.bytes {
        match time(args, &topology, &system, Collective { kind: args.kind.0, bytes, dims }) {
            Ok(time) => times.push(time),
            Err(fault) => faults.push(fault),
        }
    }
    faults.into_result(())?;
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => write!(out, "{}", report::collective_json(&times, args.per_npu))?,
        Format::Text => write!(out, "{}", report::collective_text(&times, args.per_npu))?,
    }
    Ok(())
}

/// The topology, the system and the involved dimensions that the flags describe.
fn resolve(args: &CollectiveArgs) -> Result<(Topology, System, DimMask), Faults> {
    let num_dims = args.npus.len();
    let mut faults = Faults::new();
    let mut check_length = |flag: &str, length: usize, may_be_one: bool| {
        if length != num_dims && !(may_be_one && length == 1) {
            let message = format!("{length} values for the {num_dims} dimensions of --npus");
            let hint = if may_be_one { "give one for each, or one for all" } else { "give one for each" };
            faults.push(Fault::new(flag, message).hint(hint));
        }
    };
    check_length("--topology", args.topology.len(), true);
    check_length("--algorithm", args.algorithm.len(), true);
    check_length("--bandwidth", args.bandwidth.len(), true);
    check_length("--latency", args.latency.len(), true);
    if let Some(involved) = &args.involved {
        check_length("--involved", involved.len(), false);
    }
    if num_dims > DimMask::MAX_DIMS {
        faults
            .push(Fault::new("--npus", format!("{num_dims} dimensions, and at most {} are known", DimMask::MAX_DIMS)));
    }
    let num_npus = args.npus.iter().try_fold(1u64, |product, &npus| product.checked_mul(npus.into()));
    if num_npus.is_none_or(|num_npus| num_npus > NPUS_MAX) {
        faults.push(Fault::new("--npus", format!("more than {NPUS_MAX} NPUs in all")));
    }
    faults.into_result(())?;
    let dims = args.npus.iter().enumerate().map(|(dim, &npus)| Dimension {
        block: of_dim(&args.topology, dim).0,
        npus,
        bandwidth_gib_per_s: of_dim(&args.bandwidth, dim),
        latency_ns: of_dim(&args.latency, dim),
    });
    let algorithms = (0..num_dims).map(|dim| of_dim(&args.algorithm, dim).0).collect();
    let system = System {
        algorithms: Algorithms::of_all_kinds(algorithms),
        optimization: args.collective_optimization.0,
        num_chunks: args.preferred_dataset_splits,
        active_chunks_per_dim: args.active_chunks_per_dimension,
        network_model: args.network_model.0,
        ..System::new(args.endpoint_delay, args.local_mem_bw)
    };
    let involved = args.involved.as_ref().map_or(DimMask::ALL, |involved| {
        DimMask::new(&involved.iter().map(|&Involved(involved)| involved).collect::<Vec<_>>())
    });
    Ok((Topology::new(dims.collect()), system, involved))
}

fn of_dim<T: Copy>(values: &[T], dim: usize) -> T {
    values[dim.min(values.len() - 1)]
}

fn time(
    args: &CollectiveArgs,
    topology: &Topology,
    system: &System,
    collective: Collective,
) -> Result<CollectiveTime, Fault> {
    let bytes = collective.bytes;
    let fault = |message: String| {
        Fault::new("servingsim collective", format!("{} of {bytes} bytes: {message}", collective.kind.name()))
    };
    let plan = Plan::new(topology, system, collective).map_err(|why| fault(why.to_string()))?;
    if plan.longest_ns() > LONGEST_NS {
        return Err(fault("it could take longer than 95 years".to_owned()).hint("use fewer bytes, faster links"));
    }
    let mut finished = vec![Instant::ZERO; topology.num_npus()];
    if !plan.advance(&mut finished) {
        let num_messages = plan.num_messages();
        if num_messages > MESSAGES_MAX {
            let message = format!("it has no closed form, and {num_messages:.0e} messages are too many to run");
            return Err(fault(message).hint("use fewer NPUs or chunks"));
        }
        finished = by_message(topology, system, collective).ok_or_else(|| fault("it never completes".to_owned()))?;
    }
    let algorithms = args.algorithm.iter().map(|algorithm| algorithm.0.to_string()).collect::<Vec<_>>();
    Ok(CollectiveTime {
        kind: collective.kind,
        algorithm: algorithms.join(","),
        bytes,
        finished,
        steps: plan.steps(),
        bytes_on_wire: plan.bytes_sent(),
        limit_ns: plan.limit_ns(),
    })
}

/// When each NPU is through a collective that all begin together, if they ever are.
fn by_message(topology: &Topology, system: &System, collective: Collective) -> Option<Vec<Instant>> {
    let mut graph = Graph::with_capacity(1);
    graph.then(Op::Collective(collective));
    let graph = Rc::new(graph);
    let graphs: Vec<_> = (0..topology.num_npus()).map(|_| Rc::clone(&graph)).collect();
    let memory = MemoryDevices::new(0.0, 1.0, 0).into();
    match replay(&Fabric { topology: topology.clone(), system: system.clone(), memory }, &graphs) {
        Outcome::Finished(finished) => Some(finished),
        Outcome::Deadlock { .. } => None,
    }
}

/// A value that is known by a name.
macro_rules! named {
    ($name:ident($type:ty), $known:expr) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) $type);

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let known: &[(&str, $type)] = $known;
                let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| $name(*value));
                let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                found.ok_or_else(|| format!("expected one of {}", names()))
            }
        }
    };
}

named!(Kind(network::CollectiveKind), &network::CollectiveKind::ALL.map(|kind| (kind.name(), kind)));
named!(BlockName(Block), &Block::ALL.map(|block| (block.name(), block)));
named!(Model(NetworkModel), &NetworkModel::ALL.map(|model| (model.name(), model)));
named!(
    OptimizationName(network::Optimization),
    &[("localBWAware", network::Optimization::LocalBandwidthAware), ("baseline", network::Optimization::Baseline),]
);
named!(Involved(bool), &[("1", true), ("0", false)]);

/// An algorithm by ASTRA-Sim's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlgorithmName(pub(crate) Algorithm);

impl FromStr for AlgorithmName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = "expected ring, direct, direct<window>, halvingDoubling or doubleBinaryTree";
        text.parse().map(AlgorithmName).map_err(|()| unknown)
    }
}
