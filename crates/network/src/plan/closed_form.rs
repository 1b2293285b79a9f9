//! Phases in closed form: when each member leaves, from when each enters.
//!
//! Where links are never shared, a member's times depend on the times of others through the messages it waits for
//! alone:
//!
//! - **ring**: a sliding maximum ([`super::ring`]).
//! - **direct** (all at once): `end[i] = E (+ P) + max(S[i], max over j of S[j] + d(j, i))` with `S = start + E`. An
//!   all-reduce sends its second round as the first comes in, packet by packet; it has a formula when all members start
//!   together and all are equally far apart: `3E + 2d + P`.
//! - **halving and doubling**: round by round, `R = max(S[partner] + d, S)`, `S' = R + E (+ P)`.
//! - **measured**: from when the last is there.
//!
//! Trees are left to events: two messages an edge are all there is.
//!
//! Where links are shared, a formula holds when all members start together and no two messages meet: rings anywhere,
//! and everything on fully connected dimensions.

use super::phase::{Halving, Phase, Routine};
use super::ring::RingTime;
use crate::{Block, CollectiveKind, NetworkModel};
use units::{Duration, Instant};

/// Phases with up to so many members need no memory from the heap; those with few clear less of the stack.
const MANY_MEMBERS: usize = 64;
const FEW_MEMBERS: usize = 8;

impl Phase {
    /// As [`Plan::advance_groups`](super::Plan::advance_groups), through this phase.
    pub(super) fn advance_groups(&self, at: &mut [Instant], model: NetworkModel) -> bool {
        Phase { stride: self.member_stride, ..*self }.advance(at, model)
    }

    /// As [`Plan::advance`](super::Plan::advance), through this phase.
    pub(super) fn advance(&self, at: &mut [Instant], model: NetworkModel) -> bool {
        let members = self.members;
        if members <= FEW_MEMBERS {
            self.advance_with(at, &mut [Instant::ZERO; FEW_MEMBERS][..members], model)
        } else if members <= MANY_MEMBERS {
            self.advance_with(at, &mut [Instant::ZERO; MANY_MEMBERS][..members], model)
        } else {
            self.advance_with(at, &mut vec![Instant::ZERO; members], model)
        }
    }

    /// The same with a place per member to write to.
    fn advance_with(&self, at: &mut [Instant], scratch: &mut [Instant], model: NetworkModel) -> bool {
        let ring = self.ring_time(model);
        at.chunks_exact_mut(self.stride * self.members)
            .all(|block| (0..self.stride).all(|first| self.advance_group(&mut block[first..], scratch, ring, model)))
    }

    fn ring_time(&self, model: NetworkModel) -> Option<RingTime> {
        let Routine::Ring { message_bytes, rounds, reductions, reduction_time } = self.routine else { return None };
        Some(RingTime {
            rounds,
            message_delay: self.delay(0, 1, message_bytes, model),
            own_time: self.endpoint_delay * (rounds + 1) + reduction_time * reductions,
        })
    }

    /// Advances the members that stand at every `stride`-th place of `at`. `scratch` holds a place per member.
    fn advance_group(
        &self,
        at: &mut [Instant],
        scratch: &mut [Instant],
        ring: Option<RingTime>,
        model: NetworkModel,
    ) -> bool {
        let starts_together = (1..self.members).all(|member| at[member * self.stride] == at[0]);
        let meets_nobody = matches!(self.routine, Routine::Ring { .. } | Routine::Measured { .. })
            || self.links.block == Block::FullyConnected;
        if model == NetworkModel::Aware && !(starts_together && meets_nobody) {
            return matches!(self.routine, Routine::Measured { .. }) && self.advance_measured(at);
        }
        match self.routine {
            Routine::Ring { .. } => {
                let ring = ring.expect("the time of a ring is known");
                if starts_together {
                    let end = at[0] + ring.together();
                    (0..self.members).for_each(|member| at[member * self.stride] = end);
                } else {
                    ring.advance(self, at, scratch);
                }
                true
            }
            Routine::Direct { message_bytes, window, reduction_time } => {
                window as usize == self.members - 1
                    && self.advance_direct(at, scratch, (message_bytes, reduction_time), starts_together, model)
            }
            Routine::Halving(halving) => {
                self.advance_halving(at, scratch, halving, model);
                true
            }
            // Which of the two trees it is depends on how many came before.
            Routine::Tree { .. } => false,
            Routine::Measured { .. } => self.advance_measured(at),
        }
    }

    fn advance_measured(&self, at: &mut [Instant]) -> bool {
        let Routine::Measured { time, .. } = self.routine else { return false };
        let latest = (0..self.members).map(|member| at[member * self.stride]).max().unwrap_or_default();
        (0..self.members).for_each(|member| at[member * self.stride] = latest + time);
        true
    }

    fn advance_direct(
        &self,
        at: &mut [Instant],
        scratch: &mut [Instant],
        (bytes, reduction_time): (u64, Duration),
        starts_together: bool,
        model: NetworkModel,
    ) -> bool {
        let (n, stride, endpoint) = (self.members, self.stride, self.endpoint_delay);
        let is_uniform = self.links.block != Block::Ring || n <= 3;
        let delay = |from, to| self.delay(from, to, bytes, model);
        if self.kind == CollectiveKind::AllReduce {
            let end = at[0] + endpoint * 3 + delay(0, 1) * 2 + reduction_time;
            (0..n).for_each(|member| at[member * stride] = end);
            return starts_together && is_uniform;
        }
        let own = match self.kind {
            CollectiveKind::ReduceScatter => endpoint * 2 + reduction_time,
            _ => endpoint * 2,
        };
        if is_uniform {
            // All are equally far: what counts is the latest of the others.
            let d = delay(0, 1);
            let (mut latest, mut second, mut who) = (at[0], Instant::ZERO, 0);
            for member in 1..n {
                let start = at[member * stride];
                if start > latest {
                    (second, latest, who) = (latest, start, member);
                } else {
                    second = second.max(start);
                }
            }
            for member in 0..n {
                let others = if member == who { second } else { latest };
                at[member * stride] = (others + d).max(at[member * stride]) + own;
            }
            return true;
        }
        if starts_together {
            // The farthest peer is the same distance from all.
            let end = at[0] + delay(0, n / 2) + own;
            (0..n).for_each(|member| at[member * stride] = end);
            return true;
        }
        for (to, end) in scratch.iter_mut().enumerate() {
            let arrivals = (0..n).filter(|&from| from != to).map(|from| at[from * stride] + delay(from, to));
            *end = arrivals.fold(at[to * stride], Instant::max) + own;
        }
        (0..n).for_each(|member| at[member * stride] = scratch[member]);
        true
    }

    fn advance_halving(&self, at: &mut [Instant], scratch: &mut [Instant], halving: Halving, model: NetworkModel) {
        let (n, stride, endpoint) = (self.members, self.stride, self.endpoint_delay);
        (0..n).for_each(|member| at[member * stride] += endpoint);
        for round in 0..halving.rounds() {
            let (bytes, distance) = (halving.message_bytes(round), halving.distance(round));
            for (member, received) in scratch.iter_mut().enumerate() {
                let partner = member ^ distance;
                let arrival = at[partner * stride] + self.delay(partner, member, bytes, model);
                *received = arrival.max(at[member * stride]);
            }
            let mut own = endpoint;
            if halving.reduces(round + 1) {
                own += self.reduction_time(halving.message_bytes(round + 1));
            }
            (0..n).for_each(|member| at[member * stride] = scratch[member] + own);
        }
    }
}
