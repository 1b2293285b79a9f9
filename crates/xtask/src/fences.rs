//! What a crate must never know, held as dependencies it must not have (ARCHITECTURE.md says why).

use std::process::Command;

/// A crate, and what must not be found among what it is built from.
const FENCES: &[(&str, &[&str])] = &[
    ("units", &["diagnostics", "model", "network", "engine", "serde"]),
    ("documents", &["units", "model", "network", "engine", "serde"]),
    ("model", &["units", "network", "latency", "engine", "serde"]),
    ("network", &["model", "moe", "kvcache", "latency", "engine", "serde"]),
    ("kvcache", &["units", "model", "network", "latency", "engine", "serde"]),
    ("moe", &["units", "model", "network", "latency", "engine", "serde"]),
    ("astra", &["model", "moe", "kvcache", "latency", "engine", "config", "serde"]),
    ("compare", &["model", "network", "latency", "engine", "config", "workload", "metrics", "clap", "serde"]),
    ("chakra", &["units", "network", "engine", "serde_json", "config"]),
    ("latency", &["network", "kvcache", "moe", "engine", "config"]),
    ("engine", &["config", "workload", "metrics", "report", "clap", "rayon"]),
    ("explain", &["config", "workload", "metrics", "report", "clap"]),
    ("calibrate", &["config", "workload", "metrics", "report", "clap"]),
    ("metrics", &["config", "workload", "report", "clap"]),
    ("workload", &["config", "metrics", "report", "clap"]),
    ("traffic", &["config", "metrics", "report", "clap"]),
    ("config", &["workload", "metrics", "report", "clap"]),
    ("report", &["config", "workload", "clap"]),
    ("tables", &["config", "workload", "report", "clap", "parquet"]),
    ("columnar", &["config", "calibrate", "clap"]),
    // As it is built where nothing else is asked for.
    ("cli", &["pyo3"]),
];

/// Columns in memory and in files, which take long to build.
const COLUMNAR: [&str; 2] = ["arrow-array", "parquet"];

/// The crates that are built from them.
const COLUMNAR_CRATES: [&str; 2] = ["tables", "columnar"];

/// Every crate stays on its floor.
pub(crate) fn check() -> Result<(), String> {
    let check = |&(krate, banned): &(&str, &[&str])| match COLUMNAR_CRATES.contains(&krate) {
        true => check_crate(krate, banned),
        false => check_crate(krate, &[banned, &COLUMNAR].concat()),
    };
    let faults: Vec<String> = FENCES.iter().map(check).collect::<Result<Vec<_>, _>>()?.concat();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

fn check_crate(krate: &str, banned: &[&str]) -> Result<Vec<String>, String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", krate, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(super::root())
        .output()
        .map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree -p {krate} failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let found = banned.iter().filter(|name| names.contains(name));
    Ok(found.map(|name| format!("crate `{krate}` must not know `{name}`, and is built from it")).collect())
}
