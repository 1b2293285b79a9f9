//! A file's bytes to messages: each stands behind its length, a varint.

use diagnostics::Fault;
use prost::Message;

use crate::set::Source;
use crate::wire::{GlobalMetadata, Node};

/// Bytes of the longest varint.
const VARINT_BYTES_MAX: usize = 10;

const NO_TRACE: &str = "a trace file is a sequence of protobuf messages, each behind its length: the metadata, then the \
                        nodes; JSON and text forms of traces must be converted first";
const CUT_OFF: &str = "the file was cut off, or is no Chakra trace";

/// A file's messages.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) metadata: GlobalMetadata,
    pub(crate) nodes: Vec<Node>,
}

/// The messages of the file called `source`.
///
/// # Errors
/// The first place where the bytes are not what the format says. What follows it can't be told from noise.
pub(crate) fn messages(source: Source<'_>, bytes: &[u8]) -> Result<Messages, Fault> {
    if bytes.is_empty() {
        return Err(Fault::new(source, "is empty").hint("even a trace without nodes has a message of metadata"));
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err(Fault::new(source, "is compressed with gzip").hint("decompress it first"));
    }
    let mut rest = bytes;
    let metadata = message(source, bytes, &mut rest, "the metadata")?;
    let mut nodes = Vec::new();
    while !rest.is_empty() {
        nodes.push(message(source, bytes, &mut rest, "a node")?);
    }
    Ok(Messages { metadata, nodes })
}

/// Takes one message, which is `what`, off `rest`, the end of `all`.
fn message<M: Message + Default>(source: Source<'_>, all: &[u8], rest: &mut &[u8], what: &str) -> Result<M, Fault> {
    let offset = all.len() - rest.len();
    let fault = |message: String| Fault::new(source, message).path(format!("byte {offset}"));
    let Some((length, after)) = varint(rest) else {
        return Err(if rest.len() < VARINT_BYTES_MAX {
            fault(format!("ends within the length of {what}")).hint(CUT_OFF)
        } else {
            fault(format!("has no length of {what}")).hint(NO_TRACE)
        });
    };
    let Some((body, after)) = usize::try_from(length).ok().and_then(|length| after.split_at_checked(length)) else {
        let left = after.len();
        return Err(fault(format!("{what} has {length} bytes by its length, and {left} are left")).hint(CUT_OFF));
    };
    *rest = after;
    M::decode(body).map_err(|error| fault(format!("{what} can't be decoded: {error}")).hint(NO_TRACE))
}

/// A varint of 64 bits at the start of `bytes`, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == VARINT_BYTES_MAX - 1 && byte > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}
