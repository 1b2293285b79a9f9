//! ShareGPT's conversations: one JSON array of objects, or an object a line.
//!
//! Elements are read one by one, so that a file may be larger than memory. There is no tokenizer here: a token is so
//! many characters of a text, and its id is a hash of them. Equal beginnings of texts so have equal ids.

mod tokenizer;

use std::io;
use std::str::FromStr;

use diagnostics::Position;
use serde::Deserialize;
use serde_json::Value;

use super::counted::Counted;
use super::{Input, ReadOptions, Source, json};
use crate::fault_log::FaultLog;
use crate::item::Item;
use crate::tokens::Texts;
use tokenizer::{Tokenizer, Turn};

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
            input: Counted::new(input),
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
