//! The shape of one line: a request, or a session with its calls.

use engine::{Call, Entry};
use units::{Duration, Instant, RequestId};

use crate::scan::{Problem, Result, Scanner};

/// Latest arrival, and most tool time of one session, in nanoseconds: 146 years, so that even arrivals counted from
/// 1970 fit and nothing that the engine adds up comes near 64 bits.
pub(crate) const TIME_NS_MAX: u64 = 1 << 62;

/// Most tokens of one call.
pub(crate) const TOKENS_MAX: u64 = u32::MAX as u64;

/// The keys of a line and of a session's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    InputToks,
    OutputToks,
    ArrivalTimeNs,
    InputTokIds,
    OutputTokIds,
    SessionId,
    SubRequests,
    ToolDurationNs,
}

impl Key {
    const ALL: [Key; 8] = [
        Key::InputToks,
        Key::OutputToks,
        Key::ArrivalTimeNs,
        Key::InputTokIds,
        Key::OutputTokIds,
        Key::SessionId,
        Key::SubRequests,
        Key::ToolDurationNs,
    ];

    const fn name(self) -> &'static str {
        match self {
            Key::InputToks => "input_toks",
            Key::OutputToks => "output_toks",
            Key::ArrivalTimeNs => "arrival_time_ns",
            Key::InputTokIds => "input_tok_ids",
            Key::OutputTokIds => "output_tok_ids",
            Key::SessionId => "session_id",
            Key::SubRequests => "sub_requests",
            Key::ToolDurationNs => "tool_duration_ns",
        }
    }

    /// The key that `bytes` spell. An escape in a key is not looked through: nobody writes `input\u005ftoks`.
    fn of(bytes: &[u8]) -> Option<Key> {
        // One comparison, since only two names are of one length; a search would try them all.
        match bytes {
            b"input_toks" => Some(Key::InputToks),
            b"output_toks" => Some(Key::OutputToks),
            b"arrival_time_ns" => Some(Key::ArrivalTimeNs),
            b"input_tok_ids" => Some(Key::InputTokIds),
            b"output_tok_ids" => Some(Key::OutputTokIds),
            b"session_id" => Some(Key::SessionId),
            b"sub_requests" => Some(Key::SubRequests),
            b"tool_duration_ns" => Some(Key::ToolDurationNs),
            _ => None,
        }
    }

    /// Whether it belongs in an object of this kind.
    fn fits(self, kind: Kind) -> bool {
        match self {
            Key::InputToks | Key::OutputToks | Key::InputTokIds | Key::OutputTokIds => true,
            Key::ArrivalTimeNs | Key::SessionId | Key::SubRequests => kind == Kind::Line,
            Key::ToolDurationNs => kind == Kind::Call,
        }
    }
}

/// Which of the two objects is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Line,
    Call,
}

/// Reads one line, whose first call is to have the id `first_id`; `None` when it is a session without calls. Lists of
/// token ids are kept only when `token_ids` says so.
pub(crate) fn parse(line: &[u8], first_id: RequestId, token_ids: bool) -> Result<Option<Entry>> {
    let mut parser = Parser { scanner: Scanner::new(line), token_ids };
    let mut object = Object::default();
    parser.object(Kind::Line, &mut object).map_err(|problem| problem.within("$"))?;
    parser.scanner.finish()?;
    object.into_entry(first_id).map_err(|problem| problem.within("$"))
}

/// The values of one object, and where its keys are.
#[derive(Default)]
struct Object {
    /// Where it begins.
    offset: usize,
    /// Where each key is; 0 where it is not, since a brace always comes before a key.
    key_offsets: [usize; Key::ALL.len()],
    call: Call,
    arrival_ns: u64,
    calls: Vec<Call>,
}

impl Object {
    fn has(&self, key: Key) -> bool {
        self.key_offsets[key as usize] != 0
    }

    fn require(&self, key: Key) -> Result<()> {
        if self.has(key) {
            return Ok(());
        }
        Err(Problem::new(self.offset, format!("`{}` is missing", key.name())))
    }

    fn into_call(self) -> Result<Call> {
        self.require(Key::InputToks)?;
        self.require(Key::OutputToks)?;
        Ok(self.call)
    }

    fn into_entry(self, first_id: RequestId) -> Result<Option<Entry>> {
        self.require(Key::ArrivalTimeNs)?;
        let arrival = Instant::from_ns(self.arrival_ns);
        if !self.has(Key::SubRequests) {
            if self.has(Key::SessionId) {
                let offset = self.key_offsets[Key::SessionId as usize];
                return Err(Problem::new(offset, "`session_id` without `sub_requests`")
                    .hint("a session lists its calls in `sub_requests`; a plain request has no id"));
            }
            return Ok(Some(Entry::plain(arrival, first_id, self.into_call()?)));
        }
        let call_keys = [Key::InputToks, Key::OutputToks, Key::InputTokIds, Key::OutputTokIds];
        if let Some(key) = call_keys.into_iter().find(|&key| self.has(key)) {
            let message = format!("`{}` beside `sub_requests`", key.name());
            return Err(Problem::new(self.key_offsets[key as usize], message)
                .hint("a line is a request or a session; the tokens of a session stand in its calls"));
        }
        Ok(Entry::session(arrival, first_id, self.calls))
    }
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    token_ids: bool,
}

impl Parser<'_> {
    /// Reads an object into `object`, which is empty.
    fn object(&mut self, kind: Kind, object: &mut Object) -> Result<()> {
        object.offset = self.scanner.offset();
        self.scanner.expect(b'{', "an object").map_err(|problem| match kind {
            Kind::Line => problem.hint("each line is one JSON object"),
            Kind::Call => problem,
        })?;
        if self.scanner.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key(kind, object)?;
            self.value(key, object).map_err(|problem| problem.within(&format!(".{}", key.name())))?;
            if !self.scanner.take(b',') {
                return self.scanner.expect(b'}', "a comma or the end of the object");
            }
        }
    }

    fn key(&mut self, kind: Kind, object: &mut Object) -> Result<Key> {
        let offset = self.scanner.offset();
        let name = self.scanner.string("a key in double quotes")?;
        let Some(key) = Key::of(name).filter(|key| key.fits(kind)) else { return Err(unknown_key(offset, name, kind)) };
        if object.has(key) {
            return Err(Problem::new(offset, format!("`{}` stands here a second time", key.name())));
        }
        object.key_offsets[key as usize] = offset;
        self.scanner.expect(b':', "a colon")?;
        Ok(key)
    }

    fn value(&mut self, key: Key, object: &mut Object) -> Result<()> {
        match key {
            Key::InputToks => object.call.input_tokens = self.scanner.whole_number(1..=TOKENS_MAX)?,
            Key::OutputToks => object.call.output_tokens = self.scanner.whole_number(1..=TOKENS_MAX)?,
            Key::InputTokIds => object.call.input_ids = self.token_ids()?,
            Key::OutputTokIds => object.call.output_ids = self.token_ids()?,
            Key::ArrivalTimeNs => object.arrival_ns = self.scanner.whole_number(0..=TIME_NS_MAX)?,
            Key::ToolDurationNs => {
                object.call.tool_time = Duration::from_ns(self.scanner.whole_number(0..=TIME_NS_MAX)?);
            }
            // It only names the session: its calls are tied together by standing in one line.
            Key::SessionId => match self.scanner.peek() {
                Some(b'0'..=b'9') => drop(self.scanner.whole_number(0..=u64::MAX)?),
                _ => drop(self.scanner.string("a string")?),
            },
            Key::SubRequests => object.calls = self.calls()?,
        }
        Ok(())
    }

    fn token_ids(&mut self) -> Result<Vec<u32>> {
        if self.token_ids {
            return self.scanner.token_ids();
        }
        self.scanner.skip_token_ids()?;
        Ok(Vec::new())
    }

    /// The calls of a session, with tool times that add up within bounds.
    fn calls(&mut self) -> Result<Vec<Call>> {
        self.scanner.expect(b'[', "a list of calls")?;
        let mut calls = Vec::new();
        if self.scanner.take(b']') {
            return Ok(calls);
        }
        let mut tool_time_ns = 0;
        loop {
            let call_offset = self.scanner.offset();
            let mut object = Object::default();
            let call = self
                .object(Kind::Call, &mut object)
                .and_then(|()| object.into_call())
                .map_err(|problem| problem.within(&format!("[{}]", calls.len())))?;
            tool_time_ns += call.tool_time.ns();
            if tool_time_ns > TIME_NS_MAX {
                return Err(Problem::new(call_offset, format!("tool times add up to more than {TIME_NS_MAX} ns")));
            }
            calls.push(call);
            if !self.scanner.take(b',') {
                self.scanner.expect(b']', "a comma or the end of the list")?;
                return Ok(calls);
            }
        }
    }
}

/// The problem that `name` is no key of an object of this kind, with the nearest one that is.
fn unknown_key(offset: usize, name: &[u8], kind: Kind) -> Box<Problem> {
    let name: String = String::from_utf8_lossy(name).chars().take(40).collect();
    let distance = |key: &Key| strsim::damerau_levenshtein(key.name(), &name);
    let nearest = Key::ALL.into_iter().filter(|key| key.fits(kind)).min_by_key(distance);
    let mut message = format!("unknown key `{name}`");
    if let Some(key) = nearest.filter(|key| distance(key) <= key.name().len() / 2) {
        message += &format!(", did you mean `{}`?", key.name());
    }
    Problem::new(offset, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    #[test]
    fn keys_are_those_of_the_schema() {
        for (kind, shape) in [(Kind::Line, schema::LINE.root), (Kind::Call, &schema::CALL)] {
            let mut known: Vec<_> = Key::ALL.into_iter().filter(|key| key.fits(kind)).map(Key::name).collect();
            let mut described = shape.names();
            known.sort_unstable();
            described.sort_unstable();
            assert_eq!(known, described);
        }
    }
}
