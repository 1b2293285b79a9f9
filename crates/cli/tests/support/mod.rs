//! Running the command in a folder of its own, and what it says then.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A temporary folder with the files of one test. The command runs in it, so files go by their bare names and nothing
/// that it says depends on where the folder is.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Where `name` is or would be.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and the folders it is in.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder for it");
        fs::write(path, contents).expect("a file in the temporary folder");
    }

    /// The command with `args`. It sees no environment variables: one of them could change its results or its help.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_servingsim"));
        command.current_dir(self.dir.path()).env_clear().args(args);
        command
    }

    /// Runs the command with `args`.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::by(&mut self.command(args))
    }
}

/// How a command ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn by(command: &mut Command) -> Self {
        let output = command.output().expect("the command starts");
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        write!(f, "exit code: {code}\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}
