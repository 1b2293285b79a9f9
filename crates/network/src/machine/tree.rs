//! A binary tree, message by message: the sum goes up to the root, and down again.
//!
//! A leaf sends after an endpoint delay. An inner member adds up what its children send, each as it comes, sends the sum
//! on, and hands down what comes back after it has been added in once more. The root hands the sum down as soon as it
//! has it.

use super::Machine;
use super::messages::{Message, Receipt, Then};
use super::streams::Progress;
use crate::plan::{Phase, Routine, TreePlace};
use units::NpuId;

#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    place: TreePlace,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// So many of its children's messages are still to be added up.
    Adding(u32),
    /// It has sent its sum on.
    Sent,
}

impl Machine {
    pub(super) fn start_climb(&mut self, npu: NpuId, stream: u32, phase: Phase) {
        let (coordinate, _) = phase.place(npu.index() - self.npus[npu.index()].first);
        let place = TreePlace::of(coordinate, phase.members, self.has_root_at_end(npu, stream));
        let num_children = place.children().count() as u32;
        self.stream(npu, stream).progress = Progress::Climb(Climb { place, stage: Stage::Adding(num_children) });
        if num_children == 0 {
            return self.delay(npu, stream, phase.endpoint_delay, false);
        }
        for child in place.children() {
            let message = self.tree_message(npu, stream, &phase, (child, coordinate));
            self.receive(message, Receipt::Stream(stream));
        }
    }

    pub(super) fn climb_received(&mut self, npu: NpuId, stream: u32, climb: Climb) {
        let phase = self.phase(npu, stream);
        let is_leaf = climb.place.height() == 0;
        self.delay(npu, stream, phase.endpoint_delay, !is_leaf);
    }

    /// What was received is added up, or the leaf's own delay is over.
    pub(super) fn climb(&mut self, npu: NpuId, stream: u32, Climb { place, stage }: Climb) {
        if let Stage::Adding(left) = stage
            && left > 1
        {
            self.stream(npu, stream).progress = Progress::Climb(Climb { place, stage: Stage::Adding(left - 1) });
            return;
        }
        let phase = self.phase(npu, stream);
        let (coordinate, _) = phase.place(npu.index() - self.npus[npu.index()].first);
        match (stage, place.parent()) {
            (Stage::Adding(_), Some(parent)) => {
                self.stream(npu, stream).progress = Progress::Climb(Climb { place, stage: Stage::Sent });
                let message = self.tree_message(npu, stream, &phase, (coordinate, parent));
                self.send(message, Then::Nothing);
                let message = self.tree_message(npu, stream, &phase, (parent, coordinate));
                self.receive(message, Receipt::Stream(stream));
            }
            _ => {
                for child in place.children() {
                    let message = self.tree_message(npu, stream, &phase, (coordinate, child));
                    self.send(message, Then::Nothing);
                }
                self.end_phase(npu, stream);
            }
        }
    }

    fn tree_message(&mut self, npu: NpuId, stream: u32, phase: &Phase, (from, to): (usize, usize)) -> Message {
        let first = self.npus[npu.index()].first;
        let (_, group) = phase.place(npu.index() - first);
        let Routine::Tree { bytes, .. } = phase.routine else { unreachable!("not a tree") };
        let member = |coordinate: usize| NpuId::from(first + group + coordinate * phase.stride);
        let number = self.stream(npu, stream).number;
        Message::of_collective(member(from), member(to), number, bytes)
    }
}
