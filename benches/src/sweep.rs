//! Many small runs in one process. The bundle is loaded once; a run has its own copy of the deployment, which shares the
//! bundle's tables, with limits and seed of its own, and its own workload.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use benches::{Watch, cpu_time, load};
use diagnostics::Faults;
use engine::{Call, Deployment, Entry, RequestRouting, Simulation};
use metrics::Layout;
use testkit::{GeneratedRequest, GeneratedWorkload};
use units::RequestId;

/// Requests of a run.
const NUM_REQUESTS: u64 = 100;
/// Requests that arrive in a second, for each instance.
const REQUESTS_PER_S: f64 = 10.0;

#[derive(clap::Args)]
pub(crate) struct SweepArgs {
    /// Cluster file.
    #[arg(long, value_name = "FILE")]
    cluster_config: PathBuf,
    /// Measured latency profiles; without them times are from the analytic model.
    #[arg(long, value_name = "DIR")]
    profile_dir: Option<PathBuf>,
    /// How engines step.
    #[arg(long, value_parser = ["reference", "vllm"], default_value = "reference")]
    engine: String,
    /// How many runs there are.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    simulations: u64,
    /// Over how many threads.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: u64,
}

pub(crate) fn sweep(args: &SweepArgs) -> Result<(), Faults> {
    let start = Instant::now();
    let (outcome, cpu) = cpu_time(|| run_all(args));
    let Outcome { makespans_ns, threads_s, threads_busy_s } = outcome?;
    let (wall_s, cpu_s) = (start.elapsed().as_secs_f64(), cpu.as_secs_f64());
    println!("runs {}\ncpu_s {cpu_s}\nwall_s {wall_s}", args.simulations);
    println!("runs_per_cpu_s {}", args.simulations as f64 / cpu_s);
    println!("cores_share {}", cpu_s / (wall_s * args.threads as f64));
    println!("busy_share {}", threads_busy_s / (threads_s * args.threads as f64));
    // The same whatever thread ran what.
    println!("mean_makespan_s {}", makespans_ns as f64 / 1e9 / args.simulations as f64);
    Ok(())
}

/// All runs.
struct Outcome {
    /// Their makespans, added up.
    makespans_ns: u64,
    /// How long the threads took, by the clock on the wall: from the start of the first to the end of the last.
    threads_s: f64,
    /// How long each had work, added up.
    threads_busy_s: f64,
}

fn run_all(args: &SweepArgs) -> Result<Outcome, Faults> {
    let deployment = load(&args.cluster_config, args.profile_dir.as_deref(), &args.engine)?.deployment;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let work = || {
        let mut sum_ns = 0;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= args.simulations {
                return (sum_ns, start.elapsed().as_secs_f64());
            }
            sum_ns += run(&deployment, index);
        }
    };
    let mut outcome = Outcome { makespans_ns: 0, threads_s: 0.0, threads_busy_s: 0.0 };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (makespans_ns, busy_s) = thread.join().expect("a run does not fail");
            outcome.makespans_ns += makespans_ns;
            outcome.threads_s = outcome.threads_s.max(busy_s);
            outcome.threads_busy_s += busy_s;
        }
    });
    Ok(outcome)
}

/// One run, a variation of `base`; its makespan in nanoseconds.
fn run(base: &Deployment, index: u64) -> u64 {
    let mut deployment = base.clone();
    deployment.options.seed = index;
    deployment.options.request_routing = RequestRouting::ALL[index as usize % RequestRouting::ALL.len()];
    for instance in &mut deployment.instances {
        instance.scheduler.max_num_seqs = Some([16, 32, 64, 128][index as usize % 4]);
        instance.scheduler.max_num_batched_tokens = [512, 1024, 2048, 4096][index as usize / 4 % 4];
    }
    let requests_per_s = REQUESTS_PER_S * deployment.instances.len() as f64;
    let workload = GeneratedWorkload { num_requests: NUM_REQUESTS, requests_per_s, seed: index };
    let entries = workload.requests().zip(0..).map(|(request, id)| {
        let GeneratedRequest { arrival_ns, input_tokens, output_tokens } = request;
        let call = Call { input_tokens, output_tokens, ..Call::default() };
        Entry::plain(units::Instant::from_ns(arrival_ns), RequestId(id), call)
    });
    let layout = Layout::of(&deployment);
    let mut watch = Watch::new(&layout, None);
    let totals = Simulation::new(&deployment, entries).run(&mut watch);
    watch.finish(&totals).expect("nothing is written");
    let summary = watch.summary(&layout, &totals);
    assert_eq!(summary.requests, NUM_REQUESTS, "every request was served");
    summary.makespan.ns()
}
