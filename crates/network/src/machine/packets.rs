//! Rings, direct exchanges, halving and doubling, message by message.
//!
//! A member prepares packets, which takes an endpoint delay each and a reduction where what came before is added up, and
//! sends them in that order. It prepares the first ones at once, as many as may be under way, and one more for each it
//! receives. It is through when all are sent and as many stand prepared again as at first. In the second round of a
//! direct all-reduce nothing is sent before all of the first has come.

use super::Machine;
use super::messages::{Message, Receipt};
use super::streams::Progress;
use crate::CollectiveKind;
use crate::plan::{Phase, Routine};
use units::{Duration, NpuId};

#[derive(Clone, Copy, Debug)]
pub(super) struct Packets {
    /// Packets begun to be prepared.
    begun: u64,
    /// Packets prepared, and not sent.
    prepared: u64,
    received: u64,
    sent: u64,
}

impl Packets {
    /// The round that the packet prepared last is for.
    pub(super) fn latest_round(&self) -> u64 {
        self.begun - 1
    }
}

/// Packets that a member may have under way.
fn window(phase: &Phase) -> u64 {
    match phase.routine {
        Routine::Direct { window, .. } => window,
        _ => 1,
    }
}

/// Whether a packet adds up what came before it. Rings and direct exchanges take turns: as many as are under way without,
/// then as many as there are others (of a window as many as it has), and in an all-reduce only the first time round.
fn reduces(phase: &Phase, packet: u64) -> bool {
    let (without, with) = match phase.routine {
        Routine::Ring { .. } => (1, phase.members as u64 - 1),
        Routine::Direct { window, .. } => (window, window),
        Routine::Halving(halving) => return halving.reduces(packet),
        Routine::Tree { .. } | Routine::Measured { .. } => unreachable!("no packets"),
    };
    let (turn, place) = (packet / (without + with), packet % (without + with));
    let adds_up = match phase.kind {
        CollectiveKind::ReduceScatter => true,
        CollectiveKind::AllReduce => turn % 2 == 0,
        CollectiveKind::AllGather | CollectiveKind::AllToAll => false,
    };
    adds_up && place >= without
}

/// The size of a packet, and how far from its sender, in the direction of the messages, its receiver is; its sender is as
/// far from whom it receives from in turn. Partners of a halving are as far either way.
fn packet(phase: &Phase, packet: u64) -> (u64, Distance) {
    match phase.routine {
        Routine::Ring { message_bytes, .. } => (message_bytes, Distance::Steps(1)),
        Routine::Direct { message_bytes, .. } => {
            let others = phase.members - 1;
            (message_bytes, Distance::Steps(1 + packet as usize % others))
        }
        Routine::Halving(halving) => (halving.message_bytes(packet), Distance::Partner(halving.distance(packet))),
        Routine::Tree { .. } | Routine::Measured { .. } => unreachable!("no packets"),
    }
}

#[derive(Clone, Copy)]
enum Distance {
    Steps(usize),
    Partner(usize),
}

impl Machine {
    pub(super) fn start_packets(&mut self, npu: NpuId, stream: u32, phase: Phase) {
        for begun in 1..=window(&phase) {
            self.stream(npu, stream).progress = Progress::Packets(Packets { begun, prepared: 0, received: 0, sent: 0 });
            self.delay(npu, stream, phase.endpoint_delay, reduces(&phase, begun - 1));
        }
    }

    pub(super) fn next_packet(&mut self, npu: NpuId, stream: u32, mut packets: Packets) {
        let phase = self.phase(npu, stream);
        packets.received += 1;
        packets.begun += 1;
        self.stream(npu, stream).progress = Progress::Packets(packets);
        self.delay(npu, stream, phase.endpoint_delay, reduces(&phase, packets.begun - 1));
    }

    pub(super) fn packet_ready(&mut self, npu: NpuId, stream: u32, mut packets: Packets) {
        let phase = self.phase(npu, stream);
        let (window, rounds) = (window(&phase), phase.messages());
        packets.prepared += 1;
        let is_direct_all_reduce =
            matches!(phase.routine, Routine::Direct { .. }) && phase.kind == CollectiveKind::AllReduce;
        let once_round = phase.members as u64 - 1;
        let (is_second_round, has_first) =
            (is_direct_all_reduce && rounds - packets.sent <= once_round, packets.received >= once_round);
        let num_sends = match (is_second_round, has_first) {
            (true, false) => 0,
            (true, true) => window.min(packets.prepared).min(rounds - packets.sent),
            (false, _) => 1.min(rounds - packets.sent),
        };
        for _ in 0..num_sends {
            self.send_packet(npu, stream, &phase, packets.sent);
            packets.prepared -= 1;
            packets.sent += 1;
        }
        self.stream(npu, stream).progress = Progress::Packets(packets);
        let waits_for_first = is_second_round && !has_first;
        if !waits_for_first && packets.sent == rounds && packets.prepared == window {
            self.end_phase(npu, stream);
        }
    }

    fn send_packet(&mut self, npu: NpuId, stream: u32, phase: &Phase, index: u64) {
        let first = self.npus[npu.index()].first;
        let (coordinate, group) = phase.place(npu.index() - first);
        let (bytes, distance) = packet(phase, index);
        let (to, from) = match distance {
            Distance::Steps(steps) => {
                (phase.on_from(coordinate, steps, phase.forward), phase.on_from(coordinate, steps, !phase.forward))
            }
            Distance::Partner(distance) => (coordinate ^ distance, coordinate ^ distance),
        };
        let delay = phase.delay(coordinate, to, bytes, self.system.network_model);
        let member = |coordinate| NpuId::from(first + group + coordinate * phase.stride);
        self.exchange(npu, stream, (member(to), delay), member(from), bytes);
    }

    /// Sends a message of a stream and asks for one of the same size.
    fn exchange(&mut self, npu: NpuId, stream: u32, (to, delay): (NpuId, Duration), from: NpuId, bytes: u64) {
        let number = self.stream(npu, stream).number;
        self.send_within(Message::of_collective(npu, to, number, bytes), delay);
        self.receive(Message::of_collective(from, npu, number, bytes), Receipt::Stream(stream));
    }
}
