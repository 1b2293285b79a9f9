//! Files to lines, block by block.
//!
//! A block is read at once, and its lines are borrowed from it. A file that is to be read twice is read in blocks of one
//! size, each of which leaves a fingerprint; the second reading gives nothing out of a block that has another one. What
//! was checked the first time so holds the second time, whatever happens to the file in between.

use std::fmt::{self, Debug};
use std::fs::File;
use std::hash::Hasher;
use std::io::{self, ErrorKind, Read, Seek};
use std::ops::Range;

use diagnostics::Fault;
use rustc_hash::FxHasher;

/// Bytes of a block: few enough that a block is still in the processor's cache when its lines are looked at.
const BLOCK_BYTES: usize = 1 << 18;

/// What may stand in front of the first line: some editors mark UTF-8 so.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Text that can be read more than once.
pub trait Rewind: Read + Debug + Send {
    /// Begins anew: what is read next is the beginning.
    ///
    /// # Errors
    /// When that can't be read again.
    fn rewind(&mut self) -> io::Result<()>;
}

impl Rewind for File {
    fn rewind(&mut self) -> io::Result<()> {
        Seek::rewind(self)
    }
}

/// The lines of an input that are not blank.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    /// What faults call it.
    name: String,
    input: Input<'a>,
    buffer: Vec<u8>,
    /// What has been read and not been given out is in `buffer[start..end]`.
    start: usize,
    end: usize,
    is_over: bool,
    /// Lines given out or passed over.
    num_lines: usize,
    fingerprints: Fingerprints,
}

/// Where blocks come from. All inputs are of one type, so that there is one way through which lines go, made for speed.
enum Input<'a> {
    Once(&'a mut dyn Read),
    Twice(Box<dyn Rewind>),
}

/// What the blocks of an input leave behind.
#[derive(Debug)]
enum Fingerprints {
    /// Nothing: it is read once.
    None,
    /// One each, so far.
    Taken(Vec<u64>),
    /// Those that blocks to come must have.
    Known(std::vec::IntoIter<u64>),
}

/// An input that has been read and can be read again.
#[derive(Debug)]
pub(crate) struct Again {
    name: String,
    input: Box<dyn Rewind>,
    fingerprints: Vec<u64>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Once(input) => input.read(buffer),
            Input::Twice(input) => input.read(buffer),
        }
    }
}

impl Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Once(_) => f.write_str("Once"),
            Input::Twice(input) => f.debug_tuple("Twice").field(input).finish(),
        }
    }
}

impl<'a> Lines<'a> {
    /// Of an `input` that is read once.
    pub(crate) fn once(name: &str, input: &'a mut dyn Read) -> Self {
        Self::new(name.to_owned(), Input::Once(input), Fingerprints::None)
    }

    fn new(name: String, input: Input<'a>, fingerprints: Fingerprints) -> Self {
        Self { name, input, buffer: Vec::new(), start: 0, end: 0, is_over: false, num_lines: 0, fingerprints }
    }

    /// What faults call the input.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The next line with its line break, and its number, from 1; `None` at the end.
    ///
    /// # Errors
    /// When the input can't be read, or is not what it was when it was read first.
    pub(crate) fn next(&mut self) -> Result<Option<(usize, &[u8])>, Fault> {
        while let Some(Range { mut start, end }) = self.next_range()? {
            self.num_lines += 1;
            if self.num_lines == 1 && self.buffer[start..end].starts_with(BYTE_ORDER_MARK) {
                start += BYTE_ORDER_MARK.len();
            }
            if !self.buffer[start..end].trim_ascii_start().is_empty() {
                return Ok(Some((self.num_lines, &self.buffer[start..end])));
            }
        }
        Ok(None)
    }

    /// Where the next line is, blank or not.
    fn next_range(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let mut num_searched = 0;
        loop {
            let rest = &self.buffer[self.start..self.end];
            let end = match memchr::memchr(b'\n', &rest[num_searched..]) {
                Some(length) => self.start + num_searched + length + 1,
                None if self.is_over && rest.is_empty() => return Ok(None),
                None if self.is_over => self.end,
                None => {
                    num_searched = rest.len();
                    self.read_block()?;
                    continue;
                }
            };
            return Ok(Some(std::mem::replace(&mut self.start, end)..end));
        }
    }

    /// Reads on, behind what has not been given out.
    fn read_block(&mut self) -> Result<(), Fault> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + BLOCK_BYTES {
            // Twice as much, so that a long line does not outgrow it again and again.
            self.buffer.resize(2 * self.end + BLOCK_BYTES, 0);
        }
        let block = &mut self.buffer[self.end..self.end + BLOCK_BYTES];
        let mut length = 0;
        while length < block.len() {
            match self.input.read(&mut block[length..]) {
                Ok(0) => self.is_over = true,
                Ok(more) => length += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(&self.name, &error)),
            }
            // A pipe may have no more for a long time.
            if self.is_over || matches!(self.fingerprints, Fingerprints::None) {
                break;
            }
        }
        self.end += length;
        match &mut self.fingerprints {
            Fingerprints::None => {}
            Fingerprints::Taken(taken) => taken.push(fingerprint(&block[..length])),
            Fingerprints::Known(known) => {
                if known.next() != Some(fingerprint(&block[..length])) {
                    return Err(changed(&self.name));
                }
            }
        }
        Ok(())
    }
}

impl Lines<'static> {
    /// Of an `input` that is to be read again.
    pub(crate) fn twice(name: &str, input: Box<dyn Rewind>) -> Self {
        Self::new(name.to_owned(), Input::Twice(input), Fingerprints::Taken(Vec::new()))
    }

    /// The input, where it can be read again.
    pub(crate) fn again(self) -> Option<Again> {
        let (Input::Twice(input), Fingerprints::Taken(fingerprints)) = (self.input, self.fingerprints) else {
            return None;
        };
        Some(Again { name: self.name, input, fingerprints })
    }
}

impl Again {
    /// Its lines once more, as they were.
    ///
    /// # Errors
    /// When the input can't be wound back.
    pub(crate) fn lines(mut self) -> Result<Lines<'static>, Fault> {
        self.input.rewind().map_err(|error| unreadable(&self.name, &error))?;
        Ok(Lines::new(self.name, Input::Twice(self.input), Fingerprints::Known(self.fingerprints.into_iter())))
    }
}

fn fingerprint(block: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(block);
    hasher.finish()
}

/// The fault that a file is not what it was.
pub(crate) fn changed(name: &str) -> Fault {
    Fault::new(name, "has changed since it was checked")
        .hint("long workloads are read a second time as the run goes: leave the file alone until it ends")
}

/// The fault that a file can't be read.
pub(crate) fn unreadable(name: &str, error: &io::Error) -> Fault {
    let message = match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        _ => format!("can't be read: {error}"),
    };
    Fault::new(name, message)
}
