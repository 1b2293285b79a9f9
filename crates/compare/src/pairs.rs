//! Request by request: which of one run is which of the other, and how far apart they are.

use std::collections::{HashMap, HashSet};

use crate::figures::{percentile, relative_error};
use crate::latencies::Between;
use crate::run::trailing_number;
use crate::{Metric, Request, Run};

/// How requests of the two runs were told to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchedBy {
    /// They have the same id.
    Id,
    /// Their ids end in the same number.
    Number,
    /// They are at the same place when each run is put in order of arrival.
    Order,
}

impl MatchedBy {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            MatchedBy::Id => "id",
            MatchedBy::Number => "number",
            MatchedBy::Order => "order",
        }
    }
}

/// One latency of a request in both runs, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// In run A.
    pub a: f64,
    /// In run B.
    pub b: f64,
}

impl Pair {
    /// A / B − 1; `None` where B is 0.
    pub fn error(self) -> Option<f64> {
        relative_error(self.a, self.b)
    }
}

/// One request in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestComparison {
    /// Its id in run A.
    pub id_a: String,
    /// Its id in run B.
    pub id_b: String,
    /// Time to first token.
    pub ttft: Pair,
    /// Mean time per token after the first, where both have several.
    pub tpot: Option<Pair>,
    /// End to end.
    pub latency: Pair,
}

impl RequestComparison {
    /// One of [`Metric::HEADLINE`]; `None` for others, and where there is none.
    pub fn get(&self, metric: Metric) -> Option<Pair> {
        match metric {
            Metric::Ttft => Some(self.ttft),
            Metric::Tpot => self.tpot,
            Metric::Latency => Some(self.latency),
            Metric::Itl | Metric::Prefill => None,
        }
    }
}

/// How far off single requests are in one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorSpread {
    /// Which.
    pub metric: Metric,
    /// The median of |A / B − 1|.
    pub median: f64,
    /// Its 90th percentile.
    pub p90: f64,
}

/// How far apart requests arrive in the two runs, each counted from the first arrival of its run, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrivalDrift {
    /// Half are nearer.
    pub median_ms: f64,
    /// The furthest.
    pub max_ms: f64,
}

/// The requests that are in both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairs {
    /// How they were found.
    pub by: MatchedBy,
    /// In the order of run A, unless they were matched by order.
    pub requests: Vec<RequestComparison>,
    /// Errors of TTFT, TPOT and latency; those left out that no request has.
    pub errors: Vec<ErrorSpread>,
    /// `None` where it is not known when requests arrived.
    pub arrival_drift: Option<ArrivalDrift>,
}

impl Pairs {
    /// The `num` requests whose latencies are furthest off, beginning with the worst.
    pub fn worst(&self, num: usize) -> Vec<&RequestComparison> {
        let error = |request: &RequestComparison| request.latency.error().map_or(0.0, f64::abs);
        let mut requests: Vec<_> = self.requests.iter().collect();
        requests.sort_by(|a, b| error(b).total_cmp(&error(a)));
        requests.truncate(num);
        requests
    }

    /// `None` where it can't be told which request is which. What is odd about it is added to `notes`.
    pub(crate) fn of((a, of_a): (&Run, Between), (b, of_b): (&Run, Between), notes: &mut Vec<String>) -> Option<Self> {
        let (by, places) = match_requests((a, of_a), (b, of_b), notes)?;
        let pairs = || places.iter().map(|&(in_a, in_b)| (&a.requests[in_a], &b.requests[in_b]));
        let differ = pairs().filter(|(a, b)| a.output_tokens != b.output_tokens).count();
        if differ > 0 {
            notes.push(format!("{differ} of {} requests have more or fewer output tokens in one run", places.len()));
        }
        let requests: Vec<_> = pairs().map(|(a, b)| request((a, of_a), (b, of_b))).collect();
        let errors = Metric::HEADLINE.into_iter().filter_map(|metric| spread(metric, &requests)).collect();
        Some(Self { by, requests, errors, arrival_drift: drift(a, b, &places) })
    }
}

/// The places of the same requests in both runs.
fn match_requests(
    (a, of_a): (&Run, Between),
    (b, of_b): (&Run, Between),
    notes: &mut Vec<String>,
) -> Option<(MatchedBy, Vec<(usize, usize)>)> {
    let (num_a, num_b) = (a.requests.len(), b.requests.len());
    let by_id = common(a, b, |request| Some(request.id.as_str()));
    let by_number = || common(a, b, |request| trailing_number(&request.id));
    for (by, places) in [(MatchedBy::Id, by_id), (MatchedBy::Number, by_number())] {
        // Ids that a few have in common by chance are no ids.
        if let Some(places) = places.filter(|places| !places.is_empty() && 2 * places.len() >= num_a.min(num_b)) {
            if places.len() < num_a.max(num_b) {
                let (only_a, only_b) = (num_a - places.len(), num_b - places.len());
                notes.push(format!(
                    "request by request, {only_a} that only {} has and {only_b} that only {} has are left out",
                    a.name, b.name
                ));
            }
            return Some((by, places));
        }
    }
    if num_a != num_b || !(a.one_clock && b.one_clock) {
        notes.push("ids do not match, nor can order tell which request is which: single ones are not compared".into());
        return None;
    }
    notes.push("ids do not match: which request is which goes by the order of arrival".to_owned());
    Some((MatchedBy::Order, in_order((a, of_a)).into_iter().zip(in_order((b, of_b))).collect()))
}

/// Places of the requests that have the same key in both runs; `None` where a key is missing or stands there twice.
fn common<'a, K: Eq + std::hash::Hash>(
    a: &'a Run,
    b: &'a Run,
    key: impl Fn(&'a Request) -> Option<K>,
) -> Option<Vec<(usize, usize)>> {
    let mut places = HashMap::with_capacity(b.requests.len());
    for (place, request) in b.requests.iter().enumerate() {
        if places.insert(key(request)?, place).is_some() {
            return None;
        }
    }
    let mut seen = HashSet::with_capacity(a.requests.len());
    let mut found = Vec::with_capacity(a.requests.len());
    for (place, request) in a.requests.iter().enumerate() {
        let key = key(request)?;
        found.extend(places.get(&key).map(|&other| (place, other)));
        if !seen.insert(key) {
            return None;
        }
    }
    Some(found)
}

fn in_order((run, between): (&Run, Between)) -> Vec<usize> {
    let mut places: Vec<usize> = (0..run.requests.len()).collect();
    places.sort_by_key(|&place| between.start(&run.requests[place]));
    places
}

fn request((a, of_a): (&Request, Between), (b, of_b): (&Request, Between)) -> RequestComparison {
    let pair = |metric| Some(Pair { a: of_a.headline(metric, a)?, b: of_b.headline(metric, b)? });
    RequestComparison {
        id_a: a.id.clone(),
        id_b: b.id.clone(),
        ttft: pair(Metric::Ttft).expect("every request has a first token"),
        tpot: pair(Metric::Tpot),
        latency: pair(Metric::Latency).expect("every request has a last token"),
    }
}

fn spread(metric: Metric, requests: &[RequestComparison]) -> Option<ErrorSpread> {
    let mut errors: Vec<f64> =
        requests.iter().filter_map(|request| request.get(metric)?.error()).map(f64::abs).collect();
    if errors.is_empty() {
        return None;
    }
    errors.sort_by(f64::total_cmp);
    Some(ErrorSpread { metric, median: percentile(&errors, 50.0), p90: percentile(&errors, 90.0) })
}

fn drift(a: &Run, b: &Run, places: &[(usize, usize)]) -> Option<ArrivalDrift> {
    let (of_a, of_b) = (a.arrival_offsets_ns()?, b.arrival_offsets_ns()?);
    let mut drifts: Vec<f64> = places.iter().map(|&(a, b)| (of_a[a] - of_b[b]).abs() / 1e6).collect();
    drifts.sort_by(f64::total_cmp);
    Some(ArrivalDrift { median_ms: percentile(&drifts, 50.0), max_ms: *drifts.last()? })
}

#[cfg(test)]
mod tests {
    use units::Instant;

    use super::*;
    use crate::{FirstToken, Start};

    const BETWEEN: Between = Between { from: Start::Arrival, to: FirstToken::Computed };

    /// A run of requests by id, arrival and latency in milliseconds. First tokens come halfway.
    fn run(name: &str, requests: &[(&str, u64, u64)]) -> Run {
        let at = |ms: u64| Instant::from_ns(ms * 1_000_000);
        let request = |&(id, arrived, latency): &(&str, u64, u64)| Request {
            id: id.to_owned(),
            input_tokens: None,
            output_tokens: 3,
            arrived: Some(at(arrived)),
            queued: None,
            first_scheduled: None,
            first_token: at(arrived + latency / 2),
            first_delivered: None,
            last_token: at(arrived + latency),
            sent_after: None,
            itl: None,
        };
        Run::new(name, requests.iter().map(request).collect())
    }

    fn pairs(a: &[(&str, u64, u64)], b: &[(&str, u64, u64)]) -> (Option<Pairs>, String) {
        let mut notes = Vec::new();
        let pairs = Pairs::of((&run("a", a), BETWEEN), (&run("b", b), BETWEEN), &mut notes);
        (pairs, notes.join("; "))
    }

    #[test]
    fn which_is_which() {
        let check = |a: &[&str], b: &[&str], expected: &str| {
            // Later in the list, earlier in time.
            let of = |ids: &[&'static str]| -> Vec<(&'static str, u64, u64)> {
                ids.iter().zip((0..10).rev()).map(|(&id, at)| (id, at, 10)).collect()
            };
            let leaked = |ids: &[&str]| -> Vec<&'static str> {
                ids.iter().map(|id| &*Box::leak((*id).to_owned().into_boxed_str())).collect()
            };
            let (pairs, notes) = pairs(&of(&leaked(a)), &of(&leaked(b)));
            let shown = pairs.map_or("none".to_owned(), |pairs| {
                let both = pairs.requests.iter().map(|request| format!("{}={}", request.id_a, request.id_b));
                format!("{} {}", pairs.by.name(), both.collect::<Vec<_>>().join(" "))
            });
            assert_eq!(format!("{shown}; {notes}"), expected, "{a:?} {b:?}");
        };
        check(&["1", "x"], &["x", "1"], "id 1=1 x=x; ");
        check(&["0", "1", "12"], &["bench-1", "bench-12", "bench-0"], "number 0=bench-0 1=bench-1 12=bench-12; ");
        check(
            &["0", "1", "2"],
            &["bench-1", "bench-2"],
            "number 1=bench-1 2=bench-2; request by request, 1 that only a has and 0 that only b has are left out",
        );
        let by_order = "ids do not match: which request is which goes by the order of arrival";
        check(&["0", "1"], &["x", "y"], &format!("order 1=y 0=x; {by_order}"));
        check(&["a-1", "b-1"], &["1", "2"], &format!("order b-1=2 a-1=1; {by_order}"));
        let none = "ids do not match, nor can order tell which request is which: single ones are not compared";
        check(&["0", "1"], &["x"], &format!("none; {none}"));
    }

    #[test]
    fn errors_by_hand() {
        let (pairs, _) =
            pairs(&[("0", 0, 110), ("1", 7, 80), ("2", 10, 100)], &[("0", 5, 100), ("1", 10, 100), ("2", 19, 100)]);
        let pairs = pairs.expect("ids match");
        // 0.1, 0.2 and 0.
        let latency = pairs.errors.iter().find(|spread| spread.metric == Metric::Latency).expect("there are some");
        assert!((latency.median - 0.1).abs() < 1e-12 && (latency.p90 - 0.18).abs() < 1e-12, "{latency:?}");
        let worst: Vec<_> = pairs.worst(2).iter().map(|request| request.id_a.as_str()).collect();
        assert_eq!(worst, ["1", "0"]);
        assert_eq!(pairs.requests[1].tpot, Some(Pair { a: 20.0, b: 25.0 }));
        // 0, 7 and 10 after the first against 0, 5 and 14.
        assert_eq!(pairs.arrival_drift, Some(ArrivalDrift { median_ms: 2.0, max_ms: 4.0 }));
    }
}
