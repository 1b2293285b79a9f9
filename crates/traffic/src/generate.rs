//! Workloads that are made up.
//!
//! Each quantity has a distribution and a random stream of its own: arrivals, lengths, the choice of prefixes, the calls
//! of sessions. Requests are made one by one, so a workload takes no memory that grows with it; what is drawn from a
//! file takes as much as the file's lengths.

mod arrivals;
mod lengths;
mod prefixes;
mod samples;
mod times;

use std::path::PathBuf;

use diagnostics::{Fault, Faults};
use engine::Call;

use crate::item::Item;
use crate::random::{Stream, mixed};
use crate::spec::TOKENS_MAX;
use crate::tokens::{TextKind, Texts};

pub use arrivals::ArrivalSpec;
pub(crate) use arrivals::Arrivals;
pub use lengths::LengthSpec;
use lengths::Lengths;
pub use prefixes::PrefixSpec;
use prefixes::Prefixes;
use samples::Side;
pub(crate) use samples::before_the_first;
pub use times::TimeSpec;
pub(crate) use times::Times;

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// When requests and sessions arrive.
    pub arrivals: ArrivalSpec,
    /// What times of arrival are multiplied with.
    pub time_scale: f64,
    /// How long prompts and answers are.
    pub lengths: LengthsSpec,
    /// Prefixes that prompts share.
    pub prefixes: Option<PrefixSpec>,
    /// How sessions go on, if there are to be sessions.
    pub sessions: Option<SessionSpec>,
    /// Whether to list token ids. Shared prefixes always do.
    pub token_ids: bool,
    /// Token ids are below this.
    pub vocabulary: u32,
    /// How many requests or sessions there are at most.
    pub num_requests: Option<u64>,
    /// Nothing arrives from this second on.
    pub duration_s: Option<f64>,
    /// Of everything random.
    pub seed: u64,
}

/// Lengths of requests.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthsSpec {
    /// Prompts and answers have lengths that know nothing of each other.
    Independent {
        /// Of prompts, without what they share.
        input: LengthSpec,
        /// Of answers.
        output: LengthSpec,
    },
    /// Both lengths of a request are drawn together, from the requests of this file.
    Joint(PathBuf),
}

/// How sessions go on.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSpec {
    /// How many calls they have.
    pub calls: LengthSpec,
    /// Time from the end of a call to the next call.
    pub tool_time: TimeSpec,
    /// What a tool adds to the prompt of the next call, in tokens.
    pub tool_tokens: LengthSpec,
    /// A session ends before a call whose prompt and answer would be longer.
    pub context_max: Option<u64>,
}

/// Makes requests and sessions, one after the other.
#[derive(Debug)]
pub struct Generator {
    arrivals: Arrivals,
    lengths: BothLengths,
    prefixes: Option<Prefixes>,
    sessions: Option<Sessions>,
    texts: Option<Texts>,
    num: u64,
    num_max: Option<u64>,
    end_ns: Option<u64>,
    is_over: bool,
}

#[derive(Debug)]
enum BothLengths {
    Independent(Lengths, Lengths),
    Joint(Vec<(u32, u32)>, Stream),
}

impl BothLengths {
    fn new(spec: &LengthsSpec, seed: u64) -> Result<Self, Faults> {
        match spec {
            LengthsSpec::Independent { input, output } => {
                let input = Lengths::new(input, Side::Input, Stream::new(seed, "input tokens"));
                let output = Lengths::new(output, Side::Output, Stream::new(seed, "output tokens"));
                match (input, output) {
                    (Ok(input), Ok(output)) => Ok(Self::Independent(input, output)),
                    (Err(mut faults), Err(more)) if faults != more => {
                        faults.extend(more);
                        Err(faults)
                    }
                    (Err(faults), _) | (_, Err(faults)) => Err(faults),
                }
            }
            LengthsSpec::Joint(path) => Ok(Self::Joint(samples::pairs(path)?, Stream::new(seed, "lengths"))),
        }
    }

    /// Tokens of a prompt and of its answer.
    fn draw(&mut self) -> (u64, u64) {
        match self {
            Self::Independent(input, output) => (input.draw(), output.draw()),
            Self::Joint(pairs, stream) => {
                let (input, output) = pairs[stream.below(pairs.len() as u64) as usize];
                (u64::from(input), u64::from(output))
            }
        }
    }

    /// Tokens of an answer to a prompt that has its length already.
    fn draw_output(&mut self) -> u64 {
        match self {
            Self::Independent(_, output) => output.draw(),
            Self::Joint(..) => self.draw().1,
        }
    }
}

#[derive(Debug)]
struct Sessions {
    calls: Lengths,
    tool_time: Times,
    tool_tokens: Lengths,
    context_max: u64,
}

impl Generator {
    /// As `recipe` says.
    ///
    /// # Errors
    /// When a file that lengths or arrivals come from is at fault, or there would be no end to the workload.
    pub fn new(recipe: &Recipe) -> Result<Self, Faults> {
        let seed = recipe.seed;
        let mut faults = Faults::new();
        let mut told = |result: Result<(), Faults>| {
            if let Err(more) = result {
                faults.extend(more);
            }
        };
        let arrivals = Arrivals::new(&recipe.arrivals, recipe.time_scale, seed);
        let lengths = BothLengths::new(&recipe.lengths, seed);
        let sessions = recipe.sessions.as_ref().map(|spec| {
            Ok(Sessions {
                calls: Lengths::new(&spec.calls, Side::Output, Stream::new(seed, "calls"))?,
                tool_time: Times::new(spec.tool_time, Stream::new(seed, "tool time")),
                tool_tokens: Lengths::new(&spec.tool_tokens, Side::Input, Stream::new(seed, "tool tokens"))?,
                context_max: spec.context_max.unwrap_or(TOKENS_MAX),
            })
        });
        let sessions = sessions.transpose();
        told(arrivals.as_ref().map(drop).map_err(Clone::clone));
        told(lengths.as_ref().map(drop).map_err(Clone::clone));
        told(sessions.as_ref().map(drop).map_err(Clone::clone));
        let (Ok(arrivals), Ok(lengths), Ok(sessions)) = (arrivals, lengths, sessions) else { return Err(faults) };
        if recipe.num_requests.is_none() && arrivals.never_ends(recipe.duration_s) {
            let fault = Fault::new("--num-requests", "is needed, or there would be no end of requests");
            return Err(fault.hint("or say with --duration when arrivals end").into());
        }
        let prefixes = recipe.prefixes.map(|spec| Prefixes::new(spec, seed));
        let has_ids = recipe.token_ids || prefixes.is_some();
        Ok(Self {
            arrivals,
            lengths,
            prefixes,
            sessions,
            texts: has_ids.then(|| Texts::new(seed, recipe.vocabulary)),
            num: 0,
            num_max: recipe.num_requests,
            end_ns: recipe.duration_s.map(|seconds| (seconds * 1e9).round() as u64),
            is_over: false,
        })
    }

    fn first_call(&mut self, number: u64) -> Call {
        let (input_tokens, output_tokens) = self.lengths.draw();
        let mut call = Call { output_tokens, ..Call::default() };
        let prefix = self.prefixes.as_mut().and_then(|prefixes| Some((prefixes.draw()?, prefixes.tokens)));
        let prefix_tokens = prefix.map_or(0, |(_, tokens)| tokens);
        call.input_tokens = (prefix_tokens + input_tokens).min(TOKENS_MAX);
        if let Some(texts) = self.texts {
            if let Some((prefix, tokens)) = prefix {
                texts.extend(&mut call.input_ids, TextKind::Prefix, prefix, tokens);
            }
            texts.extend(&mut call.input_ids, TextKind::Input, number, call.input_tokens - prefix_tokens);
        }
        call
    }

    /// The calls of a session that begins with `first`: the prompt of each is all that came before.
    fn calls(&mut self, number: u64, first: Call) -> Vec<Call> {
        let Some(sessions) = &mut self.sessions else { return vec![first] };
        let num_calls = sessions.calls.draw();
        let mut calls = vec![first];
        for index in 1..=num_calls {
            let last = calls.last_mut().expect("there is a first call");
            if let Some(texts) = self.texts {
                texts.extend(&mut last.output_ids, TextKind::Output, key(number, index), last.output_tokens);
            }
            if index == num_calls {
                break;
            }
            let tool_tokens = sessions.tool_tokens.draw();
            let output_tokens = self.lengths.draw_output();
            let input_tokens = last.input_tokens + last.output_tokens + tool_tokens;
            if input_tokens + output_tokens > sessions.context_max {
                break;
            }
            last.tool_time = sessions.tool_time.draw();
            let mut next = Call { input_tokens, output_tokens, ..Call::default() };
            if let Some(texts) = self.texts {
                next.input_ids = [last.input_ids.as_slice(), &last.output_ids].concat();
                texts.extend(&mut next.input_ids, TextKind::Tool, key(number, index), tool_tokens);
            }
            calls.push(next);
        }
        calls
    }

    /// To be asked after the last one: how many there were.
    ///
    /// # Errors
    /// When a file that arrivals come from was at fault, or had fewer of them than were asked for.
    pub fn finish(self) -> Result<u64, Faults> {
        let is_endless = self.arrivals.is_endless();
        self.arrivals.finish()?;
        match self.num_max {
            Some(wanted) if self.num < wanted && self.end_ns.is_none() && !is_endless => {
                Err(arrivals::too_few(self.num, wanted).into())
            }
            _ => Ok(self.num),
        }
    }
}

/// Requests or sessions in order of arrival.
impl Iterator for Generator {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.is_over || self.num_max == Some(self.num) {
            return None;
        }
        let arrival = self.arrivals.next().filter(|ns| self.end_ns.is_none_or(|end_ns| *ns < end_ns));
        let Some(arrival_ns) = arrival else {
            self.is_over = true;
            return None;
        };
        let number = self.num;
        self.num += 1;
        let first = self.first_call(number);
        if self.sessions.is_none() {
            return Some(Item::plain(Some(arrival_ns), first));
        }
        let calls = self.calls(number, first);
        Some(Item { arrival_ns: Some(arrival_ns), session_id: Some(format!("s{number}")), calls })
    }
}

/// What names a text of one call of a session.
fn key(number: u64, call: u64) -> u64 {
    mixed(number).wrapping_add(call)
}

#[cfg(test)]
mod tests;
