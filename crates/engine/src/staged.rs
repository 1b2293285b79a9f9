//! Time as it is, stage by stage: pipelines in closed form.
//!
//! A stage's part of a pass is one chain of ops on its ranks, so it is timed as a whole pass is ([`PassClock`]) once the
//! ranks that meet in it have what they begin with. Little else happens:
//!
//! - A rank begins its part of a wave when the wave has started and it is through with its part of the one before.
//! - It then has the prefixes brought back that it lost. Its input comes from host memory, or it waits for the hidden
//!   state that the stage before sends, which may have come already.
//! - It is through when its message has arrived at the next stage, or when its output is stored. A step is done when all
//!   NPUs are.
//!
//! Host memory serves one access at a time, so those that it decides about are events of their own.

use std::collections::VecDeque;
use std::ops::Range;

use model::{Architecture, Layer, Table};
use network::{DeviceQueue, Location};
use units::{Duration, GroupId, InstanceId, Instant};

use crate::activity::{Doing, Moved, Parts, WaveParts};
use crate::cluster::Cluster;
use crate::deployment::{Deployment, GroupSpec, InstanceSpec};
use crate::entry::Entry;
use crate::events::EventQueue;
use crate::exact::needs_no_transfers;
use crate::forward::ForwardPass;
use crate::graphs::stage_blocks;
use crate::observer::Observer;
use crate::pass_clock::PassClock;

/// Whether the passes of an instance are chains but for the stages they run through, and those that meet in a stage wait
/// for each other in each of its blocks. (A file may describe models of another kind.)
pub(crate) fn runs_in_stages(instance: &InstanceSpec) -> bool {
    let Architecture { sequence, .. } = &*instance.architecture;
    let has_experts = |layer: &Layer| instance.architecture.table(*layer) == Some(Table::Moe);
    let mut ends = sequence.prologue.iter().chain(&sequence.head);
    let mut block = sequence.pre_attn.iter().chain(&sequence.post_attn);
    needs_no_transfers(instance)
        && instance.pim.is_none()
        && !ends.any(|layer| layer.is_row_parallel() || has_experts(layer))
        && (instance.tp == 1 || block.any(|layer| layer.is_row_parallel()))
}

#[derive(Debug)]
pub(crate) struct StagedClock<'d> {
    deployment: &'d Deployment,
    events: EventQueue<Event>,
    memory: DeviceQueue,
    pipelines: Vec<Pipeline<'d>>,
    /// Parts of waves that are to be told.
    parts: Parts,
}

/// What is known to happen. Events of one instant happen in this order, and then by whom they concern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A rank's hidden state has arrived at the next stage.
    Handed(Part),
    /// A rank of the last stage has computed, and stores its output.
    Computed(Part),
    /// Its output is stored.
    Stored(Part),
    /// All NPUs of an instance are through with its oldest step.
    StepDone { instance: InstanceId },
}

/// What one NPU runs of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    group: GroupId,
    place: Place,
    wave: u64,
}

/// Where an NPU is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    member: usize,
    stage: usize,
    rank: usize,
}

/// A group, its stages and its waves.
#[derive(Debug)]
struct Pipeline<'d> {
    spec: &'d GroupSpec,
    pass: PassClock,
    tp: usize,
    /// The blocks of each stage.
    stages: Vec<Range<usize>>,
    /// By stage, member and rank.
    npus: Vec<Npu>,
    /// Waves begun.
    num_waves: u64,
    /// Those under way, oldest first.
    waves: VecDeque<Wave>,
    /// Waves to be used again.
    spare: Vec<Wave>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Npu {
    /// Waves that it has begun its part of.
    num_begun: u64,
    is_busy: bool,
}

#[derive(Debug, Default)]
struct Wave {
    passes: Vec<ForwardPass>,
    /// So many ranks in a row wait for each other in a stage.
    num_meeting: usize,
    /// By stage, member and rank: when it has what it begins with, as far as is known, and then when it has computed.
    at: Vec<Instant>,
    /// By stage, and by ranks that meet: what they lack, each its turn and its input.
    missing: Vec<usize>,
    /// By member: ranks of the last stage that have yet to store their output.
    unstored: Vec<usize>,
    /// What is done in it, where that is to be told: by index of the NPU.
    told: Option<Box<WaveParts>>,
}

impl<'d> StagedClock<'d> {
    pub(crate) fn new(deployment: &'d Deployment) -> Self {
        let pipeline = |spec: &'d GroupSpec| {
            let first = &deployment.instances[spec.members[0].index()];
            let (tp, pp, size) = (first.tp as usize, first.pp as usize, spec.members.len());
            let members_meet = size > 1 && first.ep > first.tp;
            Pipeline {
                spec,
                pass: PassClock::new(spec.topology.clone(), deployment.system.clone(), tp, members_meet),
                tp,
                stages: stage_blocks(first.model.num_hidden_layers as usize, pp).collect(),
                npus: vec![Npu::default(); pp * size * tp],
                num_waves: 0,
                waves: VecDeque::new(),
                spare: Vec::new(),
            }
        };
        Self {
            deployment,
            events: EventQueue::new(),
            memory: DeviceQueue::new(deployment.memory),
            pipelines: deployment.groups.iter().map(pipeline).collect(),
            parts: Parts::default(),
        }
    }

    /// Lets everything of the next instant at which anything happens happen; false when nothing is left to.
    pub(crate) fn step<I: Iterator<Item = Entry>>(
        &mut self,
        cluster: &mut Cluster<'d, I>,
        observer: &mut dyn Observer,
    ) -> bool {
        let times = [cluster.arrivals.next_time(), self.events.next_time()];
        let Some(now) = times.into_iter().flatten().min() else { return false };
        cluster.report_intervals(now, observer);
        cluster.route_arrivals(now);
        while let Some(event) = self.events.pop_at(now) {
            match event {
                Event::Handed(part) => {
                    self.tell_hand_over(part, now);
                    self.end(part, now);
                    let next = Place { stage: part.place.stage + 1, ..part.place };
                    self.supply(Part { place: next, ..part }, now);
                }
                Event::Computed(part) => self.store(part, now),
                Event::Stored(part) => self.end(part, now),
                Event::StepDone { instance } => cluster.finish_step(instance, now, observer),
            }
        }
        // Sessions whose tools take no time go on at once.
        cluster.route_arrivals(now);
        cluster.start_what_can(now, observer, |group, passes, is_told| {
            self.start_wave(group, passes, now, is_told);
        });
        if !self.parts.is_empty() {
            self.parts.tell(observer);
        }
        true
    }

    fn start_wave(&mut self, group: GroupId, passes: &[ForwardPass], now: Instant, is_told: bool) {
        let pipeline = &mut self.pipelines[group.index()];
        pipeline.push_wave(passes);
        let told = is_told.then(|| Box::new(WaveParts::new(group, pipeline.num_waves - 1, pipeline.npus.len())));
        pipeline.wave_mut(pipeline.num_waves - 1).told = told;
        let (num_stages, num_ranks) = (pipeline.stages.len(), pipeline.tp);
        for member in 0..passes.len() {
            for stage in 0..num_stages {
                for rank in 0..num_ranks {
                    let place = Place { member, stage, rank };
                    self.begin_next(group, place, now);
                }
            }
        }
    }

    /// Lets an NPU begin its part of the next wave, if it is free and there is one.
    fn begin_next(&mut self, group: GroupId, place: Place, now: Instant) {
        let pipeline = &mut self.pipelines[group.index()];
        let index = pipeline.index(place);
        let npu = &mut pipeline.npus[index];
        if npu.is_busy || npu.num_begun == pipeline.num_waves {
            return;
        }
        let part = Part { group, place, wave: npu.num_begun };
        (npu.num_begun, npu.is_busy) = (npu.num_begun + 1, true);
        let spec = &self.deployment.instances[pipeline.spec.members[place.member].index()];
        let pass = &pipeline.wave(part.wave).passes[place.member];
        let (recall_bytes, input_bytes) = (pass.recall_bytes, pass.lanes[0].input_bytes);
        let recalled = match recall_bytes {
            0 => now,
            bytes => self.memory.serve(spec.placement.recall_from, now, bytes),
        };
        if let Some(told) = &mut self.pipelines[group.index()].wave_mut(part.wave).told {
            told.begin(index, now);
            if recall_bytes > 0 {
                let moved = (Moved::Prefixes, spec.placement.recall_from, recall_bytes);
                told.access(index, (now, recalled), moved, &self.deployment.memory);
            }
        }
        if place.stage == 0 {
            let host = Location::Host(spec.node.0);
            let input = self.memory.serve(host, now, input_bytes);
            if let Some(told) = &mut self.pipelines[group.index()].wave_mut(part.wave).told {
                told.access(index, (now, input), (Moved::Input, host, input_bytes), &self.deployment.memory);
            }
            self.supply(part, input);
        }
        self.supply(part, recalled);
    }

    /// Gives an NPU one of the two things it begins with: its turn, when what it lost is back, or its input. The last of
    /// those that meet has all of them compute.
    fn supply(&mut self, part: Part, time: Instant) {
        let pipeline = &mut self.pipelines[part.group.index()];
        let index = pipeline.index(part.place);
        let num_meeting = pipeline.wave(part.wave).num_meeting;
        let first = index / num_meeting * num_meeting;
        let wave = pipeline.wave_mut(part.wave);
        wave.at[index] = wave.at[index].max(time);
        let missing = &mut wave.missing[index / num_meeting];
        *missing -= 1;
        if *missing == 0 {
            self.compute(part.group, part.wave, first..first + num_meeting);
        }
    }

    /// Times what the ranks at these indices, of one stage, compute.
    fn compute(&mut self, group: GroupId, number: u64, ranks: Range<usize>) {
        let pipeline = &mut self.pipelines[group.index()];
        let [first, last] = [ranks.start, ranks.end - 1].map(|index| pipeline.place(index));
        let oldest = pipeline.num_waves - pipeline.waves.len() as u64;
        let wave = &mut pipeline.waves[(number - oldest) as usize];
        let passes = &wave.passes[first.member..=last.member];
        let blocks = pipeline.stages[first.stage].clone();
        let at = &mut wave.at[ranks.clone()];
        match &mut wave.told {
            None => pipeline.pass.run_stage(passes, blocks, at),
            Some(told) => {
                let tell = &mut |rank, activity| told.push(ranks.start + rank, activity);
                pipeline.pass.run_stage_and_tell(passes, blocks, at, tell);
            }
        }
        for index in ranks {
            let (place, computed) = (pipeline.place(index), pipeline.wave(number).at[index]);
            let part = Part { group, place, wave: number };
            let (time, event) = match pipeline.message_delay(place, number) {
                Some(delay) => (computed + delay, Event::Handed(part)),
                None => (computed, Event::Computed(part)),
            };
            self.events.push(time, event);
        }
    }

    fn store(&mut self, part: Part, now: Instant) {
        let pipeline = &mut self.pipelines[part.group.index()];
        let host = self.deployment.instances[pipeline.instance(part.place).index()].node.0;
        let bytes = pipeline.wave(part.wave).passes[part.place.member].lanes[0].output_bytes;
        let stored = self.memory.serve(Location::Host(host), now, bytes);
        let index = pipeline.index(part.place);
        if let Some(told) = &mut pipeline.wave_mut(part.wave).told {
            let output = (Moved::Output, Location::Host(host), bytes);
            told.access(index, (now, stored), output, &self.deployment.memory);
        }
        self.events.push(stored, Event::Stored(part));
    }

    /// Tells of the message with which a part of a wave is handed on, which has arrived now.
    fn tell_hand_over(&mut self, part: Part, now: Instant) {
        let Part { group, place, wave } = part;
        let pipeline = &mut self.pipelines[group.index()];
        let next = Place { stage: place.stage + 1, ..place };
        let [index, next_index] = [place, next].map(|place| pipeline.index(place));
        let has_begun = pipeline.npus[next_index].num_begun > wave;
        let [from, to] = [place, next].map(|place| pipeline.rank(place) as u32);
        let wave = pipeline.wave_mut(wave);
        let bytes = wave.passes[place.member].hidden_bytes;
        let Some(told) = &mut wave.told else { return };
        let moved = Moved::HiddenState;
        told.push_outside(index, wave.at[index], now, Doing::Send { moved, to, bytes });
        if has_begun {
            told.push_outside(next_index, told.begun(next_index), now, Doing::Receive { moved, from, bytes });
        }
    }

    /// An NPU is through with its part of a wave, and goes on to the next.
    fn end(&mut self, part: Part, now: Instant) {
        let Part { group, place, wave } = part;
        let pipeline = &mut self.pipelines[group.index()];
        let index = pipeline.index(place);
        pipeline.npus[index].is_busy = false;
        let whose = (pipeline.instance(place), (place.stage * pipeline.tp + place.rank) as u32);
        if let Some(told) = &mut pipeline.wave_mut(wave).told {
            told.end(index, whose, now, &mut self.parts);
        }
        // Every rank of the last stage got what the stages before it sent.
        if place.stage + 1 == pipeline.stages.len() {
            let unstored = &mut pipeline.wave_mut(wave).unstored[place.member];
            *unstored -= 1;
            if *unstored == 0 {
                let instance = pipeline.instance(place);
                self.events.push(now, Event::StepDone { instance });
                pipeline.drop_waves();
            }
        }
        self.begin_next(group, place, now);
    }
}

impl Pipeline<'_> {
    fn push_wave(&mut self, passes: &[ForwardPass]) {
        let mut wave = self.spare.pop().unwrap_or_default();
        passes.clone_into(&mut wave.passes);
        wave.num_meeting = self.pass.num_meeting(&passes[0]).max(self.tp);
        let num_npus = self.npus.len();
        refill(&mut wave.at, num_npus, Instant::ZERO);
        refill(&mut wave.missing, num_npus / wave.num_meeting, 2 * wave.num_meeting);
        refill(&mut wave.unstored, passes.len(), self.tp);
        self.waves.push_back(wave);
        self.num_waves += 1;
    }

    /// Lets go of the oldest waves as far as all members are through with them.
    fn drop_waves(&mut self) {
        while self.waves.front().is_some_and(|wave| wave.unstored.iter().all(|&unstored| unstored == 0)) {
            self.spare.extend(self.waves.pop_front());
        }
    }

    fn wave(&self, number: u64) -> &Wave {
        let oldest = self.num_waves - self.waves.len() as u64;
        &self.waves[(number - oldest) as usize]
    }

    fn wave_mut(&mut self, number: u64) -> &mut Wave {
        let oldest = self.num_waves - self.waves.len() as u64;
        &mut self.waves[(number - oldest) as usize]
    }

    fn index(&self, Place { member, stage, rank }: Place) -> usize {
        (stage * self.spec.members.len() + member) * self.tp + rank
    }

    fn place(&self, index: usize) -> Place {
        let (size, tp) = (self.spec.members.len(), self.tp);
        Place { member: index / tp % size, stage: index / (tp * size), rank: index % tp }
    }

    fn instance(&self, place: Place) -> InstanceId {
        self.spec.members[place.member]
    }

    /// Its rank in the topology.
    fn rank(&self, Place { member, stage, rank }: Place) -> usize {
        (member * self.stages.len() + stage) * self.tp + rank
    }

    /// How long the hidden state takes from a stage to the next; nothing leaves the last one.
    fn message_delay(&self, place: Place, wave: u64) -> Option<Duration> {
        let num_stages = self.stages.len();
        let from = self.rank(place);
        let bytes = self.wave(wave).passes[place.member].hidden_bytes;
        (place.stage + 1 < num_stages).then(|| self.spec.topology.message_delay(from, from + self.tp, bytes))
    }
}

/// Makes `list` hold `length` times `value`.
fn refill<T: Clone>(list: &mut Vec<T>, length: usize, value: T) {
    list.clear();
    list.resize(length, value);
}
