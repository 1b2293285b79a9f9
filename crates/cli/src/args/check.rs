//! `servingsim check`: the flags of a run that shape a deployment, and what is told of it.

use std::path::PathBuf;

use clap::{Args, FromArgMatches};
use engine::StepPiece;

use super::{
    DirArgs, EngineArgs, Format, InputArgs, IntermediateFileArgs, ModelArgs, OutputArgs, RoutingArgs, RunArgs,
    SchedulerArgs,
};

/// Most tokens of a batch, and of a sequence's history: keeps sizes in bytes well inside 64 bits.
const TOKENS_MAX: u64 = 1 << 24;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) dirs: DirArgs,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) scheduler: SchedulerArgs,
    #[command(flatten)]
    pub(crate) routing: RoutingArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) told: ToldArgs,
}

/// What is told.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct ToldArgs {
    /// Batches whose steps are told: SEQUENCES`x`TOKENS`@`HISTORY, of which `+` makes one batch and `,` several, such as
    /// `64x1@1000,2x1024+30x1@500` [default: the largest decode batch and a step full of prompts].
    #[arg(long, value_name = "BATCH,…", value_delimiter = ',', value_parser = batch)]
    pub(crate) batch: Vec<Batch>,
    /// Draw nodes, instances, NPUs and links into this file (SVG).
    #[arg(long, value_name = "FILE")]
    pub(crate) drawing: Option<PathBuf>,
    /// How it is written; JSON has every NPU.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Say nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A batch whose step is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch(pub(crate) Vec<StepPiece>);

impl CheckArgs {
    /// The run that would be, without results, and what is told instead.
    pub(crate) fn into_run(self) -> (RunArgs, ToldArgs) {
        let Self { input, dirs, model, scheduler, routing, engine, told } = self;
        let (output, files) = (unset::<OutputArgs>(), unset::<IntermediateFileArgs>());
        (RunArgs { input, dirs, model, scheduler, routing, engine, output, files }, told)
    }
}

/// A group of flags of which none is given.
fn unset<A: Args + FromArgMatches>() -> A {
    let matches = A::augment_args(clap::Command::new("")).get_matches_from([""]);
    A::from_arg_matches(&matches).expect("no flag of the group is required")
}

fn batch(text: &str) -> Result<Batch, String> {
    let number = |text: &str, least: u64| text.parse().ok().filter(|number| (least..=TOKENS_MAX).contains(number));
    let piece = |text: &str| {
        let (sequences, rest) = text.split_once('x')?;
        let (tokens, history) = rest.split_once('@').unwrap_or((rest, "0"));
        Some(StepPiece { sequences: number(sequences, 1)?, tokens: number(tokens, 1)?, history: number(history, 0)? })
    };
    let pieces: Option<Vec<StepPiece>> = text.split('+').map(piece).collect();
    let sound = pieces.filter(|pieces| {
        pieces.iter().map(|piece| piece.sequences.saturating_mul(piece.tokens)).fold(0, u64::saturating_add)
            <= TOKENS_MAX
    });
    sound.map(Batch).ok_or_else(|| {
        format!(
            "expected sequences, tokens of each and tokens they have already, such as 64x1@1000, up to {TOKENS_MAX}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches() {
        let piece = |sequences, tokens, history| StepPiece { sequences, tokens, history };
        assert_eq!(batch("64x1@1000"), Ok(Batch(vec![piece(64, 1, 1000)])));
        assert_eq!(batch("2x1024+30x1@500"), Ok(Batch(vec![piece(2, 1024, 0), piece(30, 1, 500)])));
        for faulty in ["", "64", "x", "0x1", "1x0", "1x1@", "1x1@-1", "1x1+", "16777216x2", "1x1@16777217"] {
            assert!(batch(faulty).is_err(), "{faulty}");
        }
    }
}
