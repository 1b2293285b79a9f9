//! How long tools take: distributions of times.

use std::str::FromStr;

use units::Duration;

use super::lengths::log_normal;
use crate::random::Stream;
use crate::spec::{self, Result as Parsed, Spec, with_forms};

const FORMS: &[(&str, &str)] = &[
    ("2s", "always the same (also fixed:2s); 500ms, 5min, 1h"),
    ("uniform:1s..5s", "anything in between is as likely"),
    ("exponential:2s", "with this mean; also max="),
    ("lognormal:median=2s,sigma=1", "or mean=, and cv= for sigma=; also max="),
];

/// Longest of all: what is drawn beyond is cut to it.
const LONGEST_S: f64 = 1e9;

/// A distribution of times, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeSpec {
    kind: Kind,
    max_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fixed(f64),
    Uniform(f64, f64),
    Exponential(f64),
    LogNormal { log_median: f64, sigma: f64 },
}

impl FromStr for TimeSpec {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        parse(text).map_err(|message| with_forms(message, FORMS))
    }
}

fn parse(text: &str) -> Parsed<TimeSpec> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(TimeSpec { kind: Kind::Fixed(spec::seconds(text)?), max_s: LONGEST_S });
    }
    let mut spec = Spec::new(text)?;
    spec.allow(match spec.kind {
        "exponential" => &["max"],
        "lognormal" => &["median", "mean", "sigma", "cv", "max"],
        _ => &[],
    })?;
    let mut max_s = LONGEST_S;
    let mut cut = |spec: &mut Spec<'_>| -> Parsed<()> {
        max_s = spec.option("max", spec::some_seconds)?.unwrap_or(LONGEST_S);
        Ok(())
    };
    let kind = match spec.kind {
        "fixed" => Kind::Fixed(spec.value("a time such as `2s`", spec::seconds)?),
        "uniform" => {
            let (first, last) = spec.value("a range such as `1s..5s`", |text| spec::range(text, spec::seconds))?;
            Kind::Uniform(first, last)
        }
        "exponential" => {
            cut(&mut spec)?;
            Kind::Exponential(spec.value("the mean, such as `2s`,", spec::some_seconds)?)
        }
        "lognormal" => {
            cut(&mut spec)?;
            let (log_median, sigma) = log_normal(&mut spec, spec::some_seconds)?;
            Kind::LogNormal { log_median, sigma }
        }
        _ => return Err(spec.unknown_kind(&["fixed", "uniform", "exponential", "lognormal"])),
    };
    spec.finish()?;
    Ok(TimeSpec { kind, max_s })
}

/// Draws times, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    spec: TimeSpec,
    stream: Stream,
}

impl Times {
    pub(crate) fn new(spec: TimeSpec, stream: Stream) -> Self {
        Self { spec, stream }
    }

    pub(crate) fn draw(&mut self) -> Duration {
        let stream = &mut self.stream;
        let seconds = match self.spec.kind {
            Kind::Fixed(seconds) => seconds,
            Kind::Uniform(first, last) => first + (last - first) * stream.uniform(),
            Kind::Exponential(mean) => mean * stream.exponential(),
            Kind::LogNormal { log_median, sigma } => (log_median + sigma * stream.normal()).exp(),
        };
        Duration::from_ns((seconds.min(self.spec.max_s) * 1e9).round() as u64)
    }
}
