//! Files and folders, with faults instead of I/O errors.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use diagnostics::Fault;

use crate::json::Document;

/// The text of `path`.
///
/// # Errors
/// When it can't be read or is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<Document, Fault> {
    let name = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = match error.kind() {
                ErrorKind::NotFound => "no such file".to_owned(),
                _ if path.is_dir() => "is a folder, not a file".to_owned(),
                _ => format!("can't be read: {error}"),
            };
            return Err(Fault::new(name, message));
        }
    };
    match String::from_utf8(bytes) {
        // Some editors mark UTF-8 in front.
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.remove(0);
            }
            Ok(Document { name, text })
        }
        Err(_) => Err(Fault::new(name, "not a text file in UTF-8")),
    }
}

/// What a folder holds, by name; nothing when it can't be read.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name of a JSON file without `.json`.
pub(crate) fn json_stem(path: &Path) -> Option<String> {
    name(path).strip_suffix(".json").map(str::to_owned)
}
