//! Commands that look at workloads and make them.

use std::path::PathBuf;

use clap::{ArgGroup, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use traffic::{ArrivalSpec, Conversations, Format as TraceFormat, LengthSpec, PrefixSpec, TimeSpec};

use super::{Format, whole_number};

/// The commands, whose flags are put together only when one of them is called: other commands start without them.
#[derive(Debug)]
pub(crate) struct Workload(pub(crate) WorkloadCommand);

impl FromArgMatches for Workload {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        WorkloadCommand::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Subcommand for Workload {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(WorkloadCommand::augment_subcommands)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command.defer(WorkloadCommand::augment_subcommands_for_update)
    }

    fn has_subcommand(name: &str) -> bool {
        WorkloadCommand::has_subcommand(name)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkloadCommand {
    /// Tell what is in workloads or traces: rates, lengths, shared prefixes, sessions.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Stats(StatsArgs),
    /// Make a workload up, from distributions.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Generate(Box<GenerateArgs>),
    /// Make a workload of a trace that others published.
    #[command(args_override_self = true, allow_negative_numbers = true)]
    Convert(Box<ConvertArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Workloads (JSONL), or traces in any format that `workload convert` reads.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) trace: ReadTraceArgs,
    /// Take in only so many requests and sessions of each file.
    #[arg(long, value_name = "N", value_parser = whole_number::<u64>)]
    pub(crate) limit: Option<u64>,
    /// Tokens of a block, for shared prefixes.
    #[arg(long, value_name = "TOKENS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) block_size: u32,
    /// How it is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Columns of the text [default: as the terminal has, else 80].
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..=1000))]
    pub(crate) width: Option<u16>,
}

/// How traces are read.
#[derive(Debug, Args)]
pub(crate) struct ReadTraceArgs {
    /// The trace's format: workload, azure, burstgpt, splitwise, vidur, mooncake, sharegpt or vllm [default: as the file
    /// shows].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) from: Option<TraceFormat>,
    /// Of ShareGPT: what to make of a conversation, a request of its first answer or a session of all (first, sessions).
    #[arg(long, value_name = "WHAT", default_value = "first")]
    pub(crate) conversations: Conversations,
    /// Of ShareGPT: characters of a token, as there is no tokenizer here.
    #[arg(long, value_name = "CHARS", default_value_t = 4.0, value_parser = chars_per_token)]
    pub(crate) chars_per_token: f64,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("prompts").required(true).multiple(false).args(["input_tokens", "lengths"]))]
pub(crate) struct GenerateArgs {
    /// When requests arrive: constant:10/s, poisson:10/s, gamma:10/s,cv=2,
    /// on-off:on=50/s,off=1/s,on-time=10s,off-time=50s, at-once, replay:FILE.
    #[arg(long, value_name = "SPEC", help_heading = "Arrivals")]
    pub(crate) arrivals: ArrivalSpec,
    /// How many requests, a session counting as one.
    #[arg(long, short = 'n', value_name = "N", help_heading = "Arrivals", value_parser = whole_number::<u64>)]
    pub(crate) num_requests: Option<u64>,
    /// Nothing arrives after this time, such as 10min.
    #[arg(long, value_name = "TIME", help_heading = "Arrivals", value_parser = traffic::parse_seconds)]
    pub(crate) duration: Option<f64>,
    /// Multiply times of arrival: 0.5 makes them come twice as fast.
    #[arg(long, value_name = "FACTOR", help_heading = "Arrivals", default_value_t = 1.0, value_parser = traffic::parse_positive)]
    pub(crate) time_scale: f64,
    /// Tokens of a prompt, without a shared prefix: 512, uniform:32..256, lognormal:median=512,sigma=1,max=8192,
    /// zipf:s=1.2,max=8192, empirical:FILE.
    #[arg(long, value_name = "SPEC", help_heading = "Lengths", requires = "output_tokens")]
    pub(crate) input_tokens: Option<LengthSpec>,
    /// Tokens of an answer.
    #[arg(long, value_name = "SPEC", help_heading = "Lengths", requires = "input_tokens")]
    pub(crate) output_tokens: Option<LengthSpec>,
    /// Draw both lengths together from the requests of this workload or trace.
    #[arg(long, value_name = "FILE", help_heading = "Lengths", conflicts_with = "output_tokens")]
    pub(crate) lengths: Option<PathBuf>,
    /// Prefixes that prompts share: count=10,tokens=1024, also choice=zipf,s=1 and share=0.8; implies token ids.
    #[arg(long, value_name = "SPEC", help_heading = "Token ids")]
    pub(crate) prefixes: Option<PrefixSpec>,
    /// List token ids, so that prefix caching works.
    #[arg(long, help_heading = "Token ids")]
    pub(crate) token_ids: bool,
    /// Token ids are below this.
    #[arg(long, value_name = "N", help_heading = "Token ids", default_value_t = 32_000, value_parser = vocabulary())]
    pub(crate) vocabulary: u32,
    /// Make sessions with so many calls; the prompt of each is all that came before it.
    #[arg(long, value_name = "SPEC", help_heading = "Sessions", requires_all = ["tool_time", "tool_tokens"])]
    pub(crate) calls: Option<LengthSpec>,
    /// Time from a call's end to the next: 2s, uniform:1s..5s, exponential:2s, lognormal:median=2s,sigma=1,max=1min.
    #[arg(long, value_name = "SPEC", help_heading = "Sessions", requires = "calls")]
    pub(crate) tool_time: Option<TimeSpec>,
    /// Tokens that a tool, or a user, adds to the next prompt.
    #[arg(long, value_name = "SPEC", help_heading = "Sessions", requires = "calls")]
    pub(crate) tool_tokens: Option<LengthSpec>,
    /// End a session before a call whose prompt and answer would have more tokens.
    #[arg(long, value_name = "TOKENS", help_heading = "Sessions", requires = "calls", value_parser = traffic::parse_count)]
    pub(crate) context_max: Option<u64>,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole_number::<u64>)]
    pub(crate) seed: u64,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The trace.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) trace: ReadTraceArgs,
    /// Leave token ids out; no prefix is shared then.
    #[arg(long)]
    pub(crate) no_token_ids: bool,
    /// Token ids that are made up are below this.
    #[arg(long, value_name = "N", default_value_t = 32_000, value_parser = vocabulary())]
    pub(crate) vocabulary: u32,
    /// Take requests from this time of the trace on, such as 10min.
    #[arg(long, value_name = "TIME", help_heading = "Part", default_value = "0s", value_parser = traffic::parse_seconds)]
    pub(crate) start: f64,
    /// Take requests before this time of the trace.
    #[arg(long, value_name = "TIME", help_heading = "Part", value_parser = traffic::parse_seconds)]
    pub(crate) end: Option<f64>,
    /// Take so many requests, a session counting as one; nothing is read after them.
    #[arg(long, value_name = "N", help_heading = "Part", value_parser = whole_number::<u64>)]
    pub(crate) limit: Option<u64>,
    /// Multiply times of arrival: 0.5 makes them come twice as fast.
    #[arg(long, value_name = "FACTOR", help_heading = "Times", default_value_t = 1.0, value_parser = traffic::parse_positive)]
    pub(crate) time_scale: f64,
    /// Arrivals instead of the trace's own, as of `workload generate`; ShareGPT has none.
    #[arg(long, value_name = "SPEC", help_heading = "Times")]
    pub(crate) arrivals: Option<ArrivalSpec>,
    /// Times between the calls of sessions, as of `workload generate`, instead of the trace's own.
    #[arg(long, value_name = "SPEC", help_heading = "Times")]
    pub(crate) tool_time: Option<TimeSpec>,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = whole_number::<u64>)]
    pub(crate) seed: u64,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

fn vocabulary() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

fn chars_per_token(text: &str) -> Result<f64, &'static str> {
    let sound = text.parse().ok().filter(|chars| (0.1..=1000.0).contains(chars));
    sound.ok_or("expected a number from 0.1 to 1000")
}
