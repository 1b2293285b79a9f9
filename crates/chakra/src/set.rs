//! Sets of files: one of each NPU, read in the order of the NPUs.

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{fs, panic, thread};

use diagnostics::{Fault, Faults};

use crate::faults::Collected;
use crate::frames::{self, Messages};
use crate::numbering::{Evidence, Numbering, Witness};
use crate::trace::{Metadata, Trace};
use crate::wire::{Attribute, GlobalMetadata, Value};
use crate::{graph, nodes};

/// Fewer files than this aren't worth a second thread.
const FILES_PER_THREAD_MIN: usize = 32;

/// Bytes of a file that are asked for at first.
const READ_BYTES: usize = 4 << 10;

/// The traces of all NPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSet {
    /// The numbering that was asked for or found out.
    pub numbering: Numbering,
    /// The trace of each NPU.
    pub traces: Vec<Trace>,
    /// Nodes with control dependencies, which are not kept: ASTRA-Sim doesn't follow them.
    pub num_nodes_with_ctrl_deps: u64,
}

/// A file's content.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// What to call it in faults.
    pub name: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What faults call a file. Its name is put together only for them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Named(&'a str),
    Numbered { prefix: &'a Path, npu: u32 },
}

impl From<Source<'_>> for String {
    fn from(source: Source<'_>) -> Self {
        match source {
            Source::Named(name) => name.to_owned(),
            Source::Numbered { prefix, npu } => file_path(prefix, npu).display().to_string(),
        }
    }
}

/// The path of the file of NPU `npu`: `<prefix>.<npu>.et`.
pub fn file_path(prefix: &Path, npu: u32) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(format!(".{npu}.et"));
    path.into()
}

/// Reads the files `<prefix>.<npu>.et` of all NPUs from 0 to `num_npus` − 1. Without a `numbering`, the files are asked.
///
/// # Errors
/// Everything wrong in any file, up to 20 faults, with the number of further ones: files that are missing or can't be
/// read, are cut off or no protobuf, nodes that lack attributes or have wrong ones, are there twice, or wait for nodes
/// that are not there or for themselves, and nodes that disagree about the numbering.
pub fn read_set(prefix: &Path, num_npus: u32, numbering: Option<Numbering>) -> Result<TraceSet, Faults> {
    let name = |npu| Source::Numbered { prefix, npu };
    let parsed = in_order((0..num_npus).collect(), |npu| match read(&file_path(prefix, npu)) {
        Ok(bytes) => parse(npu, name(npu), &bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Parsed { is_missing: true, ..Parsed::default() },
        Err(error) => Parsed::faulty(Fault::new(name(npu), format!("can't be read: {error}"))),
    });
    let source = prefix.display().to_string();
    let mut faults = Collected::default();
    let missing: Vec<u32> =
        (0..num_npus).zip(&parsed).filter(|(_, file)| file.is_missing).map(|(npu, _)| npu).collect();
    if !missing.is_empty() {
        let example = format!("the trace of NPU {} is looked for at {}", missing[0], String::from(name(missing[0])));
        faults.push(|| Fault::new(&*source, format!("no file for {}", listed(&missing))).hint(example));
    }
    assemble(&source, name, parsed, numbering, faults)
}

/// All of a file. Behind `take`, its length is not asked for first, which takes as long as reading a short file.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    fs::File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decodes files that are in memory already: the one of NPU 0, of NPU 1 and so on.
///
/// # Errors
/// As [`read_set`] has them.
pub fn decode(files: &[File<'_>], numbering: Option<Numbering>) -> Result<TraceSet, Faults> {
    let numbered = (0..).zip(files).collect();
    let parsed = in_order(numbered, |(npu, file): (u32, &File<'_>)| parse(npu, Source::Named(file.name), file.bytes));
    let source = files.first().map_or("traces", |file| file.name);
    assemble(source, |npu| Source::Named(files[npu as usize].name), parsed, numbering, Collected::default())
}

/// A file whose bytes were understood, or not; what its types mean is still open.
#[derive(Debug, Default)]
struct Parsed {
    is_missing: bool,
    messages: Messages,
    evidence: Evidence,
    faults: Collected,
}

impl Parsed {
    fn faulty(fault: Fault) -> Self {
        let mut parsed = Self::default();
        parsed.faults.push(|| fault);
        parsed
    }
}

fn parse(npu: u32, name: Source<'_>, bytes: &[u8]) -> Parsed {
    match frames::messages(name, bytes) {
        Ok(messages) => Parsed { evidence: Evidence::of(npu, &messages.nodes), messages, ..Parsed::default() },
        Err(fault) => Parsed::faulty(fault),
    }
}

/// Makes traces of the files of a set called `source`, of which `name` tells the names.
fn assemble<'a>(
    source: &str,
    name: impl Fn(u32) -> Source<'a> + Sync,
    parsed: Vec<Parsed>,
    numbering: Option<Numbering>,
    mut faults: Collected,
) -> Result<TraceSet, Faults> {
    let evidence = parsed.iter().fold(Evidence::default(), |earlier, file| earlier.or(file.evidence));
    let numbering = match (numbering, evidence) {
        (Some(numbering), _) => numbering,
        (None, Evidence { mlcommons: Some(one), casys: Some(other) }) => {
            // Without a numbering the nodes mean nothing, so what is known by now is all there is to tell.
            faults.push(|| disagreement(&name, one, other));
            parsed.into_iter().for_each(|file| faults.append(file.faults));
            return Err(faults.into_faults(source));
        }
        (None, Evidence { mlcommons: None, casys: Some(_) }) => Numbering::Casys,
        (None, Evidence { casys: None, .. }) => Numbering::MlCommons,
    };
    let num_nodes_with_ctrl_deps = parsed
        .iter()
        .map(|file| file.messages.nodes.iter().filter(|node| !node.ctrl_deps.is_empty()).count() as u64)
        .sum();
    let converted = in_order((0..).zip(parsed).collect(), |(npu, file)| convert(npu, name(npu), numbering, file));
    let mut traces = Vec::with_capacity(converted.len());
    for (trace, found) in converted {
        traces.push(trace);
        faults.append(found);
    }
    faults.into_faults(source).into_result(TraceSet { numbering, traces, num_nodes_with_ctrl_deps })
}

fn convert(npu: u32, name: Source<'_>, numbering: Numbering, file: Parsed) -> (Trace, Collected) {
    let Parsed { messages: Messages { metadata, nodes: unread }, mut faults, .. } = file;
    let nodes: Vec<_> = unread.into_iter().map(|node| nodes::node(name, npu, numbering, node, &mut faults)).collect();
    graph::check(name, &nodes, &mut faults);
    (Trace { metadata: convert_metadata(metadata), nodes }, faults)
}

/// Attributes of the metadata have no effect, so those that are not as they should be are left out.
fn convert_metadata(metadata: GlobalMetadata) -> Metadata {
    let mut converted = Metadata { version: metadata.version, ..Metadata::default() };
    for Attribute { name, value } in metadata.attributes {
        match (name.as_str(), value) {
            ("schema", Some(Value::String(value))) => converted.schema = Some(value),
            ("input_file", Some(Value::String(value))) => converted.input_file = Some(value),
            _ => {}
        }
    }
    converted
}

fn disagreement<'a>(name: &impl Fn(u32) -> Source<'a>, one: Witness, other: Witness) -> Fault {
    let tell =
        |Witness { npu, node_id, what }: Witness| format!("node {node_id} of {} ({what})", String::from(name(npu)));
    let message = format!(
        "the files disagree about the numbering of node types: {} has {}, {} has {}",
        tell(one),
        Numbering::MlCommons,
        tell(other),
        Numbering::Casys
    );
    Fault::new(name(one.npu), message)
        .path(format!("node {}", one.node_id))
        .hint("say which numbering it is, if you know; a set of traces has one")
}

/// `f` of each item, in the order of the items, whichever thread it ran on.
fn in_order<T: Send, R: Send>(items: Vec<T>, f: impl Fn(T) -> R + Sync) -> Vec<R> {
    let mut first = items;
    if first.len() < 2 * FILES_PER_THREAD_MIN {
        return first.into_iter().map(f).collect();
    }
    let second = first.split_off(first.len() / 2);
    thread::scope(|scope| {
        let second = scope.spawn(|| second.into_iter().map(&f).collect::<Vec<R>>());
        let mut done: Vec<R> = first.into_iter().map(&f).collect();
        match second.join() {
            Ok(rest) => done.extend(rest),
            Err(payload) => panic::resume_unwind(payload),
        }
        done
    })
}

/// "NPU 3", "NPUs 0, 3, 5–7": numbers in rising order.
fn listed(npus: &[u32]) -> String {
    let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
    for &npu in npus {
        match runs.last_mut() {
            Some(run) if run.end() + 1 == npu => *run = *run.start()..=npu,
            _ => runs.push(npu..=npu),
        }
    }
    let tell = |run: &RangeInclusive<u32>| match (run.start(), run.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) if start + 1 == *end => format!("{start}, {end}"),
        (start, end) => format!("{start}–{end}"),
    };
    let told: Vec<String> = runs.iter().map(tell).collect();
    format!("{} {}", if npus.len() == 1 { "NPU" } else { "NPUs" }, told.join(", "))
}
