//! The queues in front of memory devices and PIM channels.

use super::Machine;
use super::clock::Local;
use super::record::NodeMoment;
use crate::memory::Queue;
use rustc_hash::FxHashMap;
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
    pub(super) device: Option<u32>,
    /// How long it takes once it is its turn.
    pub(super) time: Duration,
}

/// All devices and channels that were ever used.
#[derive(Default)]
pub(super) struct Devices {
    numbers: FxHashMap<Queue, u32>,
    devices: Vec<Device>,
}

impl Devices {
    /// The number of the device behind a queue.
    pub(super) fn number(&mut self, queue: Queue) -> u32 {
        *self.numbers.entry(queue).or_insert_with(|| {
            self.devices.push(Device::default());
            self.devices.len() as u32 - 1
        })
    }
}

impl Machine {
    pub(super) fn access(&mut self, access: Access) {
        let Some(device) = access.device else { return self.serve(access) };
        let device = &mut self.devices.devices[device as usize];
        if device.serving {
            device.waiting.push_back(access);
        } else {
            device.serving = true;
            self.serve(access);
        }
    }

    /// Lets the next one have its turn.
    pub(super) fn serve_next(&mut self, device: u32) {
        let device = &mut self.devices.devices[device as usize];
        match device.waiting.pop_front() {
            Some(access) => self.serve(access),
            None => device.serving = false,
        }
    }

    fn serve(&mut self, Access { npu, node, device, time }: Access) {
        self.record(npu, node, NodeMoment::Served);
        self.clock.schedule_local(npu, time, Local::Accessed { node, device });
    }
}
