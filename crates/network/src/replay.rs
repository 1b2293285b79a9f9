//! A set of graphs, one for each NPU, run to the end.
//!
//! Most graphs need no message as an event: whole nodes will do, with collectives in closed form. [`whole_nodes`] runs
//! them so, and gives up wherever it could matter in which order things happen within a nanosecond, or a collective has no
//! formula; then a [`Machine`] runs them. Which of the two it was shows in nothing but the time it takes.

mod schedule;
mod whole_nodes;

pub use schedule::Schedule;

use crate::{Graph, Machine, Memory, System, Topology, Waiting};
use std::rc::Rc;
use units::{Instant, NpuId};

/// What graphs run on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fabric {
    /// The NPUs and their links.
    pub topology: Topology,
    /// How collectives are run.
    pub system: System,
    /// What NPUs load from and store to.
    pub memory: Memory,
}

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// When each NPU was done.
    Finished(Vec<Instant>),
    /// Some never are.
    Deadlock {
        /// When each NPU was done, if it was.
        finished: Vec<Option<Instant>>,
        /// By NPU, what the others wait for.
        waiting: Vec<(NpuId, Vec<Waiting>)>,
    },
}

/// Runs one graph per NPU, all begun at once.
///
/// # Panics
/// When there is not one graph per NPU, or one names memory that is not there, or sends a message without bytes, to the
/// NPU itself or to a rank that is not there.
pub fn replay(fabric: &Fabric, graphs: &[Rc<Graph>]) -> Outcome {
    assert_eq!(graphs.len(), fabric.topology.num_npus(), "a graph per NPU");
    match whole_nodes::finish_times(fabric, graphs) {
        Some(finished) => Outcome::Finished(finished),
        None => replay_by_message(fabric, graphs),
    }
}

fn replay_by_message(fabric: &Fabric, graphs: &[Rc<Graph>]) -> Outcome {
    let mut machine = Machine::new(vec![fabric.topology.clone()], fabric.system.clone(), fabric.memory);
    let mut finished = vec![None; graphs.len()];
    for (npu, graph) in graphs.iter().enumerate() {
        machine.begin(NpuId::from(npu), Rc::clone(graph));
    }
    loop {
        for npu in machine.finished() {
            finished[npu.index()] = Some(machine.now());
        }
        if !machine.step() {
            break;
        }
    }
    if let Some(finished) = finished.iter().copied().collect() {
        return Outcome::Finished(finished);
    }
    let stuck = (0..graphs.len()).map(NpuId::from).filter(|npu| finished[npu.index()].is_none());
    let waiting = stuck.map(|npu| (npu, machine.waiting(npu))).collect();
    Outcome::Deadlock { finished, waiting }
}

#[cfg(test)]
mod tests;
