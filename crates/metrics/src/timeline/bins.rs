//! Time in bins that grow with the run.

use units::{Duration, Instant};

/// Most bins of a run.
pub const BINS_MAX: usize = 512;

/// The width of bins at the beginning.
const FIRST_WIDTH_NS: u64 = 1_000_000;

/// What one instance did in one bin of time. What steps compute counts where they begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Tokens of prompts, and of what is computed again after a preemption.
    pub prefill_tokens: u64,
    /// Tokens of sequences that compute one.
    pub decode_tokens: u64,
    /// Tokens that its steps were padded by.
    pub padding_tokens: u64,
    /// Steps, dummies included.
    pub steps: u64,
    /// Sequences running, times nanoseconds.
    pub running_ns: u64,
    /// Requests waiting, times nanoseconds.
    pub waiting_ns: u64,
    /// KV blocks held, times nanoseconds.
    pub kv_block_ns: u128,
    /// Nanoseconds of steps.
    pub step_ns: u64,
    /// Those of dummies.
    pub dummy_ns: u64,
    /// Those in which the ranks waited.
    pub waited_ns: u64,
}

/// Bins of equal width from the start of the run on, by instance.
#[derive(Clone, Debug)]
pub struct Bins {
    width_ns: u64,
    instances: Vec<Vec<Bin>>,
}

impl Bins {
    pub(super) fn new(num_instances: usize) -> Self {
        Self { width_ns: FIRST_WIDTH_NS, instances: vec![Vec::new(); num_instances] }
    }

    /// How wide each bin is.
    pub fn width(&self) -> Duration {
        Duration::from_ns(self.width_ns)
    }

    /// How many there are: up to the last in which any instance did anything.
    pub fn len(&self) -> usize {
        self.instances.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of an instance; later ones are empty.
    pub fn of(&self, instance: usize) -> &[Bin] {
        &self.instances[instance]
    }

    /// The bin of an instance with an instant.
    pub(super) fn at(&mut self, instance: usize, at: Instant) -> &mut Bin {
        while at.ns() / self.width_ns >= BINS_MAX as u64 {
            self.widen();
        }
        let place = (at.ns() / self.width_ns) as usize;
        let bins = &mut self.instances[instance];
        if bins.len() <= place {
            bins.resize(place + 1, Bin::default());
        }
        &mut bins[place]
    }

    /// Tells every bin of an instance between two instants how many of its nanoseconds are there.
    pub(super) fn hold(&mut self, instance: usize, from: Instant, to: Instant, mut add: impl FnMut(&mut Bin, u64)) {
        if from >= to {
            return;
        }
        // So that no bin is joined with others on the way.
        self.at(instance, Instant::from_ns(to.ns() - 1));
        let mut at = from.ns();
        while at < to.ns() {
            let place = at / self.width_ns;
            let end = to.ns().min((place + 1) * self.width_ns);
            add(&mut self.instances[instance][place as usize], end - at);
            at = end;
        }
    }

    /// Joins bins in pairs.
    fn widen(&mut self) {
        self.width_ns *= 2;
        for bins in &mut self.instances {
            *bins = bins.chunks(2).map(|pair| pair.iter().fold(Bin::default(), Bin::joined)).collect();
        }
    }
}

impl Bin {
    fn joined(self, other: &Self) -> Self {
        Self {
            prefill_tokens: self.prefill_tokens + other.prefill_tokens,
            decode_tokens: self.decode_tokens + other.decode_tokens,
            padding_tokens: self.padding_tokens + other.padding_tokens,
            steps: self.steps + other.steps,
            running_ns: self.running_ns + other.running_ns,
            waiting_ns: self.waiting_ns + other.waiting_ns,
            kv_block_ns: self.kv_block_ns + other.kv_block_ns,
            step_ns: self.step_ns + other.step_ns,
            dummy_ns: self.dummy_ns + other.dummy_ns,
            waited_ns: self.waited_ns + other.waited_ns,
        }
    }
}
