//! A step in two halves on one NPU: while one attends in memory, the other computes.
//!
//! Each half is a chain of ops. Where both could go on, the NPU takes the op that comes first in the pass, in which the
//! halves take turns from attention to attention; it leaves off only between two ops. Channels of the memory serve tasks
//! in the order in which they come.

use model::Layer;
use network::{Location, Memory};
use units::{Duration, Instant};

use crate::activity::{Activity, Doing, layer_name};
use crate::forward::{ForwardPass, Lane, Op};

/// Times the steps of one NPU.
#[derive(Debug, Default)]
pub(crate) struct Interleaving {
    halves: [Half; 2],
    /// When each channel is free.
    channels: Vec<Instant>,
}

/// How far one half has come.
#[derive(Debug, Default)]
struct Half {
    items: Vec<Item>,
    next: usize,
    /// When its latest op was through.
    tail: Instant,
    /// Its attention in memory, while an op is to wait for it.
    attention: Option<Attention>,
}

/// An op, and whose turn it is part of.
#[derive(Clone, Copy, Debug)]
struct Item {
    turn: usize,
    work: Work,
    layer: Layer,
    /// Its block, outside of prologue and head.
    block: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The NPU computes.
    Compute(Duration),
    /// It computes beside what goes on in memory.
    Beside(Duration),
    /// The memory does.
    InMemory,
}

/// Attention in memory.
#[derive(Clone, Copy, Debug)]
struct Attention {
    done: Instant,
    /// When the task that is done last was begun: of what is done in the same nanosecond, what was begun first comes first.
    begun: Instant,
}

impl Interleaving {
    /// When a pass in halves is through that begins at `start`.
    pub(crate) fn run(&mut self, pass: &ForwardPass, memory: &Memory, host: Location, start: Instant) -> Instant {
        self.play(pass, memory, host, start, &mut |_| {})
    }

    /// The same, telling every op.
    pub(crate) fn play(
        &mut self,
        pass: &ForwardPass,
        memory: &Memory,
        host: Location,
        start: Instant,
        tell: &mut impl FnMut(Activity),
    ) -> Instant {
        for (half, lane) in self.halves.iter_mut().zip(&pass.lanes) {
            half.take_up(lane, pass.num_blocks, start);
        }
        self.channels.fill(start);
        let mut latest = (start, start);
        (0..2).for_each(|half| self.attend(half, pass, memory, host, tell));
        while let Some(half) = self.choose(latest) {
            let begun = self.halves[half].ready().max(latest.1);
            let Half { items, next, tail, attention } = &mut self.halves[half];
            let item = items[*next];
            let time = match item.work {
                Work::Compute(time) => {
                    *attention = None;
                    time
                }
                Work::Beside(time) => time,
                Work::InMemory => unreachable!("attention in memory begins with the op before it"),
            };
            *next += 1;
            *tail = begun + time;
            latest = (begun, *tail);
            let what = Doing::Compute(layer_name(item.layer.name()));
            tell(Activity { begin: begun, end: *tail, block: item.block, half: half as u32, what });
            self.attend(half, pass, memory, host, tell);
        }
        self.halves.iter().map(|half| half.tail).fold(start, Instant::max)
    }

    /// The half that goes on when the NPU is through with an op that took from `begun` to `ended`.
    fn choose(&self, (begun, ended): (Instant, Instant)) -> Option<usize> {
        let left = || self.halves.iter().enumerate().filter(|(_, half)| half.next < half.items.len());
        let turn = |&(index, half): &(usize, &Half)| (half.items[half.next].turn, index);
        let ready = left().filter(|(_, half)| half.is_ready(begun, ended)).min_by_key(turn);
        let first = || left().min_by_key(|entry| (entry.1.readied(), turn(entry)));
        ready.or_else(first).map(|(index, _)| index)
    }

    /// Begins the attention in memory that is next in a half.
    fn attend(
        &mut self,
        half: usize,
        pass: &ForwardPass,
        memory: &Memory,
        host: Location,
        tell: &mut impl FnMut(Activity),
    ) {
        let Half { items, next, tail, attention } = &mut self.halves[half];
        let Some(&Item { block, .. }) = items.get(*next).filter(|item| item.work == Work::InMemory) else { return };
        *next += 1;
        for task in &pass.lanes[half].pim {
            let channel = task.channel as usize;
            if self.channels.len() <= channel {
                self.channels.resize(channel + 1, *tail);
            }
            let begun = self.channels[channel].max(*tail);
            let done = begun + memory.pim_time(host, task.time, task.bytes);
            self.channels[channel] = done;
            let what = Doing::InMemory(Some(task.channel));
            tell(Activity { begin: begun, end: done, block, half: half as u32, what });
            let latest = attention.get_or_insert(Attention { done, begun });
            if (done, begun) > (latest.done, latest.begun) {
                *latest = Attention { done, begun };
            }
        }
    }
}

impl Half {
    fn take_up(&mut self, lane: &Lane, num_blocks: usize, start: Instant) {
        (self.next, self.tail, self.attention) = (0, start, None);
        self.items.clear();
        let (pre_attn, post_attn) = lane.block.split_at(lane.pre_attn);
        self.push(lane, 0, None, &lane.prologue);
        self.push(lane, 0, Some(0), pre_attn);
        for block in 0..num_blocks {
            self.push(lane, block + 1, Some(block), post_attn);
            let (following, ops) =
                if block + 1 < num_blocks { (Some(block + 1), pre_attn) } else { (None, &lane.head[..]) };
            self.push(lane, block + 1, following, ops);
        }
    }

    fn push(&mut self, lane: &Lane, turn: usize, block: Option<usize>, ops: &[Op]) {
        let work = |op: &Op| match *op {
            Op::Compute { layer: Layer::Attention, time, .. } => Work::Beside(time),
            Op::Compute { time, .. } => Work::Compute(time),
            Op::Experts => Work::Compute(lane.expert_time(block.unwrap_or(0), 0)),
            Op::Pim => Work::InMemory,
            Op::Collective(_) | Op::SendKv => unreachable!("one NPU has nobody to meet or to send to"),
        };
        let takes_time = |work: &Work| !matches!(work, Work::Compute(Duration::ZERO) | Work::Beside(Duration::ZERO));
        let layer = |op: &Op| match *op {
            Op::Compute { layer, .. } => layer,
            Op::Experts => Layer::Moe,
            _ => Layer::Attention,
        };
        let block = block.map(|block| block as u32);
        let item = |op: &Op| Item { turn, work: work(op), layer: layer(op), block };
        self.items.extend(ops.iter().map(item).filter(|item| takes_time(&item.work)));
    }

    /// The attention in memory that its next op waits for.
    fn awaited(&self) -> Option<Attention> {
        self.attention.filter(|_| matches!(self.items[self.next].work, Work::Compute(_)))
    }

    /// When its next op could begin.
    fn ready(&self) -> Instant {
        self.awaited().map_or(self.tail, |attention| attention.done.max(self.tail))
    }

    /// The same, and when that began which is done then, if it was attention.
    fn readied(&self) -> (Instant, Option<Instant>) {
        let ready = self.ready();
        (ready, self.awaited().filter(|attention| attention.done == ready).map(|attention| attention.begun))
    }

    /// Whether its next op can begin right after one that took from `begun` to `ended`.
    fn is_ready(&self, begun: Instant, ended: Instant) -> bool {
        self.readied() < (ended, Some(begun))
    }
}
