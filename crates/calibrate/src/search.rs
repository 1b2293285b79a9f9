//! The search: times are moved in steps that are halved, one by one, and in pairs where one makes up for another.

use engine::HostTimes;
use units::Duration;

use crate::Experiment;

/// The first step of a search, and the last, in nanoseconds: what is finer is chance in runs of a few hundred requests.
const FIRST_STEP_NS: u64 = 80_000;
const LAST_STEP_NS: u64 = 5_000;

/// How many blocks and sequences a step has, roughly: what is counted once a step is moved so much further.
const PER_STEP: u64 = 32;

/// A time that is not zero has to lower the error by this share of it: less is chance.
const LEAST_GAIN: f64 = 0.02;

/// Times of a host, and how well they do.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The times.
    pub host: HostTimes,
    /// The mean error of each experiment with them, in their order.
    pub errors: Vec<f64>,
}

impl Fit {
    fn of(host: HostTimes, experiments: &[&Experiment]) -> Self {
        Self { host, errors: experiments.iter().map(|experiment| experiment.error(host)).collect() }
    }

    /// The mean over all experiments.
    pub fn mean_error(&self) -> f64 {
        self.errors.iter().sum::<f64>() / self.errors.len() as f64
    }
}

/// The times, of those in `free` by name, that do best in all `experiments` together; the others are zero. `watch` is
/// told of each that was tried, first of a host that takes no time.
///
/// From a host that takes no time, each is moved by a step up or down while that helps; when none does, two at a time
/// are; when that does not help either, the step is halved.
pub fn fit(experiments: &[&Experiment], free: &[&str], mut watch: impl FnMut(&Fit)) -> Fit {
    let mut best = Fit::of(HostTimes::default(), experiments);
    watch(&best);
    let mut improve = |best: &mut Fit, moves: &[Move<'_>]| {
        let Some(host) = moves.iter().try_fold(best.host, |host, &one| one.of(host)) else { return false };
        let candidate = Fit::of(host, experiments);
        watch(&candidate);
        let leaves_zero = moves.iter().any(|one| time(&best.host, one.name) == Duration::ZERO);
        let gain = if leaves_zero { LEAST_GAIN } else { 0.0 };
        let is_better = candidate.mean_error() < best.mean_error() * (1.0 - gain);
        if is_better {
            *best = candidate;
        }
        is_better
    };
    let mut step = FIRST_STEP_NS;
    while step >= LAST_STEP_NS {
        let moves = || free.iter().flat_map(|&name| [true, false].map(|up| Move { name, step, up }));
        let mut has_moved = false;
        for one in moves() {
            while improve(&mut best, &[one]) {
                has_moved = true;
            }
        }
        if !has_moved {
            let mut pairs = moves().flat_map(|one| moves().map(move |other| [one, other]));
            has_moved = pairs.any(|pair| pair[0].name < pair[1].name && improve(&mut best, &pair));
        }
        if !has_moved {
            step /= 2;
        }
    }
    best
}

/// One time, a step longer or shorter.
#[derive(Clone, Copy)]
struct Move<'n> {
    name: &'n str,
    step: u64,
    up: bool,
}

impl Move<'_> {
    /// `None` below zero.
    fn of(self, mut host: HostTimes) -> Option<HostTimes> {
        let step = if matches!(self.name, "block" | "sequence") { self.step } else { self.step * PER_STEP };
        let (_, time) = host.named_mut().into_iter().find(|(name, _)| *name == self.name)?;
        let ns = if self.up { time.ns().checked_add(step)? } else { time.ns().checked_sub(step)? };
        *time = Duration::from_ns(ns);
        Some(host)
    }
}

/// For each experiment, what fits all others best, and the error that it has then on the one left out.
pub fn leave_one_out(experiments: &[&Experiment], free: &[&str]) -> Vec<(Fit, f64)> {
    let left_out = |index: usize| {
        let others: Vec<&Experiment> =
            experiments.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, &other)| other).collect();
        let fit = fit(&others, free, |_| ());
        let error = experiments[index].error(fit.host);
        (fit, error)
    };
    (0..experiments.len()).map(left_out).collect()
}

fn time(host: &HostTimes, name: &str) -> Duration {
    host.named().into_iter().find(|(other, _)| *other == name).map_or(Duration::ZERO, |(_, time)| time)
}
