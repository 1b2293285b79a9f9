//! Reading the numbers of a profile's tables, fast and with every fault placed.
//!
//! A bundle holds tens of thousands of short numbers. They are parsed from bytes where they stand: digits gather into
//! one integer that is divided by a power of ten. Both are exact in an `f64` up to 15 digits, so the quotient is the
//! correctly rounded value (Clinger, "How to read floating point numbers accurately", 1990); longer numbers and those
//! with an exponent take the standard library's road to the same result.
//!
//! Columns are found by their name in the header and may come in any order; columns that nobody asks for are ignored,
//! and so are empty lines. Quoted cells are not part of the format. Where the columns begin with those asked for, in
//! order, rows first try a [short way](plain).

mod plain;

use std::io::{self, Read};
use std::ops::Range;

use diagnostics::{Fault, Faults, Position};
use memchr::memchr;

use super::files::unreadable;
use super::tables::round_half_even;
use plain::Plain;

/// So many faulty rows of one file are told one by one; the rest are counted.
const FAULTY_ROWS_TOLD_MAX: usize = 8;

/// Whole numbers fit 32 bits. Times stay below as many µs, so that their nanoseconds are exact in an `f64`.
const NUMBER_MAX: f64 = u32::MAX as f64;

/// So much of a file is read at once.
const PART_BYTES: usize = 32 << 10;

/// Powers of ten that an `f64` holds exactly, as far as they are needed.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// A table that takes its rows one by one.
pub(crate) trait Rows {
    /// What a row says.
    type Record<'a>;

    /// What one row says; its cells are read each once and in the order in which the columns were asked for.
    ///
    /// # Errors
    /// What is wrong with a cell.
    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<Self::Record<'a>, C::Fault>;

    /// Takes a row that is sound.
    fn push(&mut self, record: Self::Record<'_>);
}

/// The cells of one row, by the number of their column among those asked for.
pub(crate) trait Cells<'a> {
    /// What is wrong with a cell.
    type Fault;

    /// A cell as it stands, without the blanks around it.
    fn text(&mut self, column: usize) -> Result<Text<'a>, Self::Fault>;

    /// A finite number.
    fn number(&mut self, column: usize) -> Result<f64, Self::Fault>;

    /// A whole number from 0 to 2^32 − 1.
    fn whole(&mut self, column: usize) -> Result<u32, Self::Fault>;

    /// A time in µs as ns: rounded half to even to a whole number, at least 1.
    fn time_ns(&mut self, column: usize) -> Result<f64, Self::Fault>;

    /// A fault of the cell in `column`: a message, and what to write instead.
    fn bad(&self, column: usize, tell: impl FnOnce() -> (String, Option<String>)) -> Self::Fault;
}

/// A cell that is no number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    /// All of it.
    pub(crate) bytes: &'a [u8],
    /// Its first eight bytes, the first lowest, zeros after the last.
    pub(crate) word: u64,
}

impl<'a> Text<'a> {
    /// The text of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let place = |(index, &byte): (usize, &u8)| u64::from(byte) << (8 * index);
        Self { bytes, word: bytes.iter().take(8).enumerate().map(place).sum() }
    }

    /// Whether it is `other`, given that the words of both are the same: that of a short text is all of it.
    #[inline]
    pub(crate) fn is(self, other: &[u8]) -> bool {
        self.bytes.len() == other.len() && (self.bytes.len() <= 8 || self.bytes == other)
    }
}

/// What is wrong with one cell.
#[derive(Debug, PartialEq)]
pub(crate) struct BadCell {
    /// Which of the columns asked for.
    column: usize,
    message: String,
    hint: Option<String>,
}

/// The cells of one row, found beforehand.
struct Row<'a, const N: usize> {
    cells: [&'a [u8]; N],
}

impl<const N: usize> Row<'_, N> {
    fn fault(&self, column: usize, message: impl Into<String>) -> BadCell {
        BadCell { column, message: message.into(), hint: None }
    }
}

impl<'a, const N: usize> Cells<'a> for Row<'a, N> {
    type Fault = BadCell;

    fn text(&mut self, column: usize) -> Result<Text<'a>, BadCell> {
        Ok(Text::new(self.cells[column]))
    }

    fn number(&mut self, column: usize) -> Result<f64, BadCell> {
        let cell = self.cells[column];
        decimal(cell).ok_or_else(|| match cell {
            [] => self.fault(column, "an empty cell where a number belongs"),
            _ => self.fault(column, format!("`{}` is not a number", String::from_utf8_lossy(cell))),
        })
    }

    fn whole(&mut self, column: usize) -> Result<u32, BadCell> {
        let number = self.number(column)?;
        if (0.0..=NUMBER_MAX).contains(&number) && number.fract() == 0.0 {
            return Ok(number as u32);
        }
        Err(self.fault(column, format!("{number} is not a whole number from 0 to {NUMBER_MAX}")))
    }

    fn time_ns(&mut self, column: usize) -> Result<f64, BadCell> {
        let time_us = self.number(column)?;
        if (0.0..=NUMBER_MAX).contains(&time_us) {
            return Ok(time_ns(time_us));
        }
        Err(self.fault(column, format!("{time_us} is not a time from 0 to {NUMBER_MAX} µs")))
    }

    fn bad(&self, column: usize, tell: impl FnOnce() -> (String, Option<String>)) -> BadCell {
        let (message, hint) = tell();
        BadCell { column, message, hint }
    }
}

/// A time from 0 to [`NUMBER_MAX`] µs in whole ns, rounded half to even, at least 1.
#[inline(always)]
fn time_ns(time_us: f64) -> f64 {
    round_half_even(time_us * 1_000.0).max(1.0)
}

/// Hands each row of `input` to `table`, which says what is wrong with it, if anything.
///
/// `source` names the file in the faults, `columns` are the columns to read. A file without any row is a fault.
pub(crate) fn read<const N: usize>(
    source: &str,
    input: impl Read,
    columns: [&str; N],
    faults: &mut Faults,
    table: &mut impl Rows,
) {
    if let Err(error) = read_lines(source, Lines::new(input), columns, faults, table) {
        faults.push(unreadable(source, &error));
    }
}

fn read_lines<const N: usize>(
    source: &str,
    mut lines: Lines<impl Read>,
    columns: [&str; N],
    faults: &mut Faults,
    table: &mut impl Rows,
) -> io::Result<()> {
    let Some((_, header)) = lines.next()? else {
        faults.push(Fault::new(source, "the file is empty").hint(format!("the header is {}", columns.join(","))));
        return Ok(());
    };
    let Some(places) = find_columns(source, header, columns, faults) else { return Ok(()) };
    let is_in_order = (0..N).all(|column| places[column] == Some(column));

    let (mut rows, mut faulty_rows) = (0usize, 0usize);
    loop {
        if is_in_order {
            rows += lines.take_plain(table, places.len() - N);
        }
        let Some(line) = lines.next()? else { break };
        rows += 1;
        if let Err(fault) = take_row(source, line, columns, &places, table) {
            faulty_rows += 1;
            if faulty_rows <= FAULTY_ROWS_TOLD_MAX {
                faults.push(fault);
            }
        }
    }
    if faulty_rows > FAULTY_ROWS_TOLD_MAX {
        let more = faulty_rows - FAULTY_ROWS_TOLD_MAX;
        faults.push(Fault::new(source, format!("and {more} more faulty rows of {rows}")));
    }
    if rows == 0 {
        faults.push(Fault::new(source, "the table has a header and no rows"));
    }
    Ok(())
}

/// Hands one row to `table`; `places` says of each cell which of the `columns` it is.
fn take_row<const N: usize>(
    source: &str,
    (line_number, line): (usize, &[u8]),
    columns: [&str; N],
    places: &[Option<usize>],
    table: &mut impl Rows,
) -> Result<(), Fault> {
    let position = |place| Position { line: line_number, column: cell_column(line, place) };
    let mut row = Row { cells: [&[][..]; N] };
    let mut found = 0;
    for cell in cells(line) {
        // A line wider than the header is told below.
        if let Some(&Some(column)) = places.get(found) {
            row.cells[column] = cell;
        }
        found += 1;
    }
    if found != places.len() {
        let message = format!("the row has {found} cells where the header has {}", places.len());
        return Err(Fault::new(source, message).at(position(0)));
    }
    let record = table.parse(&mut row).map_err(|bad| {
        let place = places.iter().position(|&place| place == Some(bad.column)).unwrap_or(0);
        let fault = Fault::new(source, bad.message).at(position(place)).path(columns[bad.column]);
        Fault { hint: bad.hint, ..fault }
    })?;
    table.push(record);
    Ok(())
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

/// The lines of a file that hold something, with their numbers from 1 and without their ends, `\n` or `\r\n`.
///
/// The file is read a part at a time, since fresh memory for all of it costs more than its rows.
struct Lines<R> {
    input: R,
    /// What was read, up to `end`.
    bytes: Vec<u8>,
    end: usize,
    /// Where the next line begins.
    at: usize,
    /// Lines before that.
    num_lines: usize,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self { input, bytes: vec![0; PART_BYTES], end: 0, at: 0, num_lines: 0 }
    }

    /// Hands rows to `table` as long as they are plain, with `more` cells after those asked for; how many they were.
    fn take_plain(&mut self, table: &mut impl Rows, more: usize) -> usize {
        let bytes = &self.bytes[..self.end];
        let mut rows = 0;
        loop {
            let mut row = Plain::new(bytes, self.at);
            let Ok(record) = table.parse(&mut row) else { break };
            let Some(next) = row.end_row(more) else { break };
            table.push(record);
            self.at = next;
            rows += 1;
        }
        self.num_lines += rows;
        rows
    }

    /// The next line.
    fn next(&mut self) -> io::Result<Option<(usize, &[u8])>> {
        loop {
            let Some(range) = self.next_range()? else { return Ok(None) };
            let is_first = self.num_lines == 0;
            self.num_lines += 1;
            let is_blank = text_of(&self.bytes[range.clone()], is_first).trim_ascii().is_empty();
            if !is_blank {
                return Ok(Some((self.num_lines, text_of(&self.bytes[range], is_first))));
            }
        }
    }

    /// Where the next line stands, with its end.
    fn next_range(&mut self) -> io::Result<Option<Range<usize>>> {
        let mut searched = 0;
        loop {
            let rest = &self.bytes[self.at..self.end];
            let end = match memchr(b'\n', &rest[searched..]) {
                Some(end) => searched + end + 1,
                None => {
                    searched = rest.len();
                    if self.read_on()? {
                        continue;
                    }
                    self.end - self.at
                }
            };
            let start = self.at;
            self.at += end;
            return Ok((end > 0).then_some(start..start + end));
        }
    }

    /// Reads on behind what was not handed out yet, which moves to the front; whether there was more.
    fn read_on(&mut self) -> io::Result<bool> {
        self.bytes.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        loop {
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A line without its end, the first of a file without its byte order mark.
fn text_of(line: &[u8], is_first: bool) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line }
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

    /// Rows of tokens and a time as text.
    struct Shown(Vec<String>);

    impl Rows for Shown {
        type Record<'a> = (u32, f64);

        fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<(u32, f64), C::Fault> {
            Ok((cells.whole(0)?, cells.time_ns(1)?))
        }

        fn push(&mut self, (tokens, ns): (u32, f64)) {
            self.0.push(format!("{tokens}={ns}"));
        }
    }

    /// A file that gives away so many bytes at once at most.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.1);
            self.0.read(&mut bytes[..len])
        }
    }

    /// Reads `text` as `tokens,time_us` and shows rows and faults, one a line.
    fn shown(text: &str) -> String {
        let shown = shown_in_parts(text, text.len().max(1));
        [1, 2, 7, 20].iter().for_each(|&part| assert_eq!(shown_in_parts(text, part), shown, "{text:?} by {part}"));
        shown
    }

    fn shown_in_parts(text: &str, part: usize) -> String {
        let mut faults = Faults::new();
        let mut table = Shown(Vec::new());
        read("t.csv", Drip(text.as_bytes(), part), ["tokens", "time_us"], &mut faults, &mut table);
        let mut out = table.0;
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

    /// Columns in the order asked for go the short way, in another order the long one.
    #[test]
    fn both_ways_say_the_same() {
        let wholes =
            ["0", "16", "1234567", "12345678", "4294967295", "4294967296", "16.0", "1e3", " 7", "7 ", "-0", "x", ""];
        let times = [
            "0",
            "-0",
            "-1",
            "0.0005",
            "0.0015",
            "8.35233",
            "22572.7",
            "1234567.7654321",
            "12345678.5",
            "0.12345678",
            "4294967295",
            "4294967296",
            "5.",
            ".5",
            "1e-3",
            "1.2.3",
            "+3",
            " 2.5",
            "2.5 ",
            "2.5x",
            "nan",
            "",
            "\t3",
            "3\r",
        ];
        // Lines behind, so that the end of the file is far.
        let rest = "\r\n\n1,1\n1,1\n1,1\n1,1\n";
        for whole in wholes {
            for time in times {
                let in_order = shown(&format!("tokens,time_us\n{whole},{time}{rest}"));
                let reversed = shown(&format!("time_us,tokens\n{time},{whole}{rest}"));
                // Faults have another place.
                let message = |text: &str| {
                    text.rsplit_once("_us: ").or(text.rsplit_once("tokens: ")).map(|parts| parts.1.to_owned())
                };
                let is_faulty = in_order.contains("t.csv");
                assert_eq!(is_faulty, reversed.contains("t.csv"), "{whole:?}, {time:?}");
                if is_faulty {
                    assert_eq!(message(&in_order), message(&reversed), "{whole:?}, {time:?}");
                } else {
                    assert_eq!(in_order, reversed, "{whole:?}, {time:?}");
                }
            }
        }
        let check = |header: &str, row: &str| {
            let padded = format!("{header}\n{row}\n{}", format!("{row}\n").repeat(4));
            assert_eq!(shown(&padded), ["2=3000"; 5].join("; "), "{padded:?}");
        };
        check("tokens,time_us,more", "2,3,");
        check("tokens,time_us,more,yet", "2,3,x y,\"z\"\r");
        check("tokens,more,time_us", "2,x,3");
        let check = |row: &str, expected: &str| {
            let told = shown(&format!("tokens,time_us,more\n1,1,1\n{row}\n1,1,1\n1,1,1\n"));
            assert_eq!(told, format!("1=1000; 1=1000; 1=1000; t.csv:3:1: the row has {expected}"), "{row:?}");
        };
        check("2,3", "2 cells where the header has 3");
        check("2,3,4,", "4 cells where the header has 3");
        check("2,3,4,5", "4 cells where the header has 3");
    }

    #[test]
    fn longer_than_a_part() {
        let (rows, long) = (PART_BYTES / 4, "x".repeat(3 * PART_BYTES));
        let expected = vec!["1=2000"; rows + 2].join("; ");
        for line_end in ["\n", "\r\n"] {
            let text = format!("tokens,time_us{line_end}{}", format!("1,2{line_end}").repeat(rows + 2));
            assert_eq!(shown_in_parts(&text, usize::MAX), expected);
        }
        let text = format!("\u{feff}tokens,time_us,{long}\n{}1,2,{long}\n1,2,", "1,2,3\n".repeat(rows));
        assert_eq!(shown_in_parts(&text, usize::MAX), expected);
        let text = format!("tokens,time_us\n{}1,{long}\n", "1,2\n".repeat(rows));
        assert!(shown_in_parts(&text, usize::MAX).contains(&format!("t.csv:{}:3 at time_us: `xx", rows + 2)));
    }

    #[test]
    fn a_file_that_breaks_off() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("lost"))
            }
        }
        let mut faults = Faults::new();
        let input = b"tokens,time_us\n1,2\n1,".chain(Broken);
        read("t.csv", input, ["tokens", "time_us"], &mut faults, &mut Shown(Vec::new()));
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["t.csv: the file can't be read: lost"]);
    }

    #[test]
    fn many_faulty_rows_are_counted() {
        let text = format!("tokens,time_us\n{}", "1,x\n".repeat(20));
        let shown = shown(&text);
        assert_eq!(shown.matches("is not a number").count(), FAULTY_ROWS_TOLD_MAX);
        assert!(shown.ends_with("t.csv: and 12 more faulty rows of 20"), "{shown}");
    }
}
