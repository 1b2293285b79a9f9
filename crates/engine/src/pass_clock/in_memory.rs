//! Passes with attention in memory whose channels nobody else uses.

use model::Layer;
use network::{Location, Memory};
use units::{Duration, Instant};

use super::PassClock;
use super::played::{Tell, computed, computing, parts};
use crate::activity::{Activity, Doing};
use crate::forward::{ForwardPass, Lane, Op};
use crate::interleaved::Interleaving;
use crate::pim::PimTask;

#[derive(Debug)]
pub(super) struct InMemory {
    memory: Memory,
    host: Location,
    /// By rank, how long it takes in the pass at hand.
    times: Vec<Duration>,
    /// By rank, when the latest is through.
    done: Vec<Instant>,
    halves: Interleaving,
}

impl InMemory {
    pub(super) fn new(memory: Memory, host: Location, num_ranks: usize) -> Self {
        let (times, done) = (vec![Duration::ZERO; num_ranks], vec![Instant::ZERO; num_ranks]);
        Self { memory, host, times, done, halves: Interleaving::default() }
    }

    /// Runs the pass of a lone instance.
    pub(super) fn run(&mut self, clock: &mut PassClock, pass: &ForwardPass, at: &mut [Instant]) {
        if pass.lanes.len() > 1 {
            at[0] = self.halves.run(pass, &self.memory, self.host, at[0]);
            return;
        }
        let lane = &pass.lanes[0];
        self.take_up(&lane.pim);
        self.run_ops(clock, &lane.prologue, lane, 0, at);
        for block in 0..pass.num_blocks {
            let before = at.to_vec();
            self.run_ops(clock, &lane.block, lane, block, at);
            let remaining = (pass.num_blocks - block - 1) as u64;
            if pass.blocks_are_alike() && clock.repeats(&before, at) {
                super::shift(at, &before, remaining);
                break;
            }
        }
        self.run_ops(clock, &lane.head, lane, 0, at);
    }

    /// As [`run`](Self::run), telling every op of every rank.
    pub(super) fn play(&mut self, clock: &mut PassClock, pass: &ForwardPass, at: &mut [Instant], tell: &mut Tell<'_>) {
        if pass.lanes.len() > 1 {
            at[0] = self.halves.play(pass, &self.memory, self.host, at[0], &mut |activity| tell(0, activity));
            return;
        }
        let lane = &pass.lanes[0];
        // The pass is run as well, and must not find what playing it left behind.
        let done = self.done.clone();
        self.take_up(&lane.pim);
        for (ops, block) in parts(0..pass.num_blocks, pass.num_blocks) {
            for op in ops(lane) {
                if let Op::Collective(collective) = *op {
                    clock.meet_and_tell(collective, block, at, tell);
                    continue;
                }
                for (rank, at) in at.iter_mut().enumerate() {
                    let begin = *at;
                    self.run_op(op, lane, block.unwrap_or(0), rank, at);
                    tell(
                        rank,
                        match *op {
                            Op::Pim => {
                                let block = block.map(|block| block as u32);
                                Activity { begin, end: self.done[rank], block, half: 0, what: Doing::InMemory(None) }
                            }
                            _ => {
                                let (layer, time) = computing(op, lane, block, rank);
                                computed(layer, block, *at, time)
                            }
                        },
                    );
                }
            }
        }
        self.done = done;
    }

    /// A channel is busy with one task at a time; those of a pass come channel by channel, which ranks take in turn.
    fn take_up(&mut self, tasks: &[PimTask]) {
        self.times.fill(Duration::ZERO);
        let num_ranks = self.times.len();
        for of_channel in tasks.chunk_by(|one, other| one.channel == other.channel) {
            let times = of_channel.iter().map(|task| self.memory.pim_time(self.host, task.time, task.bytes));
            let time: Duration = times.sum();
            let of_rank = &mut self.times[of_channel[0].channel as usize % num_ranks];
            *of_rank = time.max(*of_rank);
        }
    }

    fn run_ops(&mut self, clock: &mut PassClock, ops: &[Op], lane: &Lane, block: usize, at: &mut [Instant]) {
        for op in ops {
            match *op {
                Op::Collective(collective) => clock.meet(collective, at),
                _ => at.iter_mut().enumerate().for_each(|(rank, at)| self.run_op(op, lane, block, rank, at)),
            }
        }
    }

    /// Runs one op of one rank. Attention of prompts goes on beside that in memory, what follows waits for both.
    fn run_op(&mut self, op: &Op, lane: &Lane, block: usize, rank: usize, at: &mut Instant) {
        let time = match *op {
            Op::Pim => {
                self.done[rank] = *at + self.times[rank];
                return;
            }
            Op::Compute { time, .. } => time,
            Op::Experts => lane.expert_time(block, rank),
            Op::Collective(_) | Op::SendKv => unreachable!("ranks meet together, and only chains are timed here"),
        };
        let is_beside = matches!(op, Op::Compute { layer: Layer::Attention, .. });
        if time > Duration::ZERO && !is_beside {
            *at = self.done[rank].max(*at);
        }
        *at += time;
    }
}
