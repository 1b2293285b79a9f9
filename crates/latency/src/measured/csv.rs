//! Reading the numbers of a profile's tables, fast and with every fault placed.
//!
//! A bundle holds tens of thousands of short numbers. They are parsed from bytes where they stand: digits gather into
//! one integer that is divided by a power of ten. Both are exact in an `f64` up to 15 digits, so the quotient is the
//! correctly rounded value (Clinger, "How to read floating point numbers accurately", 1990); longer numbers and those
//! with an exponent take the standard library's road to the same result.
//!
//! Columns are found by their name in the header and may come in any order; columns that nobody asks for are ignored,
//! and so are empty lines. Quoted cells are not part of the format.

use diagnostics::{Fault, Faults, Position};
use memchr::memchr_iter;

/// So many faulty rows of one file are told one by one; the rest are counted.
const FAULTY_ROWS_TOLD_MAX: usize = 8;

/// Whole numbers fit 32 bits. Times stay below as many µs, so that their nanoseconds are exact in an `f64`.
const NUMBER_MAX: f64 = u32::MAX as f64;

/// What is wrong with one cell.
#[derive(Debug, PartialEq)]
pub(crate) struct BadCell {
    /// Which of the columns asked for.
    column: usize,
    message: String,
    hint: Option<String>,
}

/// The cells of one row, in the order in which the columns were asked for.
pub(crate) struct Row<'a, const N: usize> {
    cells: [&'a [u8]; N],
}

impl<'a, const N: usize> Row<'a, N> {
    /// A cell as it stands, without the blanks around it.
    pub(crate) fn text(&self, column: usize) -> &'a [u8] {
        self.cells[column]
    }

    /// A finite number.
    pub(crate) fn number(&self, column: usize) -> Result<f64, BadCell> {
        let cell = self.cells[column];
        decimal(cell).ok_or_else(|| match cell {
            [] => self.bad(column, "an empty cell where a number belongs"),
            _ => self.bad(column, format!("`{}` is not a number", String::from_utf8_lossy(cell))),
        })
    }

    /// A whole number from 0 to 2^32 − 1.
    pub(crate) fn whole(&self, column: usize) -> Result<u32, BadCell> {
        let number = self.number(column)?;
        if (0.0..=NUMBER_MAX).contains(&number) && number.fract() == 0.0 {
            return Ok(number as u32);
        }
        Err(self.bad(column, format!("{number} is not a whole number from 0 to {NUMBER_MAX}")))
    }

    /// A time in µs as ns: rounded half to even to a whole number, at least 1.
    pub(crate) fn time_ns(&self, column: usize) -> Result<f64, BadCell> {
        let time_us = self.number(column)?;
        if (0.0..=NUMBER_MAX).contains(&time_us) {
            return Ok((time_us * 1_000.0).round_ties_even().max(1.0));
        }
        Err(self.bad(column, format!("{time_us} is not a time from 0 to {NUMBER_MAX} µs")))
    }

    /// A fault of the cell in `column`.
    pub(crate) fn bad(&self, column: usize, message: impl Into<String>) -> BadCell {
        BadCell { column, message: message.into(), hint: None }
    }
}

impl BadCell {
    /// The same fault, with what to write instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Hands each row of `bytes` to `take`, which says what is wrong with it, if anything.
///
/// `source` names the file in the faults, `columns` are the columns to read. A file without any row is a fault.
pub(crate) fn read<const N: usize>(
    source: &str,
    bytes: &[u8],
    columns: [&str; N],
    faults: &mut Faults,
    mut take: impl FnMut(&Row<'_, N>) -> Result<(), BadCell>,
) {
    let mut lines = lines(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let Some((_, header)) = lines.next() else {
        faults.push(Fault::new(source, "the file is empty").hint(format!("the header is {}", columns.join(","))));
        return;
    };
    let Some(places) = find_columns(source, header, columns, faults) else { return };
    let width = cells(header).count();

    let (mut rows, mut faulty_rows) = (0usize, 0usize);
    let mut tell = |fault: Fault| {
        faulty_rows += 1;
        if faulty_rows <= FAULTY_ROWS_TOLD_MAX {
            faults.push(fault);
        }
    };
    for (line_number, line) in lines {
        rows += 1;
        let mut row = Row { cells: [&[][..]; N] };
        let mut found = 0;
        for cell in cells(line) {
            // A line wider than the header is told below.
            if let Some(&Some(column)) = places.get(found) {
                row.cells[column] = cell;
            }
            found += 1;
        }
        if found != width {
            let message = format!("the row has {found} cells where the header has {width}");
            tell(Fault::new(source, message).at(Position { line: line_number, column: 1 }));
        } else if let Err(bad) = take(&row) {
            let place = places.iter().position(|&place| place == Some(bad.column)).unwrap_or(0);
            let position = Position { line: line_number, column: cell_column(line, place) };
            let fault = Fault::new(source, bad.message).at(position).path(columns[bad.column]);
            tell(match bad.hint {
                Some(hint) => fault.hint(hint),
                None => fault,
            });
        }
    }
    if faulty_rows > FAULTY_ROWS_TOLD_MAX {
        let more = faulty_rows - FAULTY_ROWS_TOLD_MAX;
        faults.push(Fault::new(source, format!("and {more} more faulty rows of {rows}")));
    }
    if rows == 0 {
        faults.push(Fault::new(source, "the table has a header and no rows"));
    }
}

/// For each cell of the header, which of the `columns` it is; `None` when one is missing, which is told.
fn find_columns<const N: usize>(
    source: &str,
    header: &[u8],
    columns: [&str; N],
    faults: &mut Faults,
) -> Option<Vec<Option<usize>>> {
    let mut places: Vec<Option<usize>> = vec![None; cells(header).count()];
    let mut complete = true;
    for (column, name) in columns.iter().enumerate() {
        match cells(header).position(|cell| cell == name.as_bytes()) {
            Some(place) => places[place] = Some(column),
            None => {
                complete = false;
                let hint = format!("the columns are {}", String::from_utf8_lossy(header));
                let fault = Fault::new(source, format!("there is no column `{name}`")).hint(hint);
                faults.push(fault.at(Position { line: 1, column: 1 }));
            }
        }
    }
    complete.then_some(places)
}

/// The lines that hold something, with their numbers from 1 and without their ends, `\n` or `\r\n`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    memchr_iter(b'\n', bytes)
        .chain([bytes.len()])
        .map(move |end| {
            let line = &bytes[start..end];
            start = end + 1;
            line.strip_suffix(b"\r").unwrap_or(line)
        })
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
}

/// The cells of a line, without the blanks around them.
fn cells(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// The column in characters, from 1, at which the cell number `place` of `line` begins.
fn cell_column(line: &[u8], place: usize) -> usize {
    let characters = |cell: &[u8]| String::from_utf8_lossy(cell).chars().count();
    1 + line.split(|&byte| byte == b',').take(place).map(|cell| characters(cell) + 1).sum::<usize>()
}

/// A decimal number, correctly rounded; `None` for anything else, infinities and NaN among it.
pub(crate) fn decimal(cell: &[u8]) -> Option<f64> {
    /// Powers of ten that an `f64` holds exactly, as far as they are needed.
    const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

    let (mut digits, mut num_digits, mut point) = (0u64, 0usize, None);
    for &byte in cell {
        match byte {
            b'0'..=b'9' if num_digits < POWERS.len() - 1 => {
                digits = digits * 10 + u64::from(byte - b'0');
                num_digits += 1;
            }
            b'.' if point.is_none() => point = Some(num_digits),
            _ => return std::str::from_utf8(cell).ok()?.parse().ok().filter(|number: &f64| number.is_finite()),
        }
    }
    let decimals = num_digits - point.unwrap_or(num_digits);
    (num_digits > 0).then(|| digits as f64 / POWERS[decimals])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_those_of_the_standard_library() {
        let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
        for text in [
            "0",
            "7",
            "16",
            "7.69067",
            "11.0935",
            "22572.7",
            ".5",
            "5.",
            "0.0707",
            "-0.25",
            "+3",
            "1e3",
            "1.5E-7",
            "123456789012345",
            "1234567890123456",
            "0.1234567890123456789",
            "99999999999999999999999",
            "000000000000000001",
            "",
            ".",
            "-",
            "1.2.3",
            "1,5",
            "nan",
            "NaN",
            "inf",
            "-infinity",
            "0x10",
            "12 ",
            "1_000",
            "e5",
            "1e999",
        ] {
            assert_eq!(decimal(text.as_bytes()).map(f64::to_bits), number(text).map(f64::to_bits), "{text:?}");
        }
        assert_eq!(decimal(b"\xff1"), None);
    }

    /// Reads `text` as `tokens,time_us` and shows rows and faults, one a line.
    fn shown(text: &str) -> String {
        let mut faults = Faults::new();
        let mut out = Vec::new();
        read("t.csv", text.as_bytes(), ["tokens", "time_us"], &mut faults, |row| {
            let (tokens, ns) = (row.whole(0)?, row.time_ns(1)?);
            out.push(format!("{tokens}={ns}"));
            Ok(())
        });
        out.extend(faults.iter().map(|fault| fault.to_string().replace('\n', "")));
        out.join("; ")
    }

    #[test]
    fn rows_and_faults() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text:?}");
        check("tokens,time_us\n1,2\n16,0.25\n", "1=2000; 16=250");
        check("tokens,time_us\r\n1,2\r\n\r\n3,4", "1=2000; 3=4000");
        check("time_us,note,tokens\n 2 ,x, 1 \n", "1=2000");
        check("\u{feff}tokens,time_us\n1,0\n", "1=1");
        check("tokens,time_us\n16.0,0.0105\n", "16=10");
        check("tokens,time_us\n1,0.0115\n", "1=12");
        check("", "t.csv: the file is empty  hint: the header is tokens,time_us");
        check("tokens,time_us\n", "t.csv: the table has a header and no rows");
        check("token,time_us\n1,2\n", "t.csv:1:1: there is no column `tokens`  hint: the columns are token,time_us");
        check("tokens,time_us\n1\n2,3\n", "2=3000; t.csv:2:1: the row has 1 cells where the header has 2");
        check("tokens,time_us\n1,2,3\n", "t.csv:2:1: the row has 3 cells where the header has 2");
        check("tokens,time_us\n1,fast\n", "t.csv:2:3 at time_us: `fast` is not a number");
        check("tokens,time_us\n1,NaN\n", "t.csv:2:3 at time_us: `NaN` is not a number");
        check("tokens,time_us\n12,\n", "t.csv:2:4 at time_us: an empty cell where a number belongs");
        check("tokens,time_us\n1,-2\n", "t.csv:2:3 at time_us: -2 is not a time from 0 to 4294967295 µs");
        check("tokens,time_us\n-1,2\n", "t.csv:2:1 at tokens: -1 is not a whole number from 0 to 4294967295");
        check("tokens,time_us\n1.5,2\n", "t.csv:2:1 at tokens: 1.5 is not a whole number from 0 to 4294967295");
        check("é,tokens,time_us\né,1,x\n", "t.csv:2:5 at time_us: `x` is not a number");
    }

    #[test]
    fn many_faulty_rows_are_counted() {
        let text = format!("tokens,time_us\n{}", "1,x\n".repeat(20));
        let shown = shown(&text);
        assert_eq!(shown.matches("is not a number").count(), FAULTY_ROWS_TOLD_MAX);
        assert!(shown.ends_with("t.csv: and 12 more faulty rows of 20"), "{shown}");
    }
}
