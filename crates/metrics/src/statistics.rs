//! What is collected while a run goes.

use engine::{FinishedRequest, Interval, Observer};
use units::Duration;

use crate::Distribution;
use crate::itl::InterTokenLatencies;

/// What can be asked how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Arrival to first token.
    Ttft,
    /// Mean time per token after the first, one value a request.
    Tpot,
    /// Time of each token after the first, one value a token.
    Itl,
    /// Arrival to last token.
    Whole,
    /// Arrival to the last time a request was scheduled before its first token.
    Queuing,
}

/// Latencies of all finished requests, and how full NPUs were.
///
/// Keeps four numbers a request, and inter-token latencies by value: exact up to a million different ones, to three
/// digits beyond.
#[derive(Clone, Debug, Default)]
pub struct RequestStatistics {
    pub(crate) ttft_ns: Vec<u64>,
    pub(crate) tpot_ns: Vec<u64>,
    pub(crate) latency_ns: Vec<u64>,
    pub(crate) queuing_delay_ns: Vec<u64>,
    pub(crate) itl: InterTokenLatencies,
    /// Most bytes in use on an NPU at the end of any log interval, by group and member.
    pub(crate) npu_bytes_max: Vec<Vec<u64>>,
}

impl RequestStatistics {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The distribution of a latency over all requests, or of inter-token latency over all tokens but first ones; `None`
    /// when there is nothing.
    pub fn distribution(&self, latency: Latency) -> Option<Distribution> {
        match latency {
            Latency::Ttft => Distribution::of(self.ttft_ns.clone()),
            Latency::Tpot => Distribution::of(self.tpot_ns.clone()),
            Latency::Itl => self.itl.distribution(),
            Latency::Whole => Distribution::of(self.latency_ns.clone()),
            Latency::Queuing => Distribution::of(self.queuing_delay_ns.clone()),
        }
    }

    /// Requests finished so far.
    pub fn num_requests(&self) -> u64 {
        self.latency_ns.len() as u64
    }
}

impl Observer for RequestStatistics {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.ttft_ns.push(request.ttft.ns());
        self.tpot_ns.push(request.tpot().ns());
        self.latency_ns.push(request.latency().ns());
        self.queuing_delay_ns.push(request.queuing_delay.ns());
    }

    fn tokens_yielded(&mut self, latency: Duration, num_tokens: u64) {
        self.itl.record(latency, num_tokens);
    }

    fn wants_work(&self) -> bool {
        false
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.npu_bytes_max.resize(interval.groups.len(), Vec::new());
        for (maxima, group) in self.npu_bytes_max.iter_mut().zip(interval.groups) {
            maxima.resize(group.members.len(), 0);
            for (maximum, member) in maxima.iter_mut().zip(&group.members) {
                *maximum = member.npu_bytes.max(*maximum);
            }
        }
    }
}
