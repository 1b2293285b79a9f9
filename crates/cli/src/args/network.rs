//! Commands that run the network alone.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::{Format, Schema, whole_number};
use crate::collective_command::{AlgorithmName, BlockName, Involved, Kind, Model, OptimizationName};

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The traces: `<PREFIX>.<npu>.et`.
    #[arg(long, alias = "workload-configuration", value_name = "PREFIX", requires_all = ["network", "system"])]
    pub(crate) workload: Option<PathBuf>,
    /// Topology and links (ASTRA-Sim's network.yml).
    #[arg(long, alias = "network-configuration", value_name = "FILE", requires = "workload")]
    pub(crate) network: Option<PathBuf>,
    /// How collectives are run (ASTRA-Sim's system.json).
    #[arg(long, alias = "system-configuration", value_name = "FILE", requires = "workload")]
    pub(crate) system: Option<PathBuf>,
    /// What NPUs load from and store to (ASTRA-Sim's memory.json) [default: nothing].
    #[arg(long, aliases = ["memory-configuration", "remote-memory-configuration"], value_name = "FILE", requires = "workload")]
    pub(crate) memory: Option<PathBuf>,
    /// Instead of a workload: a folder that `servingsim run --chakra-dir` wrote. Each trace begins when it did in the run, and
    /// for each step it is printed when it ended then and when it ends now.
    #[arg(long, value_name = "DIR", conflicts_with = "workload", required_unless_present = "workload")]
    pub(crate) schedule: Option<PathBuf>,
    /// Whether messages slow each other down: unaware (never) or aware (a link carries one at a time) [default: unaware; of
    /// a schedule, as in its run].
    #[arg(long, value_name = "MODEL")]
    pub(crate) network_model: Option<Model>,
    /// Factor of the endpoint delay.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor)]
    pub(crate) injection_scale: f64,
    /// Queues that the chunks of a dimension are spread over.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) num_queues_per_dim: u32,
    /// Let each message wait for a token of its receiver.
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) rendezvous_protocol: bool,
    /// How node types are numbered [default: as the traces themselves tell].
    #[arg(long, value_name = "SCHEMA", value_enum)]
    pub(crate) chakra_schema: Option<Schema>,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", conflicts_with = "schedule")]
    pub(crate) format: Format,
    #[arg(long, hide = true, value_name = "FACTOR")]
    pub(crate) comm_scale: Option<f64>,
    #[arg(long, hide = true, value_name = "FACTOR")]
    pub(crate) compute_scale: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct CollectiveArgs {
    /// What it does: all_reduce, all_gather, reduce_scatter or all_to_all.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Kind,
    /// How, for each dimension or for all: ring, direct, direct<WINDOW>, halvingDoubling, doubleBinaryTree.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "ring")]
    pub(crate) algorithm: Vec<AlgorithmName>,
    /// How NPUs are joined, for each dimension or for all: Ring, FullyConnected, Switch.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "FullyConnected")]
    pub(crate) topology: Vec<BlockName>,
    /// NPUs along each dimension, innermost first.
    #[arg(long, value_name = "N,…", value_delimiter = ',', required = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) npus: Vec<u32>,
    /// Bandwidth of a link in GB/s (2^30 bytes), for each dimension or for all.
    #[arg(long, value_name = "GB/S,…", value_delimiter = ',', required = true, value_parser = bandwidth)]
    pub(crate) bandwidth: Vec<f64>,
    /// Latency of a link in nanoseconds, for each dimension or for all.
    #[arg(long, value_name = "NS,…", value_delimiter = ',', required = true, value_parser = nanoseconds)]
    pub(crate) latency: Vec<f64>,
    /// For each dimension whether it takes part: 1 or 0 [default: all do].
    #[arg(long, value_name = "0|1,…", value_delimiter = ',')]
    pub(crate) involved: Option<Vec<Involved>>,
    /// Bytes each NPU brings; several sizes give a table.
    #[arg(long, value_name = "BYTES,…", value_delimiter = ',', required = true, value_parser = whole_number::<u64>)]
    pub(crate) bytes: Vec<u64>,
    /// Whether messages slow each other down: unaware (never) or aware (a link carries one at a time).
    #[arg(long, value_name = "MODEL", default_value = "unaware")]
    pub(crate) network_model: Model,
    /// Bandwidth of the NPUs' own memory in GB/s (10^9 bytes); reductions go through it.
    #[arg(long, value_name = "GB/S", default_value_t = 936.0, value_parser = bandwidth)]
    pub(crate) local_mem_bw: f64,
    /// Nanoseconds before the first message of an NPU and after each that it receives.
    #[arg(long, value_name = "NS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub(crate) endpoint_delay: u64,
    /// Chunks that the data is split into.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) preferred_dataset_splits: u64,
    /// Chunks under way at once in a dimension.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) active_chunks_per_dimension: u32,
    /// How an all-reduce over several dimensions is made up: localBWAware or baseline.
    #[arg(long, value_name = "NAME", default_value = "localBWAware")]
    pub(crate) collective_optimization: OptimizationName,
    /// Print when each NPU is through, separated by spaces.
    #[arg(long)]
    pub(crate) per_npu: bool,
    /// How it is written; JSON adds steps, bytes on the wire, and the share of the time that the links need for them.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
}

fn bandwidth(text: &str) -> Result<f64, &'static str> {
    let sound = text.parse().ok().filter(|number| (1e-3..=1e9).contains(number));
    sound.ok_or("expected a number from 0.001 to 1000000000")
}

fn factor(text: &str) -> Result<f64, &'static str> {
    let sound = text.parse().ok().filter(|number| (0.0..=1e3).contains(number));
    sound.ok_or("expected a number from 0 to 1000")
}

fn nanoseconds(text: &str) -> Result<f64, &'static str> {
    let sound = text.parse().ok().filter(|number| (0.0..=1e12).contains(number));
    sound.ok_or("expected a number from 0 to 1000000000000")
}
