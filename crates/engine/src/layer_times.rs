//! What a model's layers take, remembered by the size of a step.
//!
//! Steps of the same size come again and again, and the time of a layer whose work grows with the tokens, or with the
//! sequences, follows from that size alone. So each is asked for once. Instances with the same source of times share
//! what is remembered.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use latency::OpLatency;
use model::Layer;
use units::Duration;

/// Sizes beyond this are not remembered.
const SIZE_MAX: u64 = 1 << 13;

/// The times of some layers by one quantity.
#[derive(Debug)]
pub(crate) struct LayerTimes {
    latency: Arc<dyn OpLatency>,
    grows_with: GrowsWith,
    /// The layers, each with how often it runs in a pass.
    layers: Vec<(Layer, u64)>,
    /// By size.
    times: RefCell<Vec<Times>>,
}

/// What they take in a step of one size; nothing is in it if that was not asked for yet.
#[derive(Debug, Default)]
struct Times {
    layers: Box<[Duration]>,
    /// All of a pass.
    sum: Duration,
}

/// What the work of a layer grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrowsWith {
    Tokens,
    Sequences,
}

impl LayerTimes {
    /// Nothing remembered yet.
    fn new(latency: Arc<dyn OpLatency>, grows_with: GrowsWith, layers: Vec<(Layer, u64)>) -> Self {
        Self { latency, grows_with, layers, times: RefCell::default() }
    }

    /// Writes the time of each layer in a step of this `size` to `out`.
    pub(crate) fn write(&self, size: u64, out: &mut Vec<Duration>) {
        out.clear();
        self.with(size, |times| out.extend_from_slice(&times.layers));
    }

    /// What all of them take in a pass of a step of this `size`.
    pub(crate) fn sum(&self, size: u64) -> Duration {
        self.with(size, |times| times.sum)
    }

    fn with<T>(&self, size: u64, get: impl FnOnce(&Times) -> T) -> T {
        if size > SIZE_MAX {
            return get(&self.times(size));
        }
        let mut times = self.times.borrow_mut();
        let index = size as usize;
        if times.len() <= index {
            times.resize_with(index + 1, Times::default);
        }
        if times[index].layers.is_empty() {
            times[index] = self.times(size);
        }
        get(&times[index])
    }

    fn times(&self, size: u64) -> Times {
        let layers: Box<[Duration]> = self.layers.iter().map(|&(layer, _)| self.ask(layer, size)).collect();
        let sum = layers.iter().zip(&self.layers).map(|(&time, &(_, times))| time * times).sum();
        Times { layers, sum }
    }

    fn ask(&self, layer: Layer, size: u64) -> Duration {
        match self.grows_with {
            GrowsWith::Tokens => self.latency.dense(layer, size),
            GrowsWith::Sequences => self.latency.per_sequence(layer, size),
        }
    }
}

/// All that is remembered in a simulation.
#[derive(Debug, Default)]
pub(crate) struct SharedTimes(Vec<Rc<LayerTimes>>);

impl SharedTimes {
    /// The times of these layers, each with how often it runs in a pass; shared with whoever asked for the same before.
    pub(crate) fn get(
        &mut self,
        latency: &Arc<dyn OpLatency>,
        grows_with: GrowsWith,
        layers: Vec<(Layer, u64)>,
    ) -> Rc<LayerTimes> {
        let is_same = |times: &&Rc<LayerTimes>| {
            Arc::ptr_eq(&times.latency, latency) && times.grows_with == grows_with && times.layers == layers
        };
        // Neighbours are alike, so the latest is nearly always the one.
        if let Some(times) = self.0.iter().rev().find(is_same) {
            return Rc::clone(times);
        }
        let times = Rc::new(LayerTimes::new(Arc::clone(latency), grows_with, layers));
        self.0.push(Rc::clone(&times));
        times
    }
}
