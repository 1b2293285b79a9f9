//! One phase of a [`Plan`](super::Plan): what each member does, in one dimension.

use super::Impossible;
use crate::collective::reduction_time;
use crate::{Algorithm, Block, CollectiveKind, Dimension, NetworkModel, System, Topology};
use units::Duration;

/// More than any memory holds; keeps arithmetic from overflowing.
const MOST_BYTES: u64 = 1 << 60;

/// What members do in one dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// The dimension it runs in.
    pub(crate) dim: usize,
    /// The distance in rank between members next to each other.
    pub(crate) stride: usize,
    /// The same distance where only members of the collective are counted.
    pub(super) member_stride: usize,
    /// `N`, at least 2.
    pub(crate) members: usize,
    /// Whether messages go to members of higher coordinates first, or of lower ones.
    pub(crate) forward: bool,
    /// What it adds up to.
    pub(crate) kind: CollectiveKind,
    /// How.
    pub(crate) routine: Routine,
    /// `E`: before the first message and after each received one.
    pub(crate) endpoint_delay: Duration,
    /// Bandwidth of the NPUs' own memory in GB/s.
    pub(super) local_memory_gb_per_s: f64,
    /// What each member has after it.
    pub(super) bytes_out: u64,
    /// The links.
    pub(crate) links: Dimension,
}

/// How the members of a phase pass their data.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Routine {
    /// `N` NPUs pass `rounds` messages each to the next one.
    Ring {
        message_bytes: u64,
        /// `T`: messages each member sends, and receives.
        rounds: u64,
        /// How many of the received messages are reduced: the first so many.
        reductions: u64,
        /// `P`: on top of `E`, where a message is reduced.
        reduction_time: Duration,
    },
    /// Each member to every other; an all-reduce does it twice.
    Direct {
        message_bytes: u64,
        /// Messages under way at once.
        window: u64,
        reduction_time: Duration,
    },
    Halving(Halving),
    /// A whole message on every edge of a binary tree.
    Tree {
        bytes: u64,
        reduction_time: Duration,
    },
    /// All begin when the last is there, and end together.
    Measured {
        time: Duration,
        bytes: u64,
    },
}

impl Phase {
    /// The phase of this kind, by this algorithm, along `dim`, that takes `bytes` in.
    pub(super) fn new(
        topology: &Topology,
        system: &System,
        (kind, algorithm): (CollectiveKind, Algorithm),
        dim: usize,
        forward: bool,
        bytes: u64,
    ) -> Result<Phase, Impossible> {
        let links = topology.dims()[dim];
        if system.network_model == NetworkModel::Aware && links.block == Block::Ring && links.npus == 2 {
            return Err(Impossible::RingOfTwo);
        }
        let members = u64::from(links.npus);
        let gathered = if kind == CollectiveKind::AllGather { bytes.checked_mul(members) } else { Some(bytes) };
        if gathered.is_none_or(|bytes| bytes > MOST_BYTES) {
            return Err(Impossible::TooManyBytes);
        }
        let routine = Self::routine(system, (kind, algorithm), dim, members, bytes)?;
        let bytes_out = match (kind, routine) {
            (_, Routine::Tree { .. }) => bytes,
            (CollectiveKind::ReduceScatter, _) => bytes / members,
            (CollectiveKind::AllGather, _) => bytes * members,
            (CollectiveKind::AllReduce | CollectiveKind::AllToAll, _) => bytes,
        };
        let (stride, endpoint_delay) = (topology.stride(dim), system.endpoint_delay());
        Ok(Phase {
            dim,
            stride,
            member_stride: stride,
            members: members as usize,
            forward,
            kind,
            routine,
            endpoint_delay,
            local_memory_gb_per_s: system.local_memory_gb_per_s,
            bytes_out,
            links,
        })
    }

    fn routine(
        system: &System,
        (kind, algorithm): (CollectiveKind, Algorithm),
        dim: usize,
        members: u64,
        bytes: u64,
    ) -> Result<Routine, Impossible> {
        use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};
        if let Some(curve) = system.measured.as_ref().and_then(|measured| measured.get(dim, kind)) {
            let size = if kind == AllGather { bytes * members } else { bytes };
            return Ok(Routine::Measured { time: curve.time(size), bytes });
        }
        let message_bytes = if kind == AllGather { bytes } else { bytes / members };
        let once_round = members - 1;
        Ok(match algorithm {
            Algorithm::Ring => {
                let (rounds, reductions) = match kind {
                    AllReduce => (2 * once_round, once_round),
                    ReduceScatter => (once_round, once_round),
                    AllGather => (once_round, 0),
                    AllToAll => (members * once_round / 2, 0),
                };
                Routine::Ring {
                    message_bytes,
                    rounds,
                    reductions,
                    reduction_time: reduction_time(system.local_memory_gb_per_s, message_bytes),
                }
            }
            Algorithm::Direct { window } => Routine::Direct {
                message_bytes,
                window: window.map_or(once_round, |window| once_round.min(window.into())),
                reduction_time: reduction_time(system.local_memory_gb_per_s, message_bytes),
            },
            Algorithm::HalvingDoubling if kind == AllToAll => return Err(Impossible::NoSuchKind(algorithm, kind)),
            Algorithm::HalvingDoubling | Algorithm::DoubleBinaryTree if !members.is_power_of_two() => {
                return Err(Impossible::NoPowerOfTwo(algorithm, members as u32));
            }
            Algorithm::HalvingDoubling => {
                let halving = Halving { kind, bytes, log2_members: members.ilog2() };
                let least = (0..halving.rounds()).map(|round| halving.message_bytes(round)).min();
                if least == Some(0) {
                    return Err(Impossible::TooFewBytes(bytes));
                }
                Routine::Halving(halving)
            }
            Algorithm::DoubleBinaryTree => {
                Routine::Tree { bytes, reduction_time: reduction_time(system.local_memory_gb_per_s, bytes) }
            }
        })
    }

    /// The place of a rank among the members it meets, and the rank of the first of them.
    pub(crate) fn place(&self, rank: usize) -> (usize, usize) {
        let coordinate = rank / self.stride % self.members;
        (coordinate, rank - coordinate * self.stride)
    }

    /// The member `steps` places on from the one at `coordinate`, against the direction of the messages if `back`.
    pub(crate) fn on_from(&self, coordinate: usize, steps: usize, forward: bool) -> usize {
        let n = self.members;
        if forward { (coordinate + steps) % n } else { (coordinate + n - steps % n) % n }
    }

    /// How long a message from the member at one coordinate to that at another is on its way if nothing is in it.
    pub(crate) fn delay(&self, from: usize, to: usize, bytes: u64, model: NetworkModel) -> Duration {
        let hops = self.links.hops(from, to);
        match model {
            NetworkModel::Unaware => self.links.message_delay(hops, bytes),
            NetworkModel::Aware => self.links.link_delay(bytes) * hops,
        }
    }

    /// `P`: how long adding `bytes` that arrived to what is here takes.
    pub(crate) fn reduction_time(&self, bytes: u64) -> Duration {
        reduction_time(self.local_memory_gb_per_s, bytes)
    }

    /// How long the links are taken by what a member sends, at least.
    pub(super) fn limit_ns(&self) -> f64 {
        self.links.serialisation_ns(self.bytes_sent())
    }

    /// How long a member's messages take one after the other, with everything that goes with them: no schedule of any
    /// number of members takes longer than all of theirs together.
    pub(super) fn work_ns(&self) -> f64 {
        let farthest = self.links.hops(0, self.members / 2);
        let (largest, hops) = match self.routine {
            Routine::Ring { message_bytes, .. } => (message_bytes, self.links.hops(0, 1)),
            Routine::Direct { message_bytes, .. } => (message_bytes, farthest),
            Routine::Halving(halving) => {
                let sizes = (0..halving.rounds()).map(|round| halving.message_bytes(round));
                (sizes.max().unwrap_or(0), farthest)
            }
            Routine::Tree { bytes, .. } => (bytes, farthest),
            Routine::Measured { time, .. } => return time.ns() as f64,
        };
        let link_ns = self.links.latency_ns + self.links.serialisation_ns(largest);
        let endpoint_ns = self.endpoint_delay.ns() as f64;
        let reduction_ns = 3.0 * largest as f64 / self.local_memory_gb_per_s;
        (self.messages() + 1) as f64 * (hops as f64 * link_ns + endpoint_ns + reduction_ns)
    }

    /// Messages that a member sends, the one that sends most.
    pub(crate) fn messages(&self) -> u64 {
        let once_round = self.members as u64 - 1;
        match self.routine {
            Routine::Ring { rounds, .. } => rounds,
            Routine::Direct { .. } if self.kind == CollectiveKind::AllReduce => 2 * once_round,
            Routine::Direct { .. } => once_round,
            Routine::Halving(halving) => halving.rounds(),
            // An inner member sends up once and down twice.
            Routine::Tree { .. } => once_round.min(3),
            Routine::Measured { .. } => 0,
        }
    }

    pub(super) fn steps(&self) -> u64 {
        match self.routine {
            Routine::Ring { rounds, .. } => rounds,
            Routine::Direct { window, .. } => {
                let passes = if self.kind == CollectiveKind::AllReduce { 2 } else { 1 };
                passes * (self.members as u64 - 1).div_ceil(window)
            }
            Routine::Halving(halving) => halving.rounds(),
            Routine::Tree { .. } => 2 * u64::from(self.members.ilog2()),
            Routine::Measured { .. } => 1,
        }
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        match self.routine {
            Routine::Ring { message_bytes, .. } | Routine::Direct { message_bytes, .. } => {
                message_bytes.saturating_mul(self.messages())
            }
            Routine::Halving(halving) => {
                let sizes = (0..halving.rounds()).map(|round| halving.message_bytes(round));
                sizes.fold(0, u64::saturating_add)
            }
            Routine::Tree { bytes, .. } => bytes.saturating_mul(self.messages()),
            Routine::Measured { bytes, .. } => {
                let (members, once_round) = (self.members as u64, self.members as u64 - 1);
                match self.kind {
                    CollectiveKind::AllReduce => 2 * (bytes / members).saturating_mul(once_round),
                    CollectiveKind::AllGather => bytes.saturating_mul(once_round),
                    CollectiveKind::ReduceScatter | CollectiveKind::AllToAll => bytes / members * once_round,
                }
            }
        }
    }
}

/// Exchanges between partners: of halves, quarters, … with the one 1, 2, … apart, then back, or only one of the two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halving {
    kind: CollectiveKind,
    bytes: u64,
    log2_members: u32,
}

impl Halving {
    /// Messages that each member sends.
    pub(crate) fn rounds(&self) -> u64 {
        let once: u64 = self.log2_members.into();
        if self.kind == CollectiveKind::AllReduce { 2 * once } else { once }
    }

    /// The size of the message of a round. There is one more for the stage after the last round, which is not sent.
    pub(crate) fn message_bytes(&self, round: u64) -> u64 {
        let (k, round) = (self.log2_members, round as u32);
        match self.kind {
            CollectiveKind::AllGather => self.bytes << round.min(k),
            CollectiveKind::AllReduce if round >= k => {
                let least = (self.bytes >> k) / 2 * 2;
                least << (round - k).min(k)
            }
            _ => self.bytes >> (round + 1),
        }
    }

    /// How far apart the partners of a round are.
    pub(crate) fn distance(&self, round: u64) -> usize {
        let (k, round) = (self.log2_members, round as u32);
        match self.kind {
            CollectiveKind::AllGather => (1 << k) >> (round + 1),
            CollectiveKind::AllReduce if round >= k => (1 << k) >> (round - k + 1),
            _ => 1 << round,
        }
    }

    /// Whether what came before this round's message is reduced first. ASTRA-Sim spends the time on as many bytes as are
    /// about to be sent.
    pub(crate) fn reduces(&self, round: u64) -> bool {
        let k: u64 = self.log2_members.into();
        (1..k).contains(&round) && self.kind != CollectiveKind::AllGather
    }
}

/// Where a member stands in one of the two binary trees, which are in order: the root at one end, and below it the
/// complete tree of all others. Members are counted so that the root is `N`, and `x` is as high as it has trailing zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreePlace {
    x: usize,
    members: usize,
    has_root_at_end: bool,
}

impl TreePlace {
    /// The member at `coordinate`, in the tree with its root at the end, or in the one with its root at the beginning.
    pub(crate) fn of(coordinate: usize, members: usize, has_root_at_end: bool) -> Self {
        let x = match (has_root_at_end, coordinate) {
            (true, _) => coordinate + 1,
            (false, 0) => members,
            (false, _) => coordinate,
        };
        Self { x, members, has_root_at_end }
    }

    fn coordinate(&self, x: usize) -> usize {
        match self.has_root_at_end {
            true => x - 1,
            false => x % self.members,
        }
    }

    /// The height above the leaves.
    pub(crate) fn height(&self) -> u32 {
        self.x.trailing_zeros()
    }

    /// The coordinate of its parent, unless it is the root.
    pub(crate) fn parent(&self) -> Option<usize> {
        if self.x == self.members {
            return None;
        }
        let bit = 1 << self.height();
        Some(self.coordinate((self.x ^ bit) | (bit << 1)))
    }

    /// The coordinates of its children, the lower one first; the root has one.
    pub(crate) fn children(&self) -> impl Iterator<Item = usize> + use<> {
        let half = (1 << self.height()) / 2;
        let (place, is_root, is_leaf) = (*self, self.x == self.members, half == 0);
        let lower = (!is_leaf).then(|| place.x - half);
        let upper = (!is_leaf && !is_root).then(|| place.x + half);
        [lower, upper].into_iter().flatten().map(move |x| place.coordinate(x))
    }
}
