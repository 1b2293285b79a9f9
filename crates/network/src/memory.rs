//! Memory that several NPUs share: a host's, or a pool's.
//!
//! An access takes `latency + bytes / bandwidth`, each cut to whole nanoseconds. A device serves one access at a time,
//! first come, first served, and each access pays the latency anew.

use units::{Duration, Instant};

/// Devices of one kind, all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryDevices {
    latency: Duration,
    bytes_per_ns: u64,
    num_devices: u32,
}

impl MemoryDevices {
    /// `num_devices` devices, each of this latency and bandwidth (GB of 10^9 bytes). Both are cut to whole numbers here,
    /// as the reference does when it reads them.
    ///
    /// # Panics
    /// When the latency is negative or the bandwidth is below 1 GB/s.
    pub fn new(latency_ns: f64, bandwidth_gb_per_s: f64, num_devices: u32) -> Self {
        assert!(latency_ns >= 0.0, "a latency of {latency_ns} ns");
        assert!(bandwidth_gb_per_s >= 1.0, "a bandwidth of {bandwidth_gb_per_s} GB/s");
        // A GB/s is a byte per nanosecond.
        Self { latency: Duration::from_ns(latency_ns as u64), bytes_per_ns: bandwidth_gb_per_s as u64, num_devices }
    }

    /// How many there are. Devices are numbered from 0.
    pub(crate) fn num_devices(&self) -> u32 {
        self.num_devices
    }

    /// How long one access of `bytes` keeps a device, loads and stores alike.
    pub fn access_time(&self, bytes: u64) -> Duration {
        self.latency + Duration::from_ns((bytes as f64 / self.bytes_per_ns as f64) as u64)
    }
}

/// The queues in front of the devices, for a clock that visits accesses in the order of their time.
#[derive(Clone, Debug)]
pub struct DeviceQueue {
    devices: MemoryDevices,
    free_at: Vec<Instant>,
}

impl DeviceQueue {
    /// Idle devices.
    pub fn new(devices: MemoryDevices) -> Self {
        Self { devices, free_at: vec![Instant::ZERO; devices.num_devices as usize] }
    }

    /// Queues an access of `bytes` that reaches `device` at `now`, and says when it will be done.
    ///
    /// Accesses to one device are served in the order of the calls, so calls must come in the order of their `now`.
    ///
    /// # Panics
    /// When there is no such device.
    pub fn serve(&mut self, device: u32, now: Instant, bytes: u64) -> Instant {
        let free_at = &mut self.free_at[device as usize];
        *free_at = now.max(*free_at) + self.devices.access_time(bytes);
        *free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_bandwidth_and_time_are_all_cut() {
        let check = |latency_ns, bandwidth, bytes, ns| {
            assert_eq!(MemoryDevices::new(latency_ns, bandwidth, 1).access_time(bytes).ns(), ns);
        };
        check(0.0, 1.0, 0, 0);
        check(70.0, 100.0, 0, 70);
        check(70.9, 100.0, 99, 70);
        check(70.9, 100.9, 100, 71);
        check(0.0, 2.99, 7, 3);
    }

    #[test]
    fn a_device_serves_one_access_at_a_time() {
        let mut queue = DeviceQueue::new(MemoryDevices::new(100.0, 10.0, 2));
        let mut check =
            |device, now, bytes, done| assert_eq!(queue.serve(device, Instant::from_ns(now), bytes).ns(), done);
        check(0, 0, 1000, 200);
        check(0, 50, 0, 300); // waits for the first, pays the latency again
        check(1, 60, 0, 160); // another device
        check(0, 300, 10, 401); // free in this very nanosecond
        check(0, 1000, 10, 1101);
    }
}
