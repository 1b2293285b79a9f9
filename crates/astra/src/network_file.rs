//! `network.yml`: the dimensions of the network, innermost first.
//!
//! Four lists with an entry for each dimension: `topology` (how NPUs are joined), `npus_count`, `bandwidth` in GiB/s and
//! `latency` in nanoseconds, both of one link.

use documents::{Bounds, Document};
use network::{Block, DimMask, Dimension, Topology};

use crate::report::Report;
use crate::yaml::{List, Node, Reader};

/// Most NPUs in all.
const MOST_NPUS: u32 = 1 << 20;
/// Far below any link; keeps the time of a message within 64 bits.
const BANDWIDTH: Bounds = Bounds::From { least: 1e-3, most: 1e9 };
const LATENCY: Bounds = Bounds::From { least: 0.0, most: 1e12 };

const KEYS: [&str; 4] = ["topology", "npus_count", "bandwidth", "latency"];

/// What could be read.
#[derive(Debug, Default)]
pub(crate) struct NetworkFile {
    /// How many dimensions there are, if the lists agree in that, sound or not.
    pub(crate) num_dims: Option<usize>,
    /// The topology, if it is sound.
    pub(crate) topology: Option<Topology>,
}

pub(crate) fn read(document: &Document, report: &mut Report) -> NetworkFile {
    Reader::new(document, &mut report.faults).read(file).unwrap_or_default()
}

fn file(reader: &mut Reader<'_>, root: &Node<'_>) -> Option<NetworkFile> {
    let [blocks, npus, bandwidths, latencies] = reader.lists(root, KEYS)?;
    let mut num_dims = blocks.as_ref().map(|list| list.entries.len());
    if let Some(list) = blocks.as_ref().filter(|list| list.entries.len() > DimMask::MAX_DIMS) {
        let message = format!("at most {} dimensions are possible, found {}", DimMask::MAX_DIMS, list.entries.len());
        reader.push(&list.node, message, None);
        return None;
    }
    let num_blocks = num_dims;
    for (key, list) in KEYS.iter().zip([&blocks, &npus, &bandwidths, &latencies]) {
        let Some((list, num_blocks)) = list.as_ref().zip(num_blocks) else { continue };
        if list.entries.len() != num_blocks {
            let message = format!("`{key}` has {} for {num_blocks} in `topology`", entries(list.entries.len()));
            reader.push(&list.node, message, None);
            num_dims = None;
        }
    }
    let counts = values(npus.as_ref(), |node| reader.count(node, 1, MOST_NPUS));
    if let Some((list, counts)) = npus.as_ref().zip(counts.as_ref()) {
        let product = counts.iter().fold(1, |product: u64, &count| product.saturating_mul(u64::from(count)));
        if product > u64::from(MOST_NPUS) {
            reader.push(&list.node, format!("expected at most {MOST_NPUS} NPUs in all, found {product}"), None);
            return Some(NetworkFile { num_dims, topology: None });
        }
    }
    let blocks = values(blocks.as_ref(), |node| reader.name_of(node, &Block::ALL, Block::name));
    let bandwidths = values(bandwidths.as_ref(), |node| reader.number(node, BANDWIDTH));
    let latencies = values(latencies.as_ref(), |node| reader.number(node, LATENCY));
    let topology = topology(blocks, counts, bandwidths, latencies);
    Some(NetworkFile { num_dims, topology })
}

/// What `read` makes of the entries, if of all of them.
fn values<T>(list: Option<&List<'_>>, mut read: impl FnMut(&Node<'_>) -> Option<T>) -> Option<Vec<T>> {
    // All are read, so that all faults are found.
    let values: Vec<Option<T>> = list?.entries.iter().map(&mut read).collect();
    values.into_iter().collect()
}

fn topology(
    blocks: Option<Vec<Block>>,
    npus: Option<Vec<u32>>,
    bandwidths: Option<Vec<f64>>,
    latencies: Option<Vec<f64>>,
) -> Option<Topology> {
    let (blocks, npus, bandwidths, latencies) = (blocks?, npus?, bandwidths?, latencies?);
    let dim = |dim: usize| {
        let (block, npus) = (*blocks.get(dim)?, *npus.get(dim)?);
        let (bandwidth_gib_per_s, latency_ns) = (*bandwidths.get(dim)?, *latencies.get(dim)?);
        Some(Dimension { block, npus, bandwidth_gib_per_s, latency_ns })
    };
    (0..blocks.len()).map(dim).collect::<Option<Vec<_>>>().map(Topology::new)
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// The file of a topology.
pub(crate) fn text(topology: &Topology) -> String {
    let dims = topology.dims();
    let list = |key: &str, value: &dyn Fn(&Dimension) -> String| {
        let values: Vec<_> = dims.iter().map(value).collect();
        format!("{key}: [{}]", values.join(", "))
    };
    let blocks = list(KEYS[0], &|dim| dim.block.name().to_owned());
    let npus = list(KEYS[1], &|dim| dim.npus.to_string());
    let bandwidths = list(KEYS[2], &|dim| format!("{:?}", dim.bandwidth_gib_per_s));
    let latencies = list(KEYS[3], &|dim| format!("{:?}", dim.latency_ns));
    format!("{blocks}\n{npus}\n{bandwidths}  # GiB/s\n{latencies}  # ns\n")
}
