//! Links that are shared: one message at a time each, first come, first served.
//!
//! A message goes through the dimensions in which sender and receiver differ, innermost first, and through each link by
//! link, stored and forwarded: it takes `⌊latency + bytes / bandwidth⌋` for a link, which is taken for `⌊bytes /
//! bandwidth⌋` of it. ASTRA-Sim's congestion-aware network is this in one dimension. It has none in several; here a
//! message pays for every dimension it crosses.

use super::Machine;
use super::clock::Event;
use super::messages::Position;
use crate::{Block, Topology};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// All links that were ever used.
#[derive(Default)]
pub(super) struct Links {
    numbers: FxHashMap<LinkKey, u32>,
    links: Vec<Link>,
}

#[derive(Default)]
struct Link {
    busy: bool,
    /// Messages that wait for it.
    waiting: VecDeque<u32>,
}

/// Where a link goes from and to: NPUs, or the switch of this number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct LinkKey {
    from: u32,
    to: u32,
    dim: u16,
    from_switch: bool,
    to_switch: bool,
}

impl Links {
    fn number(&mut self, key: LinkKey) -> u32 {
        *self.numbers.entry(key).or_insert_with(|| {
            self.links.push(Link::default());
            self.links.len() as u32 - 1
        })
    }
}

/// The dimension a message is in, and where it goes next.
fn next_stop(topology: &Topology, at: Position, to: usize) -> (usize, Position) {
    if at.is_at_switch {
        // Up to here nothing but this dimension was crossed since.
        let dim = topology.differing_dim(at.rank, to);
        return (dim, moved(topology, at.rank, dim, topology.coordinate(to, dim)));
    }
    let dim = topology.differing_dim(at.rank, to);
    let (from, to) = (topology.coordinate(at.rank, dim), topology.coordinate(to, dim));
    let next = match topology.dims()[dim].block {
        Block::FullyConnected => moved(topology, at.rank, dim, to),
        Block::Switch => Position { rank: at.rank, is_at_switch: true },
        Block::Ring => {
            let n = topology.dims()[dim].npus as usize;
            let upwards = (to + n - from) % n;
            let step = if n - upwards < upwards { n - 1 } else { 1 };
            moved(topology, at.rank, dim, (from + step) % n)
        }
    };
    (dim, next)
}

fn moved(topology: &Topology, rank: usize, dim: usize, coordinate: usize) -> Position {
    let stride = topology.stride(dim);
    let rank = rank - topology.coordinate(rank, dim) * stride + coordinate * stride;
    Position { rank, is_at_switch: false }
}

impl Machine {
    pub(super) fn cross_next_link(&mut self, flight: u32) {
        let super::messages::Flight { message, at, .. } = self.flights[flight as usize];
        let state = &self.npus[message.to.index()];
        let topology = &self.topologies[state.topology as usize];
        let (dim, next) = next_stop(topology, at, message.to.index() - state.first);
        // A switch is known by the first of its NPUs.
        let end = |position: Position| {
            let rank = if position.is_at_switch { moved(topology, position.rank, dim, 0).rank } else { position.rank };
            (state.first + rank) as u32
        };
        let (from_switch, to_switch) = (at.is_at_switch, next.is_at_switch);
        let link = self.links.number(LinkKey { from: end(at), to: end(next), dim: dim as u16, from_switch, to_switch });
        let state = &mut self.links.links[link as usize];
        if state.busy {
            state.waiting.push_back(flight);
        } else {
            state.busy = true;
            self.transmit(flight, link, dim, next);
        }
    }

    fn transmit(&mut self, flight: u32, link: u32, dim: usize, next: Position) {
        let state = &mut self.flights[flight as usize];
        state.at = next;
        let bytes = state.message.bytes;
        let topology = self.npus[state.message.to.index()].topology as usize;
        let dim = &self.topologies[topology].dims()[dim];
        self.clock.schedule(dim.link_delay(bytes), Event::Arrived { flight });
        self.clock.schedule(dim.link_busy(bytes), Event::Freed { link });
    }

    pub(super) fn free_link(&mut self, link: u32) {
        let state = &mut self.links.links[link as usize];
        state.busy = false;
        if let Some(flight) = state.waiting.pop_front() {
            self.cross_next_link(flight);
        }
    }
}
