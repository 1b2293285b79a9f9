//! How NPUs are wired: dimensions nested in each other, innermost first.
//!
//! NPU ids count through the innermost dimension first: with sizes `n0, n1, n2`, the NPU at coordinates `(i0, i1, i2)`
//! has rank `i0 + n0 * (i1 + n1 * i2)`. NPUs that differ in one dimension alone are joined by that dimension's
//! [`Block`]. A message pays a latency for each link it crosses.

use units::{Duration, GIB};

/// How the NPUs along one dimension are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// Each to the next and to the one before, in a circle. Messages go the shorter way round, on a tie towards higher
    /// coordinates.
    Ring,
    /// Each to each.
    FullyConnected,
    /// Each to one switch: two links between any two.
    Switch,
}

impl Block {
    /// Every kind.
    pub const ALL: [Block; 3] = [Block::Ring, Block::FullyConnected, Block::Switch];

    /// Its name in ASTRA-Sim's network files.
    pub const fn name(self) -> &'static str {
        match self {
            Block::Ring => "Ring",
            Block::FullyConnected => "FullyConnected",
            Block::Switch => "Switch",
        }
    }
}

/// One dimension of a [`Topology`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimension {
    /// How NPUs along it are joined.
    pub block: Block,
    /// NPUs along this dimension, at least 1.
    pub npus: u32,
    /// Bandwidth of a link in GiB/s, above 0.
    pub bandwidth_gib_per_s: f64,
    /// Latency of a link in nanoseconds, not negative.
    pub latency_ns: f64,
}

impl Dimension {
    /// `npus` NPUs, each joined to each by a link of this bandwidth in GiB/s and latency in nanoseconds.
    pub fn fully_connected(npus: u32, bandwidth_gib_per_s: f64, latency_ns: f64) -> Self {
        Self { block: Block::FullyConnected, npus, bandwidth_gib_per_s, latency_ns }
    }

    /// Links between two NPUs at different coordinates.
    pub(crate) fn hops(&self, from: usize, to: usize) -> u64 {
        match self.block {
            Block::FullyConnected => 1,
            Block::Switch => 2,
            Block::Ring => {
                let n = self.npus as usize;
                let upwards = (to + n - from) % n;
                upwards.min(n - upwards) as u64
            }
        }
    }

    /// How long a message of `bytes` takes over `hops` links that nobody else uses: `hops * latency + bytes / bandwidth`,
    /// cut once, after the sum.
    pub(crate) fn message_delay(&self, hops: u64, bytes: u64) -> Duration {
        Duration::from_ns((hops as f64 * self.latency_ns + self.serialisation_ns(bytes)) as u64)
    }

    /// How long a message of `bytes` takes over one link that it has to itself: `latency + bytes / bandwidth`, cut.
    pub(crate) fn link_delay(&self, bytes: u64) -> Duration {
        Duration::from_ns((self.latency_ns + self.serialisation_ns(bytes)) as u64)
    }

    /// How long a link is taken by a message of `bytes`: `bytes / bandwidth`, cut.
    pub(crate) fn link_busy(&self, bytes: u64) -> Duration {
        Duration::from_ns(self.serialisation_ns(bytes) as u64)
    }

    pub(crate) fn serialisation_ns(&self, bytes: u64) -> f64 {
        let bytes_per_ns = self.bandwidth_gib_per_s * GIB as f64 / 1e9;
        bytes as f64 / bytes_per_ns
    }
}

/// Dimensions, innermost first, and the place of each NPU in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    dims: Vec<Dimension>,
    /// By dimension the distance in rank between neighbours along it, and last the number of NPUs.
    strides: Vec<usize>,
}

impl Topology {
    /// A topology of `dims`, innermost first.
    ///
    /// # Panics
    /// When there are more dimensions than a [`DimMask`] holds, or a dimension breaks the bounds its fields state.
    pub fn new(dims: Vec<Dimension>) -> Self {
        assert!(dims.len() <= DimMask::MAX_DIMS, "{} dimensions are too many", dims.len());
        for dim in &dims {
            let sound = dim.npus >= 1 && dim.bandwidth_gib_per_s > 0.0 && dim.latency_ns >= 0.0;
            assert!(sound, "not a dimension: {dim:?}");
        }
        let mut strides = Vec::with_capacity(dims.len() + 1);
        strides.push(1);
        for (dim, inside) in dims.iter().enumerate() {
            strides.push(strides[dim] * inside.npus as usize);
        }
        Self { dims, strides }
    }

    /// The dimensions, innermost first.
    pub fn dims(&self) -> &[Dimension] {
        &self.dims
    }

    /// NPUs in all: the product over the dimensions.
    pub fn num_npus(&self) -> usize {
        self.stride(self.dims.len())
    }

    /// The distance in rank between neighbours along `dim`: the NPUs of all dimensions inside it.
    pub(crate) fn stride(&self, dim: usize) -> usize {
        self.strides[dim]
    }

    /// Where the NPU of this rank stands along `dim`.
    pub fn coordinate(&self, rank: usize, dim: usize) -> usize {
        rank / self.stride(dim) % self.dims[dim].npus as usize
    }

    /// The innermost dimension in which two ranks differ.
    ///
    /// # Panics
    /// When the ranks are the same, or one is not in this topology.
    pub(crate) fn differing_dim(&self, from: usize, to: usize) -> usize {
        assert!(from.max(to) < self.num_npus(), "no way from rank {from} to rank {to} of {}", self.num_npus());
        let last = self.dims.len().checked_sub(1).expect("a message needs a dimension");
        let differs = |&dim: &usize| self.coordinate(from, dim) != self.coordinate(to, dim);
        match (0..last).find(differs) {
            Some(dim) => dim,
            None => {
                assert!(from != to, "a message goes to another rank");
                last
            }
        }
    }

    /// How long a message of `bytes` takes from one rank to another where links are never shared: its way through the
    /// innermost dimension in which the two differ. As in ASTRA-Sim, dimensions outside of that one cost nothing.
    ///
    /// # Panics
    /// When the ranks are the same, or one is not in this topology.
    pub fn message_delay(&self, from: usize, to: usize, bytes: u64) -> Duration {
        let dim = self.differing_dim(from, to);
        let hops = self.dims[dim].hops(self.coordinate(from, dim), self.coordinate(to, dim));
        self.dims[dim].message_delay(hops, bytes)
    }

    /// The rank of the NPU at these coordinates, innermost first.
    ///
    /// # Panics
    /// Unless there is a coordinate per dimension.
    pub fn rank(&self, coordinates: &[usize]) -> usize {
        assert_eq!(coordinates.len(), self.dims.len(), "a coordinate per dimension");
        coordinates.iter().zip(&self.dims).rev().fold(0, |outer, (&at, dim)| outer * dim.npus as usize + at)
    }
}

/// Which dimensions of a topology a collective involves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DimMask(u32);

impl DimMask {
    /// Every dimension, however many there are.
    pub const ALL: DimMask = DimMask(u32::MAX);

    /// Dimensions that a topology can have.
    pub const MAX_DIMS: usize = u32::BITS as usize;

    /// The dimensions that are `true`, innermost first; those beyond the end of the slice are not involved.
    ///
    /// # Panics
    /// With more than [`MAX_DIMS`](Self::MAX_DIMS) entries.
    pub fn new(involved: &[bool]) -> Self {
        assert!(involved.len() <= Self::MAX_DIMS, "{} dimensions are too many", involved.len());
        Self(involved.iter().enumerate().map(|(dim, &involved)| u32::from(involved) << dim).sum())
    }

    /// Whether `dim` is involved.
    pub fn contains(self, dim: usize) -> bool {
        assert!(dim < Self::MAX_DIMS, "no dimension {dim}");
        self.0 & (1 << dim) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(npus: &[u32]) -> Topology {
        Topology::new(npus.iter().map(|&npus| Dimension::fully_connected(npus, 16.0, 500.0)).collect())
    }

    #[test]
    fn ranks_count_through_the_innermost_dimension_first() {
        let check = |npus: &[u32], coordinates: &[usize], rank: usize| {
            let topology = topology(npus);
            assert_eq!(topology.rank(coordinates), rank, "{npus:?} {coordinates:?}");
            let back: Vec<usize> = (0..npus.len()).map(|dim| topology.coordinate(rank, dim)).collect();
            assert_eq!(back, coordinates, "{npus:?} rank {rank}");
        };
        check(&[4], &[3], 3);
        check(&[2, 4], &[1, 0], 1);
        check(&[2, 4], &[0, 1], 2);
        check(&[2, 3, 4], &[1, 2, 3], 23);
        check(&[2, 3, 4], &[0, 0, 1], 6);
        check(&[1, 5], &[0, 4], 4);
    }

    #[test]
    fn a_message_pays_for_the_innermost_dimension_it_crosses() {
        let dim = |latency_ns| Dimension::fully_connected(2, 1e6, latency_ns);
        let topology = Topology::new(vec![dim(1.0), dim(20.0), dim(300.0)]);
        let check = |from, to, ns| assert_eq!(topology.message_delay(from, to, 8).ns(), ns, "{from} to {to}");
        check(0, 1, 1);
        check(0, 2, 20);
        check(0, 4, 300);
        check(0, 7, 1);
        check(6, 0, 20);
        check(5, 1, 300);
        check(6, 5, 1);
    }

    #[test]
    fn links_between_two_npus() {
        let check = |block, npus, from, to, hops| {
            let dim = Dimension { block, npus, bandwidth_gib_per_s: 1.0, latency_ns: 0.0 };
            assert_eq!(dim.hops(from, to), hops, "{from} to {to} of {npus} on {block:?}");
        };
        check(Block::FullyConnected, 8, 1, 6, 1);
        check(Block::Switch, 8, 1, 6, 2);
        check(Block::Ring, 8, 1, 2, 1);
        check(Block::Ring, 8, 2, 1, 1);
        check(Block::Ring, 8, 0, 7, 1);
        check(Block::Ring, 8, 1, 5, 4);
        check(Block::Ring, 8, 1, 6, 3);
        check(Block::Ring, 5, 4, 1, 2);
    }

    #[test]
    fn masks() {
        let check = |involved: &[bool], members: &[usize]| {
            let mask = DimMask::new(involved);
            let got: Vec<usize> = (0..DimMask::MAX_DIMS).filter(|&dim| mask.contains(dim)).collect();
            assert_eq!(got, members);
        };
        check(&[], &[]);
        check(&[true, false], &[0]);
        check(&[false, true, true], &[1, 2]);
        assert_eq!(DimMask::new(&[true; 32]), DimMask::ALL);
    }

    #[test]
    fn a_message_is_cut_once_after_the_sum() {
        let check = |bandwidth_gib_per_s, latency_ns, hops, bytes, ns| {
            let dim = Dimension::fully_connected(2, bandwidth_gib_per_s, latency_ns);
            assert_eq!(dim.message_delay(hops, bytes).ns(), ns, "{dim:?} {bytes} bytes");
        };
        check(1.0, 0.0, 1, 0, 0);
        check(1.0, 0.0, 1, GIB, 999_999_999); // doubles fall short of the 1 s that real numbers give
        check(1.0, 0.5, 1, 1, 1); // 0.5 + 0.93
        check(1.0, 0.0, 1, 1, 0); // 0.93 alone
        check(2.0, 1000.25, 1, 3, 1001); // 1000.25 + 1.397
        check(2.0, 1000.5, 2, 3, 2002); // 2001 + 1.397
    }

    #[test]
    fn a_link_is_cut_for_each_message() {
        let dim = Dimension::fully_connected(2, 2.0, 1000.25);
        assert_eq!((dim.link_delay(3).ns(), dim.link_busy(3).ns()), (1001, 1));
    }
}
