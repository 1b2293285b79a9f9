//! What an instance holds and how much it computes, over time.

use engine::LoadChange;
use units::{GroupId, Instant};

use super::events::{Args, Events};
use super::window::Windows;

/// The counters of one instance.
pub(super) struct Counters {
    pid: u32,
    running: Counter<1>,
    waiting: Counter<1>,
    kv_blocks: Counter<1>,
    rate: Counter<2>,
    /// When the latest step ended.
    latest_end: Instant,
}

/// Values that are drawn when they change.
struct Counter<const N: usize> {
    name: &'static str,
    keys: [&'static str; N],
    /// Whether values have a decimal.
    has_tenths: bool,
    /// Since when they are what they are.
    at: Instant,
    values: [u64; N],
    drawn: Option<[u64; N]>,
}

impl<const N: usize> Counter<N> {
    fn new(name: &'static str, keys: [&'static str; N], has_tenths: bool) -> Self {
        Self { name, keys, has_tenths, at: Instant::ZERO, values: [0; N], drawn: None }
    }

    /// Takes other values from `at` on.
    fn set(&mut self, pid: u32, at: Instant, values: [u64; N], window: (&Windows, GroupId), events: &mut Events) {
        self.draw_before(pid, at, window, events);
        // Of several values of one instant the last counts.
        (self.at, self.values) = (at.max(self.at), values);
    }

    /// Draws the values that were there up to `now`.
    fn draw_before(&mut self, pid: u32, now: Instant, (windows, group): (&Windows, GroupId), events: &mut Events) {
        let Some(begin) = windows.begin(group) else { return };
        let at = self.at.max(begin);
        if at >= now || windows.is_past(group, at) || self.drawn == Some(self.values) {
            return;
        }
        let mut args = Args::default();
        for (key, &value) in self.keys.iter().zip(&self.values) {
            match self.has_tenths {
                true => args.tenths(key, value),
                false => args.number(key, value),
            }
        }
        events.counter(pid, self.name, at, &args);
        self.drawn = Some(self.values);
    }
}

impl Counters {
    pub(super) fn new(pid: u32) -> Self {
        Self {
            pid,
            running: Counter::new("running", ["value"], false),
            waiting: Counter::new("waiting", ["value"], false),
            kv_blocks: Counter::new("KV blocks held", ["value"], false),
            rate: Counter::new("tokens per second", ["prompt", "generated"], true),
            latest_end: Instant::ZERO,
        }
    }

    pub(super) fn load(&mut self, change: &LoadChange, windows: &Windows, group: GroupId, events: &mut Events) {
        let (pid, at, window) = (self.pid, change.at, (windows, group));
        self.running.set(pid, at, [change.running], window, events);
        self.waiting.set(pid, at, [change.waiting], window, events);
        self.kv_blocks.set(pid, at, [u64::from(change.kv_blocks_held)], window, events);
    }

    /// A step computed so many prompt tokens, and yielded so many. Where it overlaps the one before, it has the time since
    /// that ended.
    pub(super) fn step(
        &mut self,
        (start, end): (Instant, Instant),
        (prompt, generated): (u64, u64),
        windows: &Windows,
        group: GroupId,
        events: &mut Events,
    ) {
        let (pid, window) = (self.pid, (windows, group));
        if start > self.latest_end {
            self.rate.set(pid, self.latest_end, [0; 2], window, events);
        }
        let start = start.max(self.latest_end);
        if end > start {
            let per_second =
                |tokens: u64| (u128::from(tokens) * 10_000_000_000 / u128::from((end - start).ns())) as u64;
            self.rate.set(pid, start, [per_second(prompt), per_second(generated)], window, events);
            self.latest_end = end;
        }
    }

    /// The run is over.
    pub(super) fn end(&mut self, windows: &Windows, group: GroupId, events: &mut Events) {
        let (pid, window) = (self.pid, (windows, group));
        let after = |at: Instant| at + units::Duration::from_ns(1);
        self.rate.set(pid, self.latest_end, [0; 2], window, events);
        let latest = self.running.at.max(self.rate.at).max(self.latest_end);
        self.rate.draw_before(pid, after(latest), window, events);
        for counter in [&mut self.running, &mut self.waiting, &mut self.kv_blocks] {
            counter.draw_before(pid, after(latest), window, events);
        }
    }
}
