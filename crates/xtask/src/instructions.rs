//! How many instructions a few commands execute, held to committed figures.
//!
//! Instructions hardly vary from run to run and from machine to machine, so a few per cent can be told where times
//! can't. They are counted by valgrind, on the binaries as they are released. The commands need nothing beyond the
//! repository: built-in examples, generated workloads, analytic times.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{GeneratedCluster, GeneratedWorkload};

/// By how much a command may exceed its figure, in per cent.
const SLACK_PERCENT: u64 = 5;

const HEAD: &str = "\
# Instructions that commands execute, by scenario; crates/xtask/src/instructions.rs says which they are.
# Written by `cargo xtask instructions --accept`. More by over 5 % fails `cargo xtask test`.
";

/// Counts, and compares with the committed figures; with `--accept` commits to what was counted.
pub(crate) fn instructions(args: &[String]) -> Result<(), String> {
    let accepts = match args {
        [] => false,
        [flag] if flag == "--accept" => true,
        _ => return Err("usage: cargo xtask instructions [--accept]".to_owned()),
    };
    install_valgrind()?;
    crate::bench::build()?;
    let counts = count_all()?;
    let path = crate::root().join("benches/instructions.toml");
    let text = match fs::read_to_string(&path) {
        Err(error) if !accepts => return Err(format!("{}: {error}", path.display())),
        text => text.unwrap_or_default(),
    };
    let compiler = compiler()?;
    let comparison = Comparison::of(&counts, &parse(&text)?);
    println!("{}", comparison.table);
    if accepts {
        return fs::write(&path, format(&counts, &compiler)).map_err(|error| format!("{}: {error}", path.display()));
    }
    if !text.contains(&compiler) {
        println!("The figures were committed with another compiler than {compiler}, which makes a difference.");
    }
    if comparison.has_better {
        println!("Some commands execute fewer instructions now. Keep that: cargo xtask instructions --accept");
    }
    match comparison.has_worse {
        false => Ok(()),
        true => {
            Err("Some commands execute over 5 % more instructions than benches/instructions.toml says, or are not in \
                     it.\nWhere that is worth it: cargo xtask instructions --accept"
                .to_owned())
        }
    }
}

/// Makes sure that there is valgrind, where it can be installed.
fn install_valgrind() -> Result<(), String> {
    let is_there = || Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success());
    if is_there() {
        return Ok(());
    }
    println!("> apt-get install -y valgrind");
    let apt_get = |args: &[&str]| Command::new("apt-get").args(args).output();
    let install = || apt_get(&["install", "-y", "valgrind"]);
    // What packages there are may not be known yet, or not any more.
    let installed = install().and_then(|first| match first.status.success() {
        true => Ok(first),
        false => apt_get(&["update"]).and_then(|_| install()),
    });
    let why = match installed {
        Ok(_) if is_there() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!(
        "Instructions are counted by valgrind, which is not here and could not be installed by apt-get: {why}\n\
         Install valgrind, or run as root where there is apt-get."
    ))
}

/// The compiler that builds what is counted.
fn compiler() -> Result<String, String> {
    let output = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Instructions by scenario.
type Counts = BTreeMap<String, u64>;

fn count_all() -> Result<Counts, String> {
    let target = crate::target_dir()?;
    let programs = target.join("release");
    let folder = target.join("instructions");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut counts = Counts::new();
    for (name, program, args) in scenarios(&folder)? {
        let count = count(&programs.join(program), &args, &folder).map_err(|message| format!("{name}: {message}"))?;
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

/// Name, program and arguments.
type Scenario = (&'static str, &'static str, Vec<String>);

fn scenarios(folder: &Path) -> Result<[Scenario; 6], String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let workload = |num_requests| {
        let path = path(&format!("{num_requests}.jsonl"));
        let workload = GeneratedWorkload { num_requests, requests_per_s: 10.0, seed: 1 };
        workload.write(path.as_ref()).map(|()| path).map_err(|error| error.to_string())
    };
    let cluster = |name, cluster: GeneratedCluster| {
        let path = path(name);
        cluster.write(path.as_ref()).map(|()| path).map_err(|error| error.to_string())
    };
    let (llama, group) =
        (cluster("llama.json", GeneratedCluster::llama(1))?, cluster("group.json", GeneratedCluster::qwen_group(8))?);
    let (short, long) = (workload(2_000)?, workload(10_000)?);
    let chat = crate::root().join("crates/examples/data/chat.workload.jsonl").display().to_string();
    let output = path("result.csv");
    let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
    let run = |cluster: &str, dataset: &str, more: &[&str]| {
        let common =
            ["run", "--quiet", "--latency-source", "analytic", "--cluster-config", cluster, "--dataset", dataset];
        args(&[&common[..], more].concat())
    };
    let steady = |engine| run(&llama, &short, &["--no-enable-prefix-caching", "--output", &output, "--engine", engine]);
    Ok([
        ("start", "servingsim", args(&["run", "--quiet", "--example", "moe-ep"])),
        ("steady", "servingsim", steady("reference")),
        ("steady-vllm", "servingsim", steady("vllm")),
        ("waves", "servingsim", run(&group, &chat, &["--output", &output])),
        ("prefixes", "servingsim", args(&["run", "--quiet", "--example", "moe-dp-ep-agents"])),
        ("read", "bench", args(&["read", &long])),
    ])
}

/// The instructions that a command executes.
fn count(program: &Path, args: &[String], folder: &PathBuf) -> Result<u64, String> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(args)
        .current_dir(folder)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(told.into_owned());
    }
    collected(&told).ok_or_else(|| format!("valgrind did not tell how many instructions were executed:\n{told}"))
}

/// What valgrind tells, such as `==12== Collected : 3456789`.
fn collected(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

/// Counts beside figures.
struct Comparison {
    table: String,
    has_worse: bool,
    has_better: bool,
}

impl Comparison {
    fn of(counts: &Counts, figures: &Counts) -> Self {
        let mut comparison = Self { table: String::new(), has_worse: false, has_better: false };
        let _ =
            writeln!(comparison.table, "{:<12} {:>14} {:>14} {:>8}", "instructions", "committed", "counted", "change");
        for (name, &count) in counts {
            let Some(&figure) = figures.get(name) else {
                comparison.has_worse = true;
                let _ = writeln!(comparison.table, "{name:<12} {:>14} {count:>14} {:>8}", "none", "");
                continue;
            };
            let change = count as f64 / figure as f64 - 1.0;
            let verdict = match count * 100 {
                count if count > figure * (100 + SLACK_PERCENT) => "worse",
                count if count < figure * (100 - SLACK_PERCENT) => "better",
                _ => "",
            };
            comparison.has_worse |= verdict == "worse";
            comparison.has_better |= verdict == "better";
            let change = format!("{:+.1} %", change * 100.0);
            let line = format!("{name:<12} {figure:>14} {count:>14} {change:>8} {verdict}");
            let _ = writeln!(comparison.table, "{}", line.trim_end());
        }
        comparison
    }
}

/// The figures in a file of lines `name = number`.
fn parse(text: &str) -> Result<Counts, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, number) = line.split_once('=')?;
        Some((name.trim().to_owned(), number.trim().replace('_', "").parse().ok()?))
    };
    lines
        .map(|line| parse(line).ok_or_else(|| format!("benches/instructions.toml: not `name = number`: {line}")))
        .collect()
}

/// The file of `counts` with this `compiler`.
fn format(counts: &Counts, compiler: &str) -> String {
    counts
        .iter()
        .fold(format!("{HEAD}# With {compiler}.\n"), |text, (name, count)| text + &format!("{name} = {count}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let counts = counts(&[("a", 1), ("b-c", 2_000_000)]);
        assert_eq!(parse(&format(&counts, "rustc")), Ok(counts));
        assert!(parse("a 1").is_err());
    }

    #[test]
    fn the_total_is_found() {
        let told = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n==7== I   refs:      123,456\n";
        assert_eq!(collected(told), Some(123_456));
    }

    #[test]
    fn five_per_cent_more_is_too_much() {
        let verdict = |count| {
            let Comparison { has_worse, has_better, .. } =
                Comparison::of(&counts(&[("a", count)]), &counts(&[("a", 1_000)]));
            (has_worse, has_better)
        };
        assert_eq!(verdict(1_050), (false, false));
        assert_eq!(verdict(1_051), (true, false));
        assert_eq!(verdict(950), (false, false));
        assert_eq!(verdict(949), (false, true));
        assert!(Comparison::of(&counts(&[("a", 1)]), &Counts::new()).has_worse, "a new scenario has to be accepted");
    }
}
