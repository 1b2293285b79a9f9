//! What is known to happen, soonest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use units::Instant;

/// Events by time, and those of one instant in their own order.
///
/// What is put in is often what comes out next: a step ends soon after its output was stored. Such an event waits before
/// the others, rather than going down the heap and up again.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    /// Sooner than all others, if there is one.
    first: Option<(Instant, E)>,
    others: BinaryHeap<Reverse<(Instant, E)>>,
}

impl<E: Ord + Copy> EventQueue<E> {
    pub(crate) fn new() -> Self {
        Self { first: None, others: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, time: Instant, event: E) {
        let event = (time, event);
        match self.first {
            Some(first) if first <= event => self.others.push(Reverse(event)),
            Some(first) => {
                self.others.push(Reverse(first));
                self.first = Some(event);
            }
            None if self.others.peek().is_some_and(|Reverse(other)| *other <= event) => {
                self.others.push(Reverse(event));
            }
            None => self.first = Some(event),
        }
    }

    /// When the next event happens.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        let next = self.first.or_else(|| self.others.peek().map(|Reverse(event)| *event));
        next.map(|event| event.0)
    }

    /// Takes the next event out if it happens at `time`.
    pub(crate) fn pop_at(&mut self, time: Instant) -> Option<E> {
        if self.next_time() != Some(time) {
            return None;
        }
        self.first.take().or_else(|| self.others.pop().map(|Reverse(event)| event)).map(|event| event.1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is put in between, they come out in order.
        #[test]
        fn events_come_in_order(steps in prop::collection::vec((0..9_u64, 0..4_u8, any::<bool>()), 0..80)) {
            let mut queue = EventQueue::new();
            let mut known: Vec<(Instant, u8)> = Vec::new();
            for (time, event, takes) in steps {
                queue.push(Instant::from_ns(time), event);
                known.push((Instant::from_ns(time), event));
                if takes {
                    known.sort_unstable();
                    let (time, event) = known.remove(0);
                    prop_assert_eq!(queue.next_time(), Some(time));
                    prop_assert_eq!(queue.pop_at(time + units::Duration::from_ns(1)), None);
                    prop_assert_eq!(queue.pop_at(time), Some(event));
                }
            }
        }
    }
}
