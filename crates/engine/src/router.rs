//! Which instance a request goes to.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

use crate::deployment::{InstanceSpec, RequestRouting};
use crate::instance::Instance;

/// A waiting request weighs as much as this many running ones, as in vLLM's data-parallel load balancer.
const WAITING_WEIGHT: u64 = 4;

#[derive(Debug)]
pub(crate) struct Router {
    policy: RequestRouting,
    /// Where the next scan starts.
    next: usize,
    random: Pcg64Mcg,
}

impl Router {
    pub(crate) fn new(policy: RequestRouting, seed: u64) -> Self {
        Self { policy, next: 0, random: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// Index of the instance that the next request goes to.
    pub(crate) fn choose(&mut self, specs: &[InstanceSpec], instances: &[Instance<'_>]) -> usize {
        let num_instances = instances.len();
        let start = self.next % num_instances;
        let chosen = match self.policy {
            RequestRouting::RoundRobin => start,
            // The bias of a remainder over 2^64 is far below anything a run could show.
            RequestRouting::Random => (self.random.next_u64() % num_instances as u64) as usize,
            RequestRouting::Load => (0..num_instances)
                .map(|offset| (start + offset) % num_instances)
                .map(|index| (load(&specs[index], &instances[index]), index))
                .reduce(|best, candidate| if candidate.0 < best.0 { candidate } else { best })
                .map_or(start, |(_, index)| index),
        };
        self.next = (chosen + 1) % num_instances;
        chosen
    }
}

/// Requests held, waiting ones weighing more, relative to what the instance may run at once.
fn load(spec: &InstanceSpec, instance: &Instance<'_>) -> f64 {
    let requests = (WAITING_WEIGHT * instance.num_waiting() + instance.num_running()) as f64;
    spec.scheduler.max_num_seqs.map_or(requests, |capacity| requests / capacity as f64)
}
