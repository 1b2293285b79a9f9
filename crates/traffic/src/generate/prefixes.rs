//! Prefixes that prompts share: how many, how long, and who has which.

use std::str::FromStr;

use crate::random::{Stream, Zipf};
use crate::spec::{self, Result as Parsed, Spec, with_forms};

/// Prefixes that prompts share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixSpec {
    num: u64,
    tokens: u64,
    /// How requests choose: rank k in proportion to k^-s; 0 is uniform.
    s: f64,
    /// Which part of requests has one at all.
    share: f64,
}

const PREFIX_FORMS: &[(&str, &str)] = &[
    ("count=10,tokens=1024", "ten prefixes, each as likely"),
    ("count=10,tokens=1024,choice=zipf,s=1", "the n-th in proportion to n^-s"),
    ("count=1,tokens=512,share=0.8", "80 % of the requests have it, the others none"),
];

impl FromStr for PrefixSpec {
    type Err = String;

    fn from_str(text: &str) -> Parsed<Self> {
        let parse = || {
            let mut spec = Spec::options(text)?;
            spec.allow(&["count", "tokens", "choice", "s", "share"])?;
            let (num, tokens) = (spec.required("count", spec::count)?, spec.required("tokens", spec::count)?);
            let is_zipf = spec.option("choice", |text| match text {
                "uniform" => Ok(false),
                "zipf" => Ok(true),
                _ => Err(format!("expected `uniform` or `zipf`, found `{text}`")),
            })?;
            let s = spec.option("s", spec::from_zero)?;
            let s = match (is_zipf.unwrap_or(false), s) {
                (true, s) => s.unwrap_or(1.0),
                (false, None) => 0.0,
                (false, Some(_)) => return Err("`s=` goes with `choice=zipf`".to_owned()),
            };
            let share = spec.option("share", spec::share)?.unwrap_or(1.0);
            spec.finish()?;
            Ok(Self { num, tokens, s, share })
        };
        parse().map_err(|message| with_forms(message, PREFIX_FORMS))
    }
}

/// Chooses a prefix for each request.
#[derive(Debug)]
pub(super) struct Prefixes {
    pub(super) tokens: u64,
    share: f64,
    ranks: Zipf,
    /// Whether there is one, and which.
    streams: [Stream; 2],
}

impl Prefixes {
    pub(super) fn new(spec: PrefixSpec, seed: u64) -> Self {
        Self {
            tokens: spec.tokens,
            share: spec.share,
            ranks: Zipf::new(spec.num, spec.s),
            streams: ["has a prefix", "prefix"].map(|purpose| Stream::new(seed, purpose)),
        }
    }

    /// The prefix of the next request, if it has one.
    pub(super) fn draw(&mut self) -> Option<u64> {
        let [whether, which] = &mut self.streams;
        let has_one = whether.uniform() <= self.share;
        let rank = self.ranks.draw(which);
        has_one.then_some(rank)
    }
}
