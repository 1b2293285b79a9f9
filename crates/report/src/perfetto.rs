//! A run as a trace that Perfetto's page opens: events in Chrome's JSON format, written while the run goes.
//!
//! Processes are the requests, and each instance; threads are requests, batches, NPUs, and what goes on beside an NPU's
//! own work. Times are in microseconds with three decimals, so nanoseconds are exact. Slices of a thread nest or don't
//! overlap, as the format asks for, and one that holds others is written before them. Times of day and random numbers are
//! in none of it: the same run gives the same bytes.
//!
//! Nothing is kept but what is under way: requests that have not finished, batches and parts of steps that have not ended.
//! docs/perfetto.md describes the tracks.

mod counters;
mod events;
mod npus;
mod requests;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use diagnostics::Fault;
use engine::{
    Deployment, FinishedRequest, LoadChange, NpuPart, Observer, Polling, RequestEvent, Role, StepDetails, Wave,
};
use metrics::Layout;
use units::{GroupId, InstanceId, Instant};

use counters::Counters;
use events::{Args, Events, Track};
use npus::NpuTracks;
use requests::Requests;
use window::Windows;
pub use window::{TraceLevel, TraceWindow};

/// What a trace shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerfettoOptions {
    /// Of which time.
    pub window: TraceWindow,
    /// In what detail.
    pub level: TraceLevel,
}

/// Writes the trace of a run.
pub struct PerfettoWriter {
    options: PerfettoOptions,
    events: Events,
    windows: Windows,
    instances: Vec<Instance>,
    requests: Requests,
    /// By group, waves begun.
    num_waves: Vec<u64>,
}

/// One instance as the trace shows it.
struct Instance {
    pid: u32,
    group: GroupId,
    num_npus: u32,
    npus: NpuTracks,
    counters: Counters,
    /// Its batches, oldest first.
    under_way: VecDeque<Batch>,
    /// By lane of the batches' tracks, whether a batch is under way there.
    lanes: Vec<bool>,
    num_batches: u64,
    /// Where its latest batch that ended is drawn, and from when on.
    latest: Option<(Track, Instant)>,
    /// Requests that come from a prefill instance with a batch, which arrows lead to.
    arrows: BTreeMap<u64, Vec<u64>>,
}

/// A batch under way.
struct Batch {
    wave: u64,
    /// From 1; a dummy has none.
    number: Option<u64>,
    start: Instant,
    lane: usize,
    sequences: u64,
    name: &'static str,
    args: Args,
}

/// The process of the requests; those of instances follow.
const REQUESTS_PID: u32 = 1;

impl PerfettoWriter {
    /// Begins the trace of a run of `deployment` in the file at `path`, compressed if that ends with `.gz`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(path: &Path, deployment: &Deployment, options: PerfettoOptions) -> Result<Self, Fault> {
        let layout = Layout::of(deployment);
        let mut events = Events::create(path)?;
        events.process(REQUESTS_PID, "requests");
        let mut instances = Vec::with_capacity(deployment.instances.len());
        for (index, spec) in deployment.instances.iter().enumerate() {
            let pid = REQUESTS_PID + 1 + index as u32;
            let role = match spec.role {
                Role::Whole => "",
                Role::Prefill => ", prefill",
                Role::Decode => ", decode",
            };
            let group = match &deployment.groups[spec.group.index()].name {
                Some(name) => format!(", group {name}"),
                None => String::new(),
            };
            let model = &spec.model.name;
            events.process(pid, &format!("instance {index}: {model} on {}{role}{group}", spec.hardware));
            let is_halved = spec.pim.is_some_and(|pim| pim.interleaves_sub_batches);
            let meets_beside = is_halved || deployment.options.polling == Polling::Reference;
            instances.push(Instance {
                pid,
                group: spec.group,
                num_npus: layout.instances[index].num_npus_with_peers,
                npus: NpuTracks::new(pid, meets_beside),
                counters: Counters::new(pid),
                under_way: VecDeque::new(),
                lanes: Vec::new(),
                num_batches: 0,
                latest: None,
                arrows: BTreeMap::new(),
            });
        }
        let sizes = deployment.groups.iter().map(|group| group.members.len()).collect();
        Ok(Self {
            windows: Windows::new(options.window.clone(), sizes),
            options,
            events,
            instances,
            requests: Requests::default(),
            num_waves: vec![0; deployment.groups.len()],
        })
    }

    /// Bytes of events so far, before they are compressed.
    pub fn num_bytes(&self) -> u64 {
        self.events.num_bytes()
    }

    /// Ends the trace and puts it in its place.
    ///
    /// # Errors
    /// When anything could not be written.
    pub fn commit(mut self) -> Result<(), Fault> {
        for instance in &mut self.instances {
            instance.counters.end(&self.windows, instance.group, &mut self.events);
        }
        self.events.commit()
    }

    fn shows_steps(&self) -> bool {
        self.options.level >= TraceLevel::Steps
    }

    /// Notes a batch that starts.
    fn start_batch(&mut self, instance: InstanceId, wave: u64, start: Instant, sequences: u64) {
        let instance = &mut self.instances[instance.index()];
        let is_dummy = sequences == 0;
        instance.num_batches += u64::from(!is_dummy);
        let number = (!is_dummy).then_some(instance.num_batches);
        let lane = instance.lanes.iter().position(|is_taken| !is_taken).unwrap_or_else(|| {
            instance.lanes.push(false);
            instance.lanes.len() - 1
        });
        instance.lanes[lane] = true;
        let batch = Batch { wave, number, start, lane, sequences, name: "batch", args: Args::default() };
        instance.under_way.push_back(batch);
    }

    /// Draws a batch that has ended, and the arrows that lead to it.
    fn draw_batch(&mut self, index: InstanceId, batch: Batch, end: Instant) {
        let Self { instances, windows, events, .. } = self;
        let instance = &mut instances[index.index()];
        let track = events.track(instance.pid, &batch_track(batch.lane), batch.lane as u32);
        let cut = windows.cut_step(instance.group, batch.wave, batch.start, end);
        instance.latest = cut.map(|(begin, _)| (track, begin));
        let arrows = batch.number.and_then(|number| instance.arrows.remove(&number)).unwrap_or_default();
        let Some((begin, end)) = cut else { return };
        events.slice(track, batch.name, "batch", (begin, end), &batch.args);
        for request in arrows {
            events.arrow_end(request, track, begin);
        }
    }
}

fn batch_track(lane: usize) -> String {
    if lane == 0 { "batches".to_owned() } else { format!("batches ({})", lane + 1) }
}

/// What a batch is called, and what is told of it.
fn describe(details: &StepDetails<'_>, wave: u64, tokens: u64, padded_tokens: u64) -> (&'static str, Args) {
    let ((num_prefills, prefill_tokens), num_decodes) = (details.prefills, details.decodes);
    let (kv_sum, kv_max) = details.kv_decode_tokens;
    let mut args = Args::default();
    args.number("step", wave);
    let Some(number) = details.batch else {
        args.number("padded_tokens", padded_tokens);
        return ("dummy", args);
    };
    args.number("batch", number);
    args.number("sequences", num_prefills + num_decodes);
    args.number("tokens", tokens);
    args.number("padded_tokens", padded_tokens);
    args.number("prefills", num_prefills);
    args.number("prefill_tokens", prefill_tokens);
    args.number("decodes", num_decodes);
    args.number("decode_kv_tokens", kv_sum);
    args.number("decode_kv_tokens_max", kv_max);
    args.number("running", details.running);
    args.number("waiting", details.waiting);
    args.number("kv_blocks_held", u64::from(details.kv_blocks_held));
    let name = match (num_prefills, num_decodes) {
        (0, _) => "decode",
        (_, 0) => "prefill",
        _ => "prefill and decode",
    };
    (name, args)
}

impl Observer for PerfettoWriter {
    fn wants_work(&self) -> bool {
        false
    }

    fn wants_details(&self) -> bool {
        self.shows_steps()
    }

    fn wave_started(&mut self, wave: &Wave<'_>) {
        let number = self.num_waves[wave.group.index()];
        self.num_waves[wave.group.index()] += 1;
        self.windows.wave_started(wave.group, number, wave.start);
        for member in wave.members {
            self.start_batch(member.instance, number, wave.start, member.sequences);
        }
    }

    fn wave_detailed(&mut self, wave: &Wave<'_>, members: &[StepDetails<'_>]) {
        let number = self.num_waves[wave.group.index()] - 1;
        let shows_npus = self.wants_activity(wave.group, number, wave.start);
        for (member, details) in wave.members.iter().zip(members) {
            let instance = &mut self.instances[member.instance.index()];
            let (name, args) = describe(details, number, member.tokens, wave.padded_tokens);
            let batch = instance.under_way.back_mut().expect("the wave has just started");
            (batch.name, batch.args) = (name, args);
            if shows_npus {
                instance.npus.expect(number, (details.ready, wave.start), instance.num_npus);
            }
        }
    }

    fn wants_activity(&self, group: GroupId, wave: u64, now: Instant) -> bool {
        let _ = group;
        self.shows_steps() && self.windows.may_show(wave, now)
    }

    fn npu_part_ended(&mut self, part: &NpuPart<'_>) {
        let shows_layers = self.options.level >= TraceLevel::Layers;
        let npus = &mut self.instances[part.instance.index()].npus;
        npus.draw(part, shows_layers, &self.windows, &mut self.events);
    }

    fn request_event(&mut self, event: &RequestEvent) {
        let Self { instances, requests, events, .. } = self;
        if let Some(prefilled_on) = requests.happened(event)
            && let Some((track, begin)) = instances[prefilled_on.index()].latest
            && self.options.level >= TraceLevel::Steps
        {
            requests.begin_arrow(event.request);
            events.arrow_begin(event.request.0, track, begin);
        }
        if let Some(batch) = requests.arrow_ends(event) {
            let arrows = instances[event.instance.index()].arrows.entry(batch).or_default();
            arrows.push(event.request.0);
        }
    }

    fn load_changed(&mut self, change: &LoadChange) {
        let instance = &mut self.instances[change.instance.index()];
        instance.counters.load(change, &self.windows, instance.group, &mut self.events);
    }

    fn step_finished(&mut self, index: InstanceId, now: Instant) {
        let instance = &mut self.instances[index.index()];
        let batch = instance.under_way.pop_front().expect("only a step under way can end");
        instance.lanes[batch.lane] = false;
        let (wave, start) = (batch.wave, batch.start);
        let (prompt, incomplete) = match batch.number {
            Some(number) => self.requests.batch_ended(index, number, now),
            None => (0, 0),
        };
        let instance = &mut self.instances[index.index()];
        let tokens = (prompt, batch.sequences.saturating_sub(incomplete));
        instance.counters.step((start, now), tokens, &self.windows, instance.group, &mut self.events);
        let group = instance.group;
        if self.shows_steps() {
            self.draw_batch(index, batch, now);
        }
        self.windows.step_ended(group, wave, now);
    }

    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        let Self { instances, requests, windows, events, .. } = self;
        let groups = |instance: InstanceId| instances[instance.index()].group;
        requests.finished(request, groups, windows, events);
    }
}
