//! The command line as it is typed. What it means is resolved in [`crate::run`] and by the `config` crate.
//!
//! Flags that LLMServingSim has keep its names and defaults, so that a command line carries over unchanged. Those of
//! its flags that mean nothing here are known too, so that they can be refused by name.

mod check;
mod measured;
mod network;
mod trace;
mod workload;

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use engine::Vllm;

use crate::collective_command::Model;
use crate::embedding::Given;
use crate::schema_command::DOCUMENTS;

pub(crate) use check::{CheckArgs, ToldArgs};
pub(crate) use measured::{CalibrateArgs, CompareArgs, FromName, ReportArgs, ToName};
pub(crate) use network::{CollectiveArgs, ReplayArgs};
pub(crate) use trace::TraceArgs;
pub(crate) use workload::{ConvertArgs, GenerateArgs, ReadTraceArgs, StatsArgs, Workload, WorkloadCommand};

/// Simulates LLM serving clusters: what every request sees, and what the cluster does.
#[derive(Debug, Parser)]
#[command(name = "servingsim", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a cluster on a workload; without arguments, the built-in DP+EP mixture-of-experts example.
    // Of a flag given twice the last counts, as in LLMServingSim; a negative number is told to be one, not to be a flag.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    #[command(group = ArgGroup::new("own cluster").arg("cluster_config").requires("dataset"))]
    Run(Box<RunArgs>),
    /// Read and check all that a run would, and explain the deployment: ranks, experts, memory, links, steps, load.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Check(Box<CheckArgs>),
    /// Fit what the host of vLLM's engine takes to measured runs, and write it as a preset.
    Calibrate(Box<CalibrateArgs>),
    /// List the built-in examples, or write their files out.
    Examples(ExamplesArgs),
    /// Work with latency profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Run Chakra traces, one an NPU, and print when each NPU is through.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Replay(Box<ReplayArgs>),
    /// Time one collective: prints the nanosecond in which the last NPU is through with it.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Collective(Box<CollectiveArgs>),
    /// Compare two results, or a result with measurements of a real server: what requests saw, and when.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Compare(CompareArgs),
    /// Draw results, or measurements of a real server, over each other on one page (HTML).
    #[command(args_override_self = true)]
    Report(ReportArgs),
    /// Look at workloads, make some up, or take them from traces.
    #[command(subcommand)]
    Workload(Workload),
    /// Print the JSON schema of a document that users write.
    Schema {
        /// Which document.
        #[arg(value_name = "DOCUMENT", default_value = "cluster", value_parser = document_names())]
        document: String,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands.
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExamplesArgs {
    /// Write the files of every example into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Fit the constants of the analytic latency model to measured bundles.
    Fit(ProfileFitArgs),
    /// Compare the analytic latency model with measured bundles, operator by operator.
    Compare(ProfileCompareArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ProfileFitArgs {
    /// Streaming multiprocessors of the GPU, where its name is not a known one.
    #[arg(long, value_name = "N")]
    pub(crate) num_sms: Option<NonZeroU64>,
    /// Write the constants to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    // Last, as what follows would stand under its heading.
    #[command(flatten)]
    pub(crate) bundles: BundleArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ProfileCompareArgs {
    /// Constants to compare, as `profile fit` writes them [default: those shipped for the hardware].
    #[arg(long, value_name = "FILE")]
    pub(crate) gpu_constants: Option<PathBuf>,
    // Last, as what follows would stand under its heading.
    #[command(flatten)]
    pub(crate) bundles: BundleArgs,
}

/// Which measured bundles: all of one GPU in a profile tree.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The GPU, as the folder in the profile tree is named.
    #[arg(long, value_name = "NAME")]
    pub(crate) hardware: String,
    #[command(flatten)]
    pub(crate) dirs: DirArgs,
}

/// How engines step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineName {
    Reference,
    Vllm,
}

/// Where a user's own data is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DirArgs {
    /// Measured latency: a tree `<hardware>/<org>/<model>/<variant>/`.
    #[arg(long, env = "SERVINGSIM_PROFILE_DIR", value_name = "DIR")]
    pub(crate) profile_dir: Option<PathBuf>,
    /// Model configurations: a tree `<org>/<model>.json`, in Hugging Face's format.
    #[arg(long, env = "SERVINGSIM_MODEL_DIR", value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
    /// Model families: `<model_type>.yaml`, for families that are not built in.
    #[arg(long, env = "SERVINGSIM_ARCHITECTURE_DIR", value_name = "DIR")]
    pub(crate) architecture_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) dirs: DirArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) scheduler: SchedulerArgs,
    #[command(flatten)]
    pub(crate) routing: RoutingArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) files: IntermediateFileArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub(crate) struct InputArgs {
    /// Run a built-in example (`servingsim examples` lists them).
    #[arg(long, value_name = "NAME", conflicts_with = "cluster_config")]
    pub(crate) example: Option<String>,
    /// The cluster: nodes, instances, links and memory (JSON).
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster_config: Option<PathBuf>,
    /// The workload: one request or session a line (JSONL), or a row (Parquet, by its ending).
    #[arg(long, value_name = "FILE")]
    pub(crate) dataset: Option<PathBuf>,
    /// Have requests arrive as they did in a measured run (requests.jsonl of a recording, or a CSV), not as the workload
    /// plans.
    #[arg(long, value_name = "FILE", requires = "dataset")]
    pub(crate) arrivals_from: Option<PathBuf>,
    /// Read only so many entries of the workload, a session counting as one; 0 for all.
    #[arg(long, alias = "num-req", value_name = "N", default_value_t = 0, value_parser = whole_number::<usize>)]
    pub(crate) num_reqs: usize,
    /// What a program that embeds this crate has in memory; it comes before the files.
    #[arg(skip)]
    pub(crate) given: Given,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Model and memory")]
pub(crate) struct ModelArgs {
    /// Type of weights and activations [default: the model's own].
    #[arg(long, value_name = "DTYPE", value_parser = dtype_names())]
    pub(crate) dtype: Option<String>,
    /// Type of the KV cache.
    #[arg(long, value_name = "DTYPE", value_parser = ["auto", "fp8"], default_value = "auto")]
    pub(crate) kv_cache_dtype: String,
    /// Tokens of a KV block.
    #[arg(long, value_name = "TOKENS", default_value_t = 16, value_parser = whole_number::<u64>)]
    pub(crate) block_size: u64,
    /// Share of NPU memory for weights and KV cache, with `--engine vllm` for activations and the runtime too.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.9, value_parser = number)]
    pub(crate) npu_memory_utilization: f64,
    /// Where operator times come from [default: profile where there is one, else analytic].
    #[arg(long, value_name = "SOURCE", value_parser = ["profile", "analytic"])]
    pub(crate) latency_source: Option<String>,
    /// Constants of the analytic latency model, as `profile fit` writes them.
    #[arg(long, value_name = "FILE")]
    pub(crate) gpu_constants: Option<PathBuf>,
    /// Keep prefixes that the NPUs lose in another memory too.
    #[arg(long, value_name = "MEMORY", value_parser = ["None", "CPU", "CXL"], default_value = "None")]
    pub(crate) prefix_storage: String,
    /// Let the instances of a node (CPU) or of the cluster (CXL) share that memory's prefixes.
    #[arg(long)]
    pub(crate) enable_prefix_sharing: bool,
    /// Load weights from the NPU's memory before each layer, for profiles that leave this out.
    #[arg(long)]
    pub(crate) enable_local_offloading: bool,
    /// Compute attention of decodes in host memory (PIM), of the type that the cluster names as `pim_config`.
    #[arg(long)]
    pub(crate) enable_attn_offloading: bool,
    /// Run each step as two halves that alternate between NPU and memory; needs attention offloading.
    #[arg(long)]
    pub(crate) enable_sub_batch_interleaving: bool,
    /// Memory types: `<type>.ini`, before those that are built in.
    #[arg(long, env = "SERVINGSIM_PIM_DIR", value_name = "DIR", help_heading = "Data")]
    pub(crate) pim_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Scheduler")]
pub(crate) struct SchedulerArgs {
    /// Most sequences running at once in an instance; 0 for no limit.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = whole_number::<u64>)]
    pub(crate) max_num_seqs: u64,
    /// Most tokens of one step; 0 for no limit.
    #[arg(long, value_name = "TOKENS", default_value_t = 2048, value_parser = whole_number::<u64>)]
    pub(crate) max_num_batched_tokens: u64,
    /// Most tokens of one prompt in one step; 0 for no limit.
    #[arg(long, value_name = "TOKENS", default_value_t = 0, value_parser = whole_number::<u64>)]
    pub(crate) long_prefill_token_threshold: u64,
    /// Split long prompts over several steps (default).
    #[arg(long, overrides_with = "no_enable_chunked_prefill")]
    pub(crate) enable_chunked_prefill: bool,
    /// Run every prompt in one step.
    #[arg(long)]
    pub(crate) no_enable_chunked_prefill: bool,
    /// Find KV blocks of shared prefixes again (default).
    #[arg(long, overrides_with = "no_enable_prefix_caching")]
    pub(crate) enable_prefix_caching: bool,
    /// Compute every prompt anew.
    #[arg(long)]
    pub(crate) no_enable_prefix_caching: bool,
    /// Admit a request only when its whole prompt fits the KV cache (default).
    #[arg(long, overrides_with = "no_reserve_full_isl")]
    pub(crate) reserve_full_isl: bool,
    /// Admit a request when its first chunk fits.
    #[arg(long)]
    pub(crate) no_reserve_full_isl: bool,
    /// Let requests bring the KV of their prompts along, so that only the last prompt token is computed.
    #[arg(long)]
    pub(crate) skip_prefill: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Routing")]
pub(crate) struct RoutingArgs {
    /// How requests find an instance: least loaded, round robin, random.
    #[arg(long, value_name = "POLICY", value_parser = ["LOAD", "RR", "RAND", "CUSTOM"], default_value = "LOAD")]
    pub(crate) request_routing_policy: String,
    /// How tokens find experts: balanced gate, all equally likely, the first experts, random; COPY is an older name of
    /// BALANCED [default: BALANCED, and UNIFORM with --engine vllm].
    #[arg(long, value_name = "POLICY", value_parser = ["BALANCED", "COPY", "UNIFORM", "RR", "RAND", "CUSTOM"])]
    pub(crate) expert_routing_policy: Option<String>,
    /// Send each request where this file says (CSV: `request,instance`).
    #[arg(long, value_name = "FILE")]
    pub(crate) request_routing_file: Option<PathBuf>,
    /// Route tokens to experts as recorded in this file: shares by layer (CSV), or choices (JSONL).
    #[arg(long, value_name = "FILE")]
    pub(crate) expert_routing_file: Option<PathBuf>,
    /// Let one block's expert routing serve all blocks (default).
    #[arg(long, overrides_with = "no_enable_block_copy")]
    pub(crate) enable_block_copy: bool,
    /// Route every block's experts anew.
    #[arg(long)]
    pub(crate) no_enable_block_copy: bool,
    /// Which collectives carry tokens to experts and back.
    #[arg(
        long,
        value_name = "BACKEND",
        value_parser = ["allgather_reducescatter", "alltoall"],
        default_value = "allgather_reducescatter"
    )]
    pub(crate) all2all_backend: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// How an engine steps: one step after the other, or as vLLM's engine core does, which forms the next batch while one
    /// runs.
    #[arg(long, value_name = "ENGINE", value_enum, default_value = "reference")]
    pub(crate) engine: EngineName,
    /// With `--engine vllm`, let it form a batch when the one before is through.
    #[arg(long)]
    pub(crate) no_async_scheduling: bool,
    /// With `--engine vllm`, what its host takes: a preset that ships, `none`, or a file as `servingsim calibrate` writes
    /// [default: vllm-0.19].
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) preset: Option<String>,
    /// With `--engine vllm`, steps that are launched as one graph, in tokens [default: as vLLM chooses].
    #[arg(long, value_name = "TOKENS,…", value_delimiter = ',', value_parser = whole_number::<u64>)]
    pub(crate) cudagraph_capture_sizes: Option<Vec<u64>>,
    /// With `--engine vllm`, launch every step piece by piece.
    #[arg(long, conflicts_with = "cudagraph_capture_sizes")]
    pub(crate) enforce_eager: bool,
    /// With `--engine vllm`, by how much the first step is late, in milliseconds: kernels are loaded on first use.
    #[arg(long, value_name = "MS", value_parser = milliseconds)]
    pub(crate) warm_up: Option<f64>,
    /// With `--engine vllm`, leave out a part of it, to see what it is worth.
    #[arg(long, value_name = "PART,…", value_delimiter = ',', value_parser = part_names())]
    pub(crate) without: Vec<String>,
    /// When an idle instance sees work: at once, or when LLMServingSim would ask it.
    #[arg(long, value_name = "POLLING", value_parser = ["exact", "reference"], default_value = "exact")]
    pub(crate) polling: String,
    /// Whether messages slow each other down: unaware (never) or aware (a link carries one at a time).
    #[arg(long, value_name = "MODEL", default_value = "unaware")]
    pub(crate) network_model: Model,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole_number::<u64>)]
    pub(crate) seed: u64,
    /// How the network is simulated.
    #[arg(long, value_name = "BACKEND", value_parser = ["analytical", "ns3"], default_value = "analytical")]
    pub(crate) network_backend: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write one row a request to this file (CSV; Parquet where it ends in .parquet).
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Add to the rows of `--output` when the engine saw a request, first put it into a batch and had its first token, and
    /// when the client had it (columns queued, first_scheduled, first_token, first_delivered).
    #[arg(long, requires = "output")]
    pub(crate) output_stamps: bool,
    /// Leave the inter-token latencies of each request out of `--output`; they are most of the file.
    #[arg(long, requires = "output")]
    pub(crate) no_itl: bool,
    /// Write what instances, groups and nodes did in each log interval to this file (CSV; Parquet where it ends in
    /// .parquet).
    #[arg(long, value_name = "FILE")]
    pub(crate) interval_output: Option<PathBuf>,
    /// Write everything onto one page that draws it (HTML): what happened over time, latencies, where steps spend their
    /// time, who waited for whom, every request.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write Chakra traces of the steps into this folder, which must be empty or not there, with what they can be replayed
    /// on.
    #[arg(long, value_name = "DIR")]
    pub(crate) chakra_dir: Option<PathBuf>,
    /// Of which steps of each group, counted from 0, such as `0-9,20` [default: all].
    #[arg(long, value_name = "N-M,…", value_delimiter = ',', value_parser = batch_range, requires = "chakra_dir")]
    pub(crate) chakra_batches: Vec<RangeInclusive<u64>>,
    /// How node types are numbered: as LLMServingSim's fork of Chakra does, or as MLCommons does.
    #[arg(long, value_name = "SCHEMA", value_enum, default_value = "llmservingsim", requires = "chakra_dir")]
    pub(crate) chakra_schema: Schema,
    #[command(flatten)]
    pub(crate) trace: TraceArgs,
    /// Simulated seconds of a log interval: between two lines on the console, and two rows of the interval file.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = number)]
    pub(crate) log_interval: f64,
    /// What else to tell on standard error: nothing, every wave, every wave and finished request.
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "WARNING")]
    pub(crate) log_level: LogLevel,
    /// How the summary is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Say nothing but errors, and the summary only as JSON where that is asked for.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Tell on standard error, at the end, where the run spent its own time.
    #[arg(long)]
    pub(crate) timings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum LogLevel {
    Warning,
    Info,
    Debug,
}

/// How node types are numbered in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Schema {
    Llmservingsim,
    Mlcommons,
}

impl Schema {
    pub(crate) fn numbering(self) -> chakra::Numbering {
        match self {
            Schema::Llmservingsim => chakra::Numbering::Casys,
            Schema::Mlcommons => chakra::Numbering::MlCommons,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Flags of LLMServingSim for the files that it hands to other processes; there are none here.
#[derive(Debug, Args)]
pub(crate) struct IntermediateFileArgs {
    #[arg(long, hide = true, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) inputs_root: Option<PathBuf>,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub(crate) cleanup_inputs: bool,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    pub(crate) no_cleanup_inputs: bool,
}

impl IntermediateFileArgs {
    /// Those that were given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            (self.run_id.is_some(), "--run-id"),
            (self.inputs_root.is_some(), "--inputs-root"),
            (self.cleanup_inputs, "--cleanup-inputs"),
            (self.no_cleanup_inputs, "--no-cleanup-inputs"),
        ];
        flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1)
    }
}

/// Parts of vLLM's engine (`engine::Vllm` says what each is): all can be left out, and the plain core has none.
fn part_names() -> PossibleValuesParser {
    PossibleValuesParser::new(Vllm::PLAIN.left_out())
}

fn document_names() -> PossibleValuesParser {
    PossibleValuesParser::new(DOCUMENTS.iter().map(|document| document.name))
}

fn dtype_names() -> PossibleValuesParser {
    PossibleValuesParser::new(model::Dtype::ALL.iter().map(|dtype| dtype.name()))
}

fn whole_number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

fn batch_range(text: &str) -> Result<RangeInclusive<u64>, &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err("expected a number such as 3, or a range such as 0-9"),
    }
}

fn milliseconds(text: &str) -> Result<f64, &'static str> {
    let sound = text.parse().ok().filter(|number| (0.0..=1e6).contains(number));
    sound.ok_or("expected a number from 0 to 1000000")
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "expected a number such as 0.5")
}
