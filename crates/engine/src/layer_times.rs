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
    layers: Vec<Layer>,
    /// By size; empty where it was not asked for yet.
    times: RefCell<Vec<Box<[Duration]>>>,
}

/// What the work of a layer grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrowsWith {
    Tokens,
    Sequences,
}

impl LayerTimes {
    /// Nothing remembered yet.
    fn new(latency: Arc<dyn OpLatency>, grows_with: GrowsWith, layers: Vec<Layer>) -> Self {
        Self { latency, grows_with, layers, times: RefCell::default() }
    }

    /// Writes the time of each layer in a step of this `size` to `out`.
    pub(crate) fn write(&self, size: u64, out: &mut Vec<Duration>) {
        out.clear();
        if size > SIZE_MAX {
            out.extend(self.layers.iter().map(|&layer| self.ask(layer, size)));
            return;
        }
        let mut times = self.times.borrow_mut();
        let index = size as usize;
        if times.len() <= index {
            times.resize_with(index + 1, Box::default);
        }
        if times[index].is_empty() {
            times[index] = self.layers.iter().map(|&layer| self.ask(layer, size)).collect();
        }
        out.extend_from_slice(&times[index]);
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
    /// The times of these layers, shared with whoever asked for the same before.
    pub(crate) fn get(
        &mut self,
        latency: &Arc<dyn OpLatency>,
        grows_with: GrowsWith,
        layers: Vec<Layer>,
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
