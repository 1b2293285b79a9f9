//! When each rank of a group is through a forward pass.
//!
//! Ranks run the same ops in the same order and meet in collectives, so the time at which each leaves an op follows
//! from when each entered it, by additions and maxima alone. Such a map commutes with a shift of all times: once some
//! blocks have delayed all ranks that meet in them by the same time, so will every as many that follow, and the rest is
//! a multiplication. One block is enough where ranks do the same; around a ring, where each waits for its neighbour,
//! the lateness of one goes round.

mod in_memory;
mod played;

use std::mem;
use std::ops::Range;

use network::{Collective, Location, Memory, Plan, System, Topology};
use rustc_hash::FxHashMap;
use units::{Duration, Instant};

use crate::forward::{ForwardPass, Lane, Op};
use in_memory::InMemory;

/// Times the passes of one group.
#[derive(Debug)]
pub(crate) struct PassClock {
    topology: Topology,
    system: System,
    ranks_per_member: usize,
    /// Whether collectives join ranks of different members.
    members_meet: bool,
    plans: Vec<Plan>,
    plan_of: FxHashMap<Collective, usize>,
    /// The block at hand, where all are alike.
    stretches: Stretches,
    /// When each rank entered each of the blocks so far.
    entries: Vec<Instant>,
    in_memory: Option<Box<InMemory>>,
}

/// Ops from one meeting to the next, added up.
#[derive(Debug, Default)]
struct Stretches {
    /// In order; a meeting has the index of its plan.
    kinds: Vec<Stretch>,
    /// How long each rank is on its own, stretch by stretch.
    times: Vec<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Stretch {
    Meeting(usize),
    Alone,
}

impl PassClock {
    pub(crate) fn new(topology: Topology, system: System, ranks_per_member: usize, members_meet: bool) -> Self {
        Self {
            topology,
            system,
            ranks_per_member,
            members_meet,
            plans: Vec::new(),
            plan_of: FxHashMap::default(),
            stretches: Stretches::default(),
            entries: Vec::new(),
            in_memory: None,
        }
    }

    /// The same for a lone instance that attends in the memory of `host`, and nobody else does.
    #[must_use]
    pub(crate) fn attending_in(mut self, memory: Memory, host: Location) -> Self {
        self.in_memory = Some(Box::new(InMemory::new(memory, host, self.ranks_per_member)));
        self
    }

    /// Runs one pass, of one member each. `at` holds when each rank starts, and after it when each is through.
    pub(crate) fn run(&mut self, passes: &[ForwardPass], at: &mut [Instant]) {
        if let Some(mut in_memory) = self.in_memory.take() {
            in_memory.run(self, &passes[0], at);
            self.in_memory = Some(in_memory);
            return;
        }
        if !passes[0].has_collectives && passes.iter().all(ForwardPass::blocks_are_alike) {
            return self.run_apart(passes, at);
        }
        self.run_stage(passes, 0..passes[0].num_blocks, at);
    }

    /// The same for a pipeline stage, the one with these blocks: the prologue is the first one's, the head the last one's.
    /// `at` holds the times of the ranks of that stage alone, of those members that `passes` are of.
    pub(crate) fn run_stage(&mut self, passes: &[ForwardPass], blocks: Range<usize>, at: &mut [Instant]) {
        if blocks.start == 0 {
            self.run_part(passes, 0, |lane| &lane.prologue, at);
        }
        let is_last = blocks.end == passes[0].num_blocks;
        if passes.iter().all(ForwardPass::blocks_are_alike) {
            self.resolve(passes, 0, |lane| &lane.block);
            self.repeat(blocks.len(), at);
        } else {
            blocks.for_each(|block| self.run_part(passes, block, |lane| &lane.block, at));
        }
        if is_last {
            self.run_part(passes, 0, |lane| &lane.head, at);
        }
    }

    /// How many ranks of a stage, counted through the members, wait for each other in every block of a pass.
    pub(crate) fn num_meeting(&mut self, pass: &ForwardPass) -> usize {
        let members = |op: &Op| match *op {
            Op::Collective(collective) => {
                let plan = self.plan(collective);
                self.plans[plan].num_members()
            }
            _ => 1,
        };
        pass.lanes[0].block.iter().map(members).max().unwrap_or(1)
    }

    /// Runs passes in which nobody meets anybody.
    fn run_apart(&self, passes: &[ForwardPass], at: &mut [Instant]) {
        let mut following = at;
        for pass in passes {
            let ranks;
            (ranks, following) = following.split_at_mut(self.ranks_per_member);
            let lane = &pass.lanes[0];
            let computing = lane.computing(pass.num_blocks);
            let num_experts = lane.num_expert_layers();
            for (rank, at) in ranks.iter_mut().enumerate() {
                *at += computing;
                if num_experts > 0 {
                    *at += lane.expert_time(0, rank) * num_experts;
                }
            }
        }
    }

    fn run_part(&mut self, passes: &[ForwardPass], block: usize, part: impl Fn(&Lane) -> &Vec<Op>, at: &mut [Instant]) {
        self.resolve(passes, block, part);
        self.run_stretches(at);
    }

    /// Adds up the ops of one part of the passes, between meetings.
    fn resolve(&mut self, passes: &[ForwardPass], block: usize, part: impl Fn(&Lane) -> &Vec<Op>) {
        let mut stretches = mem::take(&mut self.stretches);
        stretches.kinds.clear();
        stretches.times.clear();
        let ops = part(&passes[0].lanes[0]);
        let mut start = 0;
        while start < ops.len() {
            if let Op::Collective(collective) = ops[start] {
                stretches.kinds.push(Stretch::Meeting(self.plan(collective)));
                start += 1;
                continue;
            }
            let is_meeting = |op: &Op| matches!(op, Op::Collective(_));
            let end = ops[start..].iter().position(is_meeting).map_or(ops.len(), |length| start + length);
            stretches.kinds.push(Stretch::Alone);
            for pass in passes {
                let lane = &pass.lanes[0];
                let (computing, num_experts) = alone(&part(lane)[start..end]);
                stretches.times.extend((0..self.ranks_per_member).map(|rank| match num_experts {
                    0 => computing,
                    _ => computing + lane.expert_time(block, rank) * num_experts,
                }));
            }
            start = end;
        }
        self.stretches = stretches;
    }

    /// Lets ranks go through a collective.
    fn meet(&mut self, collective: Collective, at: &mut [Instant]) {
        let plan = self.plan(collective);
        assert!(self.plans[plan].advance_groups(at), "only collectives that have a closed form are timed here");
    }

    fn plan(&mut self, collective: Collective) -> usize {
        *self.plan_of.entry(collective).or_insert_with(|| {
            let plan = Plan::new(&self.topology, &self.system, collective);
            self.plans.push(plan.expect("a checked deployment has no collective that never ends"));
            self.plans.len() - 1
        })
    }

    fn run_stretches(&self, at: &mut [Instant]) {
        let mut times = self.stretches.times.chunks_exact(at.len());
        for &kind in &self.stretches.kinds {
            match kind {
                Stretch::Meeting(plan) => {
                    assert!(
                        self.plans[plan].advance_groups(at),
                        "only collectives that have a closed form are timed here"
                    );
                }
                Stretch::Alone => {
                    let times = times.next().expect("every stretch has its times");
                    at.iter_mut().zip(times).for_each(|(at, &time)| *at += time);
                }
            }
        }
    }

    /// Runs `num_blocks` blocks that are alike.
    fn repeat(&mut self, num_blocks: usize, at: &mut [Instant]) {
        let num_ranks = at.len();
        let mut entries = mem::take(&mut self.entries);
        entries.clear();
        let mut remaining = num_blocks;
        let mut tried_at = num_blocks + 1;
        while remaining > 0 {
            entries.extend_from_slice(at);
            self.run_stretches(at);
            remaining -= 1;
            let num_entries = entries.len() / num_ranks;
            let before = |period: usize| &entries[(num_entries - period) * num_ranks..][..num_ranks];
            // What goes round comes back after as many blocks as there are ranks at the latest.
            let mut periods = 1..=num_entries.min(remaining).min(num_ranks);
            if let Some(period) = periods.clone().find(|&period| self.repeats(before(period), at)) {
                shift(at, before(period), (remaining / period) as u64);
                (0..remaining % period).for_each(|_| self.run_stretches(at));
                break;
            }
            let drifts = |period: &usize| {
                2 * period <= num_entries.min(remaining) && is_even(before(2 * period), before(*period), at)
            };
            if let Some(period) = periods.find(drifts).filter(|period| remaining + period < tried_at) {
                tried_at = remaining;
                if let Some(num_jumped) = self.jump(before(period), period, remaining, at) {
                    remaining -= num_jumped;
                    entries.clear();
                }
            }
        }
        self.entries = entries;
    }

    /// Goes on as far as ranks gain in every `period` blocks what they gained since `before`, up to `remaining` blocks;
    /// returns how many blocks those were.
    ///
    /// Until when that lasts is not known, but can be tried. What a rank leaves at is a maximum of sums, and so convex
    /// along the way. It gained the same in the last two periods; if it does at the far end of a jump too, then all the way
    /// there.
    fn jump(&self, before: &[Instant], period: usize, remaining: usize, at: &mut [Instant]) -> Option<usize> {
        let mut num_periods = remaining / period - 1;
        while num_periods > 1 {
            let mut there = at.to_vec();
            shift(&mut there, before, num_periods as u64);
            let mut beyond = there.clone();
            (0..period).for_each(|_| self.run_stretches(&mut beyond));
            let gains = at.iter().zip(before).map(|(&at, &before)| at - before);
            if beyond.iter().zip(&there).map(|(&beyond, &there)| beyond - there).eq(gains) {
                at.copy_from_slice(&beyond);
                return Some((num_periods + 1) * period);
            }
            num_periods /= 2;
        }
        None
    }

    /// Whether all ranks that meet have been delayed by the same time since `before`.
    fn repeats(&self, before: &[Instant], at: &[Instant]) -> bool {
        let ranks_that_meet = if self.members_meet { at.len() } else { self.ranks_per_member };
        before.chunks(ranks_that_meet).zip(at.chunks(ranks_that_meet)).all(|(before, after)| {
            let shift = after[0] - before[0];
            before.iter().zip(after).all(|(&before, &after)| after - before == shift)
        })
    }
}

/// Delays every rank by `times` its delay since `before`.
fn shift(at: &mut [Instant], before: &[Instant], times: u64) {
    for (at, &before) in at.iter_mut().zip(before) {
        *at += (*at - before) * times;
    }
}

/// Whether every rank was delayed as much from the second to the third as from the first to the second.
fn is_even(first: &[Instant], second: &[Instant], third: &[Instant]) -> bool {
    first.iter().zip(second).zip(third).all(|((&first, &second), &third)| third - second == second - first)
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
