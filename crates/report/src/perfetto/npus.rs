//! NPUs, a thread each, and more for what goes on beside their own work.
//!
//! An NPU's thread has its part of each step from when it takes it up to when it is through; in it what it computes, the
//! collectives that it takes part in, and waits, without a gap.

use std::collections::BTreeMap;

use engine::{Activity, Doing, Moved, NpuPart};
use network::Location;
use units::{Duration, GroupId, Instant};

use super::events::{Args, Events, Track};
use super::window::Windows;

/// The tracks of one instance's NPUs.
pub(super) struct NpuTracks {
    pid: u32,
    /// Whether collectives may go on beside what the NPU computes.
    meets_beside: bool,
    /// By wave, when its batch was ready and when it started, and how many NPUs have yet to be told of.
    waves: BTreeMap<u64, (Instant, Instant, u32)>,
    /// By NPU, its latest part's wave, and when it was through with it.
    ends: BTreeMap<u32, (u64, Instant)>,
    /// By NPU and kind of thread, when each of the threads is free.
    lanes: BTreeMap<(u32, Beside), Vec<Instant>>,
}

/// What goes on beside an NPU's own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Beside {
    Collectives,
    Links,
    Memory,
    /// Attention in memory, by channel where that is known.
    InMemory(Option<u32>),
}

/// A piece of an NPU's thread.
struct Leaf {
    begin: Instant,
    end: Instant,
    name: String,
    category: &'static str,
    place: Place,
    args: Args,
    /// Up to when it waits for others to take part.
    met: Instant,
}

/// A block, and a half of the step.
type Place = (Option<u32>, u32);

/// NPUs, and threads of one NPU, stand so far apart.
const NPU_PLACES: u32 = 4096;
const KIND_PLACES: u32 = 512;

impl Beside {
    fn name(self) -> String {
        match self {
            Beside::Collectives => "collectives".to_owned(),
            Beside::Links => "links".to_owned(),
            Beside::Memory => "memory".to_owned(),
            Beside::InMemory(None) => "attention in memory".to_owned(),
            Beside::InMemory(Some(channel)) => format!("attention in memory, channel {channel}"),
        }
    }

    fn place(self) -> u32 {
        match self {
            Beside::Collectives => KIND_PLACES,
            Beside::Links => 2 * KIND_PLACES,
            Beside::Memory => 3 * KIND_PLACES,
            Beside::InMemory(channel) => 4 * KIND_PLACES + channel.unwrap_or(0),
        }
    }
}

impl NpuTracks {
    pub(super) fn new(pid: u32, meets_beside: bool) -> Self {
        Self { pid, meets_beside, waves: BTreeMap::new(), ends: BTreeMap::new(), lanes: BTreeMap::new() }
    }

    /// Parts of a wave are to come, of so many NPUs.
    pub(super) fn expect(&mut self, wave: u64, (ready, start): (Instant, Instant), num_npus: u32) {
        self.waves.insert(wave, (ready, start, num_npus));
    }

    /// Draws one NPU's part of a wave.
    pub(super) fn draw(&mut self, part: &NpuPart<'_>, shows_layers: bool, windows: &Windows, events: &mut Events) {
        let NpuPart { npu, group, wave, begin, end, .. } = *part;
        let (ready, start) = self.take_wave(wave);
        let before = self.ends.insert(npu, (wave, end));
        // What it did in a step that is not shown is not known.
        let free = match before {
            Some((latest, end)) if latest + 1 == wave => end,
            _ if wave == 0 => Instant::ZERO,
            _ => start,
        };
        let window = Cut { windows, group, wave };
        let track = events.track(self.pid, &format!("NPU {npu}"), (npu + 1) * NPU_PLACES);
        window.slice(events, track, "wait for the group", "wait", (ready.max(free), start), &Args::default());
        let leaves = self.leaves(part);
        window.slice(events, track, &format!("step {wave}"), "step", (begin, end), &sums(wave, &leaves));
        if !shows_layers {
            return;
        }
        for of_place in leaves.chunk_by(|one, next| one.place == next.place) {
            draw_block(of_place, track, &window, events);
        }
        self.draw_beside(part, &window, events);
    }

    /// When a wave's batch was ready, and when it started.
    fn take_wave(&mut self, wave: u64) -> (Instant, Instant) {
        let Some((ready, start, num_missing)) = self.waves.get_mut(&wave) else { return Default::default() };
        let times = (*ready, *start);
        *num_missing -= 1;
        if *num_missing == 0 {
            self.waves.remove(&wave);
        }
        times
    }

    /// What stands in the NPU's own thread, and waits between it.
    fn leaves(&self, part: &NpuPart<'_>) -> Vec<Leaf> {
        let mut leaves: Vec<Leaf> = Vec::with_capacity(part.activities.len());
        let mut now = part.begin;
        for activity in part.activities {
            let Some(leaf) = self.leaf(activity) else { continue };
            if leaf.begin > now {
                let is_inside = leaves.last().is_some_and(|before| before.place == leaf.place);
                let place = if is_inside { leaf.place } else { (None, 0) };
                leaves.push(wait(part.activities, (now, leaf.begin), place));
            }
            now = leaf.end;
            leaves.push(leaf);
        }
        if part.end > now {
            leaves.push(wait(part.activities, (now, part.end), (None, 0)));
        }
        leaves
    }

    fn leaf(&self, activity: &Activity) -> Option<Leaf> {
        let &Activity { begin, end, block, half, what } = activity;
        let (name, category, met) = match what {
            Doing::Compute(layer) => (layer, "compute", begin),
            Doing::WarmUp => ("warm-up", "compute", begin),
            Doing::Collective { kind, met, .. } if !self.meets_beside => (kind.name(), "collective", met),
            _ => return None,
        };
        Some(Leaf { begin, end, name: name.to_owned(), category, place: (block, half), args: args_of(activity), met })
    }

    fn draw_beside(&mut self, part: &NpuPart<'_>, window: &Cut<'_>, events: &mut Events) {
        let mut received = part.begin;
        let mut beside: Vec<(Beside, Instant, &Activity)> = Vec::new();
        for activity in part.activities {
            match activity.what {
                Doing::Collective { .. } if self.meets_beside => {
                    beside.push((Beside::Collectives, activity.begin, activity));
                }
                Doing::Send { .. } => beside.push((Beside::Links, activity.begin, activity)),
                Doing::Access { served, .. } => beside.push((Beside::Memory, served, activity)),
                Doing::InMemory(channel) => beside.push((Beside::InMemory(channel), activity.begin, activity)),
                _ => {}
            }
        }
        let mut receives: Vec<&Activity> = part.activities.iter().filter(|activity| is_receive(activity)).collect();
        receives.sort_by_key(|activity| activity.end);
        for activity in receives {
            // Messages are awaited together, and come one after the other.
            beside.push((Beside::Links, activity.begin.max(received), activity));
            received = activity.end;
        }
        beside.sort_by_key(|&(kind, begin, _)| (begin, kind));
        for (kind, begin, activity) in beside.into_iter().filter(|(_, begin, activity)| *begin < activity.end) {
            let mut args = args_of(activity);
            activity.block.iter().for_each(|&block| args.number("block", u64::from(block)));
            let track = self.lane(part.npu, kind, (begin, activity.end), events);
            window.slice(events, track, &name_beside(activity), "beside", (begin, activity.end), &args);
            if let Doing::Collective { met, .. } = activity.what {
                window.slice(events, track, "wait for ranks", "wait", (begin, met), &Args::default());
            }
        }
    }

    /// A thread of this kind that is free from the first instant on, taken up to the second.
    fn lane(&mut self, npu: u32, kind: Beside, (begin, end): (Instant, Instant), events: &mut Events) -> Track {
        let lanes = self.lanes.entry((npu, kind)).or_default();
        let lane = lanes.iter().position(|&free| free <= begin).unwrap_or_else(|| {
            lanes.push(Instant::ZERO);
            lanes.len() - 1
        });
        lanes[lane] = end;
        let number = if lane == 0 { String::new() } else { format!(" ({})", lane + 1) };
        let place = (npu + 1) * NPU_PLACES + kind.place() + lane as u32;
        events.track(self.pid, &format!("NPU {npu}: {}{number}", kind.name()), place)
    }
}

/// What of a group's window a step is in.
struct Cut<'w> {
    windows: &'w Windows,
    group: GroupId,
    wave: u64,
}

impl Cut<'_> {
    /// Draws a slice as far as it is in the window.
    fn slice(
        &self,
        events: &mut Events,
        track: Track,
        name: &str,
        category: &'static str,
        (begin, end): (Instant, Instant),
        args: &Args,
    ) {
        if let Some(times) = self.windows.cut_step(self.group, self.wave, begin, end) {
            events.slice(track, name, category, times, args);
        }
    }
}

fn is_receive(activity: &Activity) -> bool {
    matches!(activity.what, Doing::Receive { .. })
}

/// Where an NPU's part goes. Together they are the part.
fn sums(wave: u64, leaves: &[Leaf]) -> Args {
    let sum = |category: &str, time: fn(&Leaf) -> Duration| -> Duration {
        leaves.iter().filter(|leaf| leaf.category == category).map(time).sum()
    };
    let whole = |leaf: &Leaf| leaf.end - leaf.begin;
    let collectives = sum("collective", |leaf| leaf.end - leaf.met);
    let waits = sum("wait", whole) + sum("collective", |leaf| leaf.met - leaf.begin);
    let mut args = Args::default();
    args.number("step", wave);
    args.time("compute_us", sum("compute", whole));
    args.time("collectives_us", collectives);
    args.time("waits_us", waits);
    args
}

/// A block, or what stands outside of blocks.
fn draw_block(leaves: &[Leaf], track: Track, window: &Cut<'_>, events: &mut Events) {
    let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else { return };
    if let (Some(block), half) = first.place {
        let half = if half == 0 { "" } else { ", second half" };
        window.slice(
            events,
            track,
            &format!("block {block}{half}"),
            "block",
            (first.begin, last.end),
            &Args::default(),
        );
    }
    for leaf in leaves {
        window.slice(events, track, &leaf.name, leaf.category, (leaf.begin, leaf.end), &leaf.args);
        window.slice(events, track, "wait for ranks", "wait", (leaf.begin, leaf.met), &Args::default());
    }
}

/// A wait for what ends with it.
fn wait(activities: &[Activity], (begin, end): (Instant, Instant), place: Place) -> Leaf {
    let awaited = activities.iter().find(|activity| activity.end == end && activity.begin < end && is_beside(activity));
    let name = match awaited.map(|activity| activity.what) {
        Some(Doing::Access { moved, .. } | Doing::Receive { moved, .. } | Doing::Send { moved, .. }) => {
            format!("wait for {}", moved.name())
        }
        Some(Doing::InMemory(_)) => "wait for attention in memory".to_owned(),
        Some(Doing::Collective { kind, .. }) => format!("wait for {}", kind.name()),
        _ => "wait".to_owned(),
    };
    Leaf { begin, end, name, category: "wait", place, args: Args::default(), met: begin }
}

fn is_beside(activity: &Activity) -> bool {
    !matches!(activity.what, Doing::Compute(_) | Doing::WarmUp)
}

fn name_beside(activity: &Activity) -> String {
    match activity.what {
        Doing::Access { moved: Moved::Output, .. } => "store output".to_owned(),
        Doing::Access { moved: Moved::Weights(layer), .. } => format!("load weights of {layer}"),
        Doing::Access { moved, .. } => format!("load {}", moved.name()),
        Doing::Send { moved, .. } => format!("send {}", moved.name()),
        Doing::Receive { moved, .. } => format!("receive {}", moved.name()),
        Doing::Collective { kind, .. } => kind.name().to_owned(),
        Doing::Compute(layer) => layer.to_owned(),
        Doing::InMemory(_) => "attention".to_owned(),
        Doing::WarmUp => "warm-up".to_owned(),
    }
}

fn args_of(activity: &Activity) -> Args {
    let mut args = Args::default();
    match activity.what {
        Doing::Compute(_) | Doing::WarmUp | Doing::InMemory(_) => {}
        Doing::Collective { bytes, met, .. } => {
            args.number("bytes", bytes);
            args.time("wait_us", met - activity.begin);
        }
        Doing::Access { location, bytes, served, .. } => {
            args.number("bytes", bytes);
            args.text(
                "memory",
                &match location {
                    Location::Npu => "NPU".to_owned(),
                    Location::Host(node) => format!("host of node {node}"),
                    Location::Pool(device) => format!("pool {device}"),
                },
            );
            args.time("queued_us", served - activity.begin);
        }
        Doing::Send { to, bytes, .. } => {
            args.number("bytes", bytes);
            args.number("to_rank", u64::from(to));
        }
        Doing::Receive { from, bytes, .. } => {
            args.number("bytes", bytes);
            args.number("from_rank", u64::from(from));
        }
    }
    args
}
