//! Lengths and arrivals out of files.

use std::path::Path;

use diagnostics::{Fault, Faults};

use super::arrivals::Column;
use crate::fault_log::FaultLog;
use crate::formats::{self, Format, Input, ReadOptions, Trace, Values};

/// Which of a request's lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Output,
}

/// Token ids are of no use here.
fn options() -> ReadOptions {
    ReadOptions { token_ids: false, ..ReadOptions::default() }
}

/// The lengths of all requests in the file at `path`, every call of a session counted; or of a CSV those in `column`.
pub(super) fn lengths(path: &Path, column: Option<&str>, side: Side) -> Result<Vec<u32>, Faults> {
    let Some(column) = column else {
        let pairs = pairs(path)?;
        let length = |pair: (u32, u32)| if side == Side::Input { pair.0 } else { pair.1 };
        return Ok(pairs.into_iter().map(length).collect());
    };
    let (mut values, mut faults) = values(path, column)?;
    let mut lengths = Vec::new();
    while let Some(tokens) = values.next_tokens(&mut faults) {
        lengths.push(tokens as u32);
    }
    if lengths.is_empty() && faults.is_empty() {
        faults.whole("there are no rows under the header");
    }
    faults.into_result(lengths)
}

/// Input and output lengths of all requests in the file at `path`, every call of a session counted.
pub(super) fn pairs(path: &Path) -> Result<Vec<(u32, u32)>, Faults> {
    let mut trace = Trace::open(path, &options())?;
    let mut pairs = Vec::new();
    for item in trace.by_ref() {
        pairs.extend(item.calls.iter().map(|call| (call.input_tokens as u32, call.output_tokens as u32)));
    }
    trace.finish()?;
    Ok(pairs)
}

fn values(path: &Path, column: &str) -> Result<(Values, FaultLog), Fault> {
    let name = path.display().to_string();
    let input: Input = formats::open(path)?;
    let mut faults = FaultLog::new(&name);
    Ok((Values::new(&name, input, column, &mut faults), faults))
}

/// The arrivals of a file, one after the other, counted from its beginning.
#[derive(Debug)]
pub(super) struct Times {
    source: Source,
    faults: FaultLog,
    name: String,
    origin_ns: Option<u64>,
    num: u64,
}

#[derive(Debug)]
enum Source {
    Trace(Box<Trace>),
    Column(Box<Values>, u32),
}

impl Times {
    pub(super) fn open(path: &Path, column: Option<&Column>) -> Result<Self, Faults> {
        let name = path.display().to_string();
        let (source, faults, origin_ns) = match column {
            Some(Column { name, unit_power }) => {
                let (values, faults) = values(path, name)?;
                (Source::Column(Box::new(values), *unit_power), faults, None)
            }
            None => {
                let trace = Trace::open(path, &options())?;
                if trace.format() == Format::ShareGpt {
                    return Err(no_arrivals(&name).into());
                }
                let origin_ns = trace.format().begins_at_zero().then_some(0);
                (Source::Trace(Box::new(trace)), FaultLog::new(&name), origin_ns)
            }
        };
        Ok(Self { source, faults, name, origin_ns, num: 0 })
    }

    pub(super) fn next(&mut self) -> Option<u64> {
        let ns = match &mut self.source {
            Source::Column(values, unit_power) => values.next_ns(*unit_power, &mut self.faults)?,
            Source::Trace(trace) => match trace.next()?.arrival_ns {
                Some(ns) => ns,
                None => {
                    self.faults.push(no_arrivals(&self.name));
                    return None;
                }
            },
        };
        self.num += 1;
        let origin_ns = *self.origin_ns.get_or_insert(ns);
        if ns < origin_ns {
            self.faults.push(before_the_first(&self.name, self.num));
        }
        Some(ns.saturating_sub(origin_ns))
    }

    pub(super) fn finish(self) -> Result<(), Faults> {
        if let Source::Trace(trace) = self.source {
            trace.finish()?;
        } else if self.num == 0 && self.faults.is_empty() {
            return Err(Fault::new(self.name, "there are no rows under the header").into());
        }
        self.faults.into_result(())
    }
}

fn no_arrivals(name: &str) -> Fault {
    Fault::new(name, "doesn't tell when requests arrived")
}

/// The fault that a request of a trace whose clock begins with its first request is earlier.
pub(crate) fn before_the_first(name: &str, number: u64) -> Fault {
    Fault::new(name, format!("request {number} arrives before the first")).hint("sort the file by its times")
}
