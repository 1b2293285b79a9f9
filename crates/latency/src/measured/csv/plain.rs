//! The short way through rows that are as a profiler writes them.
//!
//! Such a row has its columns in the order in which they are asked for, no blanks, and numbers of a few digits. Its
//! cells are read one after another in a single pass: the next eight bytes are taken as one word, in which the end of
//! the digits shows in a few operations and the digits become a number in three multiplications, so that nothing
//! depends on how long a cell is. Whatever is out of the ordinary, faults above all, is left to the long way.

use super::{Cells, NUMBER_MAX, Text, decimal, time_ns};

/// The rest of a table, at the cell to read next.
pub(super) struct Plain<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A row is not as it is expected; the long way tells what it is.
pub(super) struct NotPlain;

impl<'a> Plain<'a> {
    /// The row that begins at `at`.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next row begins, once this one ends after `more` cells that nobody asked for.
    #[inline(always)]
    pub(super) fn end_row(mut self, more: usize) -> Option<usize> {
        for _ in 0..more {
            if self.bytes.get(self.at) != Some(&b',') {
                return None;
            }
            let cell = &self.bytes[self.at + 1..];
            self.at += 1 + cell.iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n'))?;
        }
        match self.bytes.get(self.at..)? {
            [b'\n', ..] => Some(self.at + 1),
            [b'\r', b'\n', ..] => Some(self.at + 2),
            _ => None,
        }
    }

    /// Goes to the cell of `column` from the end of the one before it.
    #[inline(always)]
    fn enter(&mut self, column: usize) -> Result<(), NotPlain> {
        if column > 0 {
            if self.bytes.get(self.at) != Some(&b',') {
                return Err(NotPlain);
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Up to seven digits as a number, and how many they are: at least one.
    #[inline(always)]
    fn digits(&mut self) -> Result<(u64, usize), NotPlain> {
        let (number, num_digits) = leading_digits(word(self.bytes, self.at)?);
        if num_digits == 0 || num_digits == 8 {
            return Err(NotPlain);
        }
        self.at += num_digits;
        Ok((number, num_digits))
    }

    /// A number that is longer than usual.
    #[cold]
    fn long_number(&mut self, start: usize) -> Result<f64, NotPlain> {
        let rest = &self.bytes[start..];
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'\r' | b'\n')).ok_or(NotPlain)?;
        self.at = start + end;
        decimal(&rest[..end]).ok_or(NotPlain)
    }
}

impl<'a> Cells<'a> for Plain<'a> {
    type Fault = NotPlain;

    #[inline(always)]
    fn text(&mut self, column: usize) -> Result<Text<'a>, NotPlain> {
        self.enter(column)?;
        let start = self.at;
        let first = word(self.bytes, start)?;
        let mut end = start + first_separator(first);
        if end == start + 8 {
            end += self.bytes[end..].iter().position(|byte| matches!(byte, b',' | b'\n')).ok_or(NotPlain)?;
        }
        self.at = end;
        match &self.bytes[start..end] {
            // Blanks around a cell do not count.
            [] => Err(NotPlain),
            [first, .., last] if *first <= b' ' || *last <= b' ' => Err(NotPlain),
            [only] if *only <= b' ' => Err(NotPlain),
            bytes => Ok(Text { bytes, word: first & leading_bytes(bytes.len()) }),
        }
    }

    #[inline(always)]
    fn number(&mut self, column: usize) -> Result<f64, NotPlain> {
        self.enter(column)?;
        let start = self.at;
        let is_negative = self.bytes.get(start) == Some(&b'-');
        self.at += usize::from(is_negative);
        let Ok((mut number, _)) = self.digits() else { return self.long_number(start) };
        let mut decimals = 0;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            let Ok((fraction, num_digits)) = self.digits() else { return self.long_number(start) };
            number = number * WHOLE_POWERS[num_digits] + fraction;
            decimals = num_digits;
        }
        let number = number as f64 / super::POWERS[decimals];
        Ok(if is_negative { -number } else { number })
    }

    #[inline(always)]
    fn whole(&mut self, column: usize) -> Result<u32, NotPlain> {
        self.enter(column)?;
        Ok(self.digits()?.0 as u32)
    }

    #[inline(always)]
    fn time_ns(&mut self, column: usize) -> Result<f64, NotPlain> {
        let time_us = self.number(column)?;
        if (0.0..=NUMBER_MAX).contains(&time_us) { Ok(time_ns(time_us)) } else { Err(NotPlain) }
    }

    #[inline(always)]
    fn bad(&self, _column: usize, _tell: impl FnOnce() -> (String, Option<String>)) -> NotPlain {
        NotPlain
    }
}

const WHOLE_POWERS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Eight bytes, the first lowest. The last row of a file may have fewer ahead.
#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Result<u64, NotPlain> {
    let bytes = bytes.get(at..at + 8).ok_or(NotPlain)?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

/// The same byte eight times.
const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// A word whose lowest `count` bytes are all ones, for `count` up to 8 and all of them beyond.
#[inline(always)]
fn leading_bytes(count: usize) -> u64 {
    if count >= 8 { u64::MAX } else { (1 << (8 * count)) - 1 }
}

/// The digits that `word` begins with as a number, and how many they are.
#[inline(always)]
fn leading_digits(word: u64) -> (u64, usize) {
    let values = word ^ repeated(b'0');
    // A byte above 9 sets its top bit; what it carries over only reaches bytes after the first such.
    let others = (values.wrapping_add(repeated(0x80 - 10)) | values) & repeated(0x80);
    let num_digits = others.trailing_zeros() as usize / 8;
    if num_digits == 0 {
        return (0, 0);
    }
    // The last digit moves to the top, zeros come before the first; then neighbours join, twice as wide each time.
    let digits = values << (64 - 8 * num_digits);
    let pairs = (digits.wrapping_mul(10 << 8 | 1) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100 << 16 | 1) >> 16) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32, num_digits)
}

/// How many bytes of `word` come before the first comma or line feed; 8 when there is none.
#[inline(always)]
fn first_separator(word: u64) -> usize {
    // A byte that is zero borrows from the next, so marks after the first may be wrong.
    let zeros = |word: u64| word.wrapping_sub(repeated(1)) & !word & repeated(0x80);
    let marks = zeros(word ^ repeated(b',')) | zeros(word ^ repeated(b'\n'));
    marks.trailing_zeros() as usize / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word_of(text: &str) -> u64 {
        word(text.as_bytes(), 0).ok().unwrap()
    }

    #[test]
    fn digits_in_a_word() {
        let check = |text, expected| assert_eq!(leading_digits(word_of(text)), expected, "{text}");
        check("7,000000", (7, 1));
        check("42.99999", (42, 2));
        check("1234567,", (1_234_567, 7));
        check("12345678", (12_345_678, 8));
        check("00000012", (12, 8));
        check(",1234567", (0, 0));
        check("9999999\u{7f}", (9_999_999, 7));
        check("99:/9999", (99, 2));
        check("9\u{e9}99999", (9, 1));
    }

    #[test]
    fn separators_in_a_word() {
        let check = |text, expected| assert_eq!(first_separator(word_of(text)), expected, "{text}");
        check("n<=128,s", 6);
        check("n<=1\n,,,", 4);
        check(",-------", 0);
        check("kvB<=16k", 8);
        check("abc-.+\u{c}\n", 7);
    }

    #[test]
    fn bytes_of_a_word() {
        assert_eq!([0, 1, 7, 8, 9].map(leading_bytes), [0, 0xff, u64::MAX >> 8, u64::MAX, u64::MAX]);
    }
}
