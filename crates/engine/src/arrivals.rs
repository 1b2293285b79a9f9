//! What will arrive: the workload in order, and the later calls of sessions as they become known.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec::IntoIter;

use rustc_hash::FxHashMap;
use units::{Duration, Instant, RequestId};

use crate::entry::{Call, Entry};
use crate::vllm::HostTimes;

/// A request that has arrived.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) id: RequestId,
    pub(crate) time: Instant,
    pub(crate) call: Call,
}

#[derive(Debug)]
pub(crate) struct Arrivals<I: Iterator<Item = Entry>> {
    entries: I,
    next_entry: Option<Entry>,
    /// When the next request arrives, as far as is known.
    next: Option<Instant>,
    /// From a request's arrival until it is routed.
    before_routing: Duration,
    /// From a request's last token until its session goes on, beside its tool.
    before_release: Duration,
    latest_entry: Instant,
    /// Calls released but not yet arrived, earliest first, in order of release.
    released: BinaryHeap<Reverse<Released>>,
    num_released: u64,
    /// By the id of a session's call under way: the time its tool takes, and the calls after it.
    sessions: FxHashMap<RequestId, (Duration, IntoIter<Call>)>,
}

/// The next call of a session, ordered by arrival, then by release.
#[derive(Debug)]
struct Released {
    time: Instant,
    order: u64,
    id: RequestId,
    call: Call,
    following: IntoIter<Call>,
}

impl<I: Iterator<Item = Entry>> Arrivals<I> {
    /// `entries` must be in order of arrival; the front end takes what `host` says.
    pub(crate) fn new(mut entries: I, host: HostTimes) -> Self {
        let next_entry = entries.next();
        Self {
            next: next_entry.as_ref().map(|entry| entry.arrival),
            next_entry,
            entries,
            before_routing: host.frontend_request,
            before_release: host.frontend_token,
            latest_entry: Instant::ZERO,
            released: BinaryHeap::new(),
            num_released: 0,
            sessions: FxHashMap::default(),
        }
    }

    /// When the next request is to be routed, as far as is known now.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.next.map(|arrival| arrival + self.before_routing)
    }

    fn note_next(&mut self) {
        let entry = self.next_entry.as_ref().map(|entry| entry.arrival);
        let released = self.released.peek().map(|released| released.0.time);
        self.next = [entry, released].into_iter().flatten().min();
    }

    /// The next request to be routed by `now`. At the same instant, the workload's come before released ones.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Arrival> {
        let time = self.next.filter(|&arrival| arrival + self.before_routing <= now)?;
        let (id, call, following) = match self.next_entry.take_if(|entry| entry.arrival == time) {
            Some(entry) => {
                assert!(self.latest_entry <= time, "the workload goes back in time at request {}", entry.first_id);
                self.latest_entry = time;
                self.next_entry = self.entries.next();
                (entry.first_id, entry.first, entry.following.into_iter())
            }
            None => self.released.pop().map(|Reverse(released)| (released.id, released.call, released.following))?,
        };
        self.note_next();
        if following.len() > 0 {
            self.sessions.insert(id, (call.tool_time, following));
        }
        Some(Arrival { id, time, call })
    }

    /// Notes that a request is complete, which releases the next call of its session.
    pub(crate) fn completed(&mut self, id: RequestId, now: Instant) {
        if let Some((tool_time, mut following)) = self.sessions.remove(&id) {
            let call = following.next().expect("a session under way has calls to come");
            let (order, id) = (self.num_released, RequestId(id.0 + 1));
            let time = now + self.before_release + tool_time;
            self.released.push(Reverse(Released { time, order, id, call, following }));
            self.num_released += 1;
            self.note_next();
        }
    }
}

impl Ord for Released {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

impl PartialOrd for Released {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Released {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Released {}
