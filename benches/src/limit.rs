//! How near a run comes to the least it could cost.
//!
//! Whatever simulates must read its workload and write its results. Both are timed by themselves, the writing from
//! memory, and then the whole run with both in it. The three take turns, so that what else the machine does disturbs
//! them alike.

use std::path::{Path, PathBuf};

use benches::{Job, Rows, cpu_time, median};
use diagnostics::Faults;
use engine::{Deployment, Simulation};
use metrics::Layout;
use report::CsvWriter;

#[derive(clap::Args)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    job: Job,
    /// Where results go.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// How often to measure; medians are told.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
}

pub(crate) fn limit(args: &LimitArgs) -> Result<(), Faults> {
    let deployment = args.job.load()?.deployment;
    let mut rows = Rows::default();
    let entries = args.job.read(&deployment)?.into_entries();
    Simulation::new(&deployment, entries).run(&mut rows);

    let [mut reads, mut writes, mut runs] = [const { Vec::new() }; 3];
    for _ in 0..args.runs {
        let (workload, time) = cpu_time(|| args.job.read(&deployment));
        workload?;
        reads.push(time);
        let (written, time) = cpu_time(|| write(&rows, &deployment, &args.output));
        written?;
        writes.push(time);
        let (summary, time) = cpu_time(|| args.job.run(&args.output));
        summary?;
        runs.push(time);
    }
    let [read_s, write_s, run_s] = [reads, writes, runs].map(|times| median(times).as_secs_f64());
    println!("requests {}", rows.len());
    println!("read_cpu_s {read_s}\nwrite_cpu_s {write_s}\nrun_cpu_s {run_s}");
    println!("ratio {}", run_s / (read_s + write_s));
    Ok(())
}

fn write(rows: &Rows, deployment: &Deployment, output: &Path) -> Result<(), Faults> {
    let mut csv = CsvWriter::create(output, &Layout::of(deployment))?;
    rows.replay(&mut csv);
    Ok(csv.commit()?)
}
