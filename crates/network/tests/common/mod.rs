//! What the tests of this crate share.

use network::{Graph, Machine};
use std::rc::Rc;
use units::{Instant, NpuId};

/// Runs one graph per NPU, all begun now, and says when each NPU is done; `None` for one that never is.
pub(crate) fn finish_times(machine: &mut Machine, graphs: &[Rc<Graph>]) -> Vec<Option<Instant>> {
    let npus: Vec<NpuId> = (0..graphs.len()).map(NpuId::from).collect();
    for (&npu, graph) in npus.iter().zip(graphs) {
        machine.begin(npu, Rc::clone(graph));
    }
    let mut finished = vec![None; graphs.len()];
    loop {
        for (&npu, finished) in npus.iter().zip(&mut finished) {
            if finished.is_none() && machine.is_idle(npu) {
                *finished = Some(machine.now());
            }
        }
        if !machine.step() {
            return finished;
        }
    }
}
