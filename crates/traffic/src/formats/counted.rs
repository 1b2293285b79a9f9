//! An input that knows its place.

use std::io::{self, BufRead, Read};

use diagnostics::Position;

use super::Input;

/// An input, and the place up to which it was read.
#[derive(Debug)]
pub(super) struct Counted {
    input: Input,
    pub(super) position: Position,
}

impl Counted {
    pub(super) fn new(input: Input) -> Self {
        Self { input, position: Position { line: 1, column: 1 } }
    }

    /// The next byte that is not white space, and moves up to it. `None` at the end.
    pub(super) fn peek_filled(&mut self) -> io::Result<Option<u8>> {
        loop {
            let is_at_start = self.position == Position { line: 1, column: 1 };
            let bytes = self.input.fill_buf()?;
            if is_at_start && bytes.starts_with("\u{feff}".as_bytes()) {
                self.input.consume(3);
                continue;
            }
            match bytes.first() {
                Some(byte) if byte.is_ascii_whitespace() => self.skip(1),
                first => return Ok(first.copied()),
            }
        }
    }

    /// Passes over bytes that are in the buffer.
    pub(super) fn skip(&mut self, num: usize) {
        let bytes = &self.input.buffer()[..num];
        self.position = after(self.position, bytes);
        self.input.consume(num);
    }
}

/// The position after `bytes`, which begin at `position`.
fn after(position: Position, bytes: &[u8]) -> Position {
    let Position { mut line, mut column } = position;
    for &byte in bytes {
        match byte {
            b'\n' => (line, column) = (line + 1, 1),
            // The bytes of a character after its first.
            0x80..=0xbf => {}
            _ => column += 1,
        }
    }
    Position { line, column }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num = self.input.read(buffer)?;
        self.position = after(self.position, &buffer[..num]);
        Ok(num)
    }
}
