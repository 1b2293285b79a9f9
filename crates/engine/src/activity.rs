//! What NPUs and requests do and when, for those who draw it.
//!
//! Clocks tell of an NPU's part of a step as a whole, when it is known to the end: everything that it did, each thing
//! with when it began and ended. With it comes when a collective had all its members, so that waiting for the slowest
//! can be told from the collective itself. The clocks that know a pass in closed form play it once more, op by op
//! ([`Parts`]); those that run it event by event are watched ([`GraphWatch`]).
//!
//! None of this costs anything in runs that are not asked for it ([`crate::Simulation::telling_activity`]).

mod graphs;
mod notes;
mod parts;

use network::{CollectiveKind, Location};
use units::{Duration, GroupId, InstanceId, Instant};

pub(crate) use graphs::GraphWatch;
pub use notes::{LoadChange, RequestEvent, RequestMoment};
pub(crate) use notes::{Note, Notes};
pub(crate) use parts::{Parts, WaveParts};

/// One NPU's part of a wave.
#[derive(Clone, Copy, Debug)]
pub struct NpuPart<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// Which of its NPUs: those that compute, then their peers.
    pub npu: u32,
    /// The group that it steps in.
    pub group: GroupId,
    /// The wave's number in the group, from 0.
    pub wave: u64,
    /// When it took it up.
    pub begin: Instant,
    /// When it was through. Where batches are formed ahead, the output may be stored later, beside the next step.
    pub end: Instant,
    /// What it did, in the order in which it began.
    pub activities: &'a [Activity],
}

/// Something that an NPU did. It takes some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// When it began, or began to wait for others to take part.
    pub begin: Instant,
    /// When it was through with it.
    pub end: Instant,
    /// The block of the model, outside of what comes before and after all blocks.
    pub block: Option<u32>,
    /// Where a step runs in two halves, which; 0 elsewhere.
    pub half: u32,
    /// What it did.
    pub what: Doing,
}

/// What an NPU did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It computed a layer.
    Compute(&'static str),
    /// It loaded kernels, on their first use.
    WarmUp,
    /// It took part in a collective.
    Collective {
        /// Its kind.
        kind: CollectiveKind,
        /// Its size.
        bytes: u64,
        /// When the last of its members entered it.
        met: Instant,
    },
    /// It loaded from memory, or stored to it.
    Access {
        /// What it moved.
        moved: Moved,
        /// Where from or to.
        location: Location,
        /// How much.
        bytes: u64,
        /// When its turn came.
        served: Instant,
    },
    /// Attention in memory, on this channel; on several where none is named.
    InMemory(Option<u32>),
    /// A message went out.
    Send {
        /// What was in it.
        moved: Moved,
        /// The receiver's rank in the group.
        to: u32,
        /// Its size.
        bytes: u64,
    },
    /// It waited for a message.
    Receive {
        /// What is in it.
        moved: Moved,
        /// The sender's rank in the group.
        from: u32,
        /// Its size.
        bytes: u64,
    },
}

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The input of a step.
    Input,
    /// Its output.
    Output,
    /// Prefixes that are brought back.
    Prefixes,
    /// The weights of a layer.
    Weights(&'static str),
    /// KV for a decode instance.
    Kv,
    /// The hidden state, from one pipeline stage to the next.
    HiddenState,
}

impl Moved {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Moved::Input => "input",
            Moved::Output => "output",
            Moved::Prefixes => "prefixes",
            Moved::Weights(_) => "weights",
            Moved::Kv => "KV",
            Moved::HiddenState => "hidden state",
        }
    }
}

impl Activity {
    /// How long it took.
    pub fn time(&self) -> Duration {
        self.end - self.begin
    }
}

/// What a layer is called: experts are many.
pub(crate) fn layer_name(name: &'static str) -> &'static str {
    match name {
        "moe" | "expert" => "experts",
        name => name,
    }
}

/// The instant that lies `time` before `end`.
pub(crate) fn before(end: Instant, time: Duration) -> Instant {
    Instant::from_ns((Duration::from_ns(end.ns()) - time).ns())
}
