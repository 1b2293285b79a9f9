//! The queues in front of memory devices and PIM channels.

use super::Machine;
use super::clock::Local;
use std::collections::VecDeque;
use units::{Duration, NpuId};

/// A memory device or a PIM channel, and the accesses that wait for it.
#[derive(Default)]
pub(super) struct Device {
    serving: bool,
    waiting: VecDeque<Access>,
}

/// What a node wants of the memory.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) npu: NpuId,
    pub(super) node: u32,
    /// Where it stands in line; none where it need not.
    pub(super) queue: Option<u32>,
    /// How long it takes once it is its turn.
    pub(super) time: Duration,
}

impl Machine {
    pub(super) fn access(&mut self, access: Access) {
        let Some(queue) = access.queue else { return self.serve(access) };
        let queue = queue as usize;
        if self.devices.len() <= queue {
            self.devices.resize_with(queue + 1, Device::default);
        }
        let device = &mut self.devices[queue];
        if device.serving {
            device.waiting.push_back(access);
        } else {
            device.serving = true;
            self.serve(access);
        }
    }

    /// Lets the next one have its turn.
    pub(super) fn serve_next(&mut self, queue: u32) {
        let device = &mut self.devices[queue as usize];
        match device.waiting.pop_front() {
            Some(access) => self.serve(access),
            None => device.serving = false,
        }
    }

    fn serve(&mut self, Access { npu, node, queue, time }: Access) {
        self.clock.schedule_local(npu, time, Local::Accessed { node, queue });
    }
}
