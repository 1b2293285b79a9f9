//! Graphs that are chains, in closed form: each NPU as far as it comes, then the collectives whose members all wait.

use super::graphs::Node;
use network::{Collective, DeviceQueue, Location, Memory, NetworkModel, Op, Plan, System, Topology};
use std::collections::{HashMap, VecDeque};
use units::Instant;

/// An NPU on its way through its chain.
struct Rank<'a> {
    at: Instant,
    rest: &'a [Node],
    /// Collectives it has left.
    collectives: usize,
}

/// When each NPU is done, without events: `None` for one that never is. `None` where that does not apply: graphs that
/// are not chains, members of a collective that differ, several NPUs before one memory device, messages on shared links,
/// tokens before messages.
pub(crate) fn finish_times(
    topology: &Topology,
    system: &System,
    memory: Memory,
    graphs: &[Vec<Node>],
) -> Option<Vec<Option<Instant>>> {
    let is_chain =
        |graph: &Vec<Node>| graph.iter().zip(0u32..).all(|(node, id)| id.checked_sub(1).as_slice() == node.parents);
    let alone = graphs.len() == 1;
    let queues = |node: &Node| match node.op {
        Op::Pim { .. } => true,
        Op::Memory { location, .. } => location != Location::Npu,
        _ => false,
    };
    let is_aware = system.network_model == NetworkModel::Aware;
    let sends = |node: &Node| matches!(node.op, Op::Send { .. });
    let competes = |node: &Node| !alone && queues(node) || is_aware && sends(node);
    if system.has_rendezvous || !graphs.iter().all(is_chain) || graphs.iter().flatten().any(competes) {
        return None;
    }

    let mut devices = DeviceQueue::new(memory);
    let mut messages = HashMap::new();
    let mut ranks: Vec<Rank> = graphs.iter().map(|rest| Rank { at: Instant::ZERO, rest, collectives: 0 }).collect();
    loop {
        let mut moved = false;
        for (index, rank) in ranks.iter_mut().enumerate() {
            while advance_alone(index, rank, topology, &mut devices, &mut messages) {
                moved = true;
            }
        }
        for rank in 0..ranks.len() {
            if let Some(Node { op: Op::Collective(collective), .. }) = ranks[rank].rest.first() {
                moved |= advance_together(&members(topology, rank, *collective), &mut ranks, topology, system)?;
            }
        }
        if !moved {
            return Some(ranks.iter().map(|rank| rank.rest.is_empty().then_some(rank.at)).collect());
        }
    }
}

/// Sender, receiver, bytes and tag.
type Envelope = (usize, usize, u64, u32);

/// Takes the next step of one NPU unless it depends on others who are not that far.
fn advance_alone(
    index: usize,
    rank: &mut Rank,
    topology: &Topology,
    devices: &mut DeviceQueue,
    messages: &mut HashMap<Envelope, VecDeque<Instant>>,
) -> bool {
    let Some((node, rest)) = rank.rest.split_first() else { return false };
    rank.at = match node.op {
        Op::Compute(time) | Op::HostCompute(time) | Op::Broadcast(time) => rank.at + time,
        Op::Memory { location, bytes } => devices.serve(location, rank.at, bytes),
        Op::Pim { location, channel, time, bytes } => devices.serve_pim(location, channel, rank.at, time, bytes),
        Op::Send { to, bytes, tag } => {
            let arrival = rank.at + topology.message_delay(index, to as usize, bytes);
            messages.entry((index, to as usize, bytes, tag)).or_default().push_back(arrival);
            arrival
        }
        Op::Recv { from, bytes, tag } => {
            let arrived = messages.get_mut(&(from as usize, index, bytes, tag)).and_then(VecDeque::pop_front);
            let Some(arrival) = arrived else { return false };
            arrival.max(rank.at)
        }
        Op::Collective(_) => return false,
    };
    rank.rest = rest;
    true
}

/// The ranks that differ from `rank` in the dimensions of the collective alone.
fn members(topology: &Topology, rank: usize, collective: Collective) -> Vec<usize> {
    let agrees = |&other: &usize| {
        (0..topology.dims().len()).all(|dim| {
            collective.dims.contains(dim) || topology.coordinate(rank, dim) == topology.coordinate(other, dim)
        })
    };
    (0..topology.num_npus()).filter(agrees).collect()
}

/// Lets the members of a collective through if all of them wait for it. `None` when they disagree about it.
fn advance_together(members: &[usize], ranks: &mut [Rank], topology: &Topology, system: &System) -> Option<bool> {
    let mut collectives = Vec::new();
    for &member in members {
        match ranks[member].rest.first().map(|node| node.op) {
            Some(Op::Collective(collective)) => collectives.push((collective, ranks[member].collectives)),
            _ => return Some(false),
        }
    }
    let first = collectives[0];
    if collectives.iter().any(|other| *other != first) {
        return None;
    }
    let Ok(plan) = Plan::new(topology, system, first.0) else { return Some(false) };
    let mut at: Vec<Instant> = ranks.iter().map(|rank| rank.at).collect();
    // Ranks that meet elsewhere would not start together.
    let start = ranks[members[0]].at;
    let (is_aware, all) = (system.network_model == NetworkModel::Aware, members.len() == ranks.len());
    if is_aware && !(all && at.iter().all(|other| *other == start)) || !plan.advance(&mut at) {
        return None;
    }
    for &member in members {
        let rank = &mut ranks[member];
        rank.at = at[member];
        rank.rest = &rank.rest[1..];
        rank.collectives += 1;
    }
    Some(true)
}
