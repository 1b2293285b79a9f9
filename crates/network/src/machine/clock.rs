//! The order of events.
//!
//! Events of one nanosecond run in the order they were scheduled, those added meanwhile included. What an NPU schedules
//! for itself is gathered: all its entries for one nanosecond are one list, which runs as a whole where its first entry
//! was scheduled. The order decides who reaches a memory device first, so it is part of the result.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use units::{Duration, Instant, NpuId};

/// Something that happens, and at which NPU.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The NPU's own doing.
    Local(NpuId, Local),
    /// A message reaches the NPU.
    Arrived(NpuId, Message),
    /// The NPU asked for a message of a collective that had already come.
    Received(NpuId),
    /// The message that this node of the NPU sends reaches its receiver.
    Sent(NpuId, u32),
    /// The message that this node of the NPU waits for had already come.
    Taken(NpuId, u32),
}

/// What an NPU schedules for itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local {
    /// A compute node is done.
    Computed { node: u32 },
    /// A memory or PIM node is done, and what it queued for with it.
    Accessed { node: u32, queue: Option<u32> },
    /// The endpoint delay is over.
    Delayed,
    /// The received message is reduced.
    Reduced,
}

/// A message as its receiver knows it. Equal ones are told apart by their order alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) from: NpuId,
    /// The number of its collective at its sender, and at its receiver; or the tag of one sent by itself.
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// The current instant and all that is yet to happen.
pub(super) struct Clock {
    now: Instant,
    scheduled: u64,
    heap: BinaryHeap<Entry>,
    /// What each NPU has scheduled for itself, in the order of scheduling. Rarely more than a handful.
    agendas: Vec<Vec<(Instant, Local)>>,
    /// The NPU whose list for this nanosecond is running.
    running: Option<NpuId>,
}

struct Entry {
    at: Instant,
    sequence: u64,
    what: What,
}

enum What {
    Agenda(NpuId),
    Event(Event),
}

impl Clock {
    pub(super) fn new(num_npus: usize) -> Self {
        Self {
            now: Instant::ZERO,
            scheduled: 0,
            heap: BinaryHeap::new(),
            agendas: vec![Vec::new(); num_npus],
            running: None,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The nanosecond of the next event.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|next| next.at)
    }

    /// Moves on to `instant`, over no event.
    pub(super) fn advance_to(&mut self, instant: Instant) {
        assert!(instant >= self.now, "time went back");
        assert!(self.next_at().is_none_or(|next| instant <= next), "events are pending before {instant}");
        self.now = instant;
    }

    /// Moves on to the nanosecond of the next event. `false` when there is none.
    pub(super) fn begin_cycle(&mut self) -> bool {
        let Some(next) = self.next_at() else { return false };
        self.advance_to(next);
        true
    }

    /// The next event of the current nanosecond.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(npu) = self.running {
                let agenda = &mut self.agendas[npu.index()];
                if let Some(next) = agenda.iter().position(|&(at, _)| at == self.now) {
                    return Some(Event::Local(npu, agenda.remove(next).1));
                }
                self.running = None;
            }
            if self.heap.peek()?.at != self.now {
                return None;
            }
            match self.heap.pop()?.what {
                What::Agenda(npu) => self.running = Some(npu),
                What::Event(event) => return Some(event),
            }
        }
    }

    pub(super) fn schedule(&mut self, delay: Duration, event: Event) {
        self.insert(self.now + delay, What::Event(event));
    }

    pub(super) fn schedule_local(&mut self, npu: NpuId, delay: Duration, local: Local) {
        let at = self.now + delay;
        let runs_now = self.running == Some(npu) && at == self.now;
        let agenda = &mut self.agendas[npu.index()];
        let has_list = runs_now || agenda.iter().any(|&(other, _)| other == at);
        agenda.push((at, local));
        if !has_list {
            self.insert(at, What::Agenda(npu));
        }
    }

    fn insert(&mut self, at: Instant, what: What) {
        self.heap.push(Entry { at, sequence: self.scheduled, what });
        self.scheduled += 1;
    }
}

impl Ord for Entry {
    /// The first to run is the greatest, as the heap wants it.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
