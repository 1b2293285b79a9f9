//! The order of events.
//!
//! Events of one nanosecond run in the order they were scheduled, those added meanwhile included. What an NPU schedules
//! for itself is gathered: all its entries for one nanosecond are one list, which runs as a whole where its first entry
//! was scheduled. The order decides who reaches a memory device or a link first, so it is part of the result.
//!
//! As events come in bunches, each nanosecond has a queue of its own, and only nanoseconds are sorted.

use super::messages::Receipt;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use units::{Duration, Instant, NpuId};

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// An NPU's own doing.
    Local(NpuId, Local),
    /// A message has crossed a link, or all of them.
    Arrived { flight: u32 },
    /// A link has sent what it was sending.
    Freed { link: u32 },
    /// An NPU asked for a message that had already come.
    Taken(NpuId, Receipt),
}

/// What an NPU schedules for itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Local {
    /// A compute node is done.
    Computed { node: u32 },
    /// A computation of the host is done.
    HostComputed { node: u32 },
    /// A broadcast is done.
    Broadcast { node: u32 },
    /// A memory or PIM node is done, and what it queued for with it.
    Accessed { node: u32, device: Option<u32> },
    /// An endpoint delay is over.
    Delayed { stream: u32, reduces: bool },
    /// A received message is reduced.
    Reduced { stream: u32 },
    /// A measured phase is over.
    Measured { stream: u32 },
}

/// The current instant and all that is yet to happen.
pub(super) struct Clock {
    now: Instant,
    /// The nanoseconds with events, each once.
    instants: BinaryHeap<Reverse<Instant>>,
    queue_of: FxHashMap<Instant, u32>,
    /// The nanosecond asked for last, and its queue.
    latest: Option<(Instant, u32)>,
    queues: Vec<VecDeque<Entry>>,
    idle_queues: Vec<u32>,
    /// What each NPU has scheduled for itself, by instant. Rarely more than a handful of instants.
    agendas: Vec<Vec<(Instant, VecDeque<Local>)>>,
    idle_lists: Vec<VecDeque<Local>>,
    /// The NPU whose list for this nanosecond is running.
    running: Option<NpuId>,
}

#[derive(Clone, Copy)]
enum Entry {
    Agenda(NpuId),
    Event(Event),
}

impl Clock {
    pub(super) fn new(num_npus: usize) -> Self {
        Self {
            now: Instant::ZERO,
            instants: BinaryHeap::new(),
            queue_of: FxHashMap::default(),
            latest: None,
            queues: Vec::new(),
            idle_queues: Vec::new(),
            agendas: vec![Vec::new(); num_npus],
            idle_lists: Vec::new(),
            running: None,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// The nanosecond of the next event.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.instants.peek().map(|&Reverse(at)| at)
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
                let list = agenda.iter().position(|&(at, _)| at == self.now).expect("a list that runs is there");
                if let Some(local) = agenda[list].1.pop_front() {
                    return Some(Event::Local(npu, local));
                }
                let (_, empty) = agenda.swap_remove(list);
                self.idle_lists.push(empty);
                self.running = None;
            }
            let queue = self.queue()?;
            match self.queues[queue as usize].pop_front() {
                Some(Entry::Agenda(npu)) => self.running = Some(npu),
                Some(Entry::Event(event)) => return Some(event),
                None => {
                    self.end_cycle(queue);
                    return None;
                }
            }
        }
    }

    /// The queue of the current nanosecond, if it has one.
    fn queue(&mut self) -> Option<u32> {
        match self.latest {
            Some((at, queue)) if at == self.now => Some(queue),
            _ => self.queue_of.get(&self.now).copied(),
        }
    }

    fn end_cycle(&mut self, queue: u32) {
        let Some(Reverse(at)) = self.instants.pop() else { unreachable!("a queue without its nanosecond") };
        assert_eq!(at, self.now, "the first nanosecond with events is the current one");
        self.queue_of.remove(&at);
        self.idle_queues.push(queue);
        if self.latest.is_some_and(|(latest, _)| latest == at) {
            self.latest = None;
        }
    }

    pub(super) fn schedule(&mut self, delay: Duration, event: Event) {
        self.insert(self.now + delay, Entry::Event(event));
    }

    pub(super) fn schedule_local(&mut self, npu: NpuId, delay: Duration, local: Local) {
        let at = self.now + delay;
        let agenda = &mut self.agendas[npu.index()];
        if let Some((_, list)) = agenda.iter_mut().find(|(other, _)| *other == at) {
            list.push_back(local);
            return;
        }
        let mut list = self.idle_lists.pop().unwrap_or_default();
        list.push_back(local);
        agenda.push((at, list));
        self.insert(at, Entry::Agenda(npu));
    }

    fn insert(&mut self, at: Instant, entry: Entry) {
        let queue = match self.latest {
            Some((latest, queue)) if latest == at => queue,
            _ => {
                let queue = match self.queue_of.get(&at) {
                    Some(&queue) => queue,
                    None => self.new_queue(at),
                };
                self.latest = Some((at, queue));
                queue
            }
        };
        self.queues[queue as usize].push_back(entry);
    }

    fn new_queue(&mut self, at: Instant) -> u32 {
        let queue = self.idle_queues.pop().unwrap_or_else(|| {
            self.queues.push(VecDeque::new());
            self.queues.len() as u32 - 1
        });
        self.queue_of.insert(at, queue);
        self.instants.push(Reverse(at));
        queue
    }
}
