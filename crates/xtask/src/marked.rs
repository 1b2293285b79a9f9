//! Documents of which a task writes a part, between two marks.

use std::fs;
use std::path::PathBuf;

/// A document, and where the part is that a task writes.
pub(crate) struct Marked {
    path: PathBuf,
    text: String,
    /// Byte offsets.
    begin: usize,
    end: usize,
}

impl Marked {
    /// Reads the document `name` in `docs`, whose part between its marks `cargo xtask <task>` writes.
    pub(crate) fn read(name: &str, task: &str) -> Result<Self, String> {
        let path = super::root().join("docs").join(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lost = || format!("docs/{name} has lost its marks");
        let mark = format!("<!-- what follows is written by cargo xtask {task} -->");
        let begin = text.find(&mark).ok_or_else(lost)? + mark.len();
        let end =
            text.find(&format!("<!-- what comes before is written by cargo xtask {task} -->")).ok_or_else(lost)?;
        if end < begin { Err(lost()) } else { Ok(Self { path, text, begin, end }) }
    }

    /// The document with `part` between its marks.
    fn with(&self, part: &str) -> String {
        format!("{}\n\n{part}\n{}", &self.text[..self.begin], &self.text[self.end..])
    }

    /// Whether `part` is what it has there.
    pub(crate) fn has(&self, part: &str) -> bool {
        self.with(part) == self.text
    }

    /// Puts `part` there.
    pub(crate) fn write(&self, part: &str) -> Result<(), String> {
        fs::write(&self.path, self.with(part)).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_their_marks() {
        for (name, task) in [("validation.md", "validate"), ("performance.md", "bench")] {
            let document = Marked::read(name, task).expect("it is there");
            let part = document.text[document.begin..document.end].trim_start_matches('\n').strip_suffix('\n');
            assert!(document.has(part.expect("marks are on lines of their own")), "{name}");
            assert!(!document.has(""), "{name}");
        }
    }
}
