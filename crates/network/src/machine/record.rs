//! When nodes begin and end, for those who want to see inside a graph.

use super::Machine;
use units::{Instant, NpuId};

/// Something that a node of a graph came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// The NPU that runs the graph.
    pub npu: NpuId,
    /// Which of the graphs that the NPU has begun, from 1.
    pub graph: u64,
    /// The node.
    pub node: u32,
    /// When.
    pub at: Instant,
    /// What.
    pub moment: NodeMoment,
}

/// What a node comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeMoment {
    /// It begins. One that finds its NPU busy begins again later: the last time counts. What takes no time is never done.
    Begun,
    /// The memory turns to it.
    Served,
    /// It is done.
    Done,
}

impl Machine {
    /// From now on, records what nodes come to, or does not.
    pub fn set_recording(&mut self, records: bool) {
        self.records = records.then(|| self.records.take().unwrap_or_default());
    }

    /// What was recorded since this was asked last, in order.
    pub fn take_records(&mut self) -> Vec<NodeRecord> {
        self.records.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn record(&mut self, npu: NpuId, node: u32, moment: NodeMoment) {
        if let Some(records) = &mut self.records {
            let (graph, at) = (self.npus[npu.index()].graphs_begun, self.clock.now());
            records.push(NodeRecord { npu, graph, node, at, moment });
        }
    }
}
