//! What the benchmarks run, set up from library crates as `servingsim run` sets it up.

use std::path::{Path, PathBuf};

use config::{Flags, Inputs, LatencySource, Loaded, Preset, Source, WorkloadLimits};
use diagnostics::{Fault, Faults};
use engine::{Deployment, Engine, Entry, FinishedRequest, Interval, Observer, RunTotals, Simulation, Vllm, Wave};
use metrics::{IntervalMeter, Layout, RequestStatistics, Summary};
use report::{AtomicFile, CsvWriter};
use units::{Duration, InstanceId, Instant};
use workload::{ReadOptions, Workload};

/// The files and flags of a run, and how its engines step.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// Cluster file.
    #[arg(long, value_name = "FILE")]
    pub cluster_config: PathBuf,
    /// Workload file.
    #[arg(long, value_name = "FILE")]
    pub dataset: PathBuf,
    /// Measured latency profiles; without them times are from the analytic model.
    #[arg(long, value_name = "DIR")]
    pub profile_dir: Option<PathBuf>,
    /// How engines step.
    #[arg(long, value_parser = ["reference", "vllm"], default_value = "reference")]
    pub engine: String,
}

impl Job {
    /// Reads and checks the deployment. Prefixes are not cached.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Loaded, Faults> {
        load(&self.cluster_config, self.profile_dir.as_deref(), &self.engine)
    }

    /// Reads the workload and checks that all of it fits.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self, deployment: &Deployment) -> Result<Workload, Faults> {
        let limits = WorkloadLimits::of(deployment);
        let source = self.dataset.display().to_string();
        let mut faults = Faults::new();
        let workload = read(&self.dataset, &mut |entry| limits.check(&source, entry, &mut faults))?;
        faults.into_result(workload)
    }

    /// All that `servingsim run --quiet --output` does.
    ///
    /// # Errors
    /// Everything that is wrong with the input, or with the file that is written.
    pub fn run(&self, output: &Path) -> Result<u64, Faults> {
        let deployment = self.load()?.deployment;
        let workload = self.read(&deployment)?;
        let layout = Layout::of(&deployment);
        let mut watch = Watch::new(&layout, Some(CsvWriter::create(output, &layout)?));
        let totals = Simulation::new(&deployment, workload.into_entries()).run(&mut watch);
        Ok(watch.finish(&totals)?)
    }
}

/// A deployment without prefix caching, its engines stepping as `engine` says, with vLLM's own preset.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(cluster: &Path, profile_dir: Option<&Path>, engine: &str) -> Result<Loaded, Faults> {
    let mut flags = Flags { prefix_caching: false, ..Flags::default() };
    if engine == "vllm" {
        flags.engine = Engine::Vllm(Vllm { host: Preset::load(Preset::DEFAULT)?.host, ..Vllm::default() });
        flags.expert_routing = moe::Policy::Uniform;
    }
    let latency_source = if profile_dir.is_some() { LatencySource::Profile } else { LatencySource::Analytic };
    let profile_dir = profile_dir.map(Path::to_owned);
    let inputs = Inputs::new(Source::File(cluster.to_owned()));
    config::load(&Inputs { profile_dir, latency_source, flags, ..inputs })
}

/// Reads a workload, all of it, without its token ids, and shows every entry to `each`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path, each: &mut dyn FnMut(&Entry)) -> Result<Workload, Faults> {
    let kept_bytes_max = ReadOptions::KEPT_BYTES_MAX;
    workload::read_file(path, &ReadOptions { limit: None, token_ids: false, kept_bytes_max }, each)
}

/// Watches a run as the command line does.
#[derive(Debug)]
pub struct Watch {
    statistics: RequestStatistics,
    intervals: IntervalMeter,
    csv: Option<CsvWriter<AtomicFile>>,
}

impl Watch {
    /// Watches a run of a deployment with this `layout`, whose rows go to `csv`.
    pub fn new(layout: &Layout, csv: Option<CsvWriter<AtomicFile>>) -> Self {
        Self { statistics: RequestStatistics::new(), intervals: IntervalMeter::new(layout), csv }
    }

    /// Puts the file in its place; returns the number of requests.
    ///
    /// # Errors
    /// When the file could not be written.
    pub fn finish(&mut self, totals: &RunTotals) -> Result<u64, Fault> {
        self.intervals.finish(totals);
        self.csv.take().map_or(Ok(()), CsvWriter::commit)?;
        Ok(self.statistics.num_requests())
    }

    /// Adds up.
    pub fn summary(&self, layout: &Layout, totals: &RunTotals) -> Summary {
        Summary::new(layout, &self.statistics, self.intervals.power(), totals)
    }
}

impl Observer for Watch {
    fn tokens_yielded(&mut self, latency: Duration, num_tokens: u64) {
        self.statistics.tokens_yielded(latency, num_tokens);
    }

    fn wants_work(&self) -> bool {
        self.intervals.wants_work()
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.intervals.step_finished(instance, now);
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.statistics.request_finished(request);
        if let Some(csv) = &mut self.csv {
            csv.request_finished(request);
        }
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        self.intervals.wave_started(wave);
    }

    fn interval_ended(&mut self, interval: &Interval<'_>) {
        self.statistics.interval_ended(interval);
        self.intervals.interval_ended(interval);
        self.intervals.take();
    }
}
