//! Processor time, which other work on the machine disturbs less than it does the clock on the wall.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What `work` returns, and the processor time that this process, all its threads, spent meanwhile.
pub fn cpu_time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = now();
    let result = work();
    (result, now() - before)
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("the system counts a process's time").into()
}

/// The middle of `times`, or the mean of the two middle ones.
///
/// # Panics
/// When there are none.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let half = times.len() / 2;
    if times.len() % 2 == 1 { times[half] } else { (times[half - 1] + times[half]) / 2 }
}
