//! Requests one by one, as many as somebody would look through.

use engine::{FinishedRequest, Observer};
use units::{Duration, InstanceId, Instant, RequestId};

/// Most requests that are kept.
const RECORDS_MAX: usize = 16_000;

/// Requests in the order in which they finished. Where there are too many, those whose ids are multiples of a power of
/// two: whatever finishes, the same ids are kept.
#[derive(Clone, Debug)]
pub struct RequestRecords {
    stride: u64,
    num_seen: u64,
    records: Vec<RequestRecord>,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its id.
    pub id: RequestId,
    /// The instance that finished it.
    pub instance: InstanceId,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// When it arrived.
    pub arrival: Instant,
    /// From arrival to the last time it was scheduled before its first token.
    pub queuing_delay: Duration,
    /// From arrival to the first token.
    pub ttft: Duration,
    /// From arrival to the last token.
    pub latency: Duration,
    /// Mean time per token after the first; 0 for a single token.
    pub tpot: Duration,
    /// Tokens of its prompt found in the prefix cache.
    pub prefix_hit_tokens: u64,
    /// How often it lost its blocks.
    pub preemptions: u64,
}

impl Default for RequestRecords {
    fn default() -> Self {
        Self { stride: 1, num_seen: 0, records: Vec::new() }
    }
}

impl RequestRecords {
    /// Those that were kept.
    pub fn records(&self) -> &[RequestRecord] {
        &self.records
    }

    /// All there were.
    pub fn num_seen(&self) -> u64 {
        self.num_seen
    }

    fn push(&mut self, record: RequestRecord) {
        self.num_seen += 1;
        if !record.id.0.is_multiple_of(self.stride) {
            return;
        }
        if self.records.len() == RECORDS_MAX {
            self.stride *= 2;
            let stride = self.stride;
            self.records.retain(|record| record.id.0.is_multiple_of(stride));
            if !record.id.0.is_multiple_of(stride) {
                return;
            }
        }
        self.records.push(record);
    }
}

impl Observer for RequestRecords {
    fn wants_work(&self) -> bool {
        false
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.push(RequestRecord {
            id: request.id,
            instance: request.instance,
            input_tokens: request.input_tokens,
            output_tokens: request.output_tokens,
            arrival: request.arrival,
            queuing_delay: request.queuing_delay,
            ttft: request.ttft,
            latency: request.latency(),
            tpot: request.tpot(),
            prefix_hit_tokens: request.prefix_hit_tokens,
            preemptions: request.preemptions,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_every_second_is_kept() {
        let mut records = RequestRecords::default();
        let num = 3 * RECORDS_MAX as u64;
        for id in (0..num).rev() {
            records.push(RequestRecord {
                id: RequestId(id),
                instance: InstanceId(0),
                input_tokens: 1,
                output_tokens: 1,
                arrival: Instant::ZERO,
                queuing_delay: Duration::ZERO,
                ttft: Duration::ZERO,
                latency: Duration::ZERO,
                tpot: Duration::ZERO,
                prefix_hit_tokens: 0,
                preemptions: 0,
            });
        }
        assert_eq!(records.num_seen(), num);
        let ids: Vec<u64> = records.records().iter().map(|record| record.id.0).collect();
        assert_eq!(ids, (0..num).rev().filter(|id| id % 4 == 0).collect::<Vec<_>>());
    }
}
