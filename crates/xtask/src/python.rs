//! A Python of our own, for tests that compare with programs in Python.

use std::path::Path;
use std::process::Command;

/// What is installed: the reader and writer of Chakra traces that ours is compared with, and a validator of JSON schemas.
const PACKAGES: &[(&str, &str)] = &[("protobuf", "7.36.2"), ("jsonschema", "4.26.0")];

/// Makes the virtual environment `python` in the target folder, unless it is there, and returns its interpreter.
pub(crate) fn set_up() -> Result<String, String> {
    let folder = super::target_dir()?.join("python");
    let python = folder.join("bin").join("python");
    let packages: Vec<String> = PACKAGES.iter().map(|(name, version)| format!("{name}=={version}")).collect();
    if installed(&python) != Some(packages.clone()) {
        let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        // Debian's own Python leaves the module out of its package.
        make()
            .or_else(|_| run(Command::new("apt-get").args(["install", "-y", "python3-venv"])).and_then(|()| make()))?;
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(&packages))?;
    }
    python.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// Which of the packages `python` has, with their versions.
fn installed(python: &Path) -> Option<Vec<String>> {
    let names: Vec<&str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    let script = "import sys, importlib.metadata as m; [print(f'{name}=={m.version(name)}') for name in sys.argv[1:]]";
    let output =
        Command::new(python).args(["-c", script]).args(names).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().map(str::to_owned).collect())
}

fn run(command: &mut Command) -> Result<(), String> {
    println!("> {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?}: {error}; the tests need Python 3.10 or later")),
    }
}
