//! Which instance a request goes to.

use std::fmt;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use rustc_hash::FxHashMap;
use units::{InstanceId, Instant, RequestId};

use crate::deployment::RequestRouting;
use crate::min_tree::MinTree;

/// Chooses an instance for each request. Implement it for a policy of your own and hand it to
/// [`Simulation::route_with`](crate::Simulation::route_with).
///
/// ```
/// use engine::{InstanceLoad, RequestRouter, RoutedRequest};
///
/// /// Long prompts go to the last instance, all others to the one that runs least.
/// #[derive(Debug)]
/// struct LongPromptsApart;
///
/// impl RequestRouter for LongPromptsApart {
///     fn choose(&mut self, request: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
///         let last = instances.len() - 1;
///         match request.input_tokens {
///             4096.. => last,
///             _ => (0..last).min_by_key(|&index| instances[index].running).unwrap_or(last),
///         }
///     }
/// }
/// ```
pub trait RequestRouter: fmt::Debug {
    /// The index, among `instances`, of the one that `request` goes to. There is at least one.
    fn choose(&mut self, request: &RoutedRequest, instances: &[InstanceLoad]) -> usize;

    /// The load of an instance has changed since the last choice, or is told for the first time. For routers that keep
    /// what they go by up to date, rather than looking at all instances for each request.
    fn load_changed(&mut self, index: usize, load: &InstanceLoad) {
        let _ = (index, load);
    }
}

/// What is known of a request when it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutedRequest {
    /// Its id.
    pub id: RequestId,
    /// When it arrived.
    pub arrival: Instant,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Tokens it will generate.
    pub output_tokens: u64,
}

/// What a router knows of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLoad {
    /// Its id.
    pub instance: InstanceId,
    /// Requests running.
    pub running: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// Most requests that it runs at once; `None` for no limit.
    pub max_num_seqs: Option<u64>,
}

/// A waiting request weighs as much as this many running ones, as in vLLM's data-parallel load balancer.
pub(crate) const WAITING_WEIGHT: u64 = 4;

impl InstanceLoad {
    /// Requests held, waiting ones weighing more, relative to what the instance may run at once; as a number in the same
    /// order, which the bits of floats that are not negative are.
    fn score(&self) -> u64 {
        let requests = (WAITING_WEIGHT * self.waiting + self.running) as f64;
        self.max_num_seqs.map_or(requests, |capacity| requests / capacity as f64).to_bits()
    }
}

/// The router of a built-in policy for so many instances.
pub(crate) fn built_in(policy: RequestRouting, num_instances: usize, seed: u64) -> Box<dyn RequestRouter> {
    match policy {
        RequestRouting::Load => Box::new(LeastLoaded { next: 0, scores: MinTree::new(num_instances) }),
        RequestRouting::RoundRobin => Box::new(RoundRobin { next: 0 }),
        RequestRouting::Random => Box::new(Random(Pcg64Mcg::seed_from_u64(seed))),
    }
}

/// The first of the least loaded, in a scan that starts after the one chosen last.
#[derive(Debug)]
struct LeastLoaded {
    next: usize,
    scores: MinTree,
}

impl RequestRouter for LeastLoaded {
    fn choose(&mut self, _: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        let chosen = self.scores.first_least(self.next);
        self.next = (chosen + 1) % instances.len();
        chosen
    }

    fn load_changed(&mut self, index: usize, load: &InstanceLoad) {
        self.scores.set(index, load.score());
    }
}

/// One after the other.
#[derive(Debug)]
struct RoundRobin {
    next: usize,
}

impl RequestRouter for RoundRobin {
    fn choose(&mut self, _: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        let chosen = self.next % instances.len();
        self.next = chosen + 1;
        chosen
    }
}

/// Any, with equal chance.
#[derive(Debug)]
struct Random(Pcg64Mcg);

impl RequestRouter for Random {
    fn choose(&mut self, _: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        // The bias of a remainder over 2^64 is far below anything a run could show.
        (self.0.next_u64() % instances.len() as u64) as usize
    }
}

/// Where each request went in a run that was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingTable(FxHashMap<RequestId, InstanceId>);

impl RoutingTable {
    /// Where a request goes.
    pub fn get(&self, request: RequestId) -> Option<InstanceId> {
        self.0.get(&request).copied()
    }
}

impl FromIterator<(RequestId, InstanceId)> for RoutingTable {
    fn from_iter<T: IntoIterator<Item = (RequestId, InstanceId)>>(routes: T) -> Self {
        Self(routes.into_iter().collect())
    }
}

impl RequestRouter for RoutingTable {
    /// # Panics
    /// When the table has no instance for the request, or one that takes no requests in.
    fn choose(&mut self, request: &RoutedRequest, instances: &[InstanceLoad]) -> usize {
        let instance = self.get(request.id).unwrap_or_else(|| panic!("request {} is not in the table", request.id));
        let index = instances.iter().position(|load| load.instance == instance);
        index.unwrap_or_else(|| panic!("instance {instance} takes no requests in"))
    }
}
