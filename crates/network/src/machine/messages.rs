//! Messages: on their way, and at their receiver.
//!
//! A message is matched with who asks for it by receiver, sender, number and size; of equal ones the n-th sent goes to
//! the n-th that asked. Equal messages take the same way and so come in the order they were sent: those that came unasked
//! need no more than a count.
//!
//! Its sender is through with it when it arrives, and goes on before its receiver does. With rendezvous a message starts
//! only when a token of its receiver has come, who asks for the message itself when its token has arrived.

use super::Machine;
use super::clock::Event;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use units::{Duration, NpuId};

/// Bytes of the token that asks for a message.
const TOKEN_BYTES: u64 = 8192;

/// Numbers from here on are of collectives, below are tags.
const COLLECTIVE_NUMBERS: u64 = 1 << 40;

/// Numbers from here on are of tokens.
const TOKEN_NUMBERS: u64 = 1 << 41;

/// What tells messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) from: NpuId,
    pub(super) to: NpuId,
    /// The tag of one sent by itself, or the number of its collective at its sender, and at its receiver.
    number: u64,
    pub(super) bytes: u64,
}

impl Message {
    pub(super) fn tagged(from: NpuId, to: NpuId, tag: u32, bytes: u64) -> Self {
        Self { from, to, number: tag.into(), bytes }
    }

    pub(super) fn of_collective(from: NpuId, to: NpuId, number: u64, bytes: u64) -> Self {
        Self { from, to, number: COLLECTIVE_NUMBERS + number, bytes }
    }

    /// The token that asks for it.
    fn token(&self) -> Self {
        Self { from: self.to, to: self.from, number: TOKEN_NUMBERS + self.number, bytes: TOKEN_BYTES }
    }
}

/// What its sender does when a message has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Nothing,
    /// This node is done.
    Complete(u32),
    /// Its sender, a receiver of the message that this token is for, asks for that.
    Ask(Message, Receipt),
}

/// What who asked for a message does when it comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receipt {
    /// This node is done.
    Node(u32),
    /// It was for this stream.
    Stream(u32),
    /// It was the token for the waiting message of this number.
    Token(u32),
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) message: Message,
    then: Then,
    /// Where it is, where links are shared.
    pub(super) at: Position,
}

/// A place that a message passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// A rank of the topology.
    pub(super) rank: usize,
    /// Whether it is at the switch of this rank.
    pub(super) is_at_switch: bool,
}

/// Messages of one NPU that have come, and those that it awaits: one by one as long as they are few.
#[derive(Default)]
pub(super) struct Mail {
    few: Vec<(Label, MailBox)>,
    many: FxHashMap<Label, MailBox>,
}

/// Up to so many boxes are searched one by one.
const FEW_BOXES: usize = 8;

/// For equal messages.
enum MailBox {
    /// So many have come unasked.
    Arrived(u32),
    /// One is awaited; the usual case.
    Awaited(Receipt),
    /// Several are. Boxed, as it is rare and would make every box twice as large.
    #[expect(clippy::box_collection, reason = "size")]
    AwaitedBy(Box<VecDeque<Receipt>>),
}

/// What tells messages to one NPU apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Label {
    number: u64,
    bytes: u64,
    from: NpuId,
}

impl MailBox {
    /// Takes in a message: what who awaits it does, and whether the box is empty now.
    fn deliver(&mut self) -> (Option<Receipt>, bool) {
        match self {
            MailBox::Arrived(count) => {
                *count += 1;
                (None, false)
            }
            &mut MailBox::Awaited(receipt) => (Some(receipt), true),
            MailBox::AwaitedBy(receipts) => (receipts.pop_front(), receipts.is_empty()),
        }
    }

    /// Asks for a message: whether it was here, and whether the box is empty now.
    fn ask(&mut self, receipt: Receipt) -> (bool, bool) {
        match self {
            MailBox::Arrived(count) => {
                *count -= 1;
                (true, *count == 0)
            }
            &mut MailBox::Awaited(first) => {
                *self = MailBox::AwaitedBy(Box::new([first, receipt].into()));
                (false, false)
            }
            MailBox::AwaitedBy(receipts) => {
                receipts.push_back(receipt);
                (false, false)
            }
        }
    }
}

impl Mail {
    /// Takes in a message: what who awaits it does; else it is kept.
    fn deliver(&mut self, message: Message) -> Option<Receipt> {
        self.with(message, MailBox::deliver, || (MailBox::Arrived(1), None))
    }

    /// Asks for a message. Whether it is already here; else it is awaited.
    fn ask(&mut self, message: Message, receipt: Receipt) -> bool {
        self.with(message, |mail| mail.ask(receipt), || (MailBox::Awaited(receipt), false))
    }

    /// Does `change` to the box of `message`, which is taken away when that leaves it empty, or puts up a new one.
    fn with<T>(
        &mut self,
        message: Message,
        change: impl FnOnce(&mut MailBox) -> (T, bool),
        new: impl FnOnce() -> (MailBox, T),
    ) -> T {
        let label = Label { number: message.number, bytes: message.bytes, from: message.from };
        if let Some(index) = self.few.iter().position(|(other, _)| *other == label) {
            let (result, is_empty) = change(&mut self.few[index].1);
            if is_empty {
                self.few.swap_remove(index);
            }
            return result;
        }
        if !self.many.is_empty()
            && let Entry::Occupied(mut occupied) = self.many.entry(label)
        {
            let (result, is_empty) = change(occupied.get_mut());
            if is_empty {
                occupied.remove();
            }
            return result;
        }
        let (mail, result) = new();
        if self.few.len() < FEW_BOXES {
            self.few.push((label, mail));
        } else {
            self.many.insert(label, mail);
        }
        result
    }
}

impl Machine {
    pub(super) fn send(&mut self, message: Message, then: Then) {
        assert!(message.bytes > 0, "a message without bytes");
        if self.system.has_rendezvous {
            let waiting = self.waiting_messages.insert((message, then)) as u32;
            self.ask(message.token(), Receipt::Token(waiting));
        } else {
            self.launch(message, then);
        }
    }

    pub(super) fn receive(&mut self, message: Message, receipt: Receipt) {
        if self.system.has_rendezvous {
            self.launch(message.token(), Then::Ask(message, receipt));
        } else {
            self.ask(message, receipt);
        }
    }

    fn ask(&mut self, message: Message, receipt: Receipt) {
        if self.npus[message.to.index()].mail.ask(message, receipt) {
            self.clock.schedule(Duration::ZERO, Event::Taken(message.to, receipt));
        }
    }

    fn launch(&mut self, message: Message, then: Then) {
        let state = &self.npus[message.from.index()];
        let (from, to) = (message.from.index() - state.first, message.to.index() - state.first);
        let at = Position { rank: from, is_at_switch: false };
        let flight = self.flights.insert(Flight { message, then, at }) as u32;
        if self.shares_links {
            self.cross_next_link(flight);
        } else {
            let delay = self.topologies[state.topology as usize].message_delay(from, to, message.bytes);
            self.clock.schedule(delay, Event::Arrived { flight });
        }
    }

    /// The same for a message whose time on its way is known.
    pub(super) fn send_within(&mut self, message: Message, delay: Duration) {
        if self.shares_links || self.system.has_rendezvous {
            return self.send(message, Then::Nothing);
        }
        let at = Position { rank: 0, is_at_switch: false };
        let flight = self.flights.insert(Flight { message, then: Then::Nothing, at }) as u32;
        self.clock.schedule(delay, Event::Arrived { flight });
    }

    /// A message has crossed a link: it goes on, or is there.
    pub(super) fn arrive(&mut self, flight: u32) {
        let Flight { message, at, .. } = self.flights[flight as usize];
        if self.shares_links {
            let to = message.to.index() - self.npus[message.to.index()].first;
            if at != (Position { rank: to, is_at_switch: false }) {
                return self.cross_next_link(flight);
            }
        }
        let Flight { then, .. } = self.flights.remove(flight as usize);
        match then {
            Then::Nothing => {}
            Then::Complete(node) => {
                self.npus[message.from.index()].communicating = None;
                self.complete(message.from, node);
            }
            Then::Ask(asked, receipt) => self.ask(asked, receipt),
        }
        if let Some(receipt) = self.npus[message.to.index()].mail.deliver(message) {
            self.take(message.to, receipt);
        }
    }

    /// Does what was to be done when a message came that `npu` asked for.
    pub(super) fn take(&mut self, npu: NpuId, receipt: Receipt) {
        match receipt {
            Receipt::Node(node) => self.complete(npu, node),
            Receipt::Stream(stream) => self.packet_received(npu, stream),
            Receipt::Token(waiting) => {
                let (message, then) = self.waiting_messages.remove(waiting as usize);
                self.launch(message, then);
            }
        }
    }
}
