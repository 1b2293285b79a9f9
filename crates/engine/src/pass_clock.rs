//! When each rank of a group is through a forward pass.
//!
//! Ranks run the same ops in the same order and meet in collectives, so the time at which each leaves an op follows
//! from when each entered it, by additions and maxima alone. Such a map commutes with a shift of all times: once a
//! block delays all ranks that meet in it by the same time, so will every later block, and the rest is a
//! multiplication.

use std::mem;

use network::{Collective, Plan, System, Topology};
use rustc_hash::FxHashMap;
use units::{Duration, Instant};

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
    /// When each rank entered the block at hand.
    before: Vec<Instant>,
}

impl PassClock {
    pub(crate) fn new(topology: Topology, system: System, ranks_per_member: usize, members_meet: bool) -> Self {
        Self { topology, system, ranks_per_member, members_meet, plans: FxHashMap::default(), before: Vec::new() }
    }

    /// Runs one pass, of one member each. `at` holds when each rank starts, and after it when each is through.
    pub(crate) fn run(&mut self, passes: &[ForwardPass], at: &mut [Instant]) {
        let first = &passes[0];
        self.run_ops(passes, 0, |lane| &lane.prologue, at);
        let alike = passes.iter().all(ForwardPass::blocks_are_alike);
        let mut before = mem::take(&mut self.before);
        for block in 0..first.num_blocks {
            before.clear();
            before.extend_from_slice(at);
            self.run_ops(passes, block, |lane| &lane.block, at);
            let remaining = (first.num_blocks - block - 1) as u64;
            if alike && remaining > 0 && self.all_shifted_alike(&before, at) {
                for (time, &before) in at.iter_mut().zip(&before) {
                    *time += (*time - before) * remaining;
                }
                break;
            }
        }
        self.before = before;
        self.run_ops(passes, 0, |lane| &lane.head, at);
    }

    /// Whether all ranks that meet were delayed by the same time.
    fn all_shifted_alike(&self, before: &[Instant], after: &[Instant]) -> bool {
        let ranks_that_meet = if self.members_meet { after.len() } else { self.ranks_per_member };
        before.chunks(ranks_that_meet).zip(after.chunks(ranks_that_meet)).all(|(before, after)| {
            let shift = after[0] - before[0];
            before.iter().zip(after).all(|(&before, &after)| after - before == shift)
        })
    }

    fn run_ops(&mut self, passes: &[ForwardPass], block: usize, part: impl Fn(&Lane) -> &Vec<Op>, at: &mut [Instant]) {
        let ops = part(&passes[0].lanes[0]);
        let mut start = 0;
        while start < ops.len() {
            if let Op::Collective(collective) = ops[start] {
                self.meet(collective, at);
                start += 1;
                continue;
            }
            // Between two meetings each rank goes its own way.
            let is_meeting = |op: &Op| matches!(op, Op::Collective(_));
            let end = ops[start..].iter().position(is_meeting).map_or(ops.len(), |length| start + length);
            for (pass, ranks) in passes.iter().zip(at.chunks_mut(self.ranks_per_member)) {
                let lane = &pass.lanes[0];
                let (computing, num_experts) = alone(&part(lane)[start..end]);
                for (rank, at) in ranks.iter_mut().enumerate() {
                    *at += computing;
                    if num_experts > 0 {
                        *at += lane.expert_time(block, rank) * num_experts;
                    }
                }
            }
            start = end;
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

/// How long every rank computes in a stretch without collectives, and how often its own experts come on top.
fn alone(ops: &[Op]) -> (Duration, u64) {
    let (mut computing, mut num_experts) = (Duration::ZERO, 0);
    for op in ops {
        match *op {
            Op::Compute { time, .. } => computing += time,
            Op::Experts => num_experts += 1,
            Op::Collective(_) | Op::Pim | Op::SendKv => {
                unreachable!("members of a group run the same ops, and only chains are timed here")
            }
        }
    }
    (computing, num_experts)
}

#[cfg(test)]
mod tests;
