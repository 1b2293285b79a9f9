//! A run of which only the requests are known on a page: a result file, or what a real server was measured to do.

use compare::{Request, Run};
use metrics::Distribution;
use serde_json::Value;
use units::{Duration, Instant};

use super::data::{Distributions, Requests, RunData};
use super::{PageRun, PageText};

/// Requests of which a page shows each; of more, so many evenly.
const REQUESTS_MAX: usize = 16_000;

impl PageRun {
    /// The requests of `run`. Times are counted from arrival, or from when the engine saw a request where its arrival is
    /// not known; TTFT to the first token that the engine had.
    pub fn of_requests(run: &Run) -> Self {
        let rows = rows(run);
        let of = |value: &dyn Fn(&Row<'_>) -> Option<u64>| {
            Distribution::of(rows.iter().filter_map(value).collect()).map(Into::into)
        };
        let itl = |row: &Row<'_>| row.request.itl.clone().unwrap_or_default();
        let itl: Vec<u64> = rows.iter().flat_map(itl).map(Duration::ns).collect();
        let distributions = Distributions {
            ttft: of(&|row| Some(row.ttft_ns)),
            tpot: of(&|row| row.tpot_ns),
            itl: Distribution::of(itl).map(Into::into),
            latency: of(&|row| Some(row.latency_ns)),
            queuing: of(&|row| row.queuing_ns),
        };
        let PageText { configuration, files, not_modelled, drawing, .. } = PageText::default();
        PageRun(RunData {
            name: run.name.clone(),
            summary: None,
            distributions,
            requests: requests(&rows),
            timeline: None,
            breakdown: Vec::new(),
            groups: Vec::new(),
            experts: Vec::new(),
            configuration,
            files,
            notes: run.notes.clone(),
            not_modelled,
            drawing,
        })
    }
}

struct Row<'a> {
    request: &'a Request,
    /// From the first request of the run.
    arrival_ns: u64,
    queuing_ns: Option<u64>,
    ttft_ns: u64,
    /// Of requests with several tokens.
    tpot_ns: Option<u64>,
    latency_ns: u64,
}

/// The requests in order of arrival.
fn rows(run: &Run) -> Vec<Row<'_>> {
    let start = |request: &Request| request.arrived.or(request.queued).unwrap_or(request.first_token);
    let first = run.requests.iter().map(start).min().unwrap_or_default();
    let since = |from: Instant, to: Instant| to.ns().saturating_sub(from.ns());
    let row = |request| {
        let start = start(request);
        let later = request.output_tokens.checked_sub(1).filter(|&later| later > 0);
        let arrival_ns = match request.sent_after {
            Some(after) => after.ns(),
            None if run.one_clock => since(first, start),
            None => 0,
        };
        Row {
            request,
            arrival_ns,
            queuing_ns: request.first_scheduled.map(|scheduled| since(start, scheduled)),
            ttft_ns: since(start, request.first_token),
            tpot_ns: later.map(|later| since(request.first_token, request.last_token) / later),
            latency_ns: since(start, request.last_token),
        }
    };
    let mut rows: Vec<Row<'_>> = run.requests.iter().map(row).collect();
    rows.sort_by_key(|row| row.arrival_ns);
    rows
}

fn requests(rows: &[Row<'_>]) -> Requests {
    let mut requests = Requests { total: rows.len() as u64, ..Requests::default() };
    let step = rows.len().div_ceil(REQUESTS_MAX).max(1);
    let knows_queuing = rows.iter().all(|row| row.queuing_ns.is_some());
    let knows_input = rows.iter().all(|row| row.request.input_tokens.is_some());
    let mut before = 0;
    for row in rows.iter().step_by(step) {
        let id = &row.request.id;
        requests.id.push(id.parse::<u64>().map_or_else(|_| Value::from(id.as_str()), Value::from));
        requests.output_tokens.push(row.request.output_tokens);
        requests.arrival_ns.push(row.arrival_ns - before);
        requests.ttft_ns.push(row.ttft_ns);
        requests.tpot_ns.push(row.tpot_ns.unwrap_or(0));
        requests.latency_ns.push(row.latency_ns);
        requests.queuing_ns.extend(row.queuing_ns.filter(|_| knows_queuing));
        requests.input_tokens.extend(row.request.input_tokens.filter(|_| knows_input));
        before = row.arrival_ns;
    }
    requests
}
