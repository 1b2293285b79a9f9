//! When each rank of a group is through a forward pass.
//!
//! Ranks run the same ops in the same order and meet in collectives, so the time at which each leaves an op follows
//! from when each entered it, by additions and maxima alone. Such a map commutes with a shift of all times: once a
//! block delays all ranks that meet in it by the same time, so will every later block, and the rest is a
//! multiplication.

use network::{Collective, Plan, System, Topology};
use rustc_hash::FxHashMap;
use units::Instant;

use crate::forward::{ForwardPass, Lane, Op};

/// Times the passes of one group.
#[derive(Debug)]
pub(crate) struct PassClock {
    topology: Topology,
    system: System,
    ranks_per_member: usize,
    /// Whether collectives join ranks of different members.
    members_meet: bool,
    plans: FxHashMap<Collective, Plan>,
}

impl PassClock {
    pub(crate) fn new(topology: Topology, system: System, ranks_per_member: usize, members_meet: bool) -> Self {
        Self { topology, system, ranks_per_member, members_meet, plans: FxHashMap::default() }
    }

    /// Runs one pass, of one member each. `at` holds when each rank starts, and after it when each is through.
    pub(crate) fn run(&mut self, passes: &[ForwardPass], at: &mut [Instant]) {
        let first = &passes[0];
        self.run_ops(passes, 0, |lane| &lane.prologue, at);
        let alike = passes.iter().all(ForwardPass::blocks_are_alike);
        let mut before = vec![Instant::ZERO; at.len()];
        for block in 0..first.num_blocks {
            before.copy_from_slice(at);
            self.run_ops(passes, block, |lane| &lane.block, at);
            let remaining = (first.num_blocks - block - 1) as u64;
            if alike && remaining > 0 && self.all_shifted_alike(&before, at) {
                for (time, &before) in at.iter_mut().zip(&before) {
                    *time += (*time - before) * remaining;
                }
                break;
            }
        }
        self.run_ops(passes, 0, |lane| &lane.head, at);
    }

    /// Whether all ranks that meet were delayed by the same time.
    fn all_shifted_alike(&self, before: &[Instant], after: &[Instant]) -> bool {
        let ranks_that_meet = if self.members_meet { after.len() } else { self.ranks_per_member };
        let shift = |rank: usize| after[rank] - before[rank];
        (0..after.len()).all(|rank| shift(rank) == shift(rank - rank % ranks_that_meet))
    }

    fn run_ops(&mut self, passes: &[ForwardPass], block: usize, part: impl Fn(&Lane) -> &Vec<Op>, at: &mut [Instant]) {
        let first = &passes[0].lanes[0];
        for index in 0..part(first).len() {
            if let Op::Collective(collective) = part(first)[index] {
                self.meet(collective, at);
                continue;
            }
            for (pass, ranks) in passes.iter().zip(at.chunks_mut(self.ranks_per_member)) {
                let lane = &pass.lanes[0];
                for (rank, end) in ranks.iter_mut().enumerate() {
                    *end += match part(lane)[index] {
                        Op::Compute { time, .. } => time,
                        Op::Experts => lane.expert_time(block, rank),
                        Op::Collective(_) | Op::Pim | Op::SendKv => {
                            unreachable!("members of a group run the same ops, and only chains are timed here")
                        }
                    };
                }
            }
        }
    }

    fn meet(&mut self, collective: Collective, at: &mut [Instant]) {
        let plan = self.plans.entry(collective).or_insert_with(|| {
            let plan = Plan::new(&self.topology, &self.system, collective);
            plan.expect("a checked deployment has no collective that never ends")
        });
        assert!(plan.advance(at), "only collectives that have a closed form are timed here");
    }
}

#[cfg(test)]
mod tests;
