//! Results of `vllm bench serve --save-result --save-detailed`: one JSON object with a list for each quantity.

use std::vec::IntoIter;

use diagnostics::{Fault, Position};
use engine::Call;
use serde::Deserialize;

use super::{Input, Source, json};
use crate::fault_log::FaultLog;
use crate::item::Item;
use crate::spec::TOKENS_MAX;

/// What is read of a result. Everything else in it is about answers, not about what was asked.
#[derive(Deserialize)]
struct Detailed {
    input_lens: Option<Vec<u64>>,
    output_lens: Option<Vec<u64>>,
    /// Seconds on a clock that began long before.
    start_times: Option<Vec<f64>>,
}

/// The requests of a result, in order of their starts.
#[derive(Debug)]
pub(super) struct Requests {
    items: IntoIter<Item>,
    num_failed: u64,
    has_starts: bool,
}

impl Requests {
    pub(super) fn new(name: &str, input: Input, faults: &mut FaultLog) -> Self {
        let mut requests = Self { items: Vec::new().into_iter(), num_failed: 0, has_starts: true };
        match serde_json::from_reader::<_, Detailed>(input) {
            Ok(detailed) => match items(name, detailed, &mut requests) {
                Ok(items) => requests.items = items.into_iter(),
                Err(fault) => faults.push(*fault),
            },
            Err(error) => {
                let position = Position { line: error.line().max(1), column: error.column().max(1) };
                let fault = Fault::new(name, json::message(&error)).at(position);
                let is_second = error.is_syntax() && error.to_string().starts_with("trailing characters");
                faults.push(if is_second {
                    fault.hint("is this the second result of `--append-result`? keep one result a file")
                } else {
                    fault
                });
            }
        }
        requests
    }
}

fn items(name: &str, detailed: Detailed, requests: &mut Requests) -> Result<Vec<Item>, Box<Fault>> {
    let missing = |key: &str| {
        let fault = Fault::new(name, format!("`{key}` is missing"));
        Box::new(fault.path("$").hint("have `vllm bench serve` write it, with --save-result --save-detailed"))
    };
    let input = detailed.input_lens.ok_or_else(|| missing("input_lens"))?;
    let output = detailed.output_lens.ok_or_else(|| missing("output_lens"))?;
    let differ = |key: &str, found: usize| {
        let message = format!("has {found} values where `input_lens` has {}", input.len());
        Box::new(Fault::new(name, message).path(format!("$.{key}")))
    };
    if output.len() != input.len() {
        return Err(differ("output_lens", output.len()));
    }
    let starts = detailed.start_times.filter(|starts| !starts.is_empty());
    if let Some(starts) = &starts {
        if starts.len() != input.len() {
            return Err(differ("start_times", starts.len()));
        }
        if let Some(index) = starts.iter().position(|start| !(0.0..4e9).contains(start)) {
            let fault = Fault::new(name, format!("expected seconds from 0 to 4e9, found {}", starts[index]));
            return Err(Box::new(fault.path(format!("$.start_times[{index}]"))));
        }
    }
    requests.has_starts = starts.is_some();
    let mut items = Vec::with_capacity(input.len());
    for (index, (&input_tokens, &output_tokens)) in input.iter().zip(&output).enumerate() {
        for (key, tokens) in [("input_lens", input_tokens), ("output_lens", output_tokens)] {
            if tokens > TOKENS_MAX {
                let fault = Fault::new(name, format!("{tokens} tokens are too many, the most is {TOKENS_MAX}"));
                return Err(Box::new(fault.path(format!("$.{key}[{index}]"))));
            }
        }
        if input_tokens == 0 || output_tokens == 0 {
            requests.num_failed += 1;
            continue;
        }
        // In two parts, as nanoseconds of a long-running clock are more than an `f64` holds exactly.
        let ns = |start: f64| start.trunc() as u64 * 1_000_000_000 + (start.fract() * 1e9).round() as u64;
        let call = Call { input_tokens, output_tokens, ..Call::default() };
        items.push(Item::plain(starts.as_ref().map(|starts| ns(starts[index])), call));
    }
    items.sort_by_key(|item| item.arrival_ns);
    Ok(items)
}

impl Source for Requests {
    fn next(&mut self, _faults: &mut FaultLog) -> Option<Item> {
        self.items.next()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.num_failed > 0 {
            let requests = if self.num_failed == 1 { "request" } else { "requests" };
            notes
                .push(format!("{} {requests} without input or output tokens, which failed, left out", self.num_failed));
        }
        if !self.has_starts {
            notes.push("`start_times` are not in the result, so it doesn't tell when requests arrived".to_owned());
        }
        notes
    }
}
