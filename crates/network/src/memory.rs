//! Memory that NPUs load from and store to: a host's, a pool's, their own.
//!
//! An access takes `latency + bytes / bandwidth`, each cut to whole nanoseconds. A device of a host or a pool serves one
//! access at a time, first come, first served, whichever NPU it is for, and each access pays the latency anew. An NPU's
//! own memory serves any number at once.
//!
//! The channels of processing in memory (PIM) sit in host memory, beside its loads and stores: a channel computes for
//! one NPU at a time, for a run time and an access. Its queue has the number `num_devices · device + channel`, ASTRA-Sim's
//! rule to the letter: where there are more channels than devices, some of different devices share a queue.

mod queue;

pub use queue::DeviceQueue;

use units::Duration;

/// How fast one device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySpeed {
    latency: Duration,
    bytes_per_ns: u64,
}

impl MemorySpeed {
    /// A latency and a bandwidth in GB/s (10^9 bytes). Both are cut to whole numbers here, as the reference does when it
    /// reads them.
    ///
    /// # Panics
    /// When the latency is negative or the bandwidth is below 1 GB/s.
    pub fn new(latency_ns: f64, bandwidth_gb_per_s: f64) -> Self {
        assert!(latency_ns >= 0.0, "a latency of {latency_ns} ns");
        assert!(bandwidth_gb_per_s >= 1.0, "a bandwidth of {bandwidth_gb_per_s} GB/s");
        // A GB/s is a byte per nanosecond.
        Self { latency: Duration::from_ns(latency_ns as u64), bytes_per_ns: bandwidth_gb_per_s as u64 }
    }

    /// Latency of an access in whole nanoseconds.
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// Bandwidth in whole GB/s (10^9), which is bytes per nanosecond.
    pub fn bandwidth_gb_per_s(&self) -> u64 {
        self.bytes_per_ns
    }

    /// How long one access of `bytes` takes, loads and stores alike.
    #[inline]
    pub(crate) fn access_time(&self, bytes: u64) -> Duration {
        self.latency + Duration::from_ns((bytes as f64 / self.bytes_per_ns as f64) as u64)
    }
}

/// Devices of one kind, all alike, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryDevices {
    speed: MemorySpeed,
    num_devices: u32,
    is_private: bool,
}

impl MemoryDevices {
    /// `num_devices` devices, each of this latency and bandwidth (GB of 10^9 bytes).
    ///
    /// # Panics
    /// As [`MemorySpeed::new`] does.
    pub fn new(latency_ns: f64, bandwidth_gb_per_s: f64, num_devices: u32) -> Self {
        Self { speed: MemorySpeed::new(latency_ns, bandwidth_gb_per_s), num_devices, is_private: false }
    }

    /// The same where each NPU has its own, and none waits for another.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.is_private = true;
        self
    }

    /// How many there are.
    pub fn num_devices(&self) -> u32 {
        self.num_devices
    }

    /// How fast each is.
    pub fn speed(&self) -> MemorySpeed {
        self.speed
    }

    /// Whether each NPU has its own.
    pub fn is_private(&self) -> bool {
        self.is_private
    }

    /// `device`, which must be there.
    fn number(&self, device: u32) -> u32 {
        assert!(device < self.num_devices, "no memory device {device} of {}", self.num_devices);
        device
    }
}

/// Which memory an access goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// The host memory with this number: there is one device a node.
    Host(u32),
    /// The device of the memory pool with this number.
    Pool(u32),
    /// The accessing NPU's own memory.
    Npu,
}

impl Location {
    /// The same kind of memory, another device.
    fn with_device(self, device: u32) -> Self {
        match self {
            Location::Host(_) => Location::Host(device),
            Location::Pool(_) => Location::Pool(device),
            Location::Npu => Location::Npu,
        }
    }
}

/// What accesses stand in line for: a device, or a PIM channel, numbered through the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Queue {
    location: Location,
    is_pim: bool,
}

impl Queue {
    /// Its kind, of six, and its number among those of the kind.
    #[inline]
    fn place(self) -> (usize, usize) {
        let (kind, number) = match self.location {
            Location::Host(number) => (0, number),
            Location::Pool(number) => (1, number),
            Location::Npu => (2, 0),
        };
        (2 * kind + usize::from(self.is_pim), number as usize)
    }
}

/// All memory there is. Made from host memory [alone](From), or field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Host memory, one device a node.
    pub host: MemoryDevices,
    /// A pool (CXL) that every node reaches.
    pub pool: Option<MemoryDevices>,
    /// What each NPU has of its own. Plain computation does not go through it: its time is part of a computation's.
    pub npu: Option<MemorySpeed>,
}

impl From<MemoryDevices> for Memory {
    /// Host memory alone.
    fn from(host: MemoryDevices) -> Self {
        Self { host, pool: None, npu: None }
    }
}

impl Memory {
    /// How long one access of `bytes` takes once it is its turn.
    ///
    /// # Panics
    /// When there is no such memory.
    #[inline]
    pub fn access_time(&self, location: Location, bytes: u64) -> Duration {
        let speed = match location {
            Location::Host(_) => self.host.speed,
            Location::Pool(_) => self.pool().speed,
            Location::Npu => self.npu.expect("no memory of the NPUs' own"),
        };
        speed.access_time(bytes)
    }

    /// How long a PIM channel is busy with computing for `time` on `bytes`.
    ///
    /// # Panics
    /// When there is no such memory.
    pub fn pim_time(&self, location: Location, time: Duration, bytes: u64) -> Duration {
        time + self.access_time(location, bytes)
    }

    /// The queue an access stands in, or none where it need not.
    #[inline]
    pub(crate) fn queue(&self, location: Location) -> Option<Queue> {
        let (devices, device) = match location {
            Location::Host(device) => (self.host, device),
            Location::Pool(device) => (self.pool(), device),
            Location::Npu => return None,
        };
        let queue = Queue { location: location.with_device(devices.number(device)), is_pim: false };
        (!devices.is_private).then_some(queue)
    }

    /// The queue of a PIM channel, the first ones of two devices being `stride` apart.
    pub(crate) fn pim_queue(&self, location: Location, stride: u32, channel: u32) -> Queue {
        let number = match location {
            Location::Host(device) => self.host.number(device),
            Location::Pool(device) => self.pool().number(device),
            Location::Npu => 0,
        };
        Queue { location: location.with_device(stride * number + channel), is_pim: true }
    }

    /// How far apart the first PIM channels of two devices are by ASTRA-Sim's rule.
    pub(crate) fn pim_stride(&self, location: Location) -> u32 {
        match location {
            Location::Host(_) => self.host.num_devices,
            Location::Pool(_) => self.pool().num_devices,
            Location::Npu => 1,
        }
    }

    fn pool(&self) -> MemoryDevices {
        self.pool.expect("no memory pool")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_bandwidth_and_time_are_all_cut() {
        let check = |latency_ns, bandwidth, bytes, ns| {
            assert_eq!(MemorySpeed::new(latency_ns, bandwidth).access_time(bytes).ns(), ns);
        };
        check(0.0, 1.0, 0, 0);
        check(70.0, 100.0, 0, 70);
        check(70.9, 100.0, 99, 70);
        check(70.9, 100.9, 100, 71);
        check(0.0, 2.99, 7, 3);
    }

    #[test]
    fn queues_of_different_devices_never_coincide() {
        let memory =
            Memory { pool: Some(MemoryDevices::new(0.0, 1.0, 2)), ..Memory::from(MemoryDevices::new(0.0, 1.0, 3)) };
        let queues = [
            memory.queue(Location::Host(1)),
            memory.queue(Location::Host(2)),
            memory.queue(Location::Pool(0)),
            memory.queue(Location::Pool(1)),
            Some(memory.pim_queue(Location::Host(0), 3, 0)),
            Some(memory.pim_queue(Location::Host(0), 3, 2)),
            Some(memory.pim_queue(Location::Host(1), 3, 0)),
            Some(memory.pim_queue(Location::Pool(0), 2, 0)),
        ];
        for (index, queue) in queues.iter().enumerate() {
            assert!(queue.is_some() && !queues[index + 1..].contains(queue), "{queue:?}");
        }
        assert_eq!(memory.queue(Location::Npu), None);
        assert_eq!(memory.pim_queue(Location::Host(0), 3, 3), memory.pim_queue(Location::Host(1), 3, 0));
        let private = Memory::from(MemoryDevices::new(0.0, 1.0, 3).private());
        assert_eq!(private.queue(Location::Host(1)), None);
    }
}
