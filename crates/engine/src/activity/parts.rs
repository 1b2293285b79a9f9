//! The parts of a wave, collected by a clock that knows it in closed form.

use network::{Location, Memory};
use units::{GroupId, InstanceId, Instant};

use super::{Activity, Doing, Moved, NpuPart, before};
use crate::observer::Observer;

/// What the NPUs of a group do in one wave, as far as it is known.
#[derive(Debug)]
pub(crate) struct WaveParts {
    group: GroupId,
    wave: u64,
    parts: Vec<Part>,
}

/// What is moved, from where or to where, and how many bytes.
type Access = (Moved, Location, u64);

#[derive(Debug, Default)]
struct Part {
    begin: Instant,
    activities: Vec<Activity>,
}

/// Parts that are known to the end, and yet to be told.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Ended>);

#[derive(Debug)]
struct Ended {
    instance: InstanceId,
    npu: u32,
    group: GroupId,
    wave: u64,
    begin: Instant,
    end: Instant,
    activities: Vec<Activity>,
}

impl WaveParts {
    pub(crate) fn new(group: GroupId, wave: u64, num_npus: usize) -> Self {
        Self { group, wave, parts: (0..num_npus).map(|_| Part::default()).collect() }
    }

    /// An NPU takes its part up.
    pub(crate) fn begin(&mut self, npu: usize, now: Instant) {
        self.parts[npu].begin = now;
    }

    /// An NPU that is free from `free` on takes its part up at `now`: it is done with loading prefixes, if there are any, and
    /// its input at these times.
    #[cold]
    pub(crate) fn take_up(
        &mut self,
        npu: usize,
        (now, free): (Instant, Instant),
        (recalled, prefixes): (Instant, Access),
        (loaded, input): (Instant, Access),
        memory: &Memory,
    ) {
        self.begin(npu, now.max(free));
        if prefixes.2 > 0 {
            self.access(npu, (now, recalled), prefixes, memory);
        }
        self.access(npu, (now, loaded), input, memory);
    }

    /// When an NPU took its part up.
    pub(crate) fn begun(&self, npu: usize) -> Instant {
        self.parts[npu].begin
    }

    /// An NPU does something; what takes no time is passed over.
    pub(crate) fn push(&mut self, npu: usize, activity: Activity) {
        if activity.end > activity.begin {
            self.parts[npu].activities.push(activity);
        }
    }

    /// An NPU does something that is not of a block.
    pub(crate) fn push_outside(&mut self, npu: usize, begin: Instant, end: Instant, what: Doing) {
        self.push(npu, Activity { begin, end, block: None, half: 0, what });
    }

    /// An access that was asked for at `now` and is done at `done`.
    pub(crate) fn access(
        &mut self,
        npu: usize,
        (now, done): (Instant, Instant),
        (moved, location, bytes): Access,
        memory: &Memory,
    ) {
        let time = memory.access_time(location, bytes);
        let served = before(done, time);
        self.push_outside(npu, now, done, Doing::Access { moved, location, bytes, served });
    }

    /// An NPU is through: this is NPU `npu` of `instance`, at `index` here.
    pub(crate) fn end(&mut self, index: usize, (instance, npu): (InstanceId, u32), end: Instant, parts: &mut Parts) {
        let Part { begin, mut activities } = std::mem::take(&mut self.parts[index]);
        activities.sort_by_key(|activity| activity.begin);
        let (group, wave) = (self.group, self.wave);
        parts.0.push(Ended { instance, npu, group, wave, begin, end, activities });
    }
}

impl Parts {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells those that have ended.
    pub(crate) fn tell(&mut self, observer: &mut dyn Observer) {
        for Ended { instance, npu, group, wave, begin, end, activities } in self.0.drain(..) {
            observer.npu_part_ended(&NpuPart { instance, npu, group, wave, begin, end, activities: &activities });
        }
    }
}
