//! Where a run spent its own time (`--timings`).

use std::fmt;
use std::time::{Duration, Instant};

use engine::RunTotals;

/// Stretches of a run, by the clock on the wall.
#[derive(Debug)]
pub(crate) struct Timings {
    begun: Instant,
    stretches: Vec<(&'static str, Duration)>,
}

/// What was timed, with what it worked on.
#[derive(Debug)]
pub(crate) struct Timed {
    total: Duration,
    stretches: Vec<(&'static str, Duration)>,
    simulation: Duration,
    num_requests: u64,
    num_steps: u64,
    num_tokens: u64,
}

impl Timings {
    /// Begins the first stretch.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), stretches: Vec::new() }
    }

    /// Ends the stretch at hand, which was spent on `what`.
    pub(crate) fn end(&mut self, what: &'static str) {
        let before: Duration = self.stretches.iter().map(|stretch| stretch.1).sum();
        self.stretches.push((what, self.begun.elapsed() - before));
    }

    /// What was ended so far, and how long it took.
    pub(crate) fn stretches(self) -> Vec<(&'static str, Duration)> {
        self.stretches
    }

    /// The name of the stretch in which events happen.
    pub(crate) const SIMULATION: &'static str = "simulation, rows as they come";

    /// All of it, for a run that came to `totals`.
    pub(crate) fn of(self, totals: &RunTotals) -> Timed {
        let sum = |count: fn(&engine::InstanceTotals) -> u64| totals.instances.iter().map(count).sum();
        Timed {
            total: self.stretches.iter().map(|stretch| stretch.1).sum(),
            simulation: self.stretches.iter().filter(|stretch| stretch.0 == Self::SIMULATION).map(|s| s.1).sum(),
            stretches: self.stretches,
            num_requests: sum(|instance| instance.finished_requests),
            num_steps: sum(|instance| instance.steps),
            num_tokens: sum(|instance| instance.generated_tokens),
        }
    }
}

impl fmt::Display for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        writeln!(f, "{:<32}{:>10}{:>8}", "Time (ms)", "", "share")?;
        for &(what, time) in &self.stretches {
            let share = 100.0 * time.as_secs_f64() / self.total.as_secs_f64().max(f64::MIN_POSITIVE);
            writeln!(f, "{what:<32}{:>10.2}{share:>7.1}%", millis(time))?;
        }
        writeln!(f, "{:<32}{:>10.2}", "all", millis(self.total))?;
        let per_second = |count: u64| count as f64 / self.simulation.as_secs_f64().max(f64::MIN_POSITIVE);
        writeln!(
            f,
            "simulated per second: {:.0} requests, {:.0} steps, {:.0} tokens",
            per_second(self.num_requests),
            per_second(self.num_steps),
            per_second(self.num_tokens),
        )?;
        match peak_kib() {
            Some(kib) => writeln!(f, "peak memory: {:.1} MiB", kib as f64 / 1024.0),
            None => Ok(()),
        }
    }
}

/// Most memory that the process had, where the system tells.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_rates() {
        let timed = Timed {
            total: Duration::from_millis(40),
            stretches: vec![("workload", Duration::from_millis(10)), (Timings::SIMULATION, Duration::from_millis(30))],
            simulation: Duration::from_millis(30),
            num_requests: 3,
            num_steps: 60,
            num_tokens: 900,
        };
        let text = timed.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        assert_eq!(
            lines[..5],
            [
                "Time (ms)                                    share",
                "workload                             10.00   25.0%",
                "simulation, rows as they come        30.00   75.0%",
                "all                                  40.00",
                "simulated per second: 100 requests, 2000 steps, 30000 tokens",
            ]
        );
    }
}
