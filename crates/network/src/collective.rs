//! What a collective is, apart from when it runs.

use crate::DimMask;
use units::Duration;

/// What a collective does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CollectiveKind {
    /// Every member ends with the sum of all members' data.
    AllReduce,
    /// Every member ends with the concatenation of all members' data.
    AllGather,
    /// Every member ends with its share of the sum of all members' data.
    ReduceScatter,
    /// Every member ends with its share of each member's data.
    AllToAll,
}

impl CollectiveKind {
    /// Every kind.
    pub const ALL: [CollectiveKind; 4] =
        [CollectiveKind::AllReduce, CollectiveKind::AllGather, CollectiveKind::ReduceScatter, CollectiveKind::AllToAll];
}

/// A collective as one of its members sees it: every member passes an equal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Collective {
    /// What it does.
    pub kind: CollectiveKind,
    /// Bytes each member brings.
    pub bytes: u64,
    /// The dimensions it runs over. Its members are the NPUs that differ in these alone.
    pub dims: DimMask,
}

/// What an NPU adds to a collective on its own side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct System {
    /// Paid before the first message leaves and after each that arrives, in nanoseconds. The reference uses 10.
    pub endpoint_delay_ns: u64,
    /// Bandwidth of the NPU's own memory in GB/s (10^9), above 0: reductions go through it.
    pub local_memory_gb_per_s: f64,
}

impl System {
    pub(crate) fn endpoint_delay(&self) -> Duration {
        Duration::from_ns(self.endpoint_delay_ns)
    }

    /// How long adding `bytes` that arrived to what is here takes: two reads and a write, each cut to whole
    /// nanoseconds.
    pub(crate) fn reduction_time(&self, bytes: u64) -> Duration {
        let pass_ns = (bytes as f64 / (self.local_memory_gb_per_s * 1e9) * 1e9) as u64;
        Duration::from_ns(pass_ns) * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reduction_is_three_passes_each_cut() {
        let check = |local_memory_gb_per_s, bytes, ns| {
            let system = System { endpoint_delay_ns: 10, local_memory_gb_per_s };
            assert_eq!(system.reduction_time(bytes).ns(), ns, "{bytes} bytes at {local_memory_gb_per_s} GB/s");
        };
        check(100.0, 0, 0);
        check(100.0, 99, 0);
        check(100.0, 150, 3);
        check(100.0, 1250, 36);
        check(0.5, 10, 60);
    }
}
