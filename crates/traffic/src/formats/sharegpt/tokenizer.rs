//! What was said, as tokens: so many characters each, with a hash of them as id.

use engine::Call;

use crate::item::Item;
use crate::tokens::Texts;

/// One thing that was said.
pub(super) struct Turn<'a> {
    pub(super) is_answer: bool,
    pub(super) text: &'a str,
}

/// Texts to tokens, by their characters alone.
#[derive(Debug)]
pub(super) struct Tokenizer {
    pub(super) chars_per_token: f64,
    /// Where ids come from, if they are wanted.
    pub(super) texts: Option<Texts>,
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
    pub(super) fn first(&self, turns: &[Turn<'_>]) -> Option<Item> {
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
    pub(super) fn session(&self, turns: &[Turn<'_>], index: usize) -> Option<Item> {
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
