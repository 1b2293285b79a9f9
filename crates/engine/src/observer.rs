//! What a run tells while it goes, and what it adds up to.

use network::CollectiveKind;
use units::{Duration, GroupId, InstanceId, Instant, RequestId};

use crate::activity::{LoadChange, NpuPart, RequestEvent};
use crate::details::StepDetails;
use crate::labels::WaveGraphs;
use crate::tokens::TokenLatencies;

/// Watches a run. Every method does nothing unless overridden.
pub trait Observer {
    /// An instance is through with its oldest step.
    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        let _ = (instance, now);
    }

    /// So many tokens came `latency` after the one before of the same request. All tokens of a run are told, but for the
    /// first of each request.
    fn tokens_yielded(&mut self, latency: Duration, num_tokens: u64) {
        let _ = (latency, num_tokens);
    }

    /// A request yielded its last token.
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        let _ = request;
    }

    /// Whether it uses [`MemberStep::work`]. Where it does not, the work is not added up, and comes as nothing.
    fn wants_work(&self) -> bool {
        true
    }

    /// All members of a group have a batch and start on it.
    fn wave_started(&mut self, wave: &Wave<'_>) {
        let _ = wave;
    }

    /// Whether it uses [`wave_detailed`](Self::wave_detailed). Where it does not, nothing of it is found out. What is
    /// answered first, before the run begins, holds for all of it.
    fn wants_details(&self) -> bool {
        false
    }

    /// The wave that has just [started](Self::wave_started), in detail: `members` are in the order of the wave's.
    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        let _ = (wave, members);
    }

    /// Whether to tell what the NPUs run in a wave of a group; waves count from 0.
    fn wants_graphs(&self, group: GroupId, wave: u64) -> bool {
        let _ = (group, wave);
        false
    }

    /// What the NPUs run in a wave that is about to start.
    fn wave_graphs(&mut self, wave: &WaveGraphs<'_>) {
        let _ = wave;
    }

    /// An NPU of an instance is given its part of a wave, to begin when it has done what it was given before: of waves that
    /// were asked for, and with reference polling of all.
    fn graph_given(&mut self, instance: InstanceId, npu: u32, wave: u64, now: Instant) {
        let _ = (instance, npu, wave, now);
    }

    /// Whether to tell what the NPUs do in a wave of a group that starts now; waves count from 0. Asked in runs that tell
    /// of activity ([`crate::Simulation::telling_activity`]), and only they tell what follows.
    fn wants_activity(&self, group: GroupId, wave: u64, now: Instant) -> bool {
        let _ = (group, wave, now);
        false
    }

    /// An NPU is through with its part of a wave that was asked for, or will be at a time that is known.
    fn npu_part_ended(&mut self, part: &NpuPart<'_>) {
        let _ = part;
    }

    /// Something happened to a request. Told in the order of an instance's time, but late: when the instance starts or
    /// ends a step.
    fn request_event(&mut self, event: &RequestEvent) {
        let _ = event;
    }

    /// An instance holds other numbers of requests or blocks than before. Told as late.
    fn load_changed(&mut self, change: &LoadChange) {
        let _ = change;
    }

    /// Another log interval of simulated time is over.
    fn interval_ended(&mut self, interval: &Interval<'_>) {
        let _ = interval;
    }
}

/// One request, from arrival to last token.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRequest<'a> {
    /// The instance that served it.
    pub instance: InstanceId,
    /// Its id.
    pub id: RequestId,
    /// Tokens of its prompt.
    pub input_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// When it arrived.
    pub arrival: Instant,
    /// When its last token was there.
    pub end: Instant,
    /// From arrival to the last time it was scheduled before its first token.
    pub queuing_delay: Duration,
    /// From arrival to the first token.
    pub ttft: Duration,
    /// Inter-token latency of every token after the first.
    pub itl: TokenLatencies<'a>,
    /// When it passed through its engine.
    pub stamps: Stamps,
    /// Tokens of its prompt found in the prefix cache when it was first admitted.
    pub prefix_hit_tokens: u64,
    /// How often it lost its blocks.
    pub preemptions: u64,
}

/// When a request passed through the engine, by the engine's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// When the engine saw it, and put it into its queue.
    pub queued: Instant,
    /// When it was first put into a batch.
    pub first_scheduled: Instant,
    /// When the engine had its first token.
    pub first_token: Instant,
    /// When the client had it.
    pub first_delivered: Instant,
}

impl FinishedRequest<'_> {
    /// From arrival to the last token.
    pub fn latency(&self) -> Duration {
        self.end - self.arrival
    }

    /// Mean time per token after the first, cut to whole nanoseconds; 0 for a single token.
    pub fn tpot(&self) -> Duration {
        match self.output_tokens {
            0 | 1 => Duration::ZERO,
            tokens => Duration::from_ns((self.latency() - self.ttft).ns() / (tokens - 1)),
        }
    }
}

/// One step of a group, at its start.
#[derive(Clone, Copy, Debug)]
pub struct Wave<'a> {
    /// The group.
    pub group: GroupId,
    /// When it starts.
    pub start: Instant,
    /// Tokens every member is padded to.
    pub padded_tokens: u64,
    /// What each member brings, in order of the group's members.
    pub members: &'a [MemberStep],
}

/// One member's part of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberStep {
    /// The member.
    pub instance: InstanceId,
    /// Sequences in its batch; 0 for a dummy.
    pub sequences: u64,
    /// Tokens in its batch before padding; 1 for a dummy.
    pub tokens: u64,
    /// What it keeps busy.
    pub work: StepWork,
}

/// What one step of an instance keeps busy, for counting energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepWork {
    /// Computing time of all its NPUs together.
    pub npu_time: Duration,
    /// Attention in host memory, all channels together.
    pub pim_time: Duration,
    /// Bytes to and from host and pool memory: weights, recalled and written prefixes, attention in memory.
    pub memory_bytes: u64,
    /// Bytes over links: collectives, KV and hidden states that are handed on.
    pub link_bytes: u64,
}

impl MemberStep {
    /// Whether it only keeps pace with the others.
    pub const fn is_dummy(&self) -> bool {
        self.sequences == 0
    }
}

/// One log interval of simulated time.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// When it ended.
    pub end: Instant,
    /// How long it was.
    pub length: Duration,
    /// The groups, by id.
    pub groups: &'a [GroupInterval],
}

/// One group at the end of a log interval.
#[derive(Clone, Debug, Default)]
pub struct GroupInterval {
    /// What it has done since the run began.
    pub totals: GroupTotals,
    /// Bytes that the last wave synchronised per expert collective: its padded tokens times the hidden state's bytes.
    /// `None` in groups of one and where no wave has run.
    pub synchronised_bytes: Option<u64>,
    /// Its members, in order.
    pub members: Vec<MemberInterval>,
}

/// One member at the end of a log interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberInterval {
    /// What it has done since the run began.
    pub totals: InstanceTotals,
    /// Sequences in its latest batch.
    pub batch_sequences: u64,
    /// Sequences running.
    pub running: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// KV blocks that sequences hold.
    pub kv_blocks_held: u32,
    /// Bytes in use on each NPU: weights, KV blocks held, and free blocks that still hold a findable prefix.
    pub npu_bytes: u64,
}

/// What a run adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunTotals {
    /// When the last request finished.
    pub end: Instant,
    /// By instance.
    pub instances: Vec<InstanceTotals>,
    /// By group.
    pub groups: Vec<GroupTotals>,
}

/// What one instance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceTotals {
    /// Requests finished.
    pub finished_requests: u64,
    /// Prompt tokens that went through prefill, prefix hits and recomputed ones included.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_lookup_tokens: u64,
    /// Prompt tokens found there.
    pub prefix_hit_tokens: u64,
    /// Prompt tokens found in the tier below instead.
    pub tier_hit_tokens: u64,
    /// Requests that had to wait for room when they came from a prefill instance.
    pub handoff_waits: u64,
    /// Times a sequence lost its blocks.
    pub preemptions: u64,
    /// Tokens computed again after a preemption.
    pub recomputed_tokens: u64,
    /// Steps run, dummies included.
    pub steps: u64,
    /// Steps run only to keep pace.
    pub dummy_steps: u64,
}

/// What one group did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupTotals {
    /// Waves run.
    pub waves: u64,
    /// Bytes handed to collectives, by kind, counted once per collective and not once per rank.
    pub collective_bytes: [u64; CollectiveKind::ALL.len()],
}
