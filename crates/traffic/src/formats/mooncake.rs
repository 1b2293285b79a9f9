//! Mooncake's traces: JSONL, with prompts as blocks of 512 tokens that have an id each.
//!
//! Blocks of one id are equal, and so is everything before them. Their tokens are not published; ids of tokens are made
//! of the id of the block, so that prefix caching finds what was found in the original.

use std::collections::BTreeSet;
use std::io::BufRead;

use diagnostics::Position;
use documents::suggest;
use engine::Call;
use serde_json::Value;

use super::{Input, ReadOptions, Source, json};
use crate::fault_log::FaultLog;
use crate::item::Item;
use crate::spec::TOKENS_MAX;
use crate::tokens::{TextKind, Texts};

/// Tokens of a block.
const BLOCK_TOKENS: u64 = 512;

/// Texts of all traces are alike in their seed, so that blocks of two traces are told apart by their ids alone.
const SEED: u64 = 0;

const KEYS: [&str; 4] = ["timestamp", "input_length", "output_length", "hash_ids"];

/// The requests of a trace, one a line.
#[derive(Debug)]
pub(super) struct Lines {
    input: Input,
    line: Vec<u8>,
    number: usize,
    /// Where token ids come from, if they are wanted.
    texts: Option<Texts>,
    /// Requests without output, and the line of the first.
    num_failed: u64,
    first_failed: usize,
    /// Requests with other than the blocks that their length asks for.
    num_odd: u64,
    first_odd: usize,
    unread: BTreeSet<String>,
}

impl Lines {
    pub(super) fn new(_name: &str, input: Input, options: &ReadOptions) -> Self {
        Self {
            input,
            line: Vec::new(),
            number: 0,
            texts: options.token_ids.then(|| Texts::new(SEED, options.vocabulary)),
            num_failed: 0,
            first_failed: 0,
            num_odd: 0,
            first_odd: 0,
            unread: BTreeSet::new(),
        }
    }

    /// Reads on to the next line that is not blank; `false` at the end.
    fn next_line(&mut self, faults: &mut FaultLog) -> bool {
        loop {
            self.line.clear();
            match self.input.read_until(b'\n', &mut self.line) {
                Ok(0) => return false,
                Ok(_) => self.number += 1,
                Err(error) => {
                    faults.whole(format!("can't be read: {error}"));
                    return false;
                }
            }
            if self.number == 1 && self.line.starts_with("\u{feff}".as_bytes()) {
                self.line.drain(..3);
            }
            if !self.line.trim_ascii().is_empty() {
                return true;
            }
        }
    }

    /// The ids of blocks.
    fn blocks(&self, blocks: &[Value], faults: &mut FaultLog) -> Option<Vec<u64>> {
        let position = Position { line: self.number, column: 1 };
        let block = |(index, value): (usize, &Value)| {
            let id = value.as_u64();
            if id.is_none() {
                let message = format!("expected a whole number from 0, found {}", json::kind(value));
                faults.at(position, &format!("$.hash_ids[{index}]"), message);
            }
            id
        };
        // All of them are looked at, for the sake of their faults.
        let ids: Vec<Option<u64>> = blocks.iter().enumerate().map(block).collect();
        ids.into_iter().collect()
    }

    /// The request of the current line; `None` if it is at fault or left out.
    fn item(&mut self, faults: &mut FaultLog) -> Option<Item> {
        let line = self.number;
        let value: Value = match serde_json::from_slice(self.line.trim_ascii_end()) {
            Ok(value) => value,
            Err(error) => {
                let position = Position { line, column: error.column().max(1) };
                faults.at(position, "", format!("not JSON: {}", json::message(&error)));
                return None;
            }
        };
        let object = json::Object::new(&value, Position { line, column: 1 }, "$", faults)?;
        let length = |value: &Value| value.as_u64().filter(|&length| length <= TOKENS_MAX);
        let wanted = format!("a number of tokens from 0 to {TOKENS_MAX}");
        let arrival_ns = object.read("timestamp", "milliseconds from 0", faults, |value| {
            value.as_f64().filter(|millis| (0.0..1e12).contains(millis)).map(|millis| (millis * 1e6).round() as u64)
        });
        let input_tokens = object.read("input_length", &wanted, faults, length);
        let output_tokens = object.read("output_length", &wanted, faults, length);
        let blocks = object.read("hash_ids", "a list of whole numbers", faults, Value::as_array);
        let blocks = blocks.and_then(|blocks| self.blocks(blocks, faults));
        let unread = object.map.keys().filter(|key| !KEYS.contains(&key.as_str()));
        self.unread.extend(unread.cloned());
        let (input_tokens, output_tokens, blocks) = (input_tokens?, output_tokens?, blocks?);
        if input_tokens == 0 || output_tokens == 0 {
            count(&mut self.num_failed, &mut self.first_failed, line);
            return None;
        }
        if blocks.len() as u64 != input_tokens.div_ceil(BLOCK_TOKENS) {
            count(&mut self.num_odd, &mut self.first_odd, line);
        }
        let input_ids = self.texts.map_or_else(Vec::new, |texts| ids(texts, &blocks, input_tokens, line));
        let call = Call { input_tokens, output_tokens, input_ids, ..Call::default() };
        Some(Item::plain(Some(arrival_ns?), call))
    }
}

/// Token ids of a prompt of these blocks. What blocks lack at its end is a text that no other request has.
fn ids(texts: Texts, blocks: &[u64], tokens: u64, line: usize) -> Vec<u32> {
    let mut ids = Vec::with_capacity(tokens as usize);
    for &block in blocks {
        let lacking = tokens - ids.len() as u64;
        texts.extend(&mut ids, TextKind::Block, block, lacking.min(BLOCK_TOKENS));
    }
    let lacking = tokens - ids.len() as u64;
    texts.extend(&mut ids, TextKind::Input, line as u64, lacking);
    ids
}

fn count(num: &mut u64, first: &mut usize, line: usize) {
    if *num == 0 {
        *first = line;
    }
    *num += 1;
}

impl Source for Lines {
    fn next(&mut self, faults: &mut FaultLog) -> Option<Item> {
        while self.next_line(faults) {
            let item = self.item(faults);
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let requests = |num: u64| if num == 1 { "request" } else { "requests" };
        if self.num_failed > 0 {
            notes.push(format!(
                "{} {} without input or output tokens left out; the first is in line {}",
                self.num_failed,
                requests(self.num_failed),
                self.first_failed
            ));
        }
        if self.num_odd > 0 {
            notes.push(format!(
                "{} {} with more or fewer `hash_ids` than blocks of {BLOCK_TOKENS} tokens; the first is in line {}",
                self.num_odd,
                requests(self.num_odd),
                self.first_odd
            ));
        }
        if !self.unread.is_empty() {
            let unread: Vec<&str> = self.unread.iter().map(String::as_str).collect();
            notes.push(format!("{} not read", suggest::listed(&unread)));
        }
        notes
    }
}
