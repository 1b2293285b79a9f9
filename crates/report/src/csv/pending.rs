//! What waits for the end of a run, by instance: in memory, and in a temporary file when it has become much.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes that are kept in memory.
const MEMORY_BYTES: usize = 1 << 25;

/// Bytes of an instance that are worth a place of their own in the file.
const CHUNK_BYTES: usize = 1 << 13;

/// Records of several instances, each a sequence of bytes.
#[derive(Debug)]
pub(super) struct Pending {
    /// By instance.
    queues: Vec<Queue>,
    num_bytes: usize,
    file: Option<File>,
    file_bytes: u64,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    /// Where its earlier records are in the file: offset and length.
    chunks: Vec<(u64, usize)>,
    /// Its later ones.
    bytes: Vec<u8>,
}

impl Pending {
    pub(super) fn new(num_instances: usize) -> Self {
        Self { queues: vec![Queue::default(); num_instances], num_bytes: 0, file: None, file_bytes: 0 }
    }

    /// Adds the record that `write` appends.
    ///
    /// # Errors
    /// When there is much, and the temporary file can't be written.
    pub(super) fn push(&mut self, instance: usize, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let bytes = &mut self.queues[instance].bytes;
        let before = bytes.len();
        write(bytes);
        self.num_bytes += bytes.len() - before;
        if self.num_bytes >= MEMORY_BYTES { self.move_to_file() } else { Ok(()) }
    }

    fn move_to_file(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let mean = self.num_bytes / self.queues.len();
        for queue in &mut self.queues {
            // What is little is left, so that chunks do not become many.
            if queue.bytes.len() < CHUNK_BYTES.min(mean) {
                continue;
            }
            file.write_all(&queue.bytes)?;
            queue.chunks.push((self.file_bytes, queue.bytes.len()));
            self.file_bytes += queue.bytes.len() as u64;
            self.num_bytes -= queue.bytes.len();
            queue.bytes.clear();
        }
        Ok(())
    }

    /// Hands on the records of an instance, in order, some at a time, and forgets them.
    ///
    /// # Errors
    /// When the temporary file can't be read, and those of `take`.
    pub(super) fn take(&mut self, instance: usize, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Queue { chunks, bytes } = std::mem::take(&mut self.queues[instance]);
        let mut chunk = Vec::new();
        for (offset, len) in chunks {
            let file = self.file.as_mut().expect("chunks are in a file");
            file.seek(SeekFrom::Start(offset))?;
            chunk.resize(len, 0);
            file.read_exact(&mut chunk)?;
            take(&chunk)?;
        }
        if bytes.is_empty() { Ok(()) } else { take(&bytes) }
    }
}
