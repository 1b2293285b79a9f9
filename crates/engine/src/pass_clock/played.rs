//! A pass op by op: what [`PassClock::run`] adds up, told one after the other.

use std::ops::Range;

use model::Layer;
use network::Collective;
use units::{Duration, Instant};

use super::PassClock;
use crate::activity::{Activity, Doing, before, layer_name};
use crate::forward::{ForwardPass, Lane, Op};

/// Who is told that a rank did something.
pub(super) type Tell<'t> = dyn FnMut(usize, Activity) + 't;

impl PassClock {
    /// As [`run`](Self::run), telling every op of every rank.
    #[cold]
    pub(crate) fn run_and_tell(&mut self, passes: &[ForwardPass], at: &mut [Instant], tell: &mut Tell<'_>) {
        let mut played = at.to_vec();
        self.play(passes, &mut played, tell);
        self.run(passes, at);
        assert_eq!(played, at, "a pass that is played takes as long as it takes");
    }

    /// As [`run_stage`](Self::run_stage), telling every op of every rank.
    #[cold]
    pub(crate) fn run_stage_and_tell(
        &mut self,
        passes: &[ForwardPass],
        blocks: Range<usize>,
        at: &mut [Instant],
        tell: &mut Tell<'_>,
    ) {
        let mut played = at.to_vec();
        self.play_stage(passes, blocks.clone(), &mut played, tell);
        self.run_stage(passes, blocks, at);
        assert_eq!(played, at, "a stage that is played takes as long as it takes");
    }

    fn play(&mut self, passes: &[ForwardPass], at: &mut [Instant], tell: &mut Tell<'_>) {
        if let Some(mut in_memory) = self.in_memory.take() {
            in_memory.play(self, &passes[0], at, tell);
            self.in_memory = Some(in_memory);
            return;
        }
        self.play_stage(passes, 0..passes[0].num_blocks, at, tell);
    }

    /// Plays the ops of one stage.
    fn play_stage(&mut self, passes: &[ForwardPass], blocks: Range<usize>, at: &mut [Instant], tell: &mut Tell<'_>) {
        for (part, block) in parts(blocks, passes[0].num_blocks) {
            for index in 0..part(&passes[0].lanes[0]).len() {
                let op = |pass: &ForwardPass| part(&pass.lanes[0])[index];
                if let Op::Collective(collective) = op(&passes[0]) {
                    self.meet_and_tell(collective, block, at, tell);
                    continue;
                }
                for (rank, at) in at.iter_mut().enumerate() {
                    let (member, own) = (rank / self.ranks_per_member, rank % self.ranks_per_member);
                    let pass = &passes[member];
                    let (layer, time) = computing(&op(pass), &pass.lanes[0], block, own);
                    *at += time;
                    tell(rank, computed(layer, block, *at, time));
                }
            }
        }
    }

    pub(super) fn meet_and_tell(
        &mut self,
        collective: Collective,
        block: Option<usize>,
        at: &mut [Instant],
        tell: &mut Tell<'_>,
    ) {
        let entered = at.to_vec();
        self.meet(collective, at);
        let plan = self.plan(collective);
        let num_members = self.plans[plan].num_members();
        let ranks = entered.chunks(num_members).zip(at.chunks(num_members)).zip((0..).step_by(num_members));
        for ((entered, left), first) in ranks {
            let met = entered.iter().copied().max().unwrap_or_default();
            for ((&begin, &end), rank) in entered.iter().zip(left).zip(first..) {
                let Collective { kind, bytes, .. } = collective;
                let what = Doing::Collective { kind, bytes, met };
                tell(rank, Activity { begin, end, block: block.map(|block| block as u32), half: 0, what });
            }
        }
    }
}

/// The lists of ops of a stage in order, each with its block.
type OpsOf = fn(&Lane) -> &Vec<Op>;

pub(super) fn parts(blocks: Range<usize>, num_blocks: usize) -> impl Iterator<Item = (OpsOf, Option<usize>)> {
    let prologue: Option<(OpsOf, _)> = (blocks.start == 0).then_some((|lane| &lane.prologue, None));
    let head: Option<(OpsOf, _)> = (blocks.end == num_blocks).then_some((|lane| &lane.head, None));
    let block = |block| -> (OpsOf, _) { (|lane| &lane.block, Some(block)) };
    prologue.into_iter().chain(blocks.map(block)).chain(head)
}

/// What a rank computes, and how long.
pub(super) fn computing(op: &Op, lane: &Lane, block: Option<usize>, rank: usize) -> (Layer, Duration) {
    match *op {
        Op::Compute { layer, time, .. } => (layer, time),
        Op::Experts => (Layer::Moe, lane.expert_time(block.unwrap_or(0), rank)),
        Op::Collective(_) | Op::Pim | Op::SendKv => unreachable!("these are not computed"),
    }
}

/// A layer that took `time`, up to `end`.
pub(super) fn computed(layer: Layer, block: Option<usize>, end: Instant, time: Duration) -> Activity {
    let what = Doing::Compute(layer_name(layer.name()));
    Activity { begin: before(end, time), end, block: block.map(|block| block as u32), half: 0, what }
}
