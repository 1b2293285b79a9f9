//! ASTRA-Sim's files: what its analytical backends are configured with, read and written.
//!
//! Three files make a [`Setup`]. `network.yml` has the dimensions that NPUs are wired in; `system.json` has how
//! collectives are run, and whether computation goes by a roofline; `memory.json` has what NPUs load from and store to.
//! Keys and their meaning are those of the fork that LLMServingSim is built on, which adds memory of the NPUs' own, a
//! pool, and processing in memory.
//!
//! What ASTRA-Sim reads and does not act on is taken and noted. What it acts on and is not modelled here is a fault, and
//! so are keys that nobody knows: ASTRA-Sim passes over those, so that a slip of the pen goes unseen. All faults of all
//! three files come out at once.
//!
//! GB is not the same everywhere: a link's is 2^30 bytes, a memory's 10^9.

mod graphs;
mod memory_file;
mod network_file;
mod report;
mod setup;
mod system_file;
mod texts;
mod yaml;

use std::path::Path;
use std::sync::Arc;

use diagnostics::{Fault, Faults};
use documents::Document;
use network::{Block, Dimension, Fabric, Memory, MemoryDevices, NetworkModel, Topology};

pub use graphs::{TraceGraph, graphs};
pub use setup::{Options, PimChannels, Roofline, Setup};
pub use texts::Texts;

use memory_file::Memories;
use report::Report;

/// The three files.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `network.yml`.
    pub network: &'a Path,
    /// `system.json`.
    pub system: &'a Path,
    /// `memory.json`; without it there is no memory that accesses could go to.
    pub memory: Option<&'a Path>,
}

/// A setup, and what there is to tell about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The setup.
    pub setup: Setup,
    /// What a user should know about how it was read, a sentence each: keys that change nothing, what was assumed.
    pub notes: Vec<String>,
}

/// Reads and checks the three files.
///
/// # Errors
/// Everything that is wrong in any of them, at once.
///
/// # Panics
/// When `options` break the bounds that their fields state.
pub fn read(files: &Files<'_>, options: &Options) -> Result<Loaded, Faults> {
    let document = |path| Document::read(path).map(Arc::new);
    read_documents([document(files.network), document(files.system)], files.memory.map(document), options)
}

/// `[network, system]` and the memory.
fn read_documents(
    [network, system]: [Result<Arc<Document>, Fault>; 2],
    memory: Option<Result<Arc<Document>, Fault>>,
    options: &Options,
) -> Result<Loaded, Faults> {
    options.assert_sound();
    let mut report = Report::default();
    let network = report.take(network).map(|document| {
        let network = network_file::read(&document, &mut report);
        let is_double = |dim: &Dimension| dim.block == Block::Ring && dim.npus == 2;
        let mut dims = network.topology.iter().flat_map(Topology::dims);
        if options.network_model == NetworkModel::Aware && dims.any(is_double) {
            let message = "with shared links, a ring of two NPUs has the same link twice (ASTRA-Sim aborts)";
            report.faults.push(Fault::new(document.name.as_str(), message).hint("write FullyConnected"));
        }
        network
    });
    let network = network.unwrap_or_default();
    let system = report.take(system).and_then(|document| {
        let num_dims = network.num_dims;
        system_file::read(&document, num_dims, options, &mut report)
    });
    let memories = match memory {
        Some(document) => report.take(document).and_then(|document| memory_file::read(&document, &mut report)),
        None => Some(Memories::default()),
    };
    let (Some(topology), Some((system, peak_tflops)), Some(memories)) = (network.topology, system, memories) else {
        assert!(!report.faults.is_empty(), "a file was given up without a fault");
        return Err(report.faults);
    };
    let none = MemoryDevices::new(0.0, 1.0, 0);
    let memory = Memory { host: memories.host.unwrap_or(none), pool: memories.pool, npu: memories.npu };
    let fabric = Fabric { topology, system, memory };
    let setup = Setup { fabric, pim_channels: memories.pim_channels, peak_tflops };
    report.faults.into_result(Loaded { setup, notes: report.notes })
}
