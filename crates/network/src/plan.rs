//! A collective resolved on a topology into phases, and its time in closed form.
//!
//! A collective runs dimension by dimension; where it has a choice it works where the data is smallest last
//! (ASTRA-Sim's `localBWAware`): an all-reduce scatters upwards through all dimensions but the outermost, reduces there
//! in full, and gathers back down. Reduce-scatter and all-to-all go up, all-gather goes down. The output of a phase is
//! the input of the next: `⌊s/N⌋` of a reduce-scatter, `s·N` of an all-gather, `s` of the others.
//!
//! Each phase is one [`Algorithm`](crate::Algorithm) in one dimension ([`Phase`]). Where nothing but the times at which
//! the members enter decides when they leave, [`Plan::advance`] says so without events: `closed_form` has the formulae.

mod closed_form;
mod phase;
mod ring;

pub(crate) use phase::{Phase, Routine, TreePlace};

use crate::{Algorithm, Collective, CollectiveKind, NetworkModel, Optimization, System, Topology};
use std::fmt;
use units::Instant;

/// A collective resolved into phases on one topology. Equal for all its members, so made once and used often.
#[derive(Clone, Debug)]
pub struct Plan {
    num_npus: usize,
    num_members: usize,
    num_chunks: u64,
    /// Those of one chunk.
    phases: Vec<Phase>,
    /// Whether chunks go through one after the other, each as if it were alone.
    runs_chunk_by_chunk: bool,
    network_model: NetworkModel,
}

impl Plan {
    /// Resolves `collective`.
    ///
    /// Everything but an all-gather moves at least one byte per NPU of the topology and chunk.
    ///
    /// # Errors
    /// When the collective would never complete, or an algorithm can't do it.
    pub fn new(topology: &Topology, system: &System, collective: Collective) -> Result<Plan, Impossible> {
        use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};
        let num_npus = topology.num_npus();
        let takes_part = |&dim: &usize| collective.dims.contains(dim) && topology.dims()[dim].npus > 1;
        let upwards: Vec<usize> = (0..topology.dims().len()).filter(takes_part).collect();
        let Some((&outermost, inner)) = upwards.split_last() else { return Err(Impossible::NoMembers) };
        let (chunk_bytes, num_chunks) = match collective.kind {
            AllGather if collective.bytes < system.num_chunks => return Err(Impossible::NoData),
            AllReduce | ReduceScatter | AllToAll if collective.bytes / system.num_chunks < num_npus as u64 => {
                (num_npus as u64, system.num_chunks)
            }
            _ => {
                let chunk_bytes = collective.bytes / system.num_chunks;
                (chunk_bytes, collective.bytes.div_ceil(chunk_bytes))
            }
        };

        let mut phases = Vec::with_capacity(2 * upwards.len() - 1);
        let mut bytes = chunk_bytes;
        let mut add = |kind, dim, forward| {
            let algorithm = system.algorithms.get(collective.kind, dim);
            let mut phase = Phase::new(topology, system, (kind, algorithm), dim, forward, bytes)?;
            bytes = phase.bytes_out;
            phase.member_stride = upwards
                .iter()
                .filter(|&&inside| inside < dim)
                .map(|&inside| topology.dims()[inside].npus as usize)
                .product();
            phases.push(phase);
            Ok(())
        };
        match collective.kind {
            AllReduce if system.optimization == Optimization::LocalBandwidthAware => {
                inner.iter().try_for_each(|&dim| add(ReduceScatter, dim, true))?;
                add(AllReduce, outermost, true)?;
                inner.iter().rev().try_for_each(|&dim| add(AllGather, dim, false))?;
            }
            AllGather => upwards.iter().rev().try_for_each(|&dim| add(AllGather, dim, true))?,
            kind => upwards.iter().try_for_each(|&dim| add(kind, dim, true))?,
        }
        let is_one_chain = phases.len() == 1 && system.active_chunks_per_dim == 1;
        Ok(Plan {
            num_npus,
            num_members: upwards.iter().map(|&dim| topology.dims()[dim].npus as usize).product(),
            num_chunks,
            runs_chunk_by_chunk: system.queues_per_dim == 1
                && !system.has_rendezvous
                && (num_chunks == 1 || is_one_chain),
            phases,
            network_model: system.network_model,
        })
    }

    /// Lets every NPU of the topology go through the collective: `at[rank]` is when it enters, and becomes when it
    /// leaves. NPUs that differ in other dimensions than the collective's meet in groups of their own.
    ///
    /// False where that depends on more than the times of entry, or has no formula; `at` is worth nothing then. Rings on
    /// links that are never shared always have one.
    ///
    /// # Panics
    /// When `at` does not hold one instant per NPU of the topology.
    #[must_use]
    pub fn advance(&self, at: &mut [Instant]) -> bool {
        assert_eq!(at.len(), self.num_npus, "an instant per NPU of the topology");
        self.runs_chunk_by_chunk
            && (0..self.num_chunks).all(|_| self.phases.iter().all(|phase| phase.advance(at, self.network_model)))
    }

    /// The same for some of the groups that meet: `at` holds the times of their members alone, group by group, in the
    /// order of their ranks.
    ///
    /// # Panics
    /// When a group is not complete.
    #[must_use]
    pub fn advance_groups(&self, at: &mut [Instant]) -> bool {
        assert!(at.len().is_multiple_of(self.num_members), "an instant per member");
        self.runs_chunk_by_chunk
            && (0..self.num_chunks)
                .all(|_| self.phases.iter().all(|phase| phase.advance_groups(at, self.network_model)))
    }

    /// Messages that each member sends one after the other in the course of the collective, at the most: its steps.
    pub fn steps(&self) -> u64 {
        self.num_chunks * self.phases.iter().map(Phase::steps).sum::<u64>()
    }

    /// Bytes that a member sends, the one that sends most; from measured curves, what a ring would. At the most
    /// `u64::MAX`.
    pub fn bytes_sent(&self) -> u64 {
        let of_chunk = self.phases.iter().map(Phase::bytes_sent).fold(0, u64::saturating_add);
        self.num_chunks.saturating_mul(of_chunk)
    }

    /// How long the links that a member sends over are taken by what it sends, in nanoseconds: no schedule is faster
    /// without sending less.
    pub fn limit_ns(&self) -> f64 {
        self.num_chunks as f64 * self.phases.iter().map(Phase::limit_ns).sum::<f64>()
    }

    /// Messages that all NPUs of the topology send.
    pub fn num_messages(&self) -> f64 {
        let all = (self.num_npus as f64) * (self.num_chunks as f64);
        all * self.phases.iter().map(|phase| phase.messages() as f64).sum::<f64>()
    }

    /// How long it can take at the most, in nanoseconds, and if every link had to be waited for.
    pub fn longest_ns(&self) -> f64 {
        let all = (self.num_npus as f64) * (self.num_chunks as f64);
        all * self.phases.iter().map(Phase::work_ns).sum::<f64>()
    }

    pub(crate) fn phases(&self) -> &[Phase] {
        &self.phases
    }

    pub(crate) fn num_chunks(&self) -> u64 {
        self.num_chunks
    }

    /// NPUs that meet.
    pub fn num_members(&self) -> usize {
        self.num_members
    }
}

/// Why a collective can't be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// No involved dimension has more than one NPU.
    NoMembers,
    /// An all-gather of less than a byte a chunk.
    NoData,
    /// The algorithm does not do this kind.
    NoSuchKind(Algorithm, CollectiveKind),
    /// The algorithm needs a power of two.
    NoPowerOfTwo(Algorithm, u32),
    /// Halving leaves less than a byte.
    TooFewBytes(u64),
    /// Two NPUs on a ring whose links are shared.
    RingOfTwo,
    /// More than any memory holds.
    TooManyBytes,
}

impl Impossible {
    /// Whether ASTRA-Sim waits for ever, rather than ending with an error.
    pub fn never_ends(&self) -> bool {
        matches!(
            self,
            Impossible::NoMembers | Impossible::NoData | Impossible::NoPowerOfTwo(Algorithm::HalvingDoubling, _)
        )
    }
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Impossible::NoMembers => {
                f.write_str("it never completes: no involved dimension has more than one NPU (ASTRA-Sim hangs)")
            }
            Impossible::NoData => {
                f.write_str("it never completes: an all-gather needs a byte per chunk at least (ASTRA-Sim hangs)")
            }
            Impossible::NoSuchKind(algorithm, kind) => {
                write!(f, "{algorithm} can't do {} (ASTRA-Sim exits); use ring or direct", kind.name())
            }
            Impossible::NoPowerOfTwo(algorithm, npus) => {
                write!(
                    f,
                    "{algorithm} needs a power of two, not {npus} NPUs (ASTRA-Sim hangs or crashes); use ring or direct"
                )
            }
            Impossible::TooFewBytes(bytes) => {
                write!(
                    f,
                    "halving {bytes} bytes leaves messages of less than a byte (ASTRA-Sim aborts); use more bytes"
                )
            }
            Impossible::TooManyBytes => f.write_str("it gathers more than 2^60 bytes"),
            Impossible::RingOfTwo => f.write_str(
                "two NPUs on a Ring share a link in the congestion-aware model (ASTRA-Sim aborts); use FullyConnected",
            ),
        }
    }
}

impl std::error::Error for Impossible {}

#[cfg(test)]
mod tests;
