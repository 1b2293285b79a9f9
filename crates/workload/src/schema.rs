//! What a line of a workload looks like.

use documents::schema::{DocumentKind, Key, Rule, Shape, Value};

use crate::line::{TIME_NS_MAX, TOKENS_MAX};

/// A line: a request, or a session of calls.
pub const LINE: DocumentKind = DocumentKind {
    name: "workload",
    title: "Workload line",
    about: "One line of the workload that `--dataset` names, which is JSONL: a request, or a session of calls that follow \
            one another. Lines may stand in any order of arrival.",
    null_is_absent: false,
    root: &ROOT,
};

const TOKENS: Value = Value::Count { least: 1, most: TOKENS_MAX };
const TIME: Value = Value::Count { least: 0, most: TIME_NS_MAX };
const IDS: Value = Value::List(&Value::Count { least: 0, most: u32::MAX as u64 });

const CALL_KEYS: [&str; 4] = ["input_toks", "output_toks", "input_tok_ids", "output_tok_ids"];

const ROOT: Shape = Shape {
    rules: &[
        Rule::Unless("sub_requests", &["input_toks", "output_toks"]),
        Rule::Without("sub_requests", &CALL_KEYS),
        Rule::With("session_id", &["sub_requests"]),
    ],
    ..Shape::of(
        "line",
        "A request, or a session.",
        &[
            Key::required("arrival_time_ns", TIME, "When it arrives, in nanoseconds since the start of the run."),
            Key::optional("input_toks", TOKENS, "Tokens of the prompt. Needed unless the line is a session."),
            Key::optional("output_toks", TOKENS, "Tokens to generate. Needed likewise."),
            Key::optional("input_tok_ids", IDS, "Token ids of the prompt, by which prefixes are found again."),
            Key::optional("output_tok_ids", IDS, "Token ids that will be generated."),
            Key::optional("session_id", SESSION_ID, "The session's name; nothing follows from it."),
            Key::optional("sub_requests", Value::List(&Value::Object(&CALL)), "The calls of a session, in order."),
        ],
    )
};

const SESSION_ID: Value = Value::Either(&[Value::AnyText, Value::Count { least: 0, most: u64::MAX }]);

/// A call of a session.
pub const CALL: Shape = Shape::of(
    "sub_request",
    "One call of a session.",
    &[
        Key::required("input_toks", TOKENS, "Tokens of the prompt."),
        Key::required("output_toks", TOKENS, "Tokens to generate."),
        Key::optional("input_tok_ids", IDS, "Token ids of the prompt, by which prefixes are found again."),
        Key::optional("output_tok_ids", IDS, "Token ids that will be generated."),
        Key::optional(
            "tool_duration_ns",
            TIME,
            "Nanoseconds from its completion to the arrival of the next call; 0 unless given.",
        ),
    ],
);
