//! Messages that came, and messages asked for.

use super::clock::Message;
use std::collections::VecDeque;

/// The messages an NPU awaits, each for one of its nodes, and those that came unasked.
///
/// Equal messages have equal delays, so they come in the order they were sent, and the n-th sent goes to the n-th that
/// asked: those that came need no more than a count, those awaited are found first come, first served.
#[derive(Default)]
pub(super) struct Mailbox {
    awaited: VecDeque<(Message, u32)>,
    arrived: Vec<(Message, u32)>,
}

impl Mailbox {
    /// Takes in a message: the node that awaited it; else it is kept.
    pub(super) fn deliver(&mut self, message: Message) -> Option<u32> {
        if let Some(index) = self.awaited.iter().position(|&(awaited, _)| awaited == message) {
            return self.awaited.remove(index).map(|(_, node)| node);
        }
        match self.arrived.iter_mut().find(|(arrived, _)| *arrived == message) {
            Some((_, count)) => *count += 1,
            None => self.arrived.push((message, 1)),
        }
        None
    }

    /// Asks for a message on behalf of `node`. Whether it is already here; else it is awaited.
    pub(super) fn ask(&mut self, message: Message, node: u32) -> bool {
        let Some(index) = self.arrived.iter().position(|&(arrived, _)| arrived == message) else {
            self.awaited.push_back((message, node));
            return false;
        };
        self.arrived[index].1 -= 1;
        if self.arrived[index].1 == 0 {
            self.arrived.swap_remove(index);
        }
        true
    }
}
