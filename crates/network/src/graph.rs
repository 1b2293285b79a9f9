//! What one NPU is asked to do: operations, and which of them wait for which.

use crate::{Collective, Location};
use units::Duration;

/// One operation of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The NPU computes for this long. It computes one thing at a time; no time at all is skipped at once.
    Compute(Duration),
    /// The NPU's host computes for this long, one thing at a time, beside the NPU; no time at all is skipped at once.
    HostCompute(Duration),
    /// The NPU takes part in a collective, one at a time.
    Collective(Collective),
    /// The NPU takes part in a broadcast of a known length. One at a time, and not beside a collective.
    Broadcast(Duration),
    /// A load or a store. Any number may be under way.
    Memory {
        /// Where from, or where to.
        location: Location,
        /// Bytes moved.
        bytes: u64,
    },
    /// A computation in memory. Any number may be under way.
    Pim {
        /// The memory.
        location: Location,
        /// The channel of it that computes.
        channel: u32,
        /// How long that takes, before the bytes are moved.
        time: Duration,
        /// Bytes moved.
        bytes: u64,
    },
    /// A message to another NPU of the same topology, done when it arrives, awaited or not. One at a time, and not
    /// beside a collective.
    Send {
        /// The receiver's rank in the topology.
        to: u32,
        /// Its size, at least 1.
        bytes: u64,
        /// What sets it apart from others of its size.
        tag: u32,
    },
    /// Waits for a message of this sender, size and tag: if there are several, for the first that no earlier `Recv` took.
    /// Any number may be under way.
    Recv {
        /// The sender's rank in the topology.
        from: u32,
        /// Its size.
        bytes: u64,
        /// What it was sent with.
        tag: u32,
    },
}

/// Operations numbered in the order they were added, each waiting for others, as a rule for earlier ones.
///
/// Dependants hang off each node as a list threaded through one vector, so building costs two pushes a node at most and
/// a graph can be shared by the NPUs that run the same one.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    op: Op,
    num_parents: u32,
    /// The newest of the edges to its dependants, or `NO_EDGE`.
    edges: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    child: u32,
    next: u32,
}

const NO_EDGE: u32 = u32::MAX;

impl Graph {
    /// An empty graph with room for `nodes` nodes.
    pub fn with_capacity(nodes: usize) -> Self {
        Self { nodes: Vec::with_capacity(nodes), edges: Vec::with_capacity(nodes) }
    }

    /// Adds `op`, to be started once all `parents` are done, and returns its number.
    ///
    /// # Panics
    /// When a parent is not an earlier node of this graph.
    pub fn push(&mut self, op: Op, parents: &[u32]) -> u32 {
        let id = self.nodes.len() as u32;
        for &parent in parents {
            let parent = &mut self.nodes[parent as usize];
            self.edges.push(Edge { child: id, next: parent.edges });
            parent.edges = self.edges.len() as u32 - 1;
        }
        self.nodes.push(Node { op, num_parents: parents.len() as u32, edges: NO_EDGE });
        id
    }

    /// Lets the node added last compute for `time` more.
    ///
    /// # Panics
    /// When it does not compute.
    pub fn lengthen_last(&mut self, time: Duration) {
        match self.nodes.last_mut() {
            Some(Node { op: Op::Compute(before), .. }) => *before += time,
            _ => panic!("the last node does not compute"),
        }
    }

    /// Lets a node wait for another, whichever was added first.
    ///
    /// # Panics
    /// When one of them is not there.
    pub fn connect(&mut self, parent: u32, child: u32) {
        self.nodes[child as usize].num_parents += 1;
        let parent = &mut self.nodes[parent as usize];
        self.edges.push(Edge { child, next: parent.edges });
        parent.edges = self.edges.len() as u32 - 1;
    }

    /// Adds `op` after the node added last, or as the first, and returns its number.
    pub fn then(&mut self, op: Op) -> u32 {
        match self.nodes.len() as u32 {
            0 => self.push(op, &[]),
            len => self.push(op, &[len - 1]),
        }
    }

    /// How many nodes there are.
    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What a node does.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn op(&self, node: u32) -> Op {
        self.nodes[node as usize].op
    }

    /// By node the nodes it waits for, in the order they were named.
    pub fn parents(&self) -> Vec<Vec<u32>> {
        let mut ends = vec![(0, 0); self.edges.len()];
        for (node, parent) in self.nodes.iter().zip(0..) {
            let mut next = node.edges;
            while let Some(edge) = self.edges.get(next as usize) {
                ends[next as usize] = (parent, edge.child);
                next = edge.next;
            }
        }
        let mut parents = vec![Vec::new(); self.nodes.len()];
        for (parent, child) in ends {
            parents[child as usize].push(parent);
        }
        parents
    }

    /// The number of parents of each node, in order.
    pub(crate) fn parent_counts(&self) -> impl Iterator<Item = u32> {
        self.nodes.iter().map(|node| node.num_parents)
    }

    /// The nodes that wait for `node`, newest first, once for each time they named it.
    pub(crate) fn children(&self, node: u32) -> impl Iterator<Item = u32> {
        let mut next = self.nodes[node as usize].edges;
        std::iter::from_fn(move || {
            let edge = *self.edges.get(next as usize)?;
            next = edge.next;
            Some(edge.child)
        })
    }
}
