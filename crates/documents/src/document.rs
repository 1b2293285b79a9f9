//! A text and its name.

use std::io::ErrorKind;
use std::path::Path;

use diagnostics::Fault;

/// One input file, or a text under a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// The name faults give it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl Document {
    /// The text of the file at `path`, under its path as the name.
    ///
    /// # Errors
    /// When it can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Fault> {
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
                Ok(Self { name, text })
            }
            Err(_) => Err(Fault::new(name, "not a text file in UTF-8")),
        }
    }
}
