//! When requests arrive.
//!
//! Gaps between arrivals are constant, exponential (a Poisson process) or gamma distributed. A gamma distribution of
//! shape k has a coefficient of variation of 1 / √k: below 1 requests come in bunches, above 1 evenly. vLLM's
//! `--burstiness` is this shape. In an on-off process, two phases of random or fixed length take turns, each a Poisson
//! process with a rate of its own. Arrivals can also be those of a file.

use std::path::PathBuf;
use std::str::FromStr;

use diagnostics::{Fault, Faults};

use super::samples;
use crate::random::Stream;
use crate::spec::{self, Result as Parsed, Spec, with_forms};

const FORMS: &[(&str, &str)] = &[
    ("constant:10/s", "evenly, the first at 0"),
    ("poisson:10/s", "at random; also 600/min, 1000/h"),
    ("gamma:10/s,cv=2", "in bunches; or shape=, or burstiness= as vLLM calls the shape"),
    ("on-off:on=50/s,off=1/s,on-time=10s,off-time=50s", "in turns, each as long on average; with phases=fixed, always"),
    ("at-once", "all at 0"),
    ("replay:FILE", "as in a workload or trace; of a CSV: column=NAME,unit=s|ms|us|ns"),
];

/// How requests arrive, as it is typed.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivalSpec(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Constant { per_s: f64 },
    Gamma { per_s: f64, shape: f64 },
    OnOff(OnOff),
    AtOnce,
    Replay { path: PathBuf, column: Option<Column> },
}

/// A column of times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Nanoseconds of its unit, as a power of ten.
    pub(super) unit_power: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct OnOff {
    /// Of the phase that begins, and of the other one.
    per_s: [f64; 2],
    mean_s: [f64; 2],
    has_fixed_phases: bool,
}

impl FromStr for ArrivalSpec {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        parse(text).map(Self).map_err(|message| with_forms(message, FORMS))
    }
}

const KINDS: &[&str] = &["constant", "poisson", "gamma", "on-off", "at-once", "replay"];

fn parse(text: &str) -> Parsed<Kind> {
    let mut spec = Spec::new(text)?;
    spec.allow(match spec.kind {
        "gamma" => &["cv", "shape", "burstiness"],
        "on-off" => &["on", "off", "on-time", "off-time", "phases"],
        "replay" => &["column", "unit"],
        _ => &[],
    })?;
    let rate = |spec: &mut Spec<'_>| spec.value("a rate such as `10/s`", some_rate);
    let kind = match spec.kind {
        "constant" => Kind::Constant { per_s: rate(&mut spec)? },
        "poisson" => Kind::Gamma { per_s: rate(&mut spec)?, shape: 1.0 },
        "gamma" => {
            let per_s = rate(&mut spec)?;
            let options = [spec.option("cv", spec::positive)?.map(|cv| (cv * cv).recip())];
            let options = options.into_iter().chain([spec.option("shape", spec::positive)?]);
            let options = options.chain([spec.option("burstiness", spec::positive)?]);
            let given: Vec<f64> = options.flatten().collect();
            let &[shape] = given.as_slice() else {
                return Err("exactly one of `cv=`, `shape=` and `burstiness=` is needed".to_owned());
            };
            if !(1e-3..=1e6).contains(&shape) {
                return Err("the shape is from 0.001 to 1000000, which is cv from 0.001 to 31.6".to_owned());
            }
            Kind::Gamma { per_s, shape }
        }
        "on-off" => on_off(&mut spec)?,
        "at-once" => Kind::AtOnce,
        "replay" => {
            let path = spec.value("a file", |text| Ok(PathBuf::from(text)))?;
            let name = spec.option("column", |text| Ok(text.to_owned()))?;
            let unit_power = spec.option("unit", unit)?;
            if name.is_none() && unit_power.is_some() {
                return Err("`unit=` goes with `column=`".to_owned());
            }
            Kind::Replay { path, column: name.map(|name| Column { name, unit_power: unit_power.unwrap_or(9) }) }
        }
        _ => return Err(spec.unknown_kind(KINDS)),
    };
    spec.finish()?;
    Ok(kind)
}

fn on_off(spec: &mut Spec<'_>) -> Parsed<Kind> {
    let per_s = [spec.required("on", spec::rate_per_s)?, spec.option("off", spec::rate_per_s)?.unwrap_or(0.0)];
    let mean_s = [spec.required("on-time", spec::some_seconds)?, spec.required("off-time", spec::some_seconds)?];
    let phases = spec.option("phases", |text| match text {
        "fixed" => Ok(true),
        "exponential" => Ok(false),
        _ => Err(format!("expected `exponential` or `fixed`, found `{text}`")),
    })?;
    // Fewer would be looked for phase by phase, for a long time.
    if per_s[0] * mean_s[0] + per_s[1] * mean_s[1] < 1e-4 {
        return Err("both phases together must bring at least 0.0001 arrivals on average".to_owned());
    }
    Ok(Kind::OnOff(OnOff { per_s, mean_s, has_fixed_phases: phases.unwrap_or(false) }))
}

/// One in 31 years.
const RATE_MIN: f64 = 1e-9;

fn some_rate(text: &str) -> Parsed<f64> {
    let rate = spec::rate_per_s(text)?;
    if rate >= RATE_MIN { Ok(rate) } else { Err("expected a rate above 0".to_owned()) }
}

fn unit(text: &str) -> Parsed<u32> {
    let found = [("s", 9), ("ms", 6), ("us", 3), ("ns", 0)].into_iter().find(|&(name, _)| name == text);
    found.map(|(_, power)| power).ok_or_else(|| format!("expected s, ms, us or ns, found `{text}`"))
}

/// Arrivals in nanoseconds from the beginning, one after the other.
#[derive(Debug)]
pub(crate) struct Arrivals {
    source: Source,
    /// What times are multiplied with.
    scale: f64,
}

#[derive(Debug)]
enum Source {
    Constant { gap_s: f64, num: u64 },
    Gamma { mean_s: f64, shape: f64, now_s: f64, stream: Stream },
    OnOff(Phases),
    AtOnce,
    Replay(Box<samples::Times>),
}

impl Arrivals {
    /// As `spec` has it, times multiplied with `scale`. What is random comes from streams of `seed`.
    ///
    /// # Errors
    /// When a file of times is at fault.
    pub(crate) fn new(spec: &ArrivalSpec, scale: f64, seed: u64) -> Result<Self, Faults> {
        let stream = Stream::new(seed, "arrivals");
        let source = match &spec.0 {
            &Kind::Constant { per_s } => Source::Constant { gap_s: per_s.recip(), num: 0 },
            &Kind::Gamma { per_s, shape } => Source::Gamma { mean_s: per_s.recip(), shape, now_s: 0.0, stream },
            Kind::OnOff(on_off) => Source::OnOff(Phases::new(*on_off, stream, Stream::new(seed, "phases"))),
            Kind::AtOnce => Source::AtOnce,
            Kind::Replay { path, column } => Source::Replay(Box::new(samples::Times::open(path, column.as_ref())?)),
        };
        Ok(Self { source, scale })
    }

    /// Whether they never end by themselves.
    pub(crate) fn is_endless(&self) -> bool {
        !matches!(self.source, Source::Replay(_))
    }

    /// Whether they never end even if they are to end after `duration_s`.
    pub(crate) fn never_ends(&self, duration_s: Option<f64>) -> bool {
        self.is_endless() && (duration_s.is_none() || matches!(self.source, Source::AtOnce) || self.scale == 0.0)
    }

    /// The next one; `None` after the last of a file, or beyond the time that a workload can hold.
    pub(crate) fn next(&mut self) -> Option<u64> {
        let ns = match &mut self.source {
            Source::Constant { gap_s, num } => {
                let ns = *num as f64 * *gap_s * 1e9;
                *num += 1;
                ns
            }
            Source::Gamma { mean_s, shape, now_s, stream } => {
                // A shape of 1 is the exponential distribution.
                let gap = if *shape == 1.0 { stream.exponential() } else { stream.gamma(*shape) };
                *now_s += gap * *mean_s;
                *now_s * 1e9
            }
            Source::OnOff(phases) => phases.next_s() * 1e9,
            Source::AtOnce => 0.0,
            Source::Replay(times) => times.next()? as f64,
        };
        let ns = (ns * self.scale).round();
        (ns < NS_END).then_some(ns as u64)
    }

    /// To be asked after the last one: whether a file was read to its end.
    ///
    /// # Errors
    /// What was at fault in it.
    pub(crate) fn finish(self) -> Result<(), Faults> {
        match self.source {
            Source::Replay(times) => times.finish(),
            _ => Ok(()),
        }
    }
}

/// As late as a workload can hold.
const NS_END: f64 = (1_u64 << 62) as f64;

/// Two phases in turns.
#[derive(Debug)]
struct Phases {
    on_off: OnOff,
    arrivals: Stream,
    durations: Stream,
    now_s: f64,
    /// 0 or 1.
    phase: usize,
    /// When it ends.
    end_s: f64,
}

impl Phases {
    fn new(on_off: OnOff, arrivals: Stream, durations: Stream) -> Self {
        let mut phases = Self { on_off, arrivals, durations, now_s: 0.0, phase: 0, end_s: 0.0 };
        phases.end_s = phases.duration_s();
        phases
    }

    fn duration_s(&mut self) -> f64 {
        let factor = if self.on_off.has_fixed_phases { 1.0 } else { self.durations.exponential() };
        self.on_off.mean_s[self.phase] * factor
    }

    /// The next arrival: as many expected arrivals after the last one as an exponential number says, however many
    /// phases they take.
    fn next_s(&mut self) -> f64 {
        let mut expected = self.arrivals.exponential();
        loop {
            let per_s = self.on_off.per_s[self.phase];
            let until_end = (self.end_s - self.now_s) * per_s;
            if expected < until_end {
                self.now_s += expected / per_s;
                return self.now_s;
            }
            expected -= until_end;
            self.now_s = self.end_s;
            if self.now_s * 1e9 > NS_END {
                return self.now_s;
            }
            self.phase = 1 - self.phase;
            self.end_s += self.duration_s();
        }
    }
}

/// The fault that there are fewer arrivals than are wanted.
pub(crate) fn too_few(found: u64, wanted: u64) -> Fault {
    Fault::new("--num-requests", format!("{wanted} are wanted, and there are {found} arrivals"))
        .hint("leave it out to have as many as there are arrivals")
}
