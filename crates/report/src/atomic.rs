//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use diagnostics::Fault;

/// A file that is written beside its place and moved there by [`commit`](Self::commit). Dropped before that, it leaves
/// no trace, and an older file in its place stays as it was.
///
/// What is there and no plain file, such as a pipe or a terminal, is written directly.
#[derive(Debug)]
pub struct AtomicFile {
    /// The file as the user named it.
    name: String,
    file: File,
    /// What is written until the commit, and where it moves then.
    pending: Option<Move>,
}

#[derive(Debug)]
struct Move {
    from: PathBuf,
    to: PathBuf,
}

impl AtomicFile {
    /// Begins a file for `path`, in a folder that is made where it is missing.
    ///
    /// # Errors
    /// When the folder or the file can't be made, or `path` is a folder.
    pub fn create(path: &Path) -> Result<Self, Fault> {
        let name = path.display().to_string();
        let failed = |error: io::Error| Fault::new(name.clone(), format!("can't be written: {error}"));
        // A link stays a link: what it leads to is replaced.
        let to = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if to.is_dir() {
            return Err(Fault::new(name, "is a folder").hint("name a file in it"));
        }
        if to.exists() && !to.is_file() {
            let file = File::options().write(true).open(&to).map_err(failed)?;
            return Ok(Self { name, file, pending: None });
        }
        let Some(file_name) = to.file_name() else { return Err(Fault::new(name, "names no file")) };
        // In the same folder, as only within one file system a move is a single act.
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(file_name);
        temporary_name.push(unique_suffix());
        let from = to.with_file_name(temporary_name);
        if let Some(folder) = from.parent() {
            if let Some(file) = folder.ancestors().find(|ancestor| ancestor.is_file()) {
                let fault = Fault::new(name, format!("`{}` on the way there is a file", file.display()));
                return Err(fault.hint("name a file in a folder"));
            }
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = File::create(&from).map_err(failed)?;
        Ok(Self { name, file, pending: Some(Move { from, to }) })
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When what was written can't be kept or moved; nothing is replaced then.
    pub fn commit(mut self) -> Result<(), Fault> {
        let Some(Move { from, to }) = &self.pending else { return Ok(()) };
        self.file.sync_all().and_then(|()| fs::rename(from, to)).map_err(|error| self.fault(&error))?;
        self.pending = None;
        Ok(())
    }

    /// The file as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fault that writing this file failed with `error`.
    pub fn fault(&self, error: &io::Error) -> Fault {
        Fault::new(self.name.clone(), format!("can't be written: {error}"))
    }
}

/// No other file of this process or of one beside it has it.
fn unique_suffix() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".{}-{}.tmp", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(Move { from, .. }) = &self.pending {
            // Nobody is left to tell when even this fails.
            let _ = fs::remove_file(from);
        }
    }
}
