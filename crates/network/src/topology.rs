//! How NPUs are wired: dimensions nested in each other, innermost first.
//!
//! NPU ids count through the innermost dimension first: with sizes `n0, n1, n2`, the NPU at coordinates `(i0, i1, i2)`
//! has rank `i0 + n0 * (i1 + n1 * i2)`. Every dimension is fully connected: any two NPUs that differ in it alone are one
//! hop apart, and no message slows another.

use units::{Duration, GIB};

/// One dimension of a [`Topology`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dimension {
    /// NPUs along this dimension, at least 1.
    pub npus: u32,
    /// Bandwidth of a link in GiB/s, above 0.
    pub bandwidth_gib_per_s: f64,
    /// Latency of a link in nanoseconds, not negative.
    pub latency_ns: f64,
}

impl Dimension {
    /// How long a message of `bytes` takes over one link: `latency + bytes / bandwidth`, cut once, after the sum.
    pub(crate) fn message_delay(&self, bytes: u64) -> Duration {
        let bytes_per_ns = self.bandwidth_gib_per_s * GIB as f64 / 1e9;
        Duration::from_ns((self.latency_ns + bytes as f64 / bytes_per_ns) as u64)
    }
}

/// Fully connected dimensions, innermost first, and the place of each NPU in them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    dims: Vec<Dimension>,
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
        Self { dims }
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
        self.dims[..dim].iter().map(|dim| dim.npus as usize).product()
    }

    /// Where the NPU of this rank stands along `dim`.
    pub fn coordinate(&self, rank: usize, dim: usize) -> usize {
        rank / self.stride(dim) % self.dims[dim].npus as usize
    }

    /// How long a message of `bytes` takes from one rank to another, when it is sent by itself: that of one link in the
    /// innermost dimension in which the two differ. As in ASTRA-Sim, dimensions outside of that one cost nothing.
    ///
    /// # Panics
    /// When the ranks are the same, or one is not in this topology.
    pub fn message_delay(&self, from: usize, to: usize, bytes: u64) -> Duration {
        assert!(from.max(to) < self.num_npus(), "no way from rank {from} to rank {to} of {}", self.num_npus());
        let differs = |&dim: &usize| self.coordinate(from, dim) != self.coordinate(to, dim);
        let dim = (0..self.dims.len()).find(differs).expect("a message goes to another rank");
        self.dims[dim].message_delay(bytes)
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

    pub(crate) const MAX_DIMS: usize = u32::BITS as usize;

    /// The dimensions that are `true`, innermost first; those beyond the end of the slice are not involved.
    ///
    /// # Panics
    /// With more than 32 entries.
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
        let dim = |&npus| Dimension { npus, bandwidth_gib_per_s: 16.0, latency_ns: 500.0 };
        Topology::new(npus.iter().map(dim).collect())
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
        let dim = |latency_ns| Dimension { npus: 2, bandwidth_gib_per_s: 1e6, latency_ns };
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
        let check = |bandwidth_gib_per_s, latency_ns, bytes, ns| {
            let dim = Dimension { npus: 2, bandwidth_gib_per_s, latency_ns };
            assert_eq!(dim.message_delay(bytes).ns(), ns, "{dim:?} {bytes} bytes");
        };
        check(1.0, 0.0, 0, 0);
        check(1.0, 0.0, GIB, 999_999_999); // doubles fall short of the 1 s that real numbers give
        check(1.0, 0.5, 1, 1); // 0.5 + 0.93
        check(1.0, 0.0, 1, 0); // 0.93 alone
        check(2.0, 1000.25, 3, 1001); // 1000.25 + 1.397
    }
}
