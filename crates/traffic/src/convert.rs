//! Traces to workloads: a part of a trace, on a clock that begins with it.

use diagnostics::{Fault, Faults};

use crate::formats::Trace;
use crate::generate::{ArrivalSpec, Arrivals, TimeSpec, Times, before_the_first};
use crate::item::Item;
use crate::random::Stream;

/// What to make of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// Seconds of the trace from which on requests are taken.
    pub start_s: f64,
    /// Seconds of the trace up to which requests are taken.
    pub end_s: Option<f64>,
    /// Most requests or sessions; nothing is read after them.
    pub limit: Option<u64>,
    /// What times of arrival are multiplied with.
    pub time_scale: f64,
    /// Arrivals instead of the trace's own.
    pub arrivals: Option<ArrivalSpec>,
    /// Times between the calls of a session, instead of the trace's own.
    pub tool_time: Option<TimeSpec>,
    /// Of everything random.
    pub seed: u64,
}

impl Default for Conversion {
    fn default() -> Self {
        Self { start_s: 0.0, end_s: None, limit: None, time_scale: 1.0, arrivals: None, tool_time: None, seed: 42 }
    }
}

/// Gives out the items of a workload that is made of a trace.
#[derive(Debug)]
pub struct Converter {
    trace: Trace,
    conversion: Conversion,
    start_ns: u64,
    end_ns: Option<u64>,
    /// What the trace's clock shows at its beginning.
    origin_ns: Option<u64>,
    arrivals: Option<Arrivals>,
    tool_times: Option<Times>,
    /// Items read, and given out.
    num_read: u64,
    num: u64,
    last_ns: u64,
    /// Items that arrive before one that stands above them.
    num_disordered: u64,
    faults: Faults,
}

impl Converter {
    /// Makes of `trace` what `conversion` says.
    ///
    /// # Errors
    /// When the file of arrivals is at fault.
    pub fn new(trace: Trace, conversion: Conversion) -> Result<Self, Faults> {
        let ns = |seconds: f64| (seconds * 1e9).round() as u64;
        let (seed, scale) = (conversion.seed, conversion.time_scale);
        let arrivals = conversion.arrivals.as_ref().map(|spec| Arrivals::new(spec, scale, seed)).transpose()?;
        let tool_times = conversion.tool_time.map(|spec| Times::new(spec, Stream::new(seed, "tool time")));
        Ok(Self {
            start_ns: ns(conversion.start_s),
            end_ns: conversion.end_s.map(ns),
            origin_ns: trace.format().begins_at_zero().then_some(0),
            trace,
            conversion,
            arrivals,
            tool_times,
            num_read: 0,
            num: 0,
            last_ns: 0,
            num_disordered: 0,
            faults: Faults::new(),
        })
    }

    /// A time of the trace on the workload's clock, if it is one that is wanted.
    fn in_window(&mut self, arrival_ns: u64) -> Option<u64> {
        let origin_ns = *self.origin_ns.get_or_insert(arrival_ns);
        if arrival_ns < origin_ns {
            self.faults.push(before_the_first(self.trace.name(), self.num_read));
        }
        let ns = arrival_ns.saturating_sub(origin_ns);
        let is_wanted = ns >= self.start_ns && self.end_ns.is_none_or(|end_ns| ns < end_ns);
        // A product of an `f64` is not exact beyond 2^53, so what is not scaled is not multiplied.
        let scaled = |ns: u64| match self.conversion.time_scale {
            1.0 => ns,
            scale => (ns as f64 * scale).round() as u64,
        };
        is_wanted.then(|| scaled(ns - self.start_ns))
    }

    fn no_arrival(&self) -> Fault {
        match &self.conversion.arrivals {
            None => Fault::new(
                self.trace.name(),
                format!("a {} trace doesn't tell when requests arrive", self.trace.format()),
            )
            .hint("say it with --arrivals, such as poisson:10/s"),
            Some(_) => Fault::new("--arrivals", format!("there are only {} arrivals, for more requests", self.num))
                .hint("take fewer requests with --limit"),
        }
    }

    /// To be asked after the last item: how many there were, and what was odd.
    ///
    /// # Errors
    /// What was at fault in the trace.
    pub fn finish(self) -> Result<(u64, Vec<String>), Faults> {
        let name = self.trace.name().to_owned();
        let mut faults = self.faults;
        let mut notes = match self.trace.finish() {
            Ok(notes) => notes,
            Err(more) => {
                faults.extend(more);
                return Err(faults);
            }
        };
        if let Some(arrivals) = self.arrivals {
            arrivals.finish()?;
        }
        if self.num == 0 && faults.is_empty() && self.conversion.limit != Some(0) {
            let message = format!("none of {} requests arrives in the window of time", self.num_read);
            faults
                .push(Fault::new(&name, message).hint("widen it: --start and --end count from the trace's beginning"));
        }
        if self.num_disordered > 0 {
            notes.push(format!(
                "{name}: {} of {} requests arrive before one that stands above them; a run sorts them, in memory",
                self.num_disordered, self.num
            ));
        }
        faults.into_result((self.num, notes))
    }
}

impl Iterator for Converter {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.conversion.limit == Some(self.num) || !self.faults.is_empty() {
            return None;
        }
        loop {
            let mut item = self.trace.next()?;
            self.num_read += 1;
            if let Some(arrival_ns) = item.arrival_ns {
                let Some(ns) = self.in_window(arrival_ns) else { continue };
                item.arrival_ns = Some(ns);
            }
            if let Some(arrivals) = &mut self.arrivals {
                item.arrival_ns = arrivals.next();
            }
            let Some(arrival_ns) = item.arrival_ns else {
                self.faults.push(self.no_arrival());
                return None;
            };
            self.num_disordered += u64::from(arrival_ns < self.last_ns);
            self.last_ns = arrival_ns;
            if let Some(times) = &mut self.tool_times {
                let between = item.calls.len() - 1;
                item.calls[..between].iter_mut().for_each(|call| call.tool_time = times.draw());
            }
            self.num += 1;
            return Some(item);
        }
    }
}
