//! The usual line: a plain request without token ids, as programs write it.
//!
//! Such lines are nearly all of a long workload, and all of their keys and values are known in advance, so they are
//! compared as wholes. Whatever is different in any way is left to [`line`](crate::line), which knows every form and
//! every fault.

use engine::{Call, Entry};
use units::{Instant, RequestId};

use crate::line::{TIME_NS_MAX, TOKENS_MAX};
use crate::scan::plain_number;

/// Reads `line`, whose request is to have the id `id`, if it is a usual one: `{"input_toks": 8, "output_toks": 4,
/// "arrival_time_ns": 0}`, its keys in any order, with one space or none between its parts.
pub(crate) fn parse(line: &[u8], id: RequestId) -> Option<Entry> {
    let mut rest = line.strip_prefix(b"{")?;
    let (mut input_tokens, mut output_tokens, mut arrival_ns) = (None, None, None);
    loop {
        // A value that is there already is one too many.
        if let Some(value) = rest.strip_prefix(b"\"input_toks\":").filter(|_| input_tokens.is_none()) {
            input_tokens = Some(number(value, 1, TOKENS_MAX, &mut rest)?);
        } else if let Some(value) = rest.strip_prefix(b"\"output_toks\":").filter(|_| output_tokens.is_none()) {
            output_tokens = Some(number(value, 1, TOKENS_MAX, &mut rest)?);
        } else {
            let value = rest.strip_prefix(b"\"arrival_time_ns\":").filter(|_| arrival_ns.is_none())?;
            arrival_ns = Some(number(value, 0, TIME_NS_MAX, &mut rest)?);
        }
        let Some(more) = rest.strip_prefix(b",") else { break };
        rest = without_space(more);
    }
    let end = rest.strip_prefix(b"}")?;
    if !matches!(end, b"\n" | b"\r\n" | b"") {
        return None;
    }
    let call = Call { input_tokens: input_tokens?, output_tokens: output_tokens?, ..Call::default() };
    Some(Entry::plain(Instant::from_ns(arrival_ns?), id, call))
}

/// The plain number from `min` to `max` that `text` begins with; `rest` is what follows it.
fn number<'a>(text: &'a [u8], min: u64, max: u64, rest: &mut &'a [u8]) -> Option<u64> {
    let text = without_space(text);
    let (value, length) = plain_number(text)?;
    *rest = &text[length..];
    (min..=max).contains(&value).then_some(value)
}

fn without_space(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" ").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::line;

    fn line(keys: &[(&str, u64)], space: &str, end: &str) -> String {
        let pairs: Vec<_> = keys.iter().map(|(key, value)| format!("\"{key}\":{space}{value}")).collect();
        format!("{{{}}}{end}", pairs.join(&format!(",{space}")))
    }

    fn keys(order: [usize; 3], values: [u64; 3]) -> [(&'static str, u64); 3] {
        let names = ["input_toks", "output_toks", "arrival_time_ns"];
        order.map(|at| (names[at], values[at]))
    }

    fn orders() -> impl Strategy<Value = [usize; 3]> {
        prop::sample::select(vec![[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(10_000) })]

        #[test]
        fn usual_lines_are_taken_as_they_are(
            order in orders(), input in 1..=TOKENS_MAX, output in 1..5_000_u64, arrival_ns in 0..=TIME_NS_MAX,
            has_spaces in any::<bool>(), end in prop::sample::select(vec!["", "\n", "\r\n"]),
        ) {
            let text = line(&keys(order, [input, output, arrival_ns]), if has_spaces { " " } else { "" }, end);
            let call = Call { input_tokens: input, output_tokens: output, ..Call::default() };
            let expected = Entry::plain(Instant::from_ns(arrival_ns), RequestId(7), call);
            prop_assert_eq!(parse(text.as_bytes(), RequestId(7)), Some(expected), "{}", text);
        }

        /// Whatever is taken is what reading it in full gives.
        #[test]
        fn nothing_is_taken_that_is_not_so(
            order in orders(), values in prop::array::uniform3(prop_oneof![0..100_u64, any::<u64>()]),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, prop_oneof![
                prop::sample::select(br#"{}[]",:-+.eE0123456789 \un"#.to_vec()), any::<u8>()
            ]), 0..3),
        ) {
            let mut text = line(&keys(order, values), " ", "\n").into_bytes();
            for (at, edit, byte) in edits {
                let at = at.index(text.len());
                match edit {
                    0 => text.insert(at, byte),
                    1 => text[at] = byte,
                    _ => drop(text.remove(at)),
                }
            }
            if let Some(entry) = parse(&text, RequestId(7)) {
                prop_assert_eq!(line::parse(&text, RequestId(7), true), Ok(Some(entry)));
            }
        }
    }
}
