//! Tables as text: fields apart by commas, in quotes where they hold one, a line a row.

use std::borrow::Cow;

use diagnostics::Position;

use super::Reader;

/// Whole numbers are below: nanoseconds of 126 years, twice which still fit the clock.
const WHOLE_MAX: u64 = 4_000_000_000_000_000_000;

/// A header and the lines below it.
pub(super) struct Table<'a> {
    header_line: usize,
    header: Vec<Field<'a>>,
    lines: Vec<(usize, &'a str)>,
}

/// One row under the header of its table.
pub(super) struct Row<'t, 'a> {
    table: &'t Table<'a>,
    number: usize,
    line: &'a str,
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    /// Where it begins in its line, in bytes.
    offset: usize,
    text: Cow<'a, str>,
}

impl<'a> Table<'a> {
    /// `None` when no line holds anything.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let mut lines = text.lines().zip(1..).map(|(line, number)| (number, line));
        let mut filled = lines.by_ref().filter(|(_, line)| !line.trim().is_empty());
        let (header_line, header) = filled.next()?;
        Some(Self { header_line, header: fields(header), lines: filled.collect() })
    }

    pub(super) fn columns(&self) -> Vec<&str> {
        self.header.iter().map(|field| &*field.text).collect()
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.header.iter().any(|field| field.text == column)
    }

    pub(super) fn header_position(&self) -> Position {
        Position { line: self.header_line, column: 1 }
    }

    /// Hands on each row that has as many fields as the header; others are faults.
    pub(super) fn each_row(&self, reader: &mut Reader<'_>, mut take: impl FnMut(&Row<'_, 'a>, &mut Reader<'_>)) {
        for &(number, line) in &self.lines {
            let row = Row { table: self, number, line, fields: fields(line) };
            let (found, expected) = (row.fields.len(), self.header.len());
            if found == expected {
                take(&row, reader);
            } else {
                let message = format!("the row has {found} fields where the header has {expected}");
                reader.fault(diagnostics::Fault::new(reader.name, message).at(row.position()));
            }
        }
    }
}

impl Row<'_, '_> {
    pub(super) fn position(&self) -> Position {
        Position { line: self.number, column: 1 }
    }

    fn field(&self, column: &str) -> Option<&Field<'_>> {
        self.fields.get(self.table.header.iter().position(|field| field.text == column)?)
    }

    fn fault<T>(&self, column: &str, expected: &str, reader: &mut Reader<'_>) -> Option<T> {
        let field = self.field(column)?;
        let position = Position { column: 1 + self.line[..field.offset].chars().count(), ..self.position() };
        let found = if field.text.is_empty() { "nothing".to_owned() } else { format!("`{}`", shortened(&field.text)) };
        reader.fault_at(position, column, format!("expected {expected}, found {found}"));
        None
    }

    /// Whether the column is there and holds something in this row.
    pub(super) fn holds(&self, column: &str) -> bool {
        self.field(column).is_some_and(|field| !field.text.is_empty())
    }

    /// A text that is not empty.
    pub(super) fn text(&self, column: &str, reader: &mut Reader<'_>) -> Option<String> {
        match self.field(column) {
            Some(field) if !field.text.is_empty() => Some(field.text.to_string()),
            _ => self.fault(column, "a text", reader),
        }
    }

    /// A whole number from `least`.
    pub(super) fn whole(&self, column: &str, least: u64, reader: &mut Reader<'_>) -> Option<u64> {
        let sound = whole(&self.field(column)?.text).filter(|&number| number >= least);
        sound.or_else(|| self.fault(column, &format!("a whole number from {least} to {WHOLE_MAX}"), reader))
    }

    /// A number from 0 to `most`.
    pub(super) fn number(&self, column: &str, most: f64, reader: &mut Reader<'_>) -> Option<f64> {
        let sound = self.field(column)?.text.parse().ok().filter(|number| (0.0..=most).contains(number));
        sound.or_else(|| self.fault(column, &format!("a number from 0 to {most}"), reader))
    }

    /// Whole numbers in brackets.
    pub(super) fn list(&self, column: &str, reader: &mut Reader<'_>) -> Option<Vec<u64>> {
        let inside = self.field(column)?.text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let numbers = inside.and_then(|inside| match inside.trim() {
            "" => Some(Vec::new()),
            inside => inside.split(',').map(|number| whole(number.trim())).collect(),
        });
        numbers.or_else(|| self.fault(column, "whole numbers such as `[3, 5]`", reader))
    }
}

fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&number| number <= WHOLE_MAX)
}

/// A text as a fault shows it.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The fields of a line, without the blanks around them. In one that begins with a quote, commas are text up to the next
/// quote that is not doubled.
fn fields(line: &str) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    let mut offset = 0;
    loop {
        let rest = &line[offset..];
        let end = end_of_field(rest);
        let text = rest[..end].trim();
        let text = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(quoted) if quoted.contains('"') => Cow::Owned(quoted.replace("\"\"", "\"")),
            Some(quoted) => Cow::Borrowed(quoted),
            None => Cow::Borrowed(text),
        };
        fields.push(Field { offset, text });
        if end == rest.len() {
            return fields;
        }
        offset += end + 1;
    }
}

/// Bytes up to the comma that ends the first field, or all.
fn end_of_field(rest: &str) -> usize {
    let mut quoted = false;
    let begins_with_quote = rest.trim_start().starts_with('"');
    for (index, byte) in rest.bytes().enumerate() {
        match byte {
            b'"' if begins_with_quote => quoted = !quoted,
            b',' if !quoted => return index,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_lines() {
        let check = |line: &str, expected: &[&str]| {
            let found: Vec<String> = fields(line).iter().map(|field| field.text.to_string()).collect();
            assert_eq!(found, expected, "{line}");
        };
        check("a,b", &["a", "b"]);
        check("", &[""]);
        check("a,,", &["a", "", ""]);
        check(r#"1, "[2, 3]" ,4"#, &["1", "[2, 3]", "4"]);
        check(r#""say ""a, b""",c"#, &[r#"say "a, b""#, "c"]);
        check(r#"5" disk,c"#, &[r#"5" disk"#, "c"]);
        check(r#""never closed,c"#, &[r#""never closed,c"#]);
    }
}
