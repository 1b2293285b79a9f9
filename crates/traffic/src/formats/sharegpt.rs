//! ShareGPT's conversations: one JSON array of objects, or an object a line.
//!
//! Elements are read one by one, so that a file may be larger than memory. There is no tokenizer here: a token is so
//! many characters of a text, and its id is a hash of them. Equal beginnings of texts so have equal ids.

use std::io::{self, BufRead, Read};
use std::str::FromStr;

use diagnostics::Position;
use engine::Call;
use serde::Deserialize;
use serde_json::Value;

use super::{Input, ReadOptions, Source, json};
use crate::fault_log::FaultLog;
use crate::item::Item;
use crate::tokens::Texts;

/// What to make of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversations {
    /// A request of the first question and its answer, as vLLM's benchmark does.
    First,
    /// A session with a call for each answer, whose prompt is all that was said before.
    Sessions,
}

impl FromStr for Conversations {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "first" => Ok(Conversations::First),
            "sessions" => Ok(Conversations::Sessions),
            _ => Err("expected first or sessions"),
        }
    }
}

/// The conversations of a file.
#[derive(Debug)]
pub(super) struct Elements {
    input: Counted,
    /// Whether they stand in an array; `None` before the first.
    in_array: Option<bool>,
    /// Conversations read, and those left out as nobody answers in them.
    num: usize,
    num_unanswered: u64,
    tokenizer: Tokenizer,
    conversations: Conversations,
}

impl Elements {
    pub(super) fn new(_name: &str, input: Input, options: &ReadOptions) -> Self {
        let texts = options.token_ids.then(|| Texts::new(0, options.vocabulary));
        Self {
            input: Counted { input, position: Position { line: 1, column: 1 } },
            in_array: None,
            num: 0,
            num_unanswered: 0,
            tokenizer: Tokenizer { chars_per_token: options.chars_per_token, texts },
            conversations: options.conversations,
        }
    }

    /// The next element and where it begins; `None` at the end, or where it can't be read.
    fn next_element(&mut self, faults: &mut FaultLog) -> Option<(Value, Position)> {
        match self.find_element() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(message) => {
                faults.at(self.input.position, "", message);
                return None;
            }
        }
        let position = self.input.position;
        // An object ends with its brace: nothing behind it is taken from the input.
        let mut reader = serde_json::Deserializer::from_reader(&mut self.input);
        match Value::deserialize(&mut reader) {
            Ok(value) => Some((value, position)),
            Err(error) if error.is_eof() => {
                faults.at(self.input.position, "", "the file ends inside a conversation: is it cut off?");
                None
            }
            Err(error) => {
                faults.at(self.input.position, "", format!("not JSON: {}", json::message(&error)));
                None
            }
        }
    }

    /// Moves up to the brace of the next element; `false` when there is none.
    fn find_element(&mut self) -> Result<bool, String> {
        let unreadable = |error: io::Error| format!("can't be read: {error}");
        let mut byte = self.input.peek_filled().map_err(unreadable)?;
        let in_array = match self.in_array {
            Some(in_array) => in_array,
            None => {
                let in_array = byte == Some(b'[');
                self.in_array = Some(in_array);
                if in_array {
                    self.input.skip(1);
                    byte = self.input.peek_filled().map_err(unreadable)?;
                    if byte == Some(b']') {
                        return self.end_of_array();
                    }
                }
                return expect_object(byte);
            }
        };
        match byte {
            None if in_array => Err("the file ends inside the array: is it cut off?".to_owned()),
            None => Ok(false),
            Some(b']') if in_array => self.end_of_array(),
            Some(b',') if in_array => {
                self.input.skip(1);
                expect_object(self.input.peek_filled().map_err(unreadable)?)
            }
            Some(byte) if in_array => {
                Err(format!("expected a comma or the end of the array, found `{}`", char::from(byte)))
            }
            byte => expect_object(byte),
        }
    }

    fn end_of_array(&mut self) -> Result<bool, String> {
        self.input.skip(1);
        match self.input.peek_filled() {
            Ok(None) => Ok(false),
            Ok(Some(_)) => Err("there is more after the end of the array".to_owned()),
            Err(error) => Err(format!("can't be read: {error}")),
        }
    }

    /// The item of a conversation; `None` if it is at fault or left out.
    fn item(&mut self, value: &Value, position: Position, faults: &mut FaultLog) -> Option<Item> {
        let path = if self.in_array == Some(true) { format!("$[{}]", self.num - 1) } else { "$".to_owned() };
        let turns = turns(value, position, &path, faults)?;
        let item = match self.conversations {
            Conversations::First => self.tokenizer.first(&turns),
            Conversations::Sessions => self.tokenizer.session(&turns, self.num - 1),
        };
        self.num_unanswered += u64::from(item.is_none());
        item
    }
}

fn expect_object(byte: Option<u8>) -> Result<bool, String> {
    match byte {
        Some(b'{') => Ok(true),
        Some(byte) => Err(format!("expected a conversation (an object), found `{}`", char::from(byte))),
        None => Err("expected a conversation, found the end of the file".to_owned()),
    }
}

impl Source for Elements {
    fn next(&mut self, faults: &mut FaultLog) -> Option<Item> {
        while let Some((value, position)) = self.next_element(faults) {
            self.num += 1;
            let item = self.item(&value, position, faults);
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!(
            "lengths are estimates: a token is {} characters of text (--chars-per-token)",
            self.tokenizer.chars_per_token
        )];
        if self.num_unanswered > 0 {
            let what = if self.num_unanswered == 1 { "conversation" } else { "conversations" };
            notes.push(format!("{} {what} without a question and an answer left out", self.num_unanswered));
        }
        notes
    }
}

/// One thing that was said.
struct Turn<'a> {
    is_answer: bool,
    text: &'a str,
}

const ANSWERERS: [&str; 6] = ["gpt", "assistant", "chatgpt", "bing", "bard", "model"];

/// What was said in a conversation, without what is empty and answers that nobody asked for.
fn turns<'a>(value: &'a Value, position: Position, path: &str, faults: &mut FaultLog) -> Option<Vec<Turn<'a>>> {
    let object = json::Object::new(value, position, path, faults)?;
    let list = object.read("conversations", "a list of turns", faults, Value::as_array)?;
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(list.len());
    let mut is_sound = true;
    for (index, turn) in list.iter().enumerate() {
        let path = format!("{path}.conversations[{index}]");
        let Some(turn) = json::Object::new(turn, position, &path, faults) else {
            is_sound = false;
            continue;
        };
        let is_openai = turn.map.contains_key("role");
        let (who, what) = if is_openai { ("role", "content") } else { ("from", "value") };
        let who = turn.read(who, "a text", faults, Value::as_str);
        let text = turn.read(what, "a text", faults, Value::as_str);
        let (Some(who), Some(text)) = (who, text) else {
            is_sound = false;
            continue;
        };
        let is_answer = ANSWERERS.contains(&who);
        if !text.is_empty() && (!is_answer || !turns.is_empty()) {
            turns.push(Turn { is_answer, text });
        }
    }
    is_sound.then_some(turns)
}

/// Texts to tokens, by their characters alone.
#[derive(Debug)]
struct Tokenizer {
    chars_per_token: f64,
    /// Where ids come from, if they are wanted.
    texts: Option<Texts>,
}

impl Tokenizer {
    /// Adds the ids of `text`, if they are wanted, and returns how many tokens it has.
    fn tokens(&self, text: &str, ids: &mut Vec<u32>) -> u64 {
        let (mut num, mut num_chars, mut hash) = (0_u64, 0_u64, HASH_START);
        let mut end = self.chars_per_token;
        for letter in text.chars() {
            hash = (hash ^ u64::from(letter)).wrapping_mul(HASH_FACTOR);
            num_chars += 1;
            // Token n ends with character round(n · chars_per_token); several may end with one character.
            while num_chars as f64 + 0.5 > end {
                ids.extend(self.texts.map(|texts| texts.id(hash)));
                num += 1;
                hash = HASH_START;
                end = (num + 1) as f64 * self.chars_per_token;
            }
        }
        if hash != HASH_START || num == 0 {
            ids.extend(self.texts.map(|texts| texts.id(hash)));
            num += 1;
        }
        num
    }

    /// The first answer, and everything before it.
    fn first(&self, turns: &[Turn<'_>]) -> Option<Item> {
        let at = turns.iter().position(|turn| turn.is_answer)?;
        let mut call = Call::default();
        for turn in &turns[..at] {
            call.input_tokens += self.tokens(turn.text, &mut call.input_ids);
        }
        // No other request's prompt begins with this answer, so its ids are of no use.
        call.output_tokens = self.tokens(turns[at].text, &mut Vec::new());
        Some(Item::plain(None, call))
    }

    /// A call for each answer.
    fn session(&self, turns: &[Turn<'_>], index: usize) -> Option<Item> {
        let (mut context, mut context_tokens) = (Vec::new(), 0);
        let mut calls = Vec::new();
        for turn in turns {
            let mut ids = Vec::new();
            let tokens = self.tokens(turn.text, &mut ids);
            if turn.is_answer {
                calls.push(Call {
                    input_tokens: context_tokens,
                    output_tokens: tokens,
                    input_ids: context.clone(),
                    output_ids: ids.clone(),
                    ..Call::default()
                });
            }
            context.extend(ids);
            context_tokens += tokens;
        }
        (!calls.is_empty()).then(|| Item { arrival_ns: None, session_id: Some(format!("s{index}")), calls })
    }
}

/// FNV-1a.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01b3;

/// An input, and the place up to which it was read.
#[derive(Debug)]
struct Counted {
    input: Input,
    position: Position,
}

impl Counted {
    /// The next byte that is not white space, and moves up to it. `None` at the end.
    fn peek_filled(&mut self) -> io::Result<Option<u8>> {
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
    fn skip(&mut self, num: usize) {
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
