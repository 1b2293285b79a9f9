//! What keeps an NPU from ever finishing, once nothing is pending.

use super::Machine;
use crate::{Impossible, Op, Plan};
use units::NpuId;

/// A node that will never be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The node.
    pub node: u32,
    /// What it waits for.
    pub reason: Reason,
}

/// What a node waits for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The collective can't be run.
    Impossible(Impossible),
    /// Other members of its collective, or messages of theirs.
    Members,
    /// A message of this rank.
    Message {
        /// The sender.
        from: u32,
    },
    /// This rank to ask for its message.
    Receiver {
        /// The receiver.
        to: u32,
    },
    /// Nodes that wait for it in turn.
    Itself,
}

impl Machine {
    /// The nodes of an NPU that wait for others than its own, when nothing is pending. None when it is idle.
    pub fn waiting(&self, npu: NpuId) -> Vec<Waiting> {
        let state = &self.npus[npu.index()];
        if state.is_idle() {
            return Vec::new();
        }
        let reason = |node| match state.graph().op(node) {
            Op::Recv { from, .. } => Some(Reason::Message { from }),
            Op::Send { to, .. } if state.communicating == Some(node) => Some(Reason::Receiver { to }),
            Op::Collective(collective) if state.communicating == Some(node) => {
                let topology = &self.topologies[state.topology as usize];
                let plan = Plan::new(topology, &self.system, collective);
                Some(plan.err().map_or(Reason::Members, Reason::Impossible))
            }
            _ => None,
        };
        let waiting = state.under_way().filter_map(|node| Some(Waiting { node, reason: reason(node)? }));
        let waiting: Vec<Waiting> = waiting.collect();
        if !waiting.is_empty() {
            return waiting;
        }
        state.first_left().map(|node| Waiting { node, reason: Reason::Itself }).into_iter().collect()
    }
}
