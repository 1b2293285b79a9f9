//! Workload files: JSONL, one request or session a line.

use std::io::{self, Write};

use engine::Call;

use crate::Item;

/// Writes lines of a workload, each with one call of `write_all`.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// To `out`, which had better be buffered.
    pub fn new(out: W) -> Self {
        Self { out, line: Vec::new() }
    }

    /// Writes `item`; where it has no arrival, it arrives at 0.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&mut self, item: &Item) -> io::Result<()> {
        let Self { out, line } = self;
        line.clear();
        let arrival_ns = item.arrival_ns.unwrap_or(0);
        match &item.session_id {
            None => {
                line.push(b'{');
                call(line, &item.calls[0]);
                line.extend_from_slice(b",\"arrival_time_ns\":");
                number(line, arrival_ns);
            }
            Some(id) => {
                line.extend_from_slice(b"{\"session_id\":");
                serde_json::to_writer(&mut *line, id)?;
                line.extend_from_slice(b",\"arrival_time_ns\":");
                number(line, arrival_ns);
                line.extend_from_slice(b",\"sub_requests\":[");
                for (index, sub_request) in item.calls.iter().enumerate() {
                    line.extend_from_slice(if index == 0 { b"{" } else { b",{" });
                    call(line, sub_request);
                    line.extend_from_slice(b",\"tool_duration_ns\":");
                    number(line, sub_request.tool_time.ns());
                    line.push(b'}');
                }
                line.push(b']');
            }
        }
        line.extend_from_slice(b"}\n");
        out.write_all(line)
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// What a request and a session's call have in common.
fn call(line: &mut Vec<u8>, call: &Call) {
    line.extend_from_slice(b"\"input_toks\":");
    number(line, call.input_tokens);
    line.extend_from_slice(b",\"output_toks\":");
    number(line, call.output_tokens);
    ids(line, b",\"input_tok_ids\":[", &call.input_ids);
    ids(line, b",\"output_tok_ids\":[", &call.output_ids);
}

fn ids(line: &mut Vec<u8>, key: &[u8], ids: &[u32]) {
    let Some((first, others)) = ids.split_first() else { return };
    line.extend_from_slice(key);
    number(line, u64::from(*first));
    for &id in others {
        line.push(b',');
        number(line, u64::from(id));
    }
    line.push(b']');
}

fn number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
