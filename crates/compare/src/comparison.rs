//! Two runs, compared.

use diagnostics::{Fault, Faults};
use units::Duration;

use crate::latencies::Between;
use crate::series::{num_windows, span};
use crate::{
    Figure, FigureComparison, FirstToken, Metric, MetricComparison, Pairs, Quantity, RateComparison, Run,
    SeriesComparison, Start, Summary,
};

/// Most windows of a run: tens of megabytes of JSON.
const WINDOWS_MAX: u64 = 1_000_000;

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What TTFT and latency are counted from. `None` for the best that both have: queued, else arrival, else on each
    /// side what it has.
    pub from: Option<Start>,
    /// What TTFT is counted to. `None` for when it was computed; where a run was measured by a client, for when it was
    /// delivered, on each side that knows.
    pub to: Option<FirstToken>,
    /// How long a window is over which things are averaged over time; above 0.
    pub window: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { from: None, to: None, window: Duration::from_ns(1_000_000_000) }
    }
}

/// One of the two runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its requests that were finished; 0 where that is not known.
    pub num_requests: usize,
    /// Its requests that failed, or were never finished.
    pub num_failed: u64,
    /// Tokens that they generated; 0 where that is not known.
    pub output_tokens: u64,
    /// What its TTFT and latency are counted from.
    pub from: Start,
    /// What its TTFT is counted to.
    pub to: FirstToken,
}

/// How far run A is from run B.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub a: Side,
    /// What it is compared with.
    pub b: Side,
    /// How long a window of the series is.
    pub window: Duration,
    /// In the order of [`Metric::ALL`]; those left out that a side does not know.
    pub metrics: Vec<MetricComparison>,
    /// Where a side has a summary and no requests: what both tell of latencies. There are no metrics, series and pairs then.
    pub figures: Vec<FigureComparison>,
    /// Likewise: what both tell of rates.
    pub rates: Vec<RateComparison>,
    /// In the order of [`Quantity::ALL`]; those left out that a side does not know.
    pub series: Vec<SeriesComparison>,
    /// `None` where it can't be told which request is which.
    pub pairs: Option<Pairs>,
    /// What is odd but no fault, in sentences without a full stop.
    pub notes: Vec<String>,
}

/// The error of one figure of one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Error {
    /// Of what.
    pub metric: Metric,
    /// Which number.
    pub figure: Figure,
    /// A / B − 1.
    pub error: f64,
}

impl Comparison {
    /// A metric, where both sides know it.
    pub fn metric(&self, metric: Metric) -> Option<&MetricComparison> {
        self.metrics.iter().find(|comparison| comparison.metric == metric)
    }

    /// Errors of mean, median, P90, P95 and P99 of TTFT, TPOT and latency: 15, unless no request has several tokens, a
    /// summary lacks some, or B has a 0.
    pub fn errors(&self) -> Vec<Error> {
        let headline = |figure: &&FigureComparison| Metric::HEADLINE.contains(&figure.metric);
        let told = self
            .figures
            .iter()
            .filter(headline)
            .filter_map(|told| Some(Error { metric: told.metric, figure: told.figure, error: told.error()? }));
        let metrics = Metric::HEADLINE.into_iter().filter_map(|metric| self.metric(metric));
        let of_metric = |comparison: &MetricComparison| {
            let comparison = *comparison;
            Figure::ALL.into_iter().filter_map(move |figure| {
                Some(Error { metric: comparison.metric, figure, error: comparison.error(figure)? })
            })
        };
        metrics.flat_map(of_metric).chain(told).collect()
    }

    /// The mean of the |errors|; `None` where there are none.
    pub fn mean_error(&self) -> Option<f64> {
        let errors = self.errors();
        let sum: f64 = errors.iter().map(|error| error.error.abs()).sum();
        (!errors.is_empty()).then(|| sum / errors.len() as f64)
    }

    /// The error that is furthest from 0; `None` where there are none.
    pub fn largest_error(&self) -> Option<Error> {
        self.errors().into_iter().max_by(|a, b| a.error.abs().total_cmp(&b.error.abs()))
    }
}

/// Compares run `a` with run `b`.
///
/// # Errors
/// When a run has no requests or lacks the stamps that are to be counted between, or when there would be too many
/// windows.
pub fn compare(a: &Run, b: &Run, options: &Options) -> Result<Comparison, Faults> {
    let mut faults = Faults::new();
    for run in [a, b].into_iter().filter(|run| run.requests.is_empty() && run.summary.is_none()) {
        faults.push(Fault::new(&run.name, "no requests"));
    }
    if options.window == Duration::ZERO {
        faults.push(Fault::new("--window", "must be above 0"));
    }
    let mut faults = faults.into_result(Faults::new())?;
    let in_both = |start: &Start| knows(a, *start) && knows(b, *start);
    let from = options.from.or_else(|| [Start::Queued, Start::Arrival].into_iter().find(in_both));
    let by_client = [a, b].iter().any(|run| run.at_client);
    let [of_a, of_b] = [a, b].map(|run| between(run, from, first_token(run, options.to, by_client), &mut faults));
    faults.into_result(())?;
    let (side_a, side_b) = ((a, of_a), (b, of_b));

    let mut notes: Vec<String> = [a, b].into_iter().flat_map(|run| run.notes.iter().cloned()).collect();
    if of_a.from != of_b.from {
        let (a, b) = (of_a.from.name(), of_b.from.name());
        notes.push(format!("no stamp is in both to count from: A is counted from {a}, B from {b}"));
    }
    if of_a.to != of_b.to {
        let (a, b) = (of_a.to.name(), of_b.to.name());
        notes.push(format!(
            "first tokens count when {a} in A and when {b} in B: `run --output-stamps` tells when they were delivered"
        ));
    }
    let comparison = Comparison {
        a: side(side_a),
        b: side(side_b),
        window: options.window,
        metrics: Vec::new(),
        figures: Vec::new(),
        rates: Vec::new(),
        series: Vec::new(),
        pairs: None,
        notes,
    };
    if a.summary.is_some() || b.summary.is_some() {
        Ok(of_summaries(comparison, side_a, side_b))
    } else {
        of_requests(comparison, side_a, side_b)
    }
}

/// Adds what two sides of requests tell.
fn of_requests(
    mut comparison: Comparison,
    side_a: (&Run, Between),
    side_b: (&Run, Between),
) -> Result<Comparison, Faults> {
    let runs = [side_a.0, side_b.0];
    let apart: Vec<&str> = runs.iter().filter(|run| !run.one_clock).map(|run| run.name.as_str()).collect();
    if apart.is_empty() {
        let mut faults = Faults::new();
        for side in [side_a, side_b] {
            let num = num_windows(span(side).1, comparison.window);
            if num > WINDOWS_MAX {
                let message =
                    format!("{} has {num} of these windows, and at most {WINDOWS_MAX} can be told", side.0.name);
                faults.push(Fault::new("--window", message).hint("make them longer"));
            }
        }
        faults.into_result(())?;
        let of = |quantity| SeriesComparison::of(quantity, comparison.window, side_a, side_b);
        comparison.series = Quantity::ALL.into_iter().filter_map(of).collect();
    } else {
        let apart = apart.join(", ");
        comparison.notes.push(format!("{apart}: no common clock of the requests, so nothing is compared over time"));
    }
    let metric = |&metric: &Metric| MetricComparison::of(metric, side_a, side_b);
    comparison.metrics = Metric::ALL.iter().filter_map(metric).collect();
    comparison.pairs = Pairs::of(side_a, side_b, &mut comparison.notes);
    Ok(comparison)
}

/// Adds what two sides tell of which at least one has no requests.
fn of_summaries(mut comparison: Comparison, side_a: (&Run, Between), side_b: (&Run, Between)) -> Comparison {
    for (run, _) in [side_a, side_b].iter().filter(|(run, _)| run.summary.is_some()) {
        comparison.notes.push(format!(
            "{}: sums of all requests and none of them, so only numbers that it tells are compared, and neither \
             distributions nor time nor single requests",
            run.name
        ));
    }
    let (a, b) = (Summary::of(side_a), Summary::of(side_b));
    comparison.figures = Summary::figures(&a, &b);
    comparison.rates = Summary::rates(&a, &b);
    comparison
}

/// The stamp of the first token to count to in `run`.
fn first_token(run: &Run, asked: Option<FirstToken>, by_client: bool) -> FirstToken {
    let knows = run.at_client || run.has(|request| request.first_delivered);
    asked.unwrap_or(if by_client && knows { FirstToken::Delivered } else { FirstToken::Computed })
}

/// Whether a run's latencies can be counted from a stamp.
fn knows(run: &Run, start: Start) -> bool {
    match &run.summary {
        // Those of a summary are a client's.
        Some(_) => start == Start::Arrival,
        None => run.has(|request| start.of(request)),
    }
}

/// The stamps to count between: those that are asked for, which the run must have.
fn between(run: &Run, from: Option<Start>, to: FirstToken, faults: &mut Faults) -> Between {
    let has = |start| knows(run, start);
    let from = from.unwrap_or(if has(Start::Queued) { Start::Queued } else { Start::Arrival });
    if !has(from) {
        let other = match from {
            Start::Arrival if has(Start::Queued) => "count from when the engine saw them: `--from queued`",
            Start::Queued if has(Start::Arrival) => "count from when they arrived: `--from arrival`",
            _ => "a run needs one of arrival and queued for each request",
        };
        let message = match from {
            Start::Arrival => "it is not known of every request when it arrived, by the clock of its other stamps",
            Start::Queued => "it is not known of every request when it was queued",
        };
        faults.push(Fault::new(&run.name, message).hint(other));
    }
    if run.at_client && to == FirstToken::Computed {
        let message = "it is not known when first tokens were computed: a client measured when it had them";
        faults.push(Fault::new(&run.name, message).hint("count to when they were delivered: `--to delivered`"));
    } else if run.summary.is_none() && !run.has(|request| to.of(request)) {
        let fault = Fault::new(&run.name, "it is not known of every request when its first token was delivered");
        faults.push(fault.hint("count to when it was computed: `--to computed`"));
    }
    Between { from, to }
}

fn side((run, between): (&Run, Between)) -> Side {
    let of_requests = || (run.requests.len() as u64, run.requests.iter().map(|request| request.output_tokens).sum());
    let (num_requests, output_tokens) = run
        .summary
        .as_ref()
        .map_or_else(of_requests, |summary| (summary.num_requests.unwrap_or(0), summary.output_tokens.unwrap_or(0)));
    Side {
        name: run.name.clone(),
        num_requests: num_requests as usize,
        num_failed: run.num_failed,
        output_tokens,
        from: between.from,
        to: between.to,
    }
}

#[cfg(test)]
mod tests {
    use units::Instant;

    use super::*;
    use crate::Request;

    fn ms(ms: u64) -> Instant {
        Instant::from_ns(ms * 1_000_000)
    }

    /// One that arrives at 0, is queued at 10, first scheduled at 20, and computes its first token at 100 ms, the last of
    /// five at 300.
    fn request() -> Request {
        Request {
            id: "0".to_owned(),
            input_tokens: Some(8),
            output_tokens: 5,
            arrived: Some(ms(0)),
            queued: Some(ms(10)),
            first_scheduled: Some(ms(20)),
            first_token: ms(100),
            first_delivered: Some(ms(130)),
            last_token: ms(300),
            sent_after: None,
            itl: Some(vec![Duration::from_ns(50_000_000); 4]),
        }
    }

    fn run(name: &str, change: impl Fn(&mut Request)) -> Run {
        let mut request = request();
        change(&mut request);
        Run::new(name, vec![request])
    }

    fn means(comparison: &Comparison) -> Vec<(Metric, f64, f64)> {
        comparison.metrics.iter().map(|metric| (metric.metric, metric.a.mean, metric.b.mean)).collect()
    }

    #[test]
    fn counted_between_stamps_that_both_have() {
        let all = || run("all", |_| ());
        let no_queue = || run("no queue", |request| request.queued = None);
        let no_arrival = || run("no arrival", |request| request.arrived = None);
        let ttfts = |a: &Run, b: &Run, options: &Options| {
            let comparison = compare(a, b, options).expect("it can be done");
            let ttft = comparison.metric(Metric::Ttft).expect("every request has one");
            (ttft.a.mean, ttft.b.mean, comparison.notes.len())
        };
        let auto = Options::default();
        assert_eq!(ttfts(&all(), &all(), &auto), (90.0, 90.0, 0));
        assert_eq!(ttfts(&all(), &no_queue(), &auto), (100.0, 100.0, 0));
        assert_eq!(ttfts(&no_arrival(), &no_queue(), &auto), (90.0, 100.0, 1));
        assert_eq!(ttfts(&all(), &all(), &Options { from: Some(Start::Arrival), ..auto }), (100.0, 100.0, 0));
        let delivered = Options { to: Some(FirstToken::Delivered), ..auto };
        assert_eq!(ttfts(&all(), &all(), &delivered), (120.0, 120.0, 0));

        let fault =
            |a: &Run, b: &Run, options: &Options| compare(a, b, options).expect_err("it can't be done").to_string();
        let forced = fault(&no_arrival(), &no_queue(), &Options { from: Some(Start::Queued), ..auto });
        assert!(forced.starts_with("error: no queue: ") && forced.contains("--from arrival"), "{forced}");
        let undelivered = run("undelivered", |request| request.first_delivered = None);
        let forced = fault(&undelivered, &undelivered, &delivered);
        assert_eq!(forced.matches("undelivered: ").count(), 2, "{forced}");
        let empty = Run::new("empty", Vec::new());
        assert_eq!(fault(&empty, &all(), &auto), "error: empty: no requests");
        assert!(fault(&all(), &all(), &Options { window: Duration::from_ns(1), ..auto }).contains("--window"));
        assert!(fault(&all(), &all(), &Options { window: Duration::ZERO, ..auto }).contains("--window"));
    }

    #[test]
    fn what_both_know_is_compared() {
        let all = run("all", |_| ());
        let comparison = compare(&all, &all, &Options::default()).expect("it can be done");
        let expected = [
            (Metric::Ttft, 90.0, 90.0),
            (Metric::Tpot, 50.0, 50.0),
            (Metric::Latency, 290.0, 290.0),
            (Metric::Itl, 50.0, 50.0),
            (Metric::Prefill, 80.0, 80.0),
        ];
        assert_eq!(means(&comparison), expected);
        assert_eq!((comparison.errors().len(), comparison.mean_error()), (15, Some(0.0)));
        assert_eq!(comparison.series.len(), 3);

        let less = run("less", |request| {
            (request.itl, request.first_scheduled, request.output_tokens) = (None, None, 1);
        });
        let comparison = compare(&all, &less, &Options::default()).expect("it can be done");
        let metrics: Vec<_> = comparison.metrics.iter().map(|metric| metric.metric).collect();
        assert_eq!(metrics, [Metric::Ttft, Metric::Latency]);
        assert_eq!(comparison.series.len(), 1);
        assert_eq!(comparison.notes, ["1 of 1 requests have more or fewer output tokens in one run"]);

        let apart = Run { one_clock: false, ..all.clone() };
        let comparison = compare(&all, &apart, &Options::default()).expect("it can be done");
        assert_eq!((comparison.metrics.len(), comparison.series.len(), comparison.notes.len()), (5, 0, 1));
    }

    #[test]
    fn errors_are_of_a_against_b() {
        let (a, b) = (run("a", |request| request.first_token = ms(109)), run("b", |_| ()));
        let comparison = compare(&a, &b, &Options::default()).expect("it can be done");
        let largest = comparison.largest_error().expect("there are some");
        assert_eq!(largest.metric, Metric::Ttft);
        assert!((largest.error - 0.1).abs() < 1e-12, "{largest:?}");
        // TTFT 99 for 90, TPOT 191/4 for 50, latency the same.
        let expected = (0.1 + 0.045) / 3.0;
        assert!((comparison.mean_error().expect("there are some") - expected).abs() < 1e-12);
    }
}
