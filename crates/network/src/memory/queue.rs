//! Waiting for a memory device, in closed form.

use super::{Location, Memory, Queue};
use units::{Duration, Instant};

/// The queues in front of the devices, for a clock that visits accesses in the order of their time.
#[derive(Clone, Debug)]
pub struct DeviceQueue {
    memory: Memory,
    /// By kind of queue and number, when the last access of those so far is done. Those that are not there were never used.
    free_at: [Vec<Instant>; 6],
}

impl DeviceQueue {
    /// Idle devices.
    pub fn new(memory: impl Into<Memory>) -> Self {
        Self { memory: memory.into(), free_at: Default::default() }
    }

    /// Queues an access of `bytes` that reaches `location` at `now`, and says when it will be done.
    ///
    /// Accesses to one device are served in the order of the calls, so calls must come in the order of their `now`. An
    /// NPU's own memory lets nobody wait.
    ///
    /// # Panics
    /// When there is no such memory.
    pub fn serve(&mut self, location: Location, now: Instant, bytes: u64) -> Instant {
        let time = self.memory.access_time(location, bytes);
        match self.memory.queue(location) {
            Some(queue) => self.enqueue(queue, now, time),
            None => now + time,
        }
    }

    /// Queues a computation of `time` on `bytes` for a PIM channel of a memory device, like an access.
    ///
    /// # Panics
    /// When there is no such device.
    pub fn serve_pim(&mut self, location: Location, channel: u32, now: Instant, time: Duration, bytes: u64) -> Instant {
        let queue = self.memory.pim_queue(location, self.memory.pim_stride(location), channel);
        self.enqueue(queue, now, self.memory.pim_time(location, time, bytes))
    }

    #[inline]
    fn enqueue(&mut self, queue: Queue, now: Instant, time: Duration) -> Instant {
        let (kind, number) = queue.place();
        let queues = &mut self.free_at[kind];
        if let Some(free_at) = queues.get_mut(number) {
            *free_at = now.max(*free_at) + time;
            return *free_at;
        }
        queues.resize(number, Instant::ZERO);
        queues.push(now + time);
        now + time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryDevices, MemorySpeed};

    /// Two hosts of 100 ns and 10 bytes/ns, a pool of 300 ns and 1 byte/ns, 30 ns and 100 bytes/ns of the NPUs' own.
    fn queue() -> DeviceQueue {
        DeviceQueue::new(Memory {
            host: MemoryDevices::new(100.0, 10.0, 2),
            pool: Some(MemoryDevices::new(300.0, 1.0, 1)),
            npu: Some(MemorySpeed::new(30.0, 100.0)),
        })
    }

    #[test]
    fn a_device_serves_one_access_at_a_time() {
        use Location::{Host, Npu, Pool};
        let mut queue = queue();
        let mut check =
            |location, now, bytes, done| assert_eq!(queue.serve(location, Instant::from_ns(now), bytes).ns(), done);
        check(Host(0), 0, 1000, 200);
        check(Host(0), 50, 0, 300); // waits for the first, pays the latency again
        check(Host(1), 60, 0, 160); // another device
        check(Pool(0), 70, 5, 375); // another kind
        check(Npu, 80, 1000, 120);
        check(Npu, 80, 1000, 120); // no waiting
        check(Pool(0), 90, 5, 680);
        check(Host(0), 300, 10, 401); // free in this very nanosecond
        check(Host(0), 1000, 10, 1101);
    }

    #[test]
    fn a_pim_channel_computes_and_accesses_apart_from_loads_and_stores() {
        let mut queue = queue();
        assert_eq!(queue.serve(Location::Host(0), Instant::ZERO, 1000).ns(), 200);
        let mut check = |device, channel, now, time, bytes, done| {
            let time = Duration::from_ns(time);
            assert_eq!(queue.serve_pim(Location::Host(device), channel, Instant::from_ns(now), time, bytes).ns(), done);
        };
        check(0, 0, 0, 500, 1000, 700);
        check(0, 1, 0, 0, 0, 100);
        check(0, 0, 10, 0, 0, 800);
        check(1, 0, 10, 0, 0, 110);
        check(0, 2, 10, 0, 0, 210); // the same queue: 2 · 0 + 2 = 2 · 1 + 0
    }
}
