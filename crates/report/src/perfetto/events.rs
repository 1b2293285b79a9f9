//! Events as JSON, one a line.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use diagnostics::Fault;
use flate2::Compression;
use flate2::write::GzEncoder;
use units::{Duration, Instant};

use crate::AtomicFile;

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track {
    pid: u32,
    tid: u32,
}

/// Where events go.
pub(super) struct Events {
    /// The file as the user named it.
    name: String,
    sink: Sink,
    /// What is not written yet.
    pending: Vec<u8>,
    is_first: bool,
    num_bytes: u64,
    /// By process and name.
    tracks: HashMap<(u32, String), Track>,
    /// The first thing that went wrong. Nothing more is written after it.
    error: Option<io::Error>,
}

enum Sink {
    Plain(AtomicFile),
    Gzip(GzEncoder<AtomicFile>),
}

/// Bytes that are written together.
const PENDING_BYTES: usize = 1 << 16;

/// Threads have numbers from here on, so that none has that of a process.
const FIRST_TID: u32 = 1 << 24;

/// What is told of a slice, as the inside of a JSON object.
#[derive(Clone, Debug, Default)]
pub(super) struct Args(Vec<u8>);

impl Args {
    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        push_number(&mut self.0, value);
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        push_text(&mut self.0, value);
    }

    /// In microseconds.
    pub(super) fn time(&mut self, key: &str, value: Duration) {
        self.key(key);
        push_us(&mut self.0, value.ns());
    }

    /// A number with one decimal.
    pub(super) fn tenths(&mut self, key: &str, tenths: u64) {
        self.key(key);
        push_number(&mut self.0, tenths / 10);
        self.0.extend([b'.', b'0' + (tenths % 10) as u8]);
    }

    fn key(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        push_text(&mut self.0, key);
        self.0.push(b':');
    }
}

fn push_number(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Nanoseconds as microseconds with three decimals.
fn push_us(line: &mut Vec<u8>, ns: u64) {
    push_number(line, ns / 1000);
    let rest = ns % 1000;
    line.extend([b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

fn push_text(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("a vector takes everything");
}

impl Events {
    pub(super) fn create(path: &Path) -> Result<Self, Fault> {
        let file = AtomicFile::create(path)?;
        let is_compressed = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz"));
        let sink = match is_compressed {
            true => Sink::Gzip(GzEncoder::new(file, Compression::default())),
            false => Sink::Plain(file),
        };
        let pending = b"{\"traceEvents\":[".to_vec();
        let name = path.display().to_string();
        Ok(Self { name, sink, pending, is_first: true, num_bytes: 0, tracks: HashMap::new(), error: None })
    }

    pub(super) fn num_bytes(&self) -> u64 {
        self.num_bytes + self.pending.len() as u64
    }

    pub(super) fn commit(mut self) -> Result<(), Fault> {
        self.pending.extend_from_slice(b"\n]}\n");
        self.write_pending();
        let failed = |error: io::Error| Fault::new(self.name.clone(), format!("can't be written: {error}"));
        if let Some(error) = self.error {
            return Err(failed(error));
        }
        match self.sink {
            Sink::Plain(file) => file.commit(),
            Sink::Gzip(encoder) => encoder.finish().map_err(failed)?.commit(),
        }
    }

    /// Names a process, which stands where its number says.
    pub(super) fn process(&mut self, pid: u32, name: &str) {
        let mut args = Args::default();
        args.text("name", name);
        self.metadata("process_name", Track { pid, tid: 0 }, &args);
        let mut args = Args::default();
        args.number("sort_index", u64::from(pid));
        self.metadata("process_sort_index", Track { pid, tid: 0 }, &args);
    }

    /// The thread of this name, which stands among the others of the process where `place` says.
    pub(super) fn track(&mut self, pid: u32, name: &str, place: u32) -> Track {
        if let Some(&track) = self.tracks.get(&(pid, name.to_owned())) {
            return track;
        }
        let track = Track { pid, tid: FIRST_TID + self.tracks.len() as u32 };
        self.tracks.insert((pid, name.to_owned()), track);
        self.name_thread(track, name, place);
        track
    }

    /// A thread that is asked for once.
    pub(super) fn new_track(&mut self, pid: u32, tid: u32, name: &str, place: u32) -> Track {
        let track = Track { pid, tid };
        self.name_thread(track, name, place);
        track
    }

    fn name_thread(&mut self, track: Track, name: &str, place: u32) {
        let mut args = Args::default();
        args.text("name", name);
        self.metadata("thread_name", track, &args);
        let mut args = Args::default();
        args.number("sort_index", u64::from(place));
        self.metadata("thread_sort_index", track, &args);
    }

    fn metadata(&mut self, name: &str, track: Track, args: &Args) {
        self.begin("M", track, name);
        self.end(args);
    }

    /// A slice, which must come after those that hold it.
    pub(super) fn slice(
        &mut self,
        track: Track,
        name: &str,
        category: &'static str,
        (begin, end): (Instant, Instant),
        args: &Args,
    ) {
        self.begin("X", track, name);
        self.raw(",\"cat\":");
        push_text(&mut self.pending, category);
        self.time("ts", begin.ns());
        self.time("dur", (end - begin).ns());
        self.end(args);
    }

    /// The values of a counter of a process, from `at` on.
    pub(super) fn counter(&mut self, pid: u32, name: &str, at: Instant, values: &Args) {
        self.begin("C", Track { pid, tid: 0 }, name);
        self.time("ts", at.ns());
        self.end(values);
    }

    /// An arrow begins at the slice of a thread that begins at `at`, and was written before.
    pub(super) fn arrow_begin(&mut self, id: u64, track: Track, at: Instant) {
        self.arrow("s", id, track, at);
    }

    /// It ends at such a slice.
    pub(super) fn arrow_end(&mut self, id: u64, track: Track, at: Instant) {
        self.arrow("f", id, track, at);
    }

    fn arrow(&mut self, phase: &str, id: u64, track: Track, at: Instant) {
        self.begin(phase, track, "hand-over");
        self.raw(",\"cat\":\"request\",\"id\":");
        push_number(&mut self.pending, id);
        if phase == "f" {
            // It ends at the slice that holds it, not at the next one.
            self.raw(",\"bp\":\"e\"");
        }
        self.time("ts", at.ns());
        self.end(&Args::default());
    }

    fn begin(&mut self, phase: &str, track: Track, name: &str) {
        self.raw(if self.is_first { "\n" } else { ",\n" });
        self.is_first = false;
        self.raw("{\"ph\":");
        push_text(&mut self.pending, phase);
        self.raw(",\"pid\":");
        push_number(&mut self.pending, u64::from(track.pid));
        self.raw(",\"tid\":");
        push_number(&mut self.pending, u64::from(track.tid));
        self.raw(",\"name\":");
        push_text(&mut self.pending, name);
    }

    fn time(&mut self, key: &str, ns: u64) {
        self.pending.push(b',');
        push_text(&mut self.pending, key);
        self.pending.push(b':');
        push_us(&mut self.pending, ns);
    }

    fn end(&mut self, args: &Args) {
        if !args.0.is_empty() {
            self.raw(",\"args\":{");
            self.pending.extend_from_slice(&args.0);
            self.raw("}");
        }
        self.raw("}");
        if self.pending.len() >= PENDING_BYTES {
            self.write_pending();
        }
    }

    fn raw(&mut self, text: &str) {
        self.pending.extend_from_slice(text.as_bytes());
    }

    fn write_pending(&mut self) {
        self.num_bytes += self.pending.len() as u64;
        if self.error.is_none() {
            let written = match &mut self.sink {
                Sink::Plain(file) => file.write_all(&self.pending),
                Sink::Gzip(encoder) => encoder.write_all(&self.pending),
            };
            self.error = written.err();
        }
        self.pending.clear();
    }
}
