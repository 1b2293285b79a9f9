//! Where commands are measured: their folder, their files, and what each of them spent.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{GeneratedCluster, GeneratedWorkload};

/// How engines step, as the flag has it: what is judged first, and what must keep pace with it.
pub(crate) const ENGINES: [&str; 2] = ["reference", "vllm"];

/// Of all generated workloads.
const SEED: u64 = 1;

/// A command to measure.
pub(crate) struct Scenario {
    /// `servingsim` or `bench`.
    program: &'static str,
    args: Vec<String>,
}

impl Scenario {
    /// The simulator with these arguments.
    pub(crate) fn servingsim<A: Into<String>>(args: impl IntoIterator<Item = A>) -> Self {
        Self { program: "servingsim", args: args.into_iter().map(A::into).collect() }
    }

    /// A benchmark program with these arguments.
    pub(crate) fn bench<A: Into<String>>(args: impl IntoIterator<Item = A>) -> Self {
        Self { program: "bench", args: args.into_iter().map(A::into).collect() }
    }
}

/// What one run of a command spent, and printed.
pub(crate) struct Spent {
    pub(crate) cpu_s: f64,
    pub(crate) peak_mib: f64,
    pub(crate) printed: String,
}

impl Spent {
    /// A figure that the command printed as its name and a number.
    pub(crate) fn figure(&self, name: &str) -> f64 {
        figure(&self.printed, name)
    }

    /// A number of the summary that the command printed as JSON.
    pub(crate) fn json(&self, key: &str) -> f64 {
        let json: Option<serde_json::Value> = serde_json::from_str(&self.printed).ok();
        json.and_then(|json| json[key].as_f64()).unwrap_or(f64::NAN)
    }
}

/// Every run of a command, or why it failed.
pub(crate) type Runs = Result<Vec<Spent>, String>;

/// Where commands are measured.
pub(crate) struct Lab {
    /// The reference data.
    pub(crate) reference: PathBuf,
    /// How often each command runs.
    pub(crate) num_runs: usize,
    programs: PathBuf,
    folder: PathBuf,
}

impl Lab {
    pub(crate) fn new(reference: &Path, num_runs: usize) -> Result<Self, String> {
        let target = crate::target_dir()?;
        let folder = target.join("bench");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let reference = reference.canonicalize().map_err(|error| format!("{}: {error}", reference.display()))?;
        Ok(Self { reference, num_runs, programs: target.join("release"), folder })
    }

    /// A file or folder of the reference data.
    pub(crate) fn reference(&self, path: &str) -> String {
        self.reference.join(path).display().to_string()
    }

    /// A file in the folder that all commands share.
    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a workload of `num_requests` requests, and returns its file.
    pub(crate) fn workload(&self, num_requests: u64, requests_per_s: f64) -> Result<String, String> {
        let path = self.file(&format!("{num_requests}-at-{requests_per_s}.jsonl"));
        let workload = GeneratedWorkload { num_requests, requests_per_s, seed: SEED };
        workload.write(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
        Ok(path)
    }

    /// Writes a cluster, and returns its file.
    pub(crate) fn cluster(&self, cluster: &GeneratedCluster) -> Result<String, String> {
        let kind = if cluster.shares_experts { "group" } else { "instances" };
        let path = self.file(&format!("{}-{kind}.json", cluster.num_instances));
        cluster.write(path.as_ref()).map_err(|error| format!("{path}: {error}"))?;
        Ok(path)
    }

    /// Runs `scenarios` in turn, and all of them again and again, so that whatever else the machine does meanwhile
    /// falls on all alike. One that has failed is not run again.
    pub(crate) fn measure(&self, what: &str, scenarios: &[Scenario]) -> Vec<Runs> {
        eprintln!("> {what}: {} commands, {} runs each", scenarios.len(), self.num_runs);
        let mut all: Vec<Runs> = scenarios.iter().map(|_| Ok(Vec::new())).collect();
        for _ in 0..self.num_runs {
            for (runs, scenario) in all.iter_mut().zip(scenarios) {
                if let Ok(spent) = runs {
                    match self.run(scenario) {
                        Ok(one) => spent.push(one),
                        Err(message) => *runs = Err(message),
                    }
                }
            }
        }
        all
    }

    fn run(&self, Scenario { program, args }: &Scenario) -> Result<Spent, String> {
        let path = |name: &str| self.folder.join(name);
        let [usage, printed, told] = ["usage", "stdout", "stderr"].map(path);
        let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        let status = Command::new(self.programs.join("bench"))
            .args(["measure".as_ref(), "--usage".as_ref(), usage.as_os_str(), "--".as_ref()])
            .arg(self.programs.join(program))
            .args(args)
            .current_dir(&self.folder)
            .stdout(create(&printed)?)
            .stderr(create(&told)?)
            .status()
            .map_err(|error| error.to_string())?;
        let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        if !status.success() {
            let told = read(&told)?;
            return Err(told.lines().next().unwrap_or("failed without a word").to_owned());
        }
        let usage = read(&usage)?;
        let [cpu_s, peak_kib] = ["cpu_s", "peak_kib"].map(|name| figure(&usage, name));
        Ok(Spent { cpu_s, peak_mib: peak_kib / 1024.0, printed: read(&printed)? })
    }
}

/// The number in the line of `text` that begins with `name`.
fn figure(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

/// The middle of `values`, or the mean of the two middle ones.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// The median of a figure over all runs.
pub(crate) fn median_of(runs: &Runs, figure: impl Fn(&Spent) -> f64) -> Result<f64, String> {
    runs.as_ref().map(|runs| median(runs.iter().map(figure))).map_err(String::clone)
}

/// The median of a figure of one command over that of another, run by run.
pub(crate) fn median_ratio(above: &Runs, below: &Runs, figure: impl Fn(&Spent) -> f64) -> Result<f64, String> {
    let (above, below) = (above.as_ref().map_err(String::clone)?, below.as_ref().map_err(String::clone)?);
    Ok(median(above.iter().zip(below).map(|(above, below)| figure(above) / figure(below))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        assert_eq!(figure("cpu_s_total 3\ncpu_s 1.5\n", "cpu_s"), 1.5);
        assert!(figure("cpu_s x\n", "cpu_s").is_nan());
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
