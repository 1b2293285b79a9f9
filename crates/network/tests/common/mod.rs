//! What the tests of this crate share.

use network::{Graph, Machine};
use std::rc::Rc;
use units::{Instant, NpuId};

/// Runs one graph per NPU, all begun now on idle NPUs, and says when each is done; `None` for one that never is.
pub(crate) fn finish_times(machine: &mut Machine, graphs: &[Rc<Graph>]) -> Vec<Option<Instant>> {
    let npus: Vec<NpuId> = (0..graphs.len()).map(NpuId::from).collect();
    for (&npu, graph) in npus.iter().zip(graphs) {
        machine.begin(npu, Rc::clone(graph));
    }
    let mut finished = vec![None; graphs.len()];
    loop {
        for npu in machine.finished() {
            let before = finished[npu.index()].replace(machine.now());
            assert_eq!(before, None, "NPU {npu} finished twice");
        }
        if !machine.step() {
            let idle: Vec<bool> = npus.iter().map(|&npu| machine.is_idle(npu)).collect();
            assert_eq!(idle, finished.iter().map(Option::is_some).collect::<Vec<_>>(), "those that finished are idle");
            return finished;
        }
    }
}
