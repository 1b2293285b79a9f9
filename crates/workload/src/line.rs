//! The shape of one line: a request, or a session with its calls.

use engine::Call;
use units::{Duration, Instant};

use crate::scan::{Problem, Result, Scanner};

/// Latest arrival, and most tool time of one session, in nanoseconds: 146 years, so that even arrivals counted from
/// 1970 fit and nothing that the engine adds up comes near 64 bits.
const TIME_NS_MAX: u64 = 1 << 62;

/// Most tokens of one call.
const TOKENS_MAX: u64 = u32::MAX as u64;

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
        Key::ALL.into_iter().find(|key| key.name().as_bytes() == bytes)
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

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) arrival: Instant,
    /// Never empty.
    pub(crate) calls: Vec<Call>,
}

/// Reads one line. Lists of token ids are kept only when `token_ids` says so.
pub(crate) fn parse(line: &[u8], token_ids: bool) -> Result<Line> {
    let mut scanner = Scanner::new(line);
    let mut parser = Parser { scanner: &mut scanner, token_ids };
    let object = parser.object(Kind::Line).map_err(|problem| problem.within("$"))?;
    scanner.finish()?;
    object.into_line().map_err(|problem| problem.within("$"))
}

/// The values of one object, and where its keys are.
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

    fn into_line(self) -> Result<Line> {
        self.require(Key::ArrivalTimeNs)?;
        let arrival = Instant::from_ns(self.arrival_ns);
        if !self.has(Key::SubRequests) {
            if self.has(Key::SessionId) {
                let offset = self.key_offsets[Key::SessionId as usize];
                return Err(Problem::new(offset, "`session_id` without `sub_requests`")
                    .hint("a session lists its calls in `sub_requests`; a plain request has no id"));
            }
            return Ok(Line { arrival, calls: vec![self.into_call()?] });
        }
        let call_keys = [Key::InputToks, Key::OutputToks, Key::InputTokIds, Key::OutputTokIds];
        if let Some(key) = call_keys.into_iter().find(|&key| self.has(key)) {
            let message = format!("`{}` beside `sub_requests`", key.name());
            return Err(Problem::new(self.key_offsets[key as usize], message)
                .hint("a line is a request or a session; the tokens of a session stand in its calls"));
        }
        Ok(Line { arrival, calls: self.calls })
    }
}

struct Parser<'s, 'a> {
    scanner: &'s mut Scanner<'a>,
    token_ids: bool,
}

impl Parser<'_, '_> {
    fn object(&mut self, kind: Kind) -> Result<Object> {
        let offset = self.scanner.offset();
        self.scanner.expect(b'{', "an object").map_err(|problem| match kind {
            Kind::Line => problem.hint("each line is one JSON object"),
            Kind::Call => problem,
        })?;
        let key_offsets = [0; Key::ALL.len()];
        let mut object = Object { offset, key_offsets, call: Call::default(), arrival_ns: 0, calls: Vec::new() };
        if self.scanner.take(b'}') {
            return Ok(object);
        }
        loop {
            let key = self.key(kind, &mut object)?;
            self.value(key, &mut object).map_err(|problem| problem.within(&format!(".{}", key.name())))?;
            if !self.scanner.take(b',') {
                self.scanner.expect(b'}', "a comma or the end of the object")?;
                return Ok(object);
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
            let call = self
                .object(Kind::Call)
                .and_then(Object::into_call)
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
