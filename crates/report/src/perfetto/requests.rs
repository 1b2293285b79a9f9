//! Requests, a thread each: what became of them from arrival to last token.

use std::collections::HashMap;

use engine::{FinishedRequest, RequestEvent, RequestMoment};
use units::{GroupId, InstanceId, Instant, RequestId};

use super::REQUESTS_PID;
use super::events::{Args, Events};
use super::window::Windows;

/// The requests that have not finished.
#[derive(Default)]
pub(super) struct Requests {
    stories: HashMap<RequestId, Story>,
    /// By instance and number of a batch under way, who computes a part of its prompt there.
    chunks: HashMap<(InstanceId, u64), Vec<RequestId>>,
    num_shown: u32,
}

/// What became of a request so far.
struct Story {
    instance: InstanceId,
    stage: Stage,
    since: Instant,
    past: Vec<Past>,
    /// The part of its prompt that it is in a batch with, or several one after the other.
    chunks: Vec<Chunk>,
    was_preempted: bool,
    /// Whether an arrow from a prefill instance is to lead to the next batch it is in.
    has_arrow: bool,
    is_handed_over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Queued,
    /// It has computed a part of its prompt, and is in no batch, or in one with another part.
    Prefilling,
    Decoding,
    Preempted,
    HandedOver,
}

/// A part of a prompt in a batch.
#[derive(Clone, Copy)]
struct Chunk {
    batch: u64,
    formed: Instant,
    tokens: u64,
    history: u64,
    completes: bool,
}

/// What it did for a while.
struct Past {
    instance: InstanceId,
    begin: Instant,
    end: Instant,
    name: &'static str,
    chunk: Option<Chunk>,
}

/// Threads of requests have numbers from here on.
const FIRST_TID: u32 = 1 << 30;

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::Prefilling => "between chunks",
            Stage::Decoding => "decode",
            Stage::Preempted => "preempted",
            Stage::HandedOver => "waiting for hand-over",
        }
    }
}

impl Story {
    fn new(instance: InstanceId, arrival: Instant) -> Self {
        Self {
            instance,
            stage: Stage::Queued,
            since: arrival,
            past: Vec::new(),
            chunks: Vec::new(),
            was_preempted: false,
            has_arrow: false,
            is_handed_over: false,
        }
    }

    /// The stage it is in ends.
    fn end_stage(&mut self, at: Instant, next: Stage) {
        let name = self.stage.name();
        self.push(at, name, None);
        self.stage = next;
    }

    fn push(&mut self, end: Instant, name: &'static str, chunk: Option<Chunk>) {
        let end = end.max(self.since);
        if end > self.since {
            self.past.push(Past { instance: self.instance, begin: self.since, end, name, chunk });
        }
        self.since = end;
    }

    fn schedule(&mut self, at: Instant, chunk: Chunk) -> bool {
        if self.stage == Stage::Decoding || self.chunks.last().is_some_and(|chunk| chunk.completes) {
            return false;
        }
        if self.chunks.is_empty() {
            self.end_stage(at, Stage::Prefilling);
        }
        self.chunks.push(chunk);
        true
    }

    /// The batch with this chunk ends.
    fn end_chunk(&mut self, batch: u64, now: Instant) -> Option<Chunk> {
        let index = self.chunks.iter().position(|chunk| chunk.batch == batch)?;
        let chunk = self.chunks.remove(index);
        if chunk.formed > self.since {
            self.push(chunk.formed, Stage::Prefilling.name(), None);
        }
        self.push(now, self.chunk_name(), Some(chunk));
        if chunk.completes {
            self.stage = Stage::Decoding;
        }
        Some(chunk)
    }

    fn preempt(&mut self, at: Instant) {
        match self.chunks.first().copied() {
            Some(chunk) => self.push(at, self.chunk_name(), Some(chunk)),
            None => self.push(at, self.stage.name(), None),
        }
        self.chunks.clear();
        (self.stage, self.was_preempted) = (Stage::Preempted, true);
    }

    const fn chunk_name(&self) -> &'static str {
        if self.was_preempted { "recompute" } else { "prefill" }
    }
}

impl Requests {
    /// Takes in what happened; returns the instance that a request leaves that has been prefilled there.
    pub(super) fn happened(&mut self, event: &RequestEvent) -> Option<InstanceId> {
        let RequestEvent { instance, request, at, what } = *event;
        if let RequestMoment::Arrived { .. } = what {
            self.stories.insert(request, Story::new(instance, at));
            return None;
        }
        let story = self.stories.get_mut(&request)?;
        match what {
            RequestMoment::Arrived { .. } => {}
            RequestMoment::Scheduled { batch, tokens, history, completes } => {
                if story.schedule(at, Chunk { batch, formed: at, tokens, history, completes }) {
                    self.chunks.entry((instance, batch)).or_default().push(request);
                }
            }
            RequestMoment::Preempted => story.preempt(at),
            RequestMoment::HandedOver => {
                story.end_stage(at, Stage::HandedOver);
                story.is_handed_over = true;
                return Some(std::mem::replace(&mut story.instance, instance));
            }
            RequestMoment::Admitted => story.end_stage(at, Stage::Decoding),
        }
        None
    }

    /// An arrow has begun that is to lead to the next batch the request is in.
    pub(super) fn begin_arrow(&mut self, request: RequestId) {
        if let Some(story) = self.stories.get_mut(&request) {
            story.has_arrow = true;
        }
    }

    /// The batch that the request's arrow leads to, if this is when it is scheduled.
    pub(super) fn arrow_ends(&mut self, event: &RequestEvent) -> Option<u64> {
        let RequestMoment::Scheduled { batch, .. } = event.what else { return None };
        let story = self.stories.get_mut(&event.request)?;
        std::mem::take(&mut story.has_arrow).then_some(batch)
    }

    /// Takes in that a batch ended; returns the prompt tokens in it, and how many of its sequences have more to compute
    /// before they yield a token.
    pub(super) fn batch_ended(&mut self, instance: InstanceId, batch: u64, now: Instant) -> (u64, u64) {
        let (mut tokens, mut num_incomplete) = (0, 0);
        for request in self.chunks.remove(&(instance, batch)).unwrap_or_default() {
            let chunk = self.stories.get_mut(&request).and_then(|story| story.end_chunk(batch, now));
            let Some(chunk) = chunk else { continue };
            tokens += chunk.tokens;
            num_incomplete += u64::from(!chunk.completes);
        }
        (tokens, num_incomplete)
    }

    /// Draws a request that has finished, as far as it is in the windows of the groups that it was on.
    pub(super) fn finished(
        &mut self,
        request: &FinishedRequest<'_>,
        group_of: impl Fn(InstanceId) -> GroupId,
        windows: &Windows,
        events: &mut Events,
    ) {
        let Some(mut story) = self.stories.remove(&request.id) else { return };
        story.push(request.end, story.stage.name(), None);
        let cut = |past: &Past| windows.cut(group_of(past.instance), past.begin, past.end);
        let shown: Vec<(&Past, (Instant, Instant))> =
            story.past.iter().filter_map(|past| Some((past, cut(past)?))).collect();
        let (Some((_, first)), Some((_, last))) = (shown.first(), shown.last()) else { return };
        let name = format!("request {}", request.id);
        let tid = FIRST_TID + self.num_shown;
        self.num_shown += 1;
        let track = events.new_track(REQUESTS_PID, tid, &name, u32::try_from(request.id.0).unwrap_or(u32::MAX));
        events.slice(track, &name, "request", (first.0, last.1), &whole(request));
        for (past, times) in &shown {
            events.slice(track, past.name, "stage", *times, &args_of(past));
        }
    }
}

/// What is told of a request.
fn whole(request: &FinishedRequest<'_>) -> Args {
    let mut args = Args::default();
    args.number("instance", u64::from(request.instance.0));
    args.number("input_tokens", request.input_tokens);
    args.number("output_tokens", request.output_tokens);
    args.time("arrival_us", request.arrival - Instant::ZERO);
    args.time("ttft_us", request.ttft);
    args.time("tpot_us", request.tpot());
    args.time("latency_us", request.latency());
    args.number("prefix_hit_tokens", request.prefix_hit_tokens);
    args.number("preemptions", request.preemptions);
    args
}

/// What is told of a stage, whose times may have been cut.
fn args_of(past: &Past) -> Args {
    let mut args = Args::default();
    args.number("instance", u64::from(past.instance.0));
    args.time("whole_us", past.end - past.begin);
    if let Some(chunk) = past.chunk {
        args.number("batch", chunk.batch);
        args.number("tokens", chunk.tokens);
        args.number("tokens_before", chunk.history);
    }
    args
}
