//! A measured run, and the deployment that stands for it.

use compare::{Comparison, FirstToken, Options, Request, Run, compare};
use diagnostics::{Fault, Faults};
use engine::{Deployment, Engine, Entry, FinishedRequest, HostTimes, Observer, RoutingTable, Simulation};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};
use units::Duration;

/// By how much arrivals are varied.
const JITTER_NS: u64 = 1_000_000;

/// A measured run, and what stands for it.
#[derive(Debug)]
pub struct Experiment {
    name: String,
    deployment: Deployment,
    /// Where each request goes, where that is recorded.
    routes: Option<RoutingTable>,
    /// What arrives, as it is and varied.
    arrivals: Vec<Vec<Entry>>,
    measured: Run,
    notes: Vec<String>,
}

impl Experiment {
    /// `measured` is what a server did with `entries`, and `deployment`, whose engine is vLLM's, is that server. Errors
    /// are means over `num_variants` runs, at least one.
    ///
    /// # Errors
    /// When what `measured` tells can't be compared with a simulated run, or is of another number of requests.
    pub fn new(
        name: impl Into<String>,
        deployment: Deployment,
        routes: Option<RoutingTable>,
        entries: &[Entry],
        measured: Run,
        num_variants: u64,
    ) -> Result<Self, Faults> {
        if measured.summary.is_some() {
            let fault = Fault::new(measured.name, "has sums of all requests and none of them");
            return Err(fault.hint("have the client write its requests too (docs/comparing.md)").into());
        }
        let num_requests: usize = entries.iter().map(Entry::num_calls).sum();
        if num_requests != measured.requests.len() {
            let message = format!("has {} requests, and the workload {num_requests}", measured.requests.len());
            let fault = Fault::new(measured.name, message);
            return Err(fault.hint("take the workload that was measured; --num-reqs cuts it").into());
        }
        let arrivals = (0..num_variants.max(1)).map(|seed| varied(entries, seed)).collect();
        let mut experiment = Self { name: name.into(), deployment, routes, arrivals, measured, notes: Vec::new() };
        experiment.notes = experiment.compared(&experiment.simulate(HostTimes::default(), 0))?.notes;
        Ok(experiment)
    }

    /// Whether the time called `name` shows in what is compared: those of the front end only where the measurements are
    /// of it.
    pub fn shows(&self, name: &str) -> bool {
        let requests = &self.measured.requests;
        match name {
            "frontend_request" => requests.iter().any(|request| request.queued.is_none()),
            "frontend_token" => self.is_delivered(),
            _ => true,
        }
    }

    /// What is odd about the comparison, in sentences without a full stop.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether the measurements tell when clients had their first tokens.
    fn is_delivered(&self) -> bool {
        self.measured.requests.iter().all(|request| request.first_delivered.is_some())
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mean error of runs whose host takes `host`.
    pub fn error(&self, host: HostTimes) -> f64 {
        let errors = (0..self.arrivals.len()).map(|variant| {
            let comparison = self.compared(&self.simulate(host, variant));
            comparison.ok().and_then(|comparison| comparison.mean_error()).unwrap_or(f64::INFINITY)
        });
        errors.sum::<f64>() / self.arrivals.len() as f64
    }

    fn compared(&self, run: &Run) -> Result<Comparison, Faults> {
        let to = if self.is_delivered() { FirstToken::Delivered } else { FirstToken::Computed };
        compare(run, &self.measured, &Options { to: Some(to), ..Options::default() })
    }

    fn simulate(&self, host: HostTimes, variant: usize) -> Run {
        let mut deployment = self.deployment.clone();
        if let Engine::Vllm(vllm) = &mut deployment.options.engine {
            vllm.host = host;
        }
        let mut recorder = Recorder::default();
        let mut simulation = Simulation::new(&deployment, self.arrivals[variant].iter().cloned());
        if let Some(routes) = &self.routes {
            simulation = simulation.route_with(Box::new(routes.clone()));
        }
        simulation.run(&mut recorder);
        recorder.into_run(self.name.as_str())
    }
}

/// `entries`, each up to a millisecond later; as they are with seed 0.
fn varied(entries: &[Entry], seed: u64) -> Vec<Entry> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut entries = entries.to_vec();
    if seed > 0 {
        for entry in &mut entries {
            entry.arrival += Duration::from_ns(random.next_u64() % JITTER_NS);
        }
        entries.sort_by_key(|entry| entry.arrival);
    }
    entries
}

/// Keeps what requests saw.
#[derive(Debug, Default)]
struct Recorder {
    requests: Vec<Request>,
}

impl Recorder {
    /// What they saw, under a name.
    fn into_run(self, name: impl Into<String>) -> Run {
        Run::new(name, self.requests)
    }
}

impl Observer for Recorder {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        let stamps = request.stamps;
        self.requests.push(Request {
            id: request.id.to_string(),
            input_tokens: Some(request.input_tokens),
            output_tokens: request.output_tokens,
            arrived: Some(request.arrival),
            queued: Some(stamps.queued),
            first_scheduled: Some(stamps.first_scheduled),
            first_token: stamps.first_token,
            first_delivered: Some(stamps.first_delivered),
            last_token: request.end,
            sent_after: None,
            itl: None,
        });
    }
}
