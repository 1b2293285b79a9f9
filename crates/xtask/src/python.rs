//! A Python of our own, for tests that compare with programs in Python.

use std::path::Path;
use std::process::Command;

/// What is installed: the reader and writer of Chakra traces that ours is compared with.
const PROTOBUF: &str = "7.36.2";

/// Makes the virtual environment `python` in the target folder, unless it is there, and returns its interpreter.
pub(crate) fn set_up() -> Result<String, String> {
    let folder = super::target_dir()?.join("python");
    let python = folder.join("bin").join("python");
    if installed(&python).as_deref() != Some(PROTOBUF) {
        let package = format!("protobuf=={PROTOBUF}");
        let make = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        // Debian's own Python leaves the module out of its package.
        make()
            .or_else(|_| run(Command::new("apt-get").args(["install", "-y", "python3-venv"])).and_then(|()| make()))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", &package]))?;
    }
    python.into_os_string().into_string().map_err(|path| format!("{} is not UTF-8", path.display()))
}

/// The version of protobuf that `python` has.
fn installed(python: &Path) -> Option<String> {
    let output =
        Command::new(python).args(["-c", "import google.protobuf as p; print(p.__version__)"]).output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    println!("> {command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?} failed: {status}")),
        Err(error) => Err(format!("{command:?}: {error}; the tests need Python 3.10 or later")),
    }
}
