//! What is measured for each group of targets.

use testkit::GeneratedCluster;

use super::Findings;
use super::lab::{ENGINES, Lab, Runs, Scenario, Spent, median_of};
use super::rows::{Goal, Row};

/// Requests of W1, one instance.
const W1_REQUESTS: u64 = 10_000;
/// Requests of W2, eight instances on a node.
const W2_REQUESTS: u64 = 80_000;
/// Requests per second and instance.
pub(crate) const REQUESTS_PER_S: f64 = 10.0;
/// Requests per second and member of a group that shares experts, and for how many seconds they arrive.
const GROUP_REQUESTS_PER_S: f64 = 1.0;
const GROUP_SECONDS: u64 = 600;

/// Flags of all runs of generated workloads. Batches have at most 128 sequences and 2,048 tokens, which is the default.
fn run_flags(lab: &Lab, engine: &str, cluster: &str, dataset: &str) -> Vec<String> {
    let profiles = lab.reference("profiles");
    let flags = [
        ["run", "--quiet"],
        ["--latency-source", "profile"],
        ["--profile-dir", &profiles],
        ["--cluster-config", cluster],
        ["--dataset", dataset],
        ["--engine", engine],
    ];
    flags.concat().into_iter().chain(["--no-enable-prefix-caching"]).map(str::to_owned).collect()
}

/// The same command with each engine, `more` flags added.
pub(crate) fn with_engines(lab: &Lab, cluster: &str, dataset: &str, more: &[&str]) -> [Scenario; 2] {
    ENGINES.map(|engine| {
        let flags = run_flags(lab, engine, cluster, dataset).into_iter();
        Scenario::servingsim(flags.chain(more.iter().map(|&flag| flag.to_owned())))
    })
}

fn cpu_ms(spent: &Spent) -> f64 {
    spent.cpu_s * 1e3
}

/// The runs of each engine, where a command with one follows the same with the other.
pub(crate) fn pairs(runs: &[Runs]) -> impl Iterator<Item = [&Runs; 2]> {
    runs.as_chunks().0.iter().map(|[reference, vllm]| [reference, vllm])
}

pub(crate) fn start(lab: &Lab) -> Result<Findings, String> {
    const GROUP: &str = "start";
    let example = |engine| Scenario::servingsim(["run", "--example", "moe-ep", "--quiet", "--engine", engine]);
    let bundle = lab.reference("profiles/RTXPRO6000/meta-llama/Llama-3.1-8B/bf16");
    let [reference, vllm] = ENGINES.map(example);
    let runs = lab.measure(GROUP, &[reference, vllm, Scenario::bench(["bundle", &bundle])]);
    let goal = Goal::at_most(8.0, "ms");
    Ok(Findings::rows([
        Row::of_engines(GROUP, "`run --example moe-ep --quiet`", goal, [&runs[0], &runs[1]], cpu_ms),
        Row::of(GROUP, "bundle Llama-3.1-8B, loaded", goal, &runs[2], |spent| spent.figure("load_cpu_s") * 1e3),
    ]))
}

pub(crate) fn steady(lab: &Lab) -> Result<Findings, String> {
    const GROUP: &str = "steady";
    let w1 = (lab.cluster(&GeneratedCluster::llama(1))?, lab.workload(W1_REQUESTS, REQUESTS_PER_S)?);
    let w2 = (lab.cluster(&GeneratedCluster::llama(8))?, lab.workload(W2_REQUESTS, 8.0 * REQUESTS_PER_S)?);
    let output = ["--output", &lab.file("steady.csv")];
    let no_itl = [output[0], output[1], "--no-itl"];
    let mut scenarios = Vec::new();
    for (cluster, dataset) in [&w1, &w2] {
        scenarios.extend(with_engines(lab, cluster, dataset, &output));
        scenarios.extend(with_engines(lab, cluster, dataset, &no_itl));
    }
    let runs = lab.measure(GROUP, &scenarios);
    let runs: Vec<[&Runs; 2]> = pairs(&runs).collect();
    let mut rows = Vec::new();
    let goals = [200_000.0, 300_000.0].map(|goal| Goal::at_least(goal, "requests/s"));
    for (index, (name, num_requests)) in
        [("W1", W1_REQUESTS), ("W1", W1_REQUESTS), ("W2", W2_REQUESTS), ("W2", W2_REQUESTS)].into_iter().enumerate()
    {
        let what = format!("{name}, {}", if index % 2 == 0 { "full output" } else { "`--no-itl`" });
        let per_cpu_s = |spent: &Spent| num_requests as f64 / spent.cpu_s;
        rows.push(Row::of_engines(GROUP, what, goals[index % 2], runs[index], per_cpu_s));
    }
    for (index, what) in ["full output", "`--no-itl`"].into_iter().enumerate() {
        let more = W2_REQUESTS as f64 / W1_REQUESTS as f64;
        let ratio = |engine: usize| {
            let ratio = super::lab::median_ratio(runs[2 + index][engine], runs[index][engine], |spent| spent.cpu_s);
            ratio.map(|ratio| ratio / more)
        };
        let what = format!("cost of a request of W2 over W1, {what}");
        rows.push(Row::of_each(GROUP, what, Goal::at_most(1.0, ""), [ratio(0), ratio(1)]));
    }
    Ok(Findings::rows(rows))
}

pub(crate) fn limit(lab: &Lab) -> Result<Findings, String> {
    const GROUP: &str = "limit";
    let (cluster, dataset) = (lab.cluster(&GeneratedCluster::llama(1))?, lab.workload(W1_REQUESTS, REQUESTS_PER_S)?);
    let scenarios = ENGINES.map(|engine| {
        let profiles = lab.reference("profiles");
        let output = lab.file("limit.csv");
        let flags = [
            ["--cluster-config", &cluster],
            ["--dataset", &dataset],
            ["--profile-dir", &profiles],
            ["--engine", engine],
            ["--output", &output],
            // The program takes turns by itself; each of its runs counts as one.
            ["--runs", "3"],
        ];
        Scenario::bench(["limit"].into_iter().chain(flags.into_iter().flatten()))
    });
    let runs = lab.measure(GROUP, &scenarios);
    let figure = |name: &str| -> Result<String, String> {
        let ms = |runs: &Runs| median_of(runs, |spent| spent.figure(name) * 1e3);
        Ok(format!("{:.1} ms ({:.1} ms)", ms(&runs[0])?, ms(&runs[1])?))
    };
    let parts = ["read_cpu_s", "write_cpu_s", "run_cpu_s"].map(figure);
    let details = match parts {
        [Ok(read), Ok(write), Ok(run)] => format!(
            "The limit on W1, with `--engine reference` (`--engine vllm`): reading and checking the workload takes \
             {read}, writing its results from memory {write}, the whole run {run}.\n"
        ),
        _ => String::new(),
    };
    let goal = Goal::at_most(2.0, "");
    let row = Row::of_engines(GROUP, "W1, run over reading and writing", goal, [&runs[0], &runs[1]], |spent| {
        spent.figure("ratio")
    });
    Ok(Findings { details, ..Findings::rows([row]) })
}

pub(crate) fn waves(lab: &Lab) -> Result<Findings, String> {
    const GROUP: &str = "waves";
    let mut scenarios = Vec::new();
    let sizes = [(8, 1_000_000.0), (64, 700_000.0)];
    for (num_members, _) in sizes {
        let rate = GROUP_REQUESTS_PER_S * num_members as f64;
        let cluster = lab.cluster(&GeneratedCluster::qwen_group(num_members))?;
        let dataset = lab.workload(GROUP_SECONDS * rate as u64, rate)?;
        scenarios.extend(with_engines(lab, &cluster, &dataset, &["--format", "json"]));
    }
    let runs = lab.measure(GROUP, &scenarios);
    let rows = pairs(&runs).zip(sizes).map(|(engines, (num_members, goal))| {
        let what = format!("DP+EP group of {num_members}, member-steps");
        let goal = Goal::at_least(goal, "steps/s");
        Row::of_engines(GROUP, what, goal, engines, |spent| spent.json("steps") / spent.cpu_s)
    });
    Ok(Findings::rows(rows))
}

pub(crate) fn sweep(lab: &Lab) -> Result<Findings, String> {
    const GROUP: &str = "sweep";
    let cluster = lab.cluster(&GeneratedCluster::llama(2))?;
    let scenarios = ENGINES.map(|engine| {
        let profiles = lab.reference("profiles");
        let flags = [["--cluster-config", &cluster], ["--profile-dir", &profiles], ["--engine", engine]];
        Scenario::bench(["sweep"].into_iter().chain(flags.into_iter().flatten()))
    });
    let runs = lab.measure(GROUP, &scenarios);
    let engines = [&runs[0], &runs[1]];
    let share = |name| move |spent: &Spent| spent.figure(name) * 100.0;
    let each = |name| engines.map(|runs| median_of(runs, share(name)));
    let goal = Goal::at_least(95.0, "%");
    Ok(Findings::rows([
        Row::of_engines(GROUP, "1,000 runs over 2 threads", Goal::at_least(150.0, "runs/s"), engines, |spent| {
            spent.figure("runs_per_cpu_s")
        }),
        Row::of_each(GROUP, "of two cores used, other work not discounted", goal, each("cores_share")),
        Row::of_each(GROUP, "of their time the threads have work", goal, each("busy_share")),
    ]))
}
