//! How many tokens: distributions of whole numbers from 1.

use std::path::PathBuf;
use std::str::FromStr;

use diagnostics::Faults;

use super::samples::{self, Side};
use crate::random::{Stream, Zipf};
use crate::spec::{self, Result as Parsed, Spec, TOKENS_MAX, with_forms};

/// What a distribution of counts can be.
const FORMS: &[(&str, &str)] = &[
    ("512", "always the same (also fixed:512)"),
    ("uniform:32..256", "each number from 32 to 256 is as likely"),
    ("lognormal:median=512,sigma=1", "or mean=, and cv= for sigma=; also min=, max="),
    ("zipf:s=1.2,max=8192", "n in proportion to n^-s; also min=, where ranks begin"),
    ("empirical:FILE", "drawn from a workload or trace; of a CSV: column=NAME"),
];

/// A distribution of counts, as it is typed.
#[derive(Clone, Debug, PartialEq)]
pub struct LengthSpec(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Fixed(u64),
    Uniform { min: u64, max: u64 },
    LogNormal { log_median: f64, sigma: f64, min: u64, max: u64 },
    Zipf { s: f64, min: u64, max: u64 },
    Empirical { path: PathBuf, column: Option<String> },
}

impl FromStr for LengthSpec {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        parse(text).map(Self).map_err(|message| with_forms(message, FORMS))
    }
}

fn parse(text: &str) -> Parsed<Kind> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return spec::count(text).map(Kind::Fixed);
    }
    let mut spec = Spec::new(text)?;
    spec.allow(match spec.kind {
        "lognormal" => &["median", "mean", "sigma", "cv", "min", "max"],
        "zipf" => &["s", "min", "max"],
        "empirical" => &["column"],
        _ => &[],
    })?;
    let kind = match spec.kind {
        "fixed" => Kind::Fixed(spec.value("a number of tokens", spec::count)?),
        "uniform" => {
            let (min, max) = spec.value("a range such as `32..256`", |text| spec::range(text, spec::count))?;
            Kind::Uniform { min, max }
        }
        "lognormal" => {
            let (log_median, sigma) = log_normal(&mut spec, spec::positive)?;
            let (min, max) = bounds(&mut spec)?;
            Kind::LogNormal { log_median, sigma, min, max: max.unwrap_or(TOKENS_MAX) }
        }
        "zipf" => {
            let s = spec.required("s", spec::from_zero)?;
            let (min, max) = bounds(&mut spec)?;
            Kind::Zipf { s, min, max: max.ok_or("`max=` is missing")? }
        }
        "empirical" => {
            let path = spec.value("a file", |text| Ok(PathBuf::from(text)))?;
            Kind::Empirical { path, column: spec.option("column", |text| Ok(text.to_owned()))? }
        }
        _ => return Err(spec.unknown_kind(&["fixed", "uniform", "lognormal", "zipf", "empirical"])),
    };
    spec.finish()?;
    Ok(kind)
}

fn bounds(spec: &mut Spec<'_>) -> Parsed<(u64, Option<u64>)> {
    let min = spec.option("min", spec::count)?.unwrap_or(1);
    let max = spec.option("max", spec::count)?;
    if max.is_some_and(|max| max < min) {
        return Err("`min` is above `max`".to_owned());
    }
    Ok((min, max))
}

/// The logarithm of the median, and sigma, of options that give the median or the mean, and sigma or the coefficient of
/// variation: mean = median · exp(sigma² / 2), cv² = exp(sigma²) − 1.
pub(super) fn log_normal(spec: &mut Spec<'_>, read: impl Fn(&str) -> Parsed<f64>) -> Parsed<(f64, f64)> {
    let (median, mean) = (spec.option("median", &read)?, spec.option("mean", &read)?);
    let (sigma, cv) = (spec.option("sigma", spec::from_zero)?, spec.option("cv", spec::from_zero)?);
    let sigma = match (sigma, cv) {
        (Some(sigma), None) => sigma,
        (None, Some(cv)) => (cv * cv).ln_1p().sqrt(),
        _ => return Err("exactly one of `sigma=` and `cv=` is needed".to_owned()),
    };
    if sigma > 10.0 {
        return Err("sigma is at most 10".to_owned());
    }
    match (median, mean) {
        (Some(median), None) => Ok((median.ln(), sigma)),
        (None, Some(mean)) => Ok((mean.ln() - sigma * sigma / 2.0, sigma)),
        _ => Err("exactly one of `median=` and `mean=` is needed".to_owned()),
    }
}

/// Draws counts, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Lengths {
    stream: Stream,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Fixed(u64),
    Uniform { min: u64, num: u64 },
    LogNormal { log_median: f64, sigma: f64, min: u64, max: u64 },
    Zipf { zipf: Zipf, min: u64 },
    Empirical(Vec<u32>),
}

impl Lengths {
    /// As `spec` has it; of a file with both, those of `side`.
    ///
    /// # Errors
    /// When its file is at fault.
    pub(crate) fn new(spec: &LengthSpec, side: Side, stream: Stream) -> Result<Self, Faults> {
        let source = match &spec.0 {
            &Kind::Fixed(tokens) => Source::Fixed(tokens),
            &Kind::Uniform { min, max } => Source::Uniform { min, num: max - min + 1 },
            &Kind::LogNormal { log_median, sigma, min, max } => Source::LogNormal { log_median, sigma, min, max },
            &Kind::Zipf { s, min, max } => Source::Zipf { zipf: Zipf::new(max - min + 1, s), min },
            Kind::Empirical { path, column } => Source::Empirical(samples::lengths(path, column.as_deref(), side)?),
        };
        Ok(Self { stream, source })
    }

    pub(crate) fn draw(&mut self) -> u64 {
        let stream = &mut self.stream;
        match &self.source {
            &Source::Fixed(tokens) => tokens,
            &Source::Uniform { min, num } => min + stream.below(num),
            &Source::LogNormal { log_median, sigma, min, max } => {
                // A cast keeps what is too large at the largest there is.
                let tokens = (log_median + sigma * stream.normal()).exp().round() as u64;
                tokens.clamp(min, max)
            }
            Source::Zipf { zipf, min } => min + zipf.draw(stream) - 1,
            Source::Empirical(values) => u64::from(values[stream.below(values.len() as u64) as usize]),
        }
    }
}
