//! What requests waited for, and between which stamps that is counted.

use units::{Duration, Instant};

use crate::figures::{ks_distance, relative_error};
use crate::run::ns_between;
use crate::{Figure, Figures, Request, Run};

/// The stamp that TTFT and latency are counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The request arrived at the front end.
    Arrival,
    /// The engine saw it.
    Queued,
}

impl Start {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Start::Arrival => "arrival",
            Start::Queued => "queued",
        }
    }

    pub(crate) const fn of(self, request: &Request) -> Option<Instant> {
        match self {
            Start::Arrival => request.arrived,
            Start::Queued => request.queued,
        }
    }
}

/// The stamp that TTFT is counted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FirstToken {
    /// The engine had it.
    #[default]
    Computed,
    /// Who asked had it.
    Delivered,
}

impl FirstToken {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            FirstToken::Computed => "computed",
            FirstToken::Delivered => "delivered",
        }
    }

    pub(crate) const fn of(self, request: &Request) -> Option<Instant> {
        match self {
            FirstToken::Computed => Some(request.first_token),
            FirstToken::Delivered => request.first_delivered,
        }
    }
}

/// Something that requests wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Time to first token.
    Ttft,
    /// Mean time per token after the first, of requests with several.
    Tpot,
    /// End to end, until the last token.
    Latency,
    /// Time of each token after the first.
    Itl,
    /// From first scheduled to first token computed.
    Prefill,
}

impl Metric {
    /// All of them, in the order in which they are told.
    pub const ALL: [Metric; 5] = [Metric::Ttft, Metric::Tpot, Metric::Latency, Metric::Itl, Metric::Prefill];

    /// Those that errors are summed up over.
    pub const HEADLINE: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::Latency];

    /// As a table has it.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Ttft => "TTFT",
            Metric::Tpot => "TPOT",
            Metric::Latency => "Latency",
            Metric::Itl => "ITL",
            Metric::Prefill => "Prefill",
        }
    }
}

/// The stamps that a run is counted between, in which it has them of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Between {
    pub(crate) from: Start,
    pub(crate) to: FirstToken,
}

impl Between {
    /// When counting starts.
    pub(crate) fn start(self, request: &Request) -> Instant {
        self.from.of(request).expect("every request has the stamp that is counted from")
    }

    /// TTFT, TPOT or latency of a request in milliseconds; TPOT is `None` where there is one token only.
    pub(crate) fn headline(self, metric: Metric, request: &Request) -> Option<f64> {
        let first = self.to.of(request).expect("every request has the stamp that is counted to");
        let ns = match metric {
            Metric::Ttft => ns_between(self.start(request), first),
            Metric::Tpot if request.output_tokens < 2 => return None,
            Metric::Tpot => ns_between(first, request.last_token) / (request.output_tokens - 1) as f64,
            Metric::Latency => ns_between(self.start(request), request.last_token),
            Metric::Itl | Metric::Prefill => return None,
        };
        Some(ns / 1e6)
    }

    /// All values of `metric` in milliseconds, sorted; `None` where not every request has what it takes.
    pub(crate) fn sorted(self, metric: Metric, run: &Run) -> Option<Vec<f64>> {
        let requests = run.requests.iter();
        let mut values: Vec<f64> = match metric {
            Metric::Ttft | Metric::Tpot | Metric::Latency => {
                requests.filter_map(|request| self.headline(metric, request)).collect()
            }
            Metric::Itl => {
                let lists: Option<Vec<_>> = requests.map(|request| request.itl.as_ref()).collect();
                lists?.into_iter().flatten().map(|latency: &Duration| latency.millis_f64()).collect()
            }
            Metric::Prefill => {
                let prefill = |request: &Request| {
                    request.first_scheduled.map(|scheduled| ns_between(scheduled, request.first_token) / 1e6)
                };
                requests.map(prefill).collect::<Option<_>>()?
            }
        };
        values.sort_by(f64::total_cmp);
        Some(values)
    }
}

/// One metric of both runs, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricComparison {
    /// Which.
    pub metric: Metric,
    /// Of run A.
    pub a: Figures,
    /// Of run B.
    pub b: Figures,
    /// The Kolmogorov–Smirnov distance of the two distributions, from 0 to 1.
    pub ks: f64,
}

impl MetricComparison {
    /// `None` where one side has no values.
    pub(crate) fn of(metric: Metric, (a, of_a): (&Run, Between), (b, of_b): (&Run, Between)) -> Option<Self> {
        let (a, b) = (of_a.sorted(metric, a)?, of_b.sorted(metric, b)?);
        Some(Self { metric, a: Figures::of(&a)?, b: Figures::of(&b)?, ks: ks_distance(&a, &b) })
    }

    /// A / B − 1 of a figure; `None` where B has 0.
    pub fn error(&self, figure: Figure) -> Option<f64> {
        relative_error(self.a.get(figure), self.b.get(figure))
    }
}
