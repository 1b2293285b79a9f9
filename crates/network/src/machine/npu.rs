//! One NPU of a [`Machine`](super::Machine): how far its graph has come, and what it is at.

use super::messages::Mail;
use super::streams::Collectives;
use crate::Graph;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

/// Of a node that is done, instead of how many parents it waits for.
const DONE: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Npu {
    pub(super) topology: u32,
    /// The id of its topology's first NPU.
    pub(super) first: usize,
    graph: Option<Rc<Graph>>,
    /// Per node, the parents it still waits for, or [`DONE`].
    waits_for: Vec<u32>,
    /// Nodes not done yet.
    pub(super) remaining: usize,
    ready: BinaryHeap<Reverse<u32>>,
    /// Nodes that were ready but found the NPU busy: put back once all others were tried.
    blocked: Vec<u32>,
    pub(super) computing: bool,
    pub(super) host_computing: bool,
    /// The collective, broadcast or message to send that is under way.
    pub(super) communicating: Option<u32>,
    pub(super) collectives: Collectives,
    pub(super) mail: Mail,
    /// Graphs to run when this one is done.
    pub(super) queued: VecDeque<Rc<Graph>>,
    pub(super) graphs_begun: u64,
}

impl Npu {
    /// An idle NPU of this topology, whose first NPU is `first`.
    pub(super) fn new(topology: u32, first: usize) -> Self {
        Self { topology, first, ..Self::default() }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.graph.is_none()
    }

    /// Takes up `graph`, or nothing.
    pub(super) fn load(&mut self, graph: Option<Rc<Graph>>) {
        assert!(self.remaining == 0 && self.ready.is_empty(), "a graph replaced another before its end");
        self.waits_for.clear();
        if let Some(graph) = &graph {
            self.waits_for.extend(graph.parent_counts());
            let roots = (0..).zip(&self.waits_for).filter(|&(_, &parents)| parents == 0);
            self.ready.extend(roots.map(|(node, _)| Reverse(node)));
            self.remaining = graph.num_nodes();
            self.graphs_begun += 1;
        }
        self.graph = graph;
    }

    pub(super) fn graph(&self) -> &Graph {
        self.graph.as_deref().expect("an idle NPU has no nodes")
    }

    /// The first node to try.
    pub(super) fn next_ready(&mut self) -> Option<u32> {
        self.ready.pop().map(|Reverse(node)| node)
    }

    /// Keeps `node` from being tried again before [`unblock`](Self::unblock).
    pub(super) fn block(&mut self, node: u32) {
        self.blocked.push(node);
    }

    pub(super) fn unblock(&mut self) {
        for node in self.blocked.drain(..) {
            self.ready.push(Reverse(node));
        }
    }

    /// Nodes that wait for nothing and are not done.
    pub(super) fn under_way(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.waits_for).filter(|(_, waits_for)| **waits_for == 0).map(|(node, _)| node)
    }

    /// The first node that is not done.
    pub(super) fn first_left(&self) -> Option<u32> {
        (0..).zip(&self.waits_for).find(|(_, waits_for)| **waits_for != DONE).map(|(node, _)| node)
    }

    /// Readies the nodes that waited for `node` alone. It is done, or will be before anything else is.
    pub(super) fn release(&mut self, node: u32) {
        self.waits_for[node as usize] = DONE;
        let graph = self.graph.as_deref().expect("an idle NPU has no nodes");
        for child in graph.children(node) {
            let waits_for = &mut self.waits_for[child as usize];
            *waits_for -= 1;
            if *waits_for == 0 {
                self.ready.push(Reverse(child));
            }
        }
    }
}
