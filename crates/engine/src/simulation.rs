//! A run, from the outside.

use std::fmt;

use network::NetworkModel;

use crate::cluster::Cluster;
use crate::deployment::{Deployment, InstanceSpec, Polling};
use crate::detailed::DetailedClock;
use crate::entry::Entry;
use crate::exact::{ExactClock, runs_in_chains};
use crate::observer::{Observer, RunTotals};
use crate::polled::PolledClock;
use crate::router::RequestRouter;
use crate::staged::{StagedClock, runs_in_stages};

/// A deployment serving a workload.
pub struct Simulation<'d, I: Iterator<Item = Entry>> {
    cluster: Cluster<'d, I>,
    clock: Clock<'d>,
    has_begun: bool,
}

enum Clock<'d> {
    Exact(Box<ExactClock<'d>>),
    Staged(Box<StagedClock<'d>>),
    Detailed(Box<DetailedClock<'d>>),
    Polled(Box<PolledClock>),
}

impl<'d, I: Iterator<Item = Entry>> Simulation<'d, I> {
    /// A run that has not begun. `entries` must come in order of arrival, and each must fit every instance it may be
    /// routed to: its whole sequence within the model's longest and within the KV cache.
    pub fn new(deployment: &'d Deployment, entries: I) -> Self {
        let is_exact = deployment.options.polling == Polling::Exact;
        let in_chains = is_exact && all(deployment, |spec| runs_in_chains(spec, deployment));
        let mut cluster = Cluster::new(deployment, entries, in_chains);
        let clock = match deployment.options.polling {
            Polling::Exact if in_chains => Clock::Exact(Box::new(ExactClock::new(deployment))),
            Polling::Exact if all(deployment, runs_in_stages) => Clock::Staged(Box::new(StagedClock::new(deployment))),
            Polling::Exact => Clock::Detailed(Box::new(DetailedClock::new(deployment))),
            Polling::Reference => Clock::Polled(Box::new(PolledClock::new(&mut cluster))),
        };
        Self { cluster, clock, has_begun: false }
    }

    /// Routes requests by `router` instead of by the deployment's policy. Requests that leave a prefill instance still
    /// follow the policy.
    pub fn route_with(mut self, router: Box<dyn RequestRouter>) -> Self {
        self.cluster.route_with(router);
        self
    }

    /// Takes it that no entry lists token ids. Then no block is ever found again, and blocks need no identity: the results
    /// are the same, for less work.
    ///
    /// # Panics
    /// When the run has begun.
    pub fn without_prefixes(mut self) -> Self {
        self.cluster.forget_prefixes();
        self
    }

    /// Has the observer told what requests and NPUs do ([`Observer::wants_activity`]).
    ///
    /// # Panics
    /// When the run has begun.
    pub fn telling_activity(mut self) -> Self {
        self.cluster.tell_activity();
        self.cluster.look_closely();
        match &mut self.clock {
            Clock::Exact(_) | Clock::Staged(_) => {}
            Clock::Detailed(clock) => clock.watch(),
            Clock::Polled(clock) => clock.watch(self.cluster.deployment),
        }
        self
    }

    /// Goes on to the next instant at which anything happens; false when nothing is left to happen.
    pub fn step(&mut self, observer: &mut dyn Observer) -> bool {
        if !self.has_begun {
            self.has_begun = true;
            if observer.wants_details() {
                self.cluster.look_closely();
            }
        }
        match &mut self.clock {
            Clock::Exact(clock) => clock.step(&mut self.cluster, observer),
            Clock::Staged(clock) => clock.step(&mut self.cluster, observer),
            Clock::Detailed(clock) => clock.step(&mut self.cluster, observer),
            Clock::Polled(clock) => clock.step(&mut self.cluster, observer),
        }
    }

    /// Goes on to the end and adds up.
    ///
    /// # Errors
    /// With [`Polling::Reference`], LLMServingSim's way of handing out work can leave requests waiting for ever. Exact
    /// runs always end.
    ///
    /// # Panics
    /// When a conservation law is broken: KV blocks are left over at the end.
    pub fn try_run(mut self, observer: &mut dyn Observer) -> Result<RunTotals, Stuck> {
        while self.step(observer) {}
        self.finish()
    }

    /// Adds up a run in which nothing is left to happen. For callers that [`step`](Self::step) themselves, as they may
    /// want to stop before.
    ///
    /// # Errors
    /// As [`try_run`](Self::try_run).
    ///
    /// # Panics
    /// As [`try_run`](Self::try_run); also when something is left to happen.
    pub fn finish(self) -> Result<RunTotals, Stuck> {
        if matches!(self.clock, Clock::Polled(_)) && !self.cluster.is_empty() {
            return Err(Stuck { num_requests: self.cluster.num_unfinished() });
        }
        Ok(self.cluster.totals())
    }

    /// Goes on to the end and adds up.
    ///
    /// # Panics
    /// When a conservation law is broken: requests or KV blocks are left over at the end. Where polling may get stuck, use
    /// [`try_run`](Self::try_run).
    pub fn run(self, observer: &mut dyn Observer) -> RunTotals {
        self.try_run(observer).unwrap_or_else(|stuck| panic!("{stuck}"))
    }
}

/// Whether the passes of all instances have a closed form, all or none as they share host memory.
fn all(deployment: &Deployment, has_closed_form: impl Fn(&InstanceSpec) -> bool) -> bool {
    deployment.system.network_model == NetworkModel::Unaware && deployment.instances.iter().all(has_closed_form)
}

/// Requests wait, and nothing will ever start them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// How many there are.
    pub num_requests: u64,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests wait, and nothing will ever start them", self.num_requests)
    }
}

impl std::error::Error for Stuck {}
