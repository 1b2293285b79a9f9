//! One row: what it says, its short form and its text.

use std::io;

use engine::{FinishedRequest, TokenLatencies, TokenRun};
use smallvec::SmallVec;
use units::Duration;

use super::steps::{SEPARATOR, StepTexts};
use super::{END, write_number};

/// Which columns there are beside those that always are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) itl: bool,
    pub(super) stamps: bool,
}

/// What a row says of a request.
#[derive(Debug)]
pub(super) struct Row {
    /// Id, input, output, arrival, end, latency, queuing delay, TTFT, TPOT.
    numbers: [u64; 9],
    /// Queued, first scheduled, first token, first delivered.
    stamps: [u64; 4],
    latencies: Latencies,
}

#[derive(Debug)]
enum Latencies {
    Runs(SmallVec<[TokenRun; 2]>),
    List(Vec<u64>),
}

/// In the short form, what stands for a list in place of the number of runs.
const LIST: u64 = u64::MAX;

/// In the short form, what stands for no lead.
const NO_LEAD: u64 = u64::MAX;

impl Row {
    pub(super) fn of(request: &FinishedRequest<'_>, columns: Columns) -> Self {
        let stamps = request.stamps;
        Self {
            numbers: [
                request.id.0,
                request.input_tokens,
                request.output_tokens,
                request.arrival.ns(),
                request.end.ns(),
                request.latency().ns(),
                request.queuing_delay.ns(),
                request.ttft.ns(),
                request.tpot().ns(),
            ],
            stamps: [stamps.queued, stamps.first_scheduled, stamps.first_token, stamps.first_delivered]
                .map(|stamp| stamp.ns()),
            latencies: match request.itl {
                _ if !columns.itl => Latencies::Runs(SmallVec::new()),
                TokenLatencies::Steps { runs, .. } => Latencies::Runs(runs.into()),
                TokenLatencies::List(list) => Latencies::List(list.iter().map(|latency| latency.ns()).collect()),
            },
        }
    }

    /// Appends its short form.
    pub(super) fn encode(&self, bytes: &mut Vec<u8>) {
        let mut put = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        self.numbers.iter().chain(&self.stamps).for_each(|&word| put(word));
        match &self.latencies {
            Latencies::Runs(runs) => {
                put(runs.len() as u64);
                for run in runs {
                    [run.lead.map_or(NO_LEAD, Duration::ns), run.first, run.more].into_iter().for_each(&mut put);
                }
            }
            Latencies::List(list) => {
                put(LIST);
                put(list.len() as u64);
                list.iter().for_each(|&latency| put(latency));
            }
        }
    }

    /// Hands on every row whose short form is in `bytes`, which hold whole ones.
    ///
    /// # Errors
    /// Those of `take`, which is not called any more then.
    pub(super) fn decode(bytes: &[u8], mut take: impl FnMut(&Row) -> io::Result<()>) -> io::Result<()> {
        let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).peekable();
        while words.peek().is_some() {
            let mut next = || words.next().expect("rows are passed on whole");
            let numbers = std::array::from_fn(|_| next());
            let stamps = std::array::from_fn(|_| next());
            let latencies = match next() {
                LIST => {
                    let len = next();
                    Latencies::List((0..len).map(|_| next()).collect())
                }
                len => {
                    let run = |lead| (lead != NO_LEAD).then(|| Duration::from_ns(lead));
                    let run = |_| TokenRun { lead: run(next()), first: next(), more: next() };
                    Latencies::Runs((0..len).map(run).collect())
                }
            };
            take(&Row { numbers, stamps, latencies })?;
        }
        Ok(())
    }

    /// Appends its text. `instance` is its index and the name of its model, `texts` are those of its steps.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        (instance, model): (usize, &[u8]),
        columns: Columns,
        texts: &StepTexts,
    ) {
        write_number(out, instance as u64);
        out.push(b',');
        write_number(out, self.numbers[0]);
        out.push(b',');
        out.extend_from_slice(model);
        for &number in &self.numbers[1..] {
            out.push(b',');
            write_number(out, number);
        }
        if columns.itl {
            out.push(b',');
            self.write_latencies(out, texts);
        }
        if columns.stamps {
            for stamp in self.stamps {
                out.push(b',');
                write_number(out, stamp);
            }
        }
        out.extend_from_slice(END);
    }

    fn write_latencies(&self, out: &mut Vec<u8>, texts: &StepTexts) {
        let start = out.len();
        let mut num_latencies = 0;
        // Each begins with a separator; of the first, the list's opening takes the place.
        let write_one = |out: &mut Vec<u8>, latency: u64| {
            out.extend_from_slice(SEPARATOR);
            write_number(out, latency);
        };
        match &self.latencies {
            Latencies::Runs(runs) => {
                for run in runs {
                    if let Some(lead) = run.lead {
                        write_one(out, lead.ns());
                        num_latencies += 1;
                    }
                    out.extend_from_slice(texts.of(run.first + 1, run.last()));
                    num_latencies += run.more;
                }
            }
            Latencies::List(list) => {
                list.iter().for_each(|&latency| write_one(out, latency));
                num_latencies += list.len() as u64;
            }
        }
        match num_latencies {
            0 => out.extend_from_slice(b"[]"),
            1 => {
                out[start + 1] = b'[';
                out.remove(start);
                out.push(b']');
            }
            _ => {
                out[start..start + SEPARATOR.len()].copy_from_slice(b"\"[");
                out.extend_from_slice(b"]\"");
            }
        }
    }
}
