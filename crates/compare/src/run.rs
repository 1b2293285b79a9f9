//! Requests and when they passed through a server.

use units::{Duration, Instant};

use crate::Summary;

/// What the requests of one run saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What it is called: its file, as the user named it.
    pub name: String,
    /// In any order.
    pub requests: Vec<Request>,
    /// Whether stamps of different requests are on one clock. Else each request has a clock of its own that starts with
    /// it, and nothing is known of what happened at the same time.
    pub one_clock: bool,
    /// Whether a client took the stamps: a request arrived when it was sent, and its first token was there when the client
    /// had it. Then nothing is known of when the engine had it, and [`Request::first_token`] is the same as
    /// [`Request::first_delivered`].
    pub at_client: bool,
    /// Requests that failed or were never finished. They are in no other number.
    pub num_failed: u64,
    /// What is known where single requests are not: there are no requests then.
    pub summary: Option<Summary>,
    /// What is odd about the source but no fault, in sentences without a full stop.
    pub notes: Vec<String>,
}

/// One request. All stamps of it are on one clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name in the run.
    pub id: String,
    /// Tokens of its prompt.
    pub input_tokens: Option<u64>,
    /// Tokens generated, at least 1.
    pub output_tokens: u64,
    /// When it arrived at the front end.
    pub arrived: Option<Instant>,
    /// When the engine saw it, and put it into its queue.
    pub queued: Option<Instant>,
    /// When it was first put into a batch.
    pub first_scheduled: Option<Instant>,
    /// When its first token was computed: the engine had taken the result of the step in.
    pub first_token: Instant,
    /// When its first token was handed to who asked.
    pub first_delivered: Option<Instant>,
    /// When its last token was there.
    pub last_token: Instant,
    /// How long after the first request of the run it arrived, where arrivals were taken by another clock than the
    /// stamps.
    pub sent_after: Option<Duration>,
    /// Latency of every token after the first.
    pub itl: Option<Vec<Duration>>,
}

impl Run {
    /// A run of requests whose stamps are on one clock.
    pub fn new(name: impl Into<String>, requests: Vec<Request>) -> Self {
        let (one_clock, at_client, num_failed) = (true, false, 0);
        Self { name: name.into(), requests, one_clock, at_client, num_failed, summary: None, notes: Vec::new() }
    }

    /// How long after the first arrival each request arrived, where that is known of all: in order of the numbers that
    /// their ids end in, or as they stand where these are none or not all different.
    pub fn arrival_offsets(&self) -> Option<Vec<Duration>> {
        let offsets = self.arrival_offsets_ns()?;
        let first = offsets.iter().copied().fold(f64::INFINITY, f64::min);
        let numbers: Option<Vec<u64>> = self.requests.iter().map(|request| trailing_number(&request.id)).collect();
        let mut order: Vec<usize> = (0..offsets.len()).collect();
        if let Some(numbers) = numbers {
            order.sort_by_key(|&place| numbers[place]);
            if order.windows(2).any(|pair| numbers[pair[0]] == numbers[pair[1]]) {
                order.sort_unstable();
            }
        }
        Some(order.into_iter().map(|place| Duration::from_ns((offsets[place] - first) as u64)).collect())
    }

    /// Whether every request has what `stamp` takes from it.
    pub(crate) fn has<T>(&self, stamp: impl Fn(&Request) -> Option<T>) -> bool {
        self.requests.iter().all(|request| stamp(request).is_some())
    }

    /// How long after the first arrival each request arrived, in nanoseconds, where that is known of all.
    pub(crate) fn arrival_offsets_ns(&self) -> Option<Vec<f64>> {
        if let Some(offsets) = self.requests.iter().map(|request| request.sent_after).collect::<Option<Vec<_>>>() {
            return Some(offsets.iter().map(|offset| offset.ns() as f64).collect());
        }
        let arrived = self.requests.iter().map(|request| request.arrived).collect::<Option<Vec<_>>>()?;
        let first = arrived.iter().copied().min().filter(|_| self.one_clock)?;
        Some(arrived.iter().map(|&at| ns_between(first, at)).collect())
    }
}

/// 17 of `bench-17`, `17` and `req_017`.
pub(crate) fn trailing_number(id: &str) -> Option<u64> {
    let digits = id.bytes().rev().take_while(u8::is_ascii_digit).count();
    id[id.len() - digits..].parse().ok()
}

/// Nanoseconds from one instant to another, below 0 where the other is the earlier one.
pub(crate) fn ns_between(from: Instant, to: Instant) -> f64 {
    to.ns().wrapping_sub(from.ns()) as i64 as f64
}
