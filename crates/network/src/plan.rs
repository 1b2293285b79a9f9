//! A collective resolved on a topology, and its time in closed form.
//!
//! A collective runs dimension by dimension; where it has a choice it works where the data is smallest last
//! (ASTRA-Sim's `localBWAware`): an all-reduce scatters upwards through all dimensions but the outermost, reduces there
//! in full, and gathers back down. Reduce-scatter and all-to-all go up, all-gather goes down. The output of a phase is
//! the input of the next: `⌊s/N⌋` of a reduce-scatter, `s·N` of an all-gather, `s` of the others.
//!
//! A phase is a ring: `N` NPUs pass `T` messages each to the next one. With `d` the delay of a message, `E` the endpoint
//! delay and `P` the time of a reduction, NPU `i` sends its `j`-th message at `S[i][j]` and has received its `j`-th at
//! `R[i][j]`:
//!
//! ```text
//! S[i][1]   = start[i] + E
//! R[i][j]   = max(S[i-1][j] + d, S[i][j])
//! S[i][j+1] = R[i][j] + E (+ P where the message is reduced)
//! end[i]    = S[i][T+1]
//! ```
//!
//! Each round is the same linear map in the (max, +) algebra, `x ↦ (I ⊕ A) x + c` with `A` "the ring neighbour's plus
//! `d`", so `T` rounds are `(I ⊕ A)ᵀ = I ⊕ A ⊕ … ⊕ Aᵀ`:
//!
//! ```text
//! end[i] = E + T·E + reductions·P + max over k = 0..T of (start[i-k] + k·d)
//! ```
//!
//! As `T ≥ N-1` and later terms of the same NPU are larger, only the last `N` values of `k` count: a sliding maximum
//! around the ring, `O(N)` however many rounds there are. All starts equal, it is the familiar `E + T·(d + E) +
//! reductions·P`.

use crate::{Collective, CollectiveKind, System, Topology};
use units::{Duration, Instant};

/// A collective resolved into phases on one topology. Equal for all its members, so made once and used often.
#[derive(Clone, Debug)]
pub struct Plan {
    num_npus: usize,
    phases: Vec<Phase>,
}

impl Plan {
    /// Resolves `collective`, with ring algorithms in every dimension.
    ///
    /// Everything but an all-gather moves at least one byte per NPU of the topology. `None` when the collective would
    /// never complete: no involved dimension has more than one NPU, or an all-gather has nothing to gather.
    pub fn new(topology: &Topology, system: &System, collective: Collective) -> Option<Plan> {
        use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};
        let num_npus = topology.num_npus();
        let takes_part = |&dim: &usize| collective.dims.contains(dim) && topology.dims()[dim].npus > 1;
        let upwards: Vec<usize> = (0..topology.dims().len()).filter(takes_part).collect();
        let (&outermost, inner) = upwards.split_last()?;
        let mut bytes = match collective.kind {
            AllGather => collective.bytes,
            AllReduce | ReduceScatter | AllToAll => collective.bytes.max(num_npus as u64),
        };
        if bytes == 0 {
            return None;
        }

        let mut phases = Vec::with_capacity(2 * upwards.len() - 1);
        let mut add = |kind, dim, forward| phases.push(Phase::ring(topology, system, kind, dim, forward, &mut bytes));
        match collective.kind {
            AllReduce => {
                inner.iter().for_each(|&dim| add(ReduceScatter, dim, true));
                add(AllReduce, outermost, true);
                inner.iter().rev().for_each(|&dim| add(AllGather, dim, false));
            }
            AllGather => upwards.iter().rev().for_each(|&dim| add(AllGather, dim, true)),
            kind @ (ReduceScatter | AllToAll) => upwards.iter().for_each(|&dim| add(kind, dim, true)),
        }
        Some(Plan { num_npus, phases })
    }

    /// How long the collective takes when all its members start together.
    pub fn together(&self) -> Duration {
        self.phases.iter().map(Phase::together).sum()
    }

    /// Lets every NPU of the topology go through the collective: `at[rank]` is when it enters, and becomes when it
    /// leaves. NPUs that differ in other dimensions than the collective's meet in groups of their own.
    ///
    /// # Panics
    /// When `at` does not hold one instant per NPU of the topology.
    pub fn advance(&self, at: &mut [Instant]) {
        assert_eq!(at.len(), self.num_npus, "an instant per NPU of the topology");
        for phase in &self.phases {
            phase.advance(at);
        }
    }

    pub(crate) fn phases(&self) -> &[Phase] {
        &self.phases
    }
}

/// One ring phase of a [`Plan`]: what each member does, in one dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// The dimension it runs in.
    pub(crate) dim: usize,
    /// The distance in rank between members next to each other.
    stride: usize,
    /// `N`, at least 2.
    members: usize,
    /// Whether messages go to the member with the next higher coordinate, or the next lower.
    forward: bool,
    /// Bytes of each message.
    pub(crate) message_bytes: u64,
    /// `T`: messages each member sends, and receives.
    pub(crate) rounds: u64,
    /// How many of the received messages are reduced: the first so many.
    pub(crate) reductions: u64,
    /// `d`: from sending a message to having it.
    pub(crate) message_delay: Duration,
    /// `E`: before the first message and after each received one.
    pub(crate) endpoint_delay: Duration,
    /// `P`: on top of `E`, where a message is reduced.
    pub(crate) reduction_time: Duration,
}

/// Rings up to this size need no memory from the heap.
const SHORT_RING: usize = 32;

impl Phase {
    /// The phase of `kind` along `dim` that takes `bytes` in. They become the bytes that come out.
    fn ring(
        topology: &Topology,
        system: &System,
        kind: CollectiveKind,
        dim: usize,
        forward: bool,
        bytes: &mut u64,
    ) -> Phase {
        let members = topology.dims()[dim].npus as u64;
        let share = *bytes / members;
        let once_round = members - 1;
        let (message_bytes, rounds, reductions, bytes_out) = match kind {
            CollectiveKind::AllReduce => (share, 2 * once_round, once_round, *bytes),
            CollectiveKind::ReduceScatter => (share, once_round, once_round, share),
            CollectiveKind::AllGather => (*bytes, once_round, 0, *bytes * members),
            CollectiveKind::AllToAll => (share, members * once_round / 2, 0, *bytes),
        };
        *bytes = bytes_out;
        Phase {
            dim,
            stride: topology.stride(dim),
            members: members as usize,
            forward,
            message_bytes,
            rounds,
            reductions,
            message_delay: topology.dims()[dim].message_delay(message_bytes),
            endpoint_delay: system.endpoint_delay(),
            reduction_time: system.reduction_time(message_bytes),
        }
    }

    /// The ranks that the member of this rank sends to and receives from.
    pub(crate) fn neighbours(&self, rank: usize) -> (usize, usize) {
        let coordinate = rank / self.stride % self.members;
        let first = rank - coordinate * self.stride;
        let higher = first + (coordinate + 1) % self.members * self.stride;
        let lower = first + (coordinate + self.members - 1) % self.members * self.stride;
        if self.forward { (higher, lower) } else { (lower, higher) }
    }

    fn together(&self) -> Duration {
        self.endpoint_delay * (self.rounds + 1)
            + self.message_delay * self.rounds
            + self.reduction_time * self.reductions
    }

    fn advance(&self, at: &mut [Instant]) {
        let (mut short, mut long) = ([Instant::ZERO; SHORT_RING], Vec::new());
        let scratch = if self.members <= SHORT_RING {
            &mut short[..self.members]
        } else {
            long.resize(self.members, Instant::ZERO);
            &mut long[..]
        };
        for block in at.chunks_exact_mut(self.stride * self.members) {
            for first in 0..self.stride {
                self.advance_ring(&mut block[first..], scratch);
            }
        }
    }

    /// Advances the ring whose members stand at every `stride`-th place of `at`. `scratch` holds a place per member.
    fn advance_ring(&self, at: &mut [Instant], scratch: &mut [Instant]) {
        let (n, d) = (self.members, self.message_delay);
        // Members are counted in the direction of the messages from here on.
        let place = |member: usize| self.stride * if self.forward { member } else { n - 1 - member };
        if (0..n).all(|member| at[place(member)] == at[0]) {
            let end = at[0] + self.together();
            (0..n).for_each(|member| at[place(member)] = end);
            return;
        }

        // Member p, counted `unseen` places on for the rounds that only shift, ends at `rest` plus the maximum over
        // k = 0..n-1 of start[p-k] + k·d. Those with k ≤ p don't wrap around the ring; for the others, k = p + (n - q)
        // with q > p, and scratch[q] is the maximum of start[q'] + (n - q')·d over q' ≥ q.
        let rest = self.together() - d * (n as u64 - 1);
        let unseen = ((self.rounds + 1) % n as u64) as usize;
        let mut wrapped = Instant::ZERO;
        for q in (1..n).rev() {
            wrapped = wrapped.max(at[place(q)] + d * (n - q) as u64);
            scratch[q] = wrapped;
        }
        let mut passed_on = Instant::ZERO;
        for p in 0..n {
            let direct = passed_on.max(at[place(p)]);
            passed_on = direct + d;
            let latest = if p + 1 < n { direct.max(scratch[p + 1] + d * p as u64) } else { direct };
            scratch[p] = latest + rest;
        }
        for p in 0..n {
            at[place((p + unseen) % n)] = scratch[p];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DimMask, Dimension};
    use CollectiveKind::{AllGather, AllReduce, AllToAll, ReduceScatter};

    /// Links of 1000 ns and (nearly) no serialisation, so that delays can be added by hand.
    fn plan(npus: &[u32], kind: CollectiveKind, bytes: u64, dims: DimMask) -> Option<Plan> {
        let dim = |&npus| Dimension { npus, bandwidth_gib_per_s: 1e6, latency_ns: 1000.0 };
        let topology = Topology::new(npus.iter().map(dim).collect());
        let system = System { endpoint_delay_ns: 10, local_memory_gb_per_s: 1.0 };
        Plan::new(&topology, &system, Collective { kind, bytes, dims })
    }

    #[test]
    fn all_together() {
        let check = |npus: &[u32], kind, bytes, ns| {
            let got = plan(npus, kind, bytes, DimMask::ALL).map(|plan| plan.together().ns());
            assert_eq!(got, ns, "{kind:?} of {bytes} bytes over {npus:?}");
        };
        // E + T (d + E) + reductions · 3 · message bytes
        check(&[4], AllReduce, 400, Some(10 + 6 * 1010 + 3 * 300));
        check(&[4], ReduceScatter, 400, Some(10 + 3 * 1010 + 3 * 300));
        check(&[4], AllGather, 400, Some(10 + 3 * 1010));
        check(&[4], AllToAll, 400, Some(10 + 6 * 1010));
        // Sizes are raised to a byte per NPU, all-gather's apart.
        check(&[4], ReduceScatter, 0, Some(10 + 3 * 1010 + 3 * 3));
        check(&[4], AllGather, 0, None);
        // Up, across, down: 600 bytes, then 300, then 300.
        check(&[2, 3], AllReduce, 600, Some((10 + 1010 + 900) + (10 + 4 * 1010 + 2 * 300) + (10 + 1010)));
        check(&[2, 3], ReduceScatter, 600, Some((10 + 1010 + 900) + (10 + 2 * 1010 + 2 * 300)));
        // Dimensions of one NPU take no part.
        check(&[1, 2], AllGather, 8, Some(10 + 1010));
        check(&[1], AllReduce, 8, None);
        check(&[], AllReduce, 8, None);
    }

    #[test]
    fn a_mask_chooses_dimensions() {
        let check = |involved: &[bool], ns| {
            let got = plan(&[2, 3, 1], AllGather, 8, DimMask::new(involved)).map(|plan| plan.together().ns());
            assert_eq!(got, ns, "{involved:?}");
        };
        check(&[true, false, false], Some(10 + 1010));
        check(&[false, true, false], Some(10 + 2 * 1010));
        check(&[true, true, true], Some(20 + 3 * 1010));
        check(&[false, false, true], None);
        check(&[], None);
    }

    /// The recurrence of the module's text, round by round.
    fn advance_by_rounds(phase: &Phase, at: &mut [Instant]) {
        at.iter_mut().for_each(|at| *at += phase.endpoint_delay);
        for round in 0..phase.rounds {
            let sent = at.to_vec();
            for (rank, at) in at.iter_mut().enumerate() {
                let received = (sent[phase.neighbours(rank).1] + phase.message_delay).max(sent[rank]);
                *at = received + phase.endpoint_delay;
                if round < phase.reductions {
                    *at += phase.reduction_time;
                }
            }
        }
    }

    #[test]
    fn the_sliding_maximum_is_the_recurrence() {
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        for n in (2..=9).chain([SHORT_RING as u32, SHORT_RING as u32 + 1]) {
            for kind in [AllReduce, AllGather, ReduceScatter, AllToAll] {
                for npus in [&[n][..], &[n, 2], &[2, n]] {
                    let plan = plan(npus, kind, 1000, DimMask::ALL).expect("it completes");
                    let spread = 1 + random() % 8000;
                    let mut at: Vec<Instant> =
                        (0..plan.num_npus).map(|_| Instant::from_ns(random() % spread)).collect();
                    let mut expected = at.clone();
                    plan.advance(&mut at);
                    plan.phases.iter().for_each(|phase| advance_by_rounds(phase, &mut expected));
                    assert_eq!(at, expected, "{kind:?} over {npus:?}");
                }
            }
        }
    }
}
