//! Cluster files, model files, architecture files and flags to a checked [`engine::Deployment`].
//!
//! [`load`] reads everything a run needs but its workload, infers what was left out, and checks that all of it fits
//! together: the engine can't fail, so whatever could go wrong is found here. Every fault is reported at once, each
//! with its file, its path, line and column, and what to write instead where that is known. What can't be simulated is
//! refused by name, never left out of account.
//!
//! ```text
//! cluster file ── cluster, instances ──┬─ models, architectures ── parallelism ── groups, roles ──┐
//! flags ───────────────────────────────┼─ settings ── placement, memory, latencies ──────────────┼── deployment
//!                                      └─ offloading, tiers, power ──────────────────────────────┘
//! ```

mod architectures;
mod cluster;
mod deployment;
mod dram;
mod files;
mod groups;
mod instances;
mod latencies;
mod link_model;
mod memory;
mod model_files;
mod models;
mod offloading;
mod overheads;
mod parallelism;
mod pim;
mod placement;
mod power;
mod presets;
mod report;
mod roles;
pub mod schema;
mod settings;
mod tiers;
mod workload_limits;

use std::path::PathBuf;

use diagnostics::{Fault, Faults};
use documents::Document;
use engine::Deployment;
use latency::OtherTables;
use model::WeightBytes;

pub use latencies::{LatencySource, LatencyUsed};
pub use memory::KvBasis;
pub use model_files::ModelFiles;
pub use overheads::Overheads;
pub use presets::Preset;
pub use settings::{Flags, PrefixStorage};
pub use workload_limits::WorkloadLimits;

/// A file, or a text that stands for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file to read.
    File(PathBuf),
    /// A text, and the name faults give it.
    Text {
        /// The name.
        name: String,
        /// The text.
        text: String,
    },
}

impl Source {
    fn document(&self) -> Result<Document, Fault> {
        match self {
            Source::File(path) => Document::read(path),
            Source::Text { name, text } => Ok(Document { name: name.clone(), text: text.clone() }),
        }
    }
}

/// What a deployment is made from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The cluster, as JSON.
    pub cluster: Source,
    /// Latency profiles: `<hardware>/<model>/<variant>/`.
    pub profile_dir: Option<PathBuf>,
    /// Tables of profiles that are in another format than CSV.
    pub other_tables: Option<OtherTables>,
    /// Models beside the built-in ones: `<model>.json`, as Hugging Face's `config.json`. They come first.
    pub model_dir: Option<PathBuf>,
    /// Architectures beside the built-in ones: `<model_type>.yaml`. They come first.
    pub architecture_dir: Option<PathBuf>,
    /// Types of memory that compute, beside the parameters that are built in: `<type>.ini`. They come first.
    pub pim_dir: Option<PathBuf>,
    /// Where operator times come from.
    pub latency_source: LatencySource,
    /// Constants of the analytic model for one type of hardware, beside those that ship.
    pub gpu_constants: Option<PathBuf>,
    /// Run-time flags.
    pub flags: Flags,
}

impl Inputs {
    /// `cluster` with nothing but what ships, and the default flags.
    pub fn new(cluster: Source) -> Self {
        Self {
            cluster,
            profile_dir: None,
            other_tables: None,
            model_dir: None,
            architecture_dir: None,
            pim_dir: None,
            latency_source: LatencySource::default(),
            gpu_constants: None,
            flags: Flags::default(),
        }
    }
}

/// A deployment, and what there is to tell about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The deployment.
    pub deployment: Deployment,
    /// What to tell about its instances, by id.
    pub instances: Vec<InstanceSummary>,
    /// Bytes of host memory of each node.
    pub host_memory_bytes: Vec<u64>,
    /// Bytes of CXL memory, where there is any.
    pub pool_memory_bytes: Option<u64>,
    /// What a user should know about how it was read, a sentence each.
    pub notes: Vec<String>,
}

/// What there is to tell about one instance beyond its [`engine::InstanceSpec`].
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSummary {
    /// The type of its NPUs.
    pub hardware: String,
    /// Where its operator times come from.
    pub latency: LatencyUsed,
    /// Bytes of memory of each NPU.
    pub npu_memory_bytes: u64,
    /// KV blocks on each NPU that requests can have: all but vLLM's null block, where the engine is vLLM's.
    pub kv_blocks: u64,
    /// Tokens that they hold.
    pub kv_tokens: u64,
    /// Bytes that they take on each NPU.
    pub kv_bytes: u64,
    /// What their number follows from.
    pub kv_basis: KvBasis,
    /// Bytes of weights on each NPU, the one that holds most of them.
    pub weights: WeightBytes,
    /// The profile that its operator times are looked up in, if they are.
    pub profile: Option<String>,
}

/// Reads and checks a deployment.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(inputs: &Inputs) -> Result<Loaded, Faults> {
    deployment::load(inputs)
}
