//! `servingsim workload`: what is in workloads, and where they come from.

mod stats_text;

use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;

use diagnostics::{Fault, Faults};
use report::AtomicFile;
use traffic::{
    Conversion, Converter, Generator, Item, LengthsSpec, ReadOptions, Recipe, SessionSpec, StatsBuilder, Trace, Writer,
    stats_json,
};

use crate::Failure;
use crate::args::{ConvertArgs, Format, GenerateArgs, ReadTraceArgs, StatsArgs, WorkloadCommand};

pub(crate) fn workload(command: &WorkloadCommand) -> Result<(), Failure> {
    match command {
        WorkloadCommand::Stats(args) => stats(args),
        WorkloadCommand::Generate(args) => generate(args),
        WorkloadCommand::Convert(args) => convert(args),
    }
}

fn stats(args: &StatsArgs) -> Result<(), Failure> {
    let options = read_options(&args.trace);
    let mut faults = Faults::new();
    let mut all = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let read = |trace| StatsBuilder::new(args.block_size).read(trace, args.limit);
        match Trace::open(path, &options).and_then(read) {
            Ok(stats) => all.push(stats),
            Err(more) => faults.extend(more),
        }
    }
    faults.into_result(())?;
    let text = match args.format {
        Format::Json => stats_json(&all),
        Format::Text => {
            all.iter().flat_map(|stats| &stats.notes).for_each(|note| eprintln!("note: {note}"));
            stats_text::text(&all, args.width.map_or_else(terminal_width, usize::from))
        }
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Columns of the terminal that standard output is, or 80.
fn terminal_width() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(80, |(terminal_size::Width(width), _)| usize::from(width).max(40))
}

fn read_options(args: &ReadTraceArgs) -> ReadOptions {
    ReadOptions {
        format: args.from,
        conversations: args.conversations,
        chars_per_token: args.chars_per_token,
        ..ReadOptions::default()
    }
}

fn generate(args: &GenerateArgs) -> Result<(), Failure> {
    let lengths = match (&args.input_tokens, &args.output_tokens, &args.lengths) {
        (Some(input), Some(output), None) => LengthsSpec::Independent { input: input.clone(), output: output.clone() },
        (_, _, Some(path)) => LengthsSpec::Joint(path.clone()),
        _ => unreachable!("the command line has both lengths or a file of them"),
    };
    let sessions = args.calls.clone().zip(args.tool_time).zip(args.tool_tokens.clone());
    let recipe = Recipe {
        arrivals: args.arrivals.clone(),
        time_scale: args.time_scale,
        lengths,
        prefixes: args.prefixes,
        sessions: sessions.map(|((calls, tool_time), tool_tokens)| SessionSpec {
            calls,
            tool_time,
            tool_tokens,
            context_max: args.context_max,
        }),
        token_ids: args.token_ids,
        vocabulary: args.vocabulary,
        num_requests: args.num_requests,
        duration_s: args.duration,
        seed: args.seed,
    };
    let mut generator = Generator::new(&recipe)?;
    let mut output = Output::new(args.output.as_deref())?;
    for item in generator.by_ref() {
        output.write(&item)?;
    }
    if generator.finish()? == 0 {
        let fault = Fault::new("servingsim workload generate", "nothing arrives");
        return Err(fault.hint("let more requests arrive, or over a longer time").into());
    }
    output.finish()
}

fn convert(args: &ConvertArgs) -> Result<(), Failure> {
    let options =
        ReadOptions { token_ids: !args.no_token_ids, vocabulary: args.vocabulary, ..read_options(&args.trace) };
    if args.end.is_some_and(|end| end <= args.start) {
        return Err(Fault::new("--end", "is not after --start").into());
    }
    let conversion = Conversion {
        start_s: args.start,
        end_s: args.end,
        limit: args.limit,
        time_scale: args.time_scale,
        arrivals: args.arrivals.clone(),
        tool_time: args.tool_time,
        seed: args.seed,
    };
    let mut converter = Converter::new(Trace::open(&args.file, &options)?, conversion)?;
    let mut output = Output::new(args.output.as_deref())?;
    for item in converter.by_ref() {
        output.write(&item)?;
    }
    let (_, notes) = converter.finish()?;
    output.finish()?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    Ok(())
}

fn unwritable(path: &Path, error: &io::Error) -> Fault {
    Fault::new(path.display().to_string(), format!("can't be written: {error}"))
}

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 1 << 18;

/// Where a workload goes. A file appears whole or not at all.
enum Output<'a> {
    File(Writer<BufWriter<AtomicFile>>, &'a Path),
    Standard(Writer<BufWriter<Stdout>>),
}

impl<'a> Output<'a> {
    fn new(path: Option<&'a Path>) -> Result<Self, Failure> {
        Ok(match path {
            Some(path) => {
                Self::File(Writer::new(BufWriter::with_capacity(BUFFER_BYTES, AtomicFile::create(path)?)), path)
            }
            None => Self::Standard(Writer::new(BufWriter::with_capacity(BUFFER_BYTES, io::stdout()))),
        })
    }

    fn write(&mut self, item: &Item) -> Result<(), Failure> {
        match self {
            Self::File(writer, path) => Ok(writer.write(item).map_err(|error| unwritable(path, &error))?),
            Self::Standard(writer) => Ok(writer.write(item)?),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::File(writer, path) => {
                let file = writer.into_inner().into_inner();
                file.map_err(|error| unwritable(path, error.error()))?.commit()?;
            }
            Self::Standard(writer) => writer.into_inner().flush()?,
        }
        Ok(())
    }
}
