//! What vLLM's front end knows of the load of its engines (`DPCoordinatorProc`, `DPLBAsyncMPClient`).
//!
//! Engines report their counts after each step in which they changed. A coordinator publishes them every 100 ms while
//! they do, as they were before the report that it publishes at. Between publications a front end counts what it sends
//! itself, and not what finishes.

use units::{Duration, Instant};

use crate::min_tree::MinTree;
use crate::router::WAITING_WEIGHT;

/// Between two publications, at least.
const PUBLICATION_INTERVAL: Duration = Duration::from_ns(100_000_000);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) running: u64,
    pub(crate) waiting: u64,
}

#[derive(Debug)]
pub(crate) struct Coordinator {
    /// By engine, as last reported.
    reported: Vec<Counts>,
    /// Whether a report has come since the last publication.
    has_changed: bool,
    published_at: Instant,
    /// By engine, as the front end has them.
    known: Vec<Counts>,
    scores: MinTree,
}

impl Coordinator {
    pub(crate) fn new(num_engines: usize) -> Self {
        let none = vec![Counts::default(); num_engines];
        Self {
            reported: none.clone(),
            has_changed: false,
            published_at: Instant::ZERO,
            known: none,
            scores: MinTree::new(num_engines),
        }
    }

    /// Takes in what an engine has.
    pub(crate) fn report(&mut self, engine: usize, counts: Counts, now: Instant) {
        if self.reported[engine] != counts {
            self.publish(now);
            self.reported[engine] = counts;
            self.has_changed = true;
        }
    }

    fn publish(&mut self, now: Instant) {
        if self.has_changed && now >= self.published_at + PUBLICATION_INTERVAL {
            for engine in 0..self.known.len() {
                self.know(engine, self.reported[engine]);
            }
            self.published_at = now;
            self.has_changed = false;
        }
    }

    /// The engine that a request goes to: the first of those with the least load.
    pub(crate) fn choose(&mut self, now: Instant) -> usize {
        self.publish(now);
        let chosen = self.scores.first_least(0);
        let Counts { running, waiting } = self.known[chosen];
        self.know(chosen, Counts { running, waiting: waiting + 1 });
        chosen
    }

    fn know(&mut self, engine: usize, counts: Counts) {
        self.known[engine] = counts;
        self.scores.set(engine, WAITING_WEIGHT * counts.waiting + counts.running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_known_as_they_were_published() {
        let at = |ms: u64| Instant::from_ns(ms * 1_000_000);
        let running = |running| Counts { running, waiting: 0 };
        let mut coordinator = Coordinator::new(2);
        // What is sent counts at once, four times a running request.
        assert_eq!([(); 3].map(|()| coordinator.choose(at(0))), [0, 1, 0]);
        coordinator.report(0, running(2), at(10));
        assert_eq!(coordinator.choose(at(20)), 1, "nothing is published yet");
        coordinator.report(1, running(9), at(110));
        // At that report the one before it was published: two run on the first, none on the second.
        assert_eq!([(); 2].map(|()| coordinator.choose(at(120))), [1, 0]);
        // 100 ms later the latest is.
        assert_eq!(coordinator.choose(at(210)), 0);
    }
}
