//! The little of JSON that a workload line is made of, read byte by byte.
//!
//! The lines have one fixed shape, so there is no tree, no recursion and nothing to skip: a token is read where it is
//! expected, or its place and what is wrong with it are reported. Strings and plain numbers, which are nearly all of a
//! file, are taken many bytes at once; whatever is out of the ordinary about one falls back to reading it byte by byte,
//! from its beginning.

use std::ops::RangeInclusive;

/// What is wrong with a line, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Bytes of the line before it.
    pub(crate) offset: usize,
    /// The part of the JSON path that is known so far, such as `[2].input_toks`.
    pub(crate) path: String,
    /// One sentence without a full stop.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) hint: Option<&'static str>,
}

/// Boxed, so that the results of reading stay small.
pub(crate) type Result<T> = std::result::Result<T, Box<Problem>>;

impl Problem {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { offset, path: String::new(), message: message.into(), hint: None })
    }

    pub(crate) fn hint(mut self: Box<Self>, hint: &'static str) -> Box<Self> {
        self.hint = Some(hint);
        self
    }

    /// The same problem, one step further out: `step` is put before its path.
    pub(crate) fn within(mut self: Box<Self>, step: &str) -> Box<Self> {
        self.path.insert_str(0, step);
        self
    }
}

/// Reads one line from front to back.
pub(crate) struct Scanner<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// `line` must be UTF-8, or offsets may fall into the middle of characters.
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The next byte that is not white space, and moves up to it. `None` at the end of the line.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.line.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Bytes before the next token.
    pub(crate) fn offset(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// Takes `byte` if it is next.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes `byte`, which must be next. `wanted` names it in the message.
    pub(crate) fn expect(&mut self, byte: u8, wanted: &str) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(wanted)) }
    }

    /// The problem that the next token is not what is `wanted`.
    #[cold]
    pub(crate) fn unexpected(&mut self, wanted: &str) -> Box<Problem> {
        let found = match self.peek() {
            None => {
                return Problem::new(self.at, format!("the line ends where {wanted} should be"))
                    .hint("is the file cut off here? each line is one whole JSON object");
            }
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "a list".to_owned(),
            Some(b'"') => "a string".to_owned(),
            Some(b'-' | b'0'..=b'9') => "a number".to_owned(),
            Some(_) => format!("`{}`", self.word()),
        };
        Problem::new(self.at, format!("expected {wanted}, found {found}"))
    }

    /// The letters at hand, or else the one character.
    fn word(&self) -> String {
        let rest = String::from_utf8_lossy(&self.line[self.at..]);
        let letters: String = rest.chars().take_while(char::is_ascii_alphabetic).take(12).collect();
        if letters.is_empty() { rest.chars().take(1).collect() } else { letters }
    }

    /// The bytes between the quotes of a string, escapes and all.
    pub(crate) fn string(&mut self, wanted: &str) -> Result<&'a [u8]> {
        self.expect(b'"', wanted)?;
        let start = self.at;
        let rest = &self.line[start..];
        if let Some(length) = memchr::memchr(b'"', rest)
            && rest[..length].iter().all(|&byte| byte != b'\\' && byte > 0x1f)
        {
            self.at += length + 1;
            return Ok(&rest[..length]);
        }
        while let Some(&byte) = self.line.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(&self.line[start..self.at - 1]);
                }
                b'\\' => self.escape()?,
                0..=0x1f => return Err(Problem::new(self.at, "a control character inside a string")),
                _ => self.at += 1,
            }
        }
        Err(self.unexpected("the end of a string"))
    }

    fn escape(&mut self) -> Result<()> {
        let rest = &self.line[self.at + 1..];
        let length = match rest {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', digits @ ..] if digits.len() >= 4 && digits[..4].iter().all(u8::is_ascii_hexdigit) => 6,
            _ => return Err(Problem::new(self.at, "a backslash that begins no JSON escape")),
        };
        self.at += length;
        Ok(())
    }

    /// A whole number in `range`. Forms such as `12.0` and `1e6` are whole numbers too.
    pub(crate) fn whole_number(&mut self, range: RangeInclusive<u64>) -> Result<u64> {
        let start = self.offset();
        let value = match plain_number(&self.line[start..]) {
            Some((value, length)) => {
                self.at += length;
                value
            }
            None => self.decimal(*range.end())?,
        };
        if range.contains(&value) { Ok(value) } else { Err(self.out_of_range(start, value, &range)) }
    }

    /// The problem that the number which begins at `start`, and has just been read, is not in `range`.
    #[cold]
    fn out_of_range(&self, start: usize, value: u64, range: &RangeInclusive<u64>) -> Box<Problem> {
        let text = String::from_utf8_lossy(&self.line[start..self.at]);
        Problem::new(
            start,
            if value < *range.start() {
                format!("must be at least {}, not {text}", range.start())
            } else {
                format!("{text} is too large, the most is {}", range.end())
            },
        )
    }

    /// Any JSON number, as a whole number of at most 64 bits: exact, by moving the decimal point through its digits.
    fn decimal(&mut self, most: u64) -> Result<u64> {
        let start = self.at;
        let negative = self.take(b'-');
        let whole = self.digits();
        if whole.is_empty() {
            self.at = start;
            return Err(self.unexpected("a whole number"));
        }
        if whole.len() > 1 && whole[0] == b'0' {
            return Err(Problem::new(start, "a number with a leading zero").hint("drop the zeros in front"));
        }
        let fraction = if self.take_here(b".") { self.digits_of("the fraction")? } else { &[] };
        let mut exponent = 0_i64;
        if self.take_here(b"eE") {
            let sign = if self.line.get(self.at) == Some(&b'-') { -1 } else { 1 };
            self.take_here(b"+-");
            let digits = self.digits_of("the exponent")?;
            exponent = sign * digits.iter().fold(0_i64, |e, d| (e * 10 + i64::from(d - b'0')).min(1_000_000));
        }
        let text = String::from_utf8_lossy(&self.line[start..self.at]);
        let digits: Vec<u8> = whole.iter().chain(fraction).map(|digit| digit - b'0').collect();
        let Some(last) = digits.iter().rposition(|&digit| digit != 0) else { return Ok(0) };
        // What is left of the digits once the trailing zeros are gone, and how many zeros follow it.
        let zeros = exponent + (whole.len() as i64 - 1 - last as i64);
        if negative {
            return Err(Problem::new(start, format!("{text} is negative")));
        }
        if zeros < 0 {
            return Err(Problem::new(start, format!("{text} is not a whole number")));
        }
        digits[..=last]
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, zeros as usize))
            .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit)))
            .ok_or_else(|| Problem::new(start, format!("{text} is too large, the most is {most}")))
    }

    /// Takes the very next byte, white space or not, if it is one of `bytes`.
    fn take_here(&mut self, bytes: &[u8]) -> bool {
        let is_next = self.line.get(self.at).is_some_and(|byte| bytes.contains(byte));
        self.at += usize::from(is_next);
        is_next
    }

    fn digits(&mut self) -> &'a [u8] {
        let rest = &self.line[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn digits_of(&mut self, part: &str) -> Result<&'a [u8]> {
        let digits = self.digits();
        if digits.is_empty() {
            return Err(Problem::new(self.at, format!("{part} of a number has no digits")));
        }
        Ok(digits)
    }

    /// A list of token ids.
    pub(crate) fn token_ids(&mut self) -> Result<Vec<u32>> {
        self.expect(b'[', "a list of token ids")?;
        if self.take(b']') {
            return Ok(Vec::new());
        }
        let list = &self.line[self.at..];
        let list = &list[..memchr::memchr(b']', list).unwrap_or(list.len())];
        let mut ids = Vec::with_capacity(1 + memchr::memchr_iter(b',', list).count());
        loop {
            self.usual_token_ids(&mut ids);
            match self.whole_number(0..=u64::from(u32::MAX)) {
                Ok(id) => ids.push(id as u32),
                Err(problem) => return Err(problem.within(&format!("[{}]", ids.len()))),
            }
            if !self.take(b',') {
                self.expect(b']', "a comma or the end of the list")?;
                return Ok(ids);
            }
        }
    }

    /// Takes ids of at most seven digits, each with the comma after it and a space at most, for as long as they come.
    fn usual_token_ids(&mut self, ids: &mut Vec<u32>) {
        let mut rest = &self.line[self.at..];
        while let Some(bytes) = rest.first_chunk::<8>() {
            let (id, length) = leading_digits_of(*bytes);
            let has_zero_in_front = bytes[0] == b'0' && length > 1;
            if length == 0 || bytes.get(length) != Some(&b',') || has_zero_in_front {
                break;
            }
            ids.push(id as u32);
            rest = match &rest[length..] {
                [_, b' ', more @ ..] | [_, more @ ..] => more,
                [] => unreachable!("a comma"),
            };
        }
        self.at = self.line.len() - rest.len();
    }

    /// Moves past a list of token ids without keeping them. A list of anything but plain numbers is read in full, for
    /// the sake of its fault.
    pub(crate) fn skip_token_ids(&mut self) -> Result<()> {
        let start = self.offset();
        if self.take(b'[') {
            let rest = &self.line[self.at..];
            let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b',' | b' '));
            if let Some(length) = end.filter(|&length| rest[length] == b']') {
                self.at += length + 1;
                return Ok(());
            }
        }
        self.at = start;
        self.token_ids().map(drop)
    }

    /// The line must end here.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Problem::new(self.at, "there is more after the end of the object")
                .hint("each line is one JSON object, without commas between them")),
        }
    }
}

/// The whole number that `text` begins with, and how many digits it has; `None` unless it is written as one usually is:
/// with digits alone, of which the first is no leading zero, and which can't exceed 64 bits.
#[inline]
pub(crate) fn plain_number(text: &[u8]) -> Option<(u64, usize)> {
    let (value, length) = leading_digits(text);
    let (value, length) = if length < 8 { (value, length) } else { long_number(text, value)? };
    let is_plain = match text.get(length) {
        Some(b'0'..=b'9' | b'.' | b'e' | b'E') => false,
        _ => length == 1 || (length > 0 && text[0] != b'0'),
    };
    is_plain.then_some((value, length))
}

/// The number that `text` begins with and how many digits it has, after eight of them, which make `value`.
fn long_number(text: &[u8], mut value: u64) -> Option<(u64, usize)> {
    let (mut length, mut length_max) = (8, 8);
    // While as many bytes as could be digits are.
    while length == length_max {
        let (low, more) = leading_digits(&text[length..]);
        if length + more > DIGITS_MAX {
            return None;
        }
        value = value * TEN_TO_THE[more] + low;
        length += more;
        length_max += 8;
    }
    Some((value, length))
}

/// Twenty digits can exceed 64 bits, nineteen can't.
const DIGITS_MAX: usize = 19;

const TEN_TO_THE: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number in the first digits of `text`, at most eight, and how many they are.
#[inline]
fn leading_digits(text: &[u8]) -> (u64, usize) {
    leading_digits_of(text.first_chunk().copied().unwrap_or_else(|| last_bytes(text)))
}

/// Fewer than eight bytes, and zeros.
fn last_bytes(text: &[u8]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    bytes
}

/// The number in the first digits of `bytes`, and how many they are.
///
/// All bytes are looked at together: digits differ in length from number to number, and a loop over them would end where
/// the processor doesn't expect it.
#[inline]
fn leading_digits_of(bytes: [u8; 8]) -> (u64, usize) {
    let word = u64::from_le_bytes(bytes) ^ u64::from_le_bytes([b'0'; 8]);
    // A byte's highest bit is set unless it is a digit. Sums carry upwards, so it holds up to the first that is none.
    let others = (word.wrapping_add(u64::from_le_bytes([0x76; 8])) | word) & u64::from_le_bytes([0x80; 8]);
    let length = others.trailing_zeros() as usize / 8;
    if length == 0 {
        return (0, 0);
    }
    // The digits move to the end, zeros come before them, and neighbours become twos, fours and the eight.
    let digits = word << (64 - 8 * length);
    let twos = (digits.wrapping_mul(10) + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos.wrapping_mul(100) + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours.wrapping_mul(10_000) + (fours >> 32)) & 0xffff_ffff;
    (eight, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a general reader of numbers has it.
    fn expected(text: &str) -> Option<(u64, usize)> {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let follows = text.as_bytes().get(length);
        let is_plain = (1..=DIGITS_MAX).contains(&length)
            && (length == 1 || !text.starts_with('0'))
            && !matches!(follows, Some(b'.' | b'e' | b'E'));
        is_plain.then(|| (text[..length].parse().expect("digits"), length))
    }

    proptest::proptest! {
        #[test]
        fn plain_numbers_are_those_of_digits_alone(text in "[0-9]{0,21}[ -~]{0,12}", bytes in "\\PC{0,12}") {
            for text in [text.clone(), bytes.clone(), text + &bytes] {
                proptest::prop_assert_eq!(plain_number(text.as_bytes()), expected(&text), "{}", text);
            }
        }
    }

    #[test]
    fn plain_numbers_of_every_length() {
        for length in 1..=DIGITS_MAX {
            for digit in ['1', '9'] {
                for end in ["", "}", ", ", "} and more"] {
                    let text = digit.to_string().repeat(length) + end;
                    assert_eq!(plain_number(text.as_bytes()), expected(&text), "{text}");
                }
            }
        }
        assert_eq!(plain_number("1".repeat(20).as_bytes()), None);
    }
}
