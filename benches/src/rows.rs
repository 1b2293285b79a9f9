//! Finished requests, kept so that they can be written again.

use engine::{FinishedRequest, Observer};
use units::Duration;

/// Every request of a run, in order of completion.
#[derive(Debug, Default)]
pub struct Rows(Vec<(FinishedRequest<'static>, Vec<Duration>)>);

impl Rows {
    /// Tells `observer` of them as the run did.
    pub fn replay(&self, observer: &mut dyn Observer) {
        for (request, itl) in &self.0 {
            observer.request_finished(&with_itl(request, itl));
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Observer for Rows {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.0.push((with_itl(request, &[]), request.itl.iter().collect()));
    }
}

/// `request` with other inter-token latencies.
fn with_itl<'a>(request: &FinishedRequest<'_>, itl: &'a [Duration]) -> FinishedRequest<'a> {
    FinishedRequest {
        instance: request.instance,
        id: request.id,
        input_tokens: request.input_tokens,
        output_tokens: request.output_tokens,
        arrival: request.arrival,
        end: request.end,
        queuing_delay: request.queuing_delay,
        ttft: request.ttft,
        itl: itl.into(),
        stamps: request.stamps,
        prefix_hit_tokens: request.prefix_hit_tokens,
        preemptions: request.preemptions,
    }
}
