//! What part of a run a trace shows.

use std::ops::RangeInclusive;

use units::{Duration, GroupId, Instant};

/// Of which time a trace is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TraceWindow {
    /// The whole run.
    #[default]
    All,
    /// From one instant up to another. What reaches beyond is cut off.
    Time(Instant, Instant),
    /// From the start of the first of these steps to the end of the last, of each group by itself; they count from 0.
    Steps(RangeInclusive<u64>),
}

/// How much of it a trace shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceLevel {
    /// Requests and counters.
    Requests,
    /// Batches and the steps of NPUs as well.
    Steps,
    /// What NPUs do in each step as well.
    Layers,
}

/// Steps that began so long before a window of time are not looked into.
const LEAD: Duration = Duration::from_ns(10_000_000_000);

/// The window of each group.
#[derive(Debug)]
pub(super) struct Windows {
    window: TraceWindow,
    groups: Vec<GroupWindow>,
}

/// Of steps, from when to when they are as far as is known.
#[derive(Debug)]
struct GroupWindow {
    begin: Option<Instant>,
    end: Option<Instant>,
    /// Members that have yet to end the last step.
    num_missing: usize,
}

impl Windows {
    /// Those of groups with so many members.
    pub(super) fn new(window: TraceWindow, group_sizes: Vec<usize>) -> Self {
        let group = |num_missing| match window {
            TraceWindow::All => GroupWindow { begin: Some(Instant::ZERO), end: None, num_missing },
            TraceWindow::Time(begin, end) => GroupWindow { begin: Some(begin), end: Some(end), num_missing },
            TraceWindow::Steps(_) => GroupWindow { begin: None, end: None, num_missing },
        };
        let groups = group_sizes.into_iter().map(group).collect();
        Self { window, groups }
    }

    pub(super) fn wave_started(&mut self, group: GroupId, wave: u64, now: Instant) {
        if let TraceWindow::Steps(steps) = &self.window
            && wave == *steps.start()
        {
            self.groups[group.index()].begin = Some(now);
        }
    }

    pub(super) fn step_ended(&mut self, group: GroupId, wave: u64, now: Instant) {
        if let TraceWindow::Steps(steps) = &self.window
            && wave == *steps.end()
        {
            let group = &mut self.groups[group.index()];
            group.num_missing -= 1;
            if group.num_missing == 0 {
                group.end = Some(now);
            }
        }
    }

    /// Whether a step that starts now may be shown.
    pub(super) fn may_show(&self, wave: u64, now: Instant) -> bool {
        match &self.window {
            TraceWindow::All => true,
            TraceWindow::Time(begin, end) => now < *end && now + LEAD >= *begin,
            TraceWindow::Steps(steps) => steps.contains(&wave),
        }
    }

    /// When a group's window begins, if it has.
    pub(super) fn begin(&self, group: GroupId) -> Option<Instant> {
        self.groups[group.index()].begin
    }

    /// Whether an instant is past a group's window.
    pub(super) fn is_past(&self, group: GroupId, at: Instant) -> bool {
        self.groups[group.index()].end.is_some_and(|end| at > end)
    }

    /// What is in the window of a time; `None` where that is no time at all.
    pub(super) fn cut(&self, group: GroupId, begin: Instant, end: Instant) -> Option<(Instant, Instant)> {
        let window = &self.groups[group.index()];
        let cut = (begin.max(window.begin?), window.end.map_or(end, |last| end.min(last)));
        (cut.0 < cut.1).then_some(cut)
    }

    /// The same for something that is part of a step.
    pub(super) fn cut_step(
        &self,
        group: GroupId,
        wave: u64,
        begin: Instant,
        end: Instant,
    ) -> Option<(Instant, Instant)> {
        match &self.window {
            TraceWindow::Steps(steps) => (steps.contains(&wave) && begin < end).then_some((begin, end)),
            _ => self.cut(group, begin, end),
        }
    }
}
