//! A run, from the outside.

use crate::cluster::Cluster;
use crate::deployment::{Deployment, Polling};
use crate::entry::Entry;
use crate::exact::ExactClock;
use crate::observer::{Observer, RunTotals};
use crate::polled::PolledClock;

/// A deployment serving a workload.
pub struct Simulation<'d, I: Iterator<Item = Entry>> {
    cluster: Cluster<'d, I>,
    clock: Clock,
}

enum Clock {
    Exact(ExactClock),
    Polled(Box<PolledClock>),
}

impl<'d, I: Iterator<Item = Entry>> Simulation<'d, I> {
    /// A run that has not begun. `entries` must come in order of arrival, and each must fit every instance it may be
    /// routed to: its whole sequence within the model's longest and within the KV cache.
    pub fn new(deployment: &'d Deployment, entries: I) -> Self {
        let mut cluster = Cluster::new(deployment, entries);
        let clock = match deployment.options.polling {
            Polling::Exact => Clock::Exact(ExactClock::new(deployment)),
            Polling::Reference => Clock::Polled(Box::new(PolledClock::new(&mut cluster))),
        };
        Self { cluster, clock }
    }

    /// Goes on to the next instant at which anything happens; false when nothing is left to happen.
    pub fn step(&mut self, observer: &mut dyn Observer) -> bool {
        match &mut self.clock {
            Clock::Exact(clock) => clock.step(&mut self.cluster, observer),
            Clock::Polled(clock) => clock.step(&mut self.cluster, observer),
        }
    }

    /// Goes on to the end and adds up.
    ///
    /// # Panics
    /// When a conservation law is broken: requests or KV blocks are left over at the end.
    pub fn run(mut self, observer: &mut dyn Observer) -> RunTotals {
        while self.step(observer) {}
        self.cluster.totals()
    }
}
