//! The recorded runs of ASTRA-Sim: their tables, their graphs, and their times worked out without events.

pub(crate) mod chains;
pub(crate) mod graphs;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// One row of a table, by column.
#[derive(Debug)]
pub(crate) struct Row(HashMap<String, String>);

impl Row {
    pub(crate) fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    /// The value of a column that may not be there.
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        self.0.get(column).map(String::as_str)
    }

    pub(crate) fn number<N: std::str::FromStr<Err: fmt::Debug>>(&self, column: &str) -> N {
        self.text(column).parse().unwrap_or_else(|error| panic!("{column}: {error:?} in {self:?}"))
    }

    /// Values joined by `separator`.
    pub(crate) fn list<N: std::str::FromStr<Err: fmt::Debug>>(&self, column: &str, separator: char) -> Vec<N> {
        let values = self.text(column).split(separator).filter(|value| !value.is_empty());
        values.map(|value| value.parse().unwrap_or_else(|error| panic!("{column}: {error:?} in {self:?}"))).collect()
    }
}

/// The rows of a CSV file with a header.
pub(crate) fn read_table(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().map(split_line);
    let header = lines.next().expect("a header");
    let row = |fields: Vec<String>| Row(header.iter().cloned().zip(fields).collect());
    lines.map(row).collect()
}

/// The fields of a CSV line; a quoted one may hold commas, and quotes written twice.
fn split_line(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        let field = fields.last_mut().expect("a field");
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            char => field.push(char),
        }
    }
    fields
}
