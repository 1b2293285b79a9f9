//! Messages sent by themselves, from one NPU to one other.
//!
//! A message is on its way for as long as its bytes take over one link, without endpoint delays, and its sender until it
//! arrives. A receiver that has not asked yet finds it when it does.

use super::Machine;
use super::clock::{Event, Message};
use crate::Op;
use units::{Duration, NpuId};

impl Machine {
    pub(super) fn send(&mut self, npu: NpuId, node: u32, to: u32, bytes: u64) {
        assert!(bytes > 0, "a message without bytes");
        let state = &self.npus[npu.index()];
        let topology = &self.topologies[state.topology as usize];
        let delay = topology.message_delay(npu.index() - state.first, to as usize, bytes);
        self.clock.schedule(delay, Event::Sent(npu, node));
    }

    pub(super) fn receive(&mut self, npu: NpuId, node: u32, from: u32, bytes: u64, tag: u32) {
        let state = &mut self.npus[npu.index()];
        let message = Message { from: NpuId::from(state.first + from as usize), number: tag.into(), bytes };
        if state.tagged_mail.ask(message, node) {
            self.clock.schedule(Duration::ZERO, Event::Taken(npu, node));
        }
    }

    /// A message arrives: its sender goes on, then its receiver if it has asked.
    pub(super) fn end_send(&mut self, npu: NpuId, node: u32) {
        let state = &mut self.npus[npu.index()];
        let Op::Send { to, bytes, tag } = state.graph().op(node) else { unreachable!("node {node} sends nothing") };
        let receiver = NpuId::from(state.first + to as usize);
        state.communicating = false;
        self.complete(npu, node);
        let message = Message { from: npu, number: tag.into(), bytes };
        if let Some(awaiting) = self.npus[receiver.index()].tagged_mail.deliver(message) {
            self.complete(receiver, awaiting);
        }
    }
}
