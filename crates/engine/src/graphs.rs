//! A forward pass as graphs, one for each NPU of the instance.
//!
//! A graph is a chain of the ops that the NPU runs, with side branches: weights that are not on the NPU are loaded from
//! the start, KV goes out beside what follows, attention in memory runs beside the NPU. An NPU of a later pipeline stage
//! begins with what it receives from the stage before; a peer of a prefill instance only receives.
//!
//! There are two [`Layout`]s. They differ in what waits for what, never in what is done.

use std::mem;
use std::ops::Range;

use model::Layer;
use network::{Collective, CollectiveKind, Graph, Location, Op as Node};
use units::Duration;

use crate::deployment::{InstanceSpec, Role};
use crate::forward::{ForwardPass, Lane, Op};
use crate::labels::{LabelledGraph, Labels, Part, Pieces, Stem};

/// What waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each op waits for what it needs.
    Physical,
    /// As LLMServingSim's trace converter has it, where
    /// - only the first rank's experts wait for the tokens to be there, the others' run beside the collective that
    ///   brings them;
    /// - what follows attention in memory waits for that alone, and for nothing where no decode is in the step.
    Converted,
}

/// Tags of messages: hidden states between stages, the output of a prefill instance, and from here on KV, by block.
const HIDDEN_TAG: u32 = 0;
const OUTPUT_TAG: u32 = 1;
const FIRST_KV_TAG: u32 = 2;

/// The graphs of one pass, by NPU of the instance: stage by stage, rank by rank, and then the peers in the same order.
/// In the topology of its group, the instance's first NPU is at `first_rank`.
pub(crate) fn graphs(pass: &ForwardPass, spec: &InstanceSpec, first_rank: u32, layout: Layout) -> Vec<Graph> {
    let graphs = write(pass, spec, first_rank, layout, Labels::default());
    graphs.into_iter().map(|(graph, _)| graph).collect()
}

/// The same with what their nodes consist of.
pub(crate) fn graphs_in_pieces(
    pass: &ForwardPass,
    spec: &InstanceSpec,
    first_rank: u32,
    layout: Layout,
) -> Vec<(Graph, Pieces)> {
    let graphs = write(pass, spec, first_rank, layout, Labels::of_pieces());
    graphs.into_iter().map(|(graph, labels)| (graph, labels.into_pieces())).collect()
}

/// The same with what each node is called.
pub(crate) fn labelled_graphs(
    pass: &ForwardPass,
    spec: &InstanceSpec,
    first_rank: u32,
    layout: Layout,
) -> Vec<LabelledGraph> {
    let graphs = write(pass, spec, first_rank, layout, Labels::wanted());
    graphs.into_iter().map(|(graph, labels)| LabelledGraph { graph, labels: labels.into_labels() }).collect()
}

fn write(
    pass: &ForwardPass,
    spec: &InstanceSpec,
    first_rank: u32,
    layout: Layout,
    labels: Labels,
) -> Vec<(Graph, Labels)> {
    let lines = lines(pass, spec);
    let bounds = stage_bounds(&lines, pass.num_blocks, spec.pp as usize);
    let lines_of = |stage: u32| &lines[bounds[stage as usize]..bounds[stage as usize + 1]];
    let npus = (0..spec.num_npus()).map(|npu| Npu { stage: npu / spec.tp, rank: npu % spec.tp, number: npu });
    let step = Step { pass, spec, first_rank, layout };
    let computing = npus.clone().map(|npu| {
        // What the next stage begins with.
        let rest = &lines[bounds[npu.stage as usize + 1]..];
        Writer::new(step, npu, labels.clone()).write(lines_of(npu.stage), first_row(rest))
    });
    let num_peers = (spec.num_npus_with_peers() - spec.num_npus()) as usize;
    let peers = npus.take(num_peers).map(|npu| peer(step, npu, lines_of(npu.stage), labels.clone()));
    computing.chain(peers).collect()
}

/// One instance's part of a wave.
#[derive(Clone, Copy)]
struct Step<'p> {
    pass: &'p ForwardPass,
    spec: &'p InstanceSpec,
    first_rank: u32,
    layout: Layout,
}

/// One NPU of an instance.
#[derive(Clone, Copy)]
struct Npu {
    stage: u32,
    rank: u32,
    number: u32,
}

/// Bytes that leave the last stage. LLMServingSim has those of the last lane only.
fn output_bytes(pass: &ForwardPass, layout: Layout) -> u64 {
    let num_left_out = match layout {
        Layout::Physical => 0,
        Layout::Converted => pass.lanes.len() - 1,
    };
    pass.lanes[num_left_out..].iter().map(|lane| lane.output_bytes).sum()
}

/// What the peer of an NPU takes in: the KV of its blocks, and from the last stage the output.
fn peer(step: Step<'_>, npu: Npu, lines: &[Line<'_>], mut labels: Labels) -> (Graph, Labels) {
    let Step { pass, spec, first_rank, layout } = step;
    let mut graph = Graph::with_capacity(pass.num_blocks + 1);
    let from = first_rank + npu.number;
    for line in lines.iter().filter(|line| matches!(line.op, Op::SendKv)) {
        let bytes = pass.lanes[line.lane].kv_bytes;
        if bytes > 0 {
            let node = Node::Recv { from, bytes, tag: kv_tag(line) };
            labels.enter(line.block, line.lane);
            labels.push(Stem::KV, Part::Message { collective: None }, &node);
            graph.push(node, &[]);
        }
    }
    if npu.stage + 1 == spec.pp {
        let node = Node::Recv { from, bytes: output_bytes(pass, layout), tag: OUTPUT_TAG };
        labels.enter(None, 0);
        labels.push(last_row(lines), Part::Message { collective: None }, &node);
        graph.push(node, &[]);
    }
    (graph, labels)
}

fn kv_tag(line: &Line<'_>) -> u32 {
    FIRST_KV_TAG + (2 * line.block.unwrap_or(0) + line.lane) as u32
}

/// One op where it stands in the pass.
#[derive(Clone, Copy)]
struct Line<'p> {
    lane: usize,
    /// Its block, outside of prologue and head.
    block: Option<usize>,
    op: &'p Op,
    /// The first row that LLMServingSim's trace has of it.
    row: u32,
}

impl Line<'_> {
    /// The row of a layer that is computed.
    fn stem(&self) -> Option<Stem> {
        match *self.op {
            Op::Compute { layer, time, .. } if time > Duration::ZERO => {
                Some(Stem { name: layer.name(), row: Some(self.row) })
            }
            _ => None,
        }
    }
}

/// The first layer that is computed.
fn first_row(lines: &[Line<'_>]) -> Stem {
    lines.iter().find_map(Line::stem).unwrap_or_default()
}

/// The last layer that is computed.
fn last_row(lines: &[Line<'_>]) -> Stem {
    lines.iter().rev().find_map(Line::stem).unwrap_or_default()
}

/// The pass from front to back. Two lanes take turns from attention to attention.
fn lines<'p>(pass: &'p ForwardPass, spec: &InstanceSpec) -> Vec<Line<'p>> {
    let mut lines = Vec::with_capacity(pass.lanes.len() * (pass.num_blocks * pass.lanes[0].block.len() + 8));
    if let [lane] = &pass.lanes[..] {
        push(&mut lines, 0, None, &lane.prologue);
        for block in 0..pass.num_blocks {
            push(&mut lines, 0, Some(block), &lane.block);
        }
        push(&mut lines, 0, None, &lane.head);
    } else {
        push_in_turns(&mut lines, pass);
    }
    // Prefixes that are brought back are a row of their own.
    let mut row = u32::from(pass.recall_bytes > 0);
    for line in &mut lines {
        line.row = row;
        row += num_rows(line, pass, spec);
    }
    lines
}

fn push_in_turns<'p>(lines: &mut Vec<Line<'p>>, pass: &'p ForwardPass) {
    for (index, lane) in pass.lanes.iter().enumerate() {
        push(lines, index, None, &lane.prologue);
        push(lines, index, Some(0), &lane.block[..lane.pre_attn]);
    }
    for block in 0..pass.num_blocks {
        for (index, lane) in pass.lanes.iter().enumerate() {
            push(lines, index, Some(block), &lane.block[lane.pre_attn..]);
            if block + 1 < pass.num_blocks {
                push(lines, index, Some(block + 1), &lane.block[..lane.pre_attn]);
            } else {
                push(lines, index, None, &lane.head);
            }
        }
    }
}

fn push<'p>(lines: &mut Vec<Line<'p>>, lane: usize, block: Option<usize>, ops: &'p [Op]) {
    lines.extend(ops.iter().map(|op| Line { lane, block, op, row: 0 }));
}

/// Rows of an op in LLMServingSim's trace. A collective stands in the row of the layer before it; experts and channels
/// have a row each that begins them, and one that ends them all.
fn num_rows(line: &Line<'_>, pass: &ForwardPass, spec: &InstanceSpec) -> u32 {
    let lane = &pass.lanes[line.lane];
    match *line.op {
        Op::Compute { time, .. } => u32::from(time > Duration::ZERO),
        Op::Experts => spec.local_ep + num_busy_ranks(lane, line.block, spec.tp) + 1,
        Op::Pim => spec.pim.map_or(0, |pim| pim.num_channels) + lane.pim.len() as u32 + 1,
        Op::Collective(_) | Op::SendKv => 0,
    }
}

/// Of the first `num_ranks` ranks, those whose experts have tokens.
fn num_busy_ranks(lane: &Lane, block: Option<usize>, num_ranks: u32) -> u32 {
    let is_busy = |rank: &u32| lane.expert_time(block.unwrap_or(0), *rank as usize) > Duration::ZERO;
    (0..num_ranks).filter(is_busy).count() as u32
}

/// The blocks of each pipeline stage. They are split evenly, remainders going to the stages before the last, which has
/// the head too (vLLM's `get_pp_indices`).
pub fn stage_blocks(num_blocks: usize, num_stages: usize) -> impl Iterator<Item = Range<usize>> {
    let (least, remainder) = (num_blocks / num_stages, num_blocks % num_stages);
    let takes_one_more = move |stage: usize| stage + 1 < num_stages && stage + 1 + remainder >= num_stages;
    (0..num_stages).scan(0, move |first, stage| {
        let blocks = *first..*first + least + usize::from(takes_one_more(stage));
        *first = blocks.end;
        Some(blocks)
    })
}

/// Where each pipeline stage begins, and the end.
fn stage_bounds(lines: &[Line<'_>], num_blocks: usize, num_stages: usize) -> Vec<usize> {
    let mut bounds = vec![0];
    for blocks in stage_blocks(num_blocks, num_stages).skip(1) {
        let begins_stage = |line: &Line<'_>| line.block == Some(blocks.start);
        bounds.push(lines.iter().position(begins_stage).expect("every stage has a block"));
    }
    bounds.push(lines.len());
    bounds
}

/// Writes the graph of one NPU.
struct Writer<'p> {
    step: Step<'p>,
    npu: Npu,
    graph: Graph,
    labels: Labels,
    /// By lane, what its next op waits for.
    next_waits_for: Vec<Vec<u32>>,
    /// By lane, attention in memory that nothing has waited for yet.
    pim: Vec<Vec<u32>>,
    latest_compute: u32,
    latest_collective: Option<u32>,
    has_computed: bool,
    /// The row written last, and the collective in it; none after experts.
    latest_row: Option<(Stem, Option<CollectiveKind>)>,
    converted: ConvertedPim,
    /// What one op waits for; here so that it is allocated once.
    scratch: Vec<u32>,
}

/// Attention in memory as the converter keeps track of it.
#[derive(Default)]
struct ConvertedPim {
    /// Whether it has just begun: what follows does not join the chain.
    cuts_chain: bool,
    /// What was begun last, and with two lanes what was begun before that.
    latest: Vec<u32>,
    before: Vec<u32>,
    /// The lane that waited last.
    lane: usize,
}

impl<'p> Writer<'p> {
    fn new(step: Step<'p>, npu: Npu, labels: Labels) -> Self {
        let num_lanes = step.pass.lanes.len();
        let num_nodes = 2 + num_lanes * (step.pass.num_blocks * step.pass.lanes[0].block.len() + 8);
        Self {
            step,
            npu,
            graph: Graph::with_capacity(num_nodes),
            labels,
            next_waits_for: vec![Vec::new(); num_lanes],
            pim: vec![Vec::new(); num_lanes],
            latest_compute: 0,
            latest_collective: None,
            has_computed: false,
            latest_row: None,
            converted: ConvertedPim::default(),
            scratch: Vec::new(),
        }
    }

    /// Writes these lines; those of the next stage begin with `next_row`.
    fn write(mut self, lines: &[Line<'p>], next_row: Stem) -> (Graph, Labels) {
        self.begin(first_row(lines));
        for &line in lines {
            self.labels.enter(line.block, line.lane);
            match *line.op {
                Op::Compute { layer, time, weight_bytes } => {
                    let stem = Stem { name: layer.name(), row: Some(line.row) };
                    let weights = self.load_weights(line, layer, weight_bytes, &[], stem);
                    self.compute(line.lane, layer, time, weights, stem);
                }
                Op::Experts => self.experts(line),
                Op::Collective(collective) => self.collective(line, collective),
                Op::Pim => self.attend_in_memory(line),
                Op::SendKv => self.send_kv(line),
            }
        }
        self.labels.enter(None, 0);
        self.end(next_row);
        (self.graph, self.labels)
    }

    fn push(&mut self, node: Node, waits_for: &[u32], stem: Stem, part: Part) -> u32 {
        self.labels.push(stem, part, &node);
        self.graph.push(node, waits_for)
    }

    /// What the NPU begins with: prefixes brought back, and its input.
    fn begin(&mut self, first_row: Stem) {
        let Step { pass, spec, first_rank, layout } = self.step;
        let recall = (pass.recall_bytes > 0).then(|| {
            let node = Node::Memory { location: spec.placement.recall_from, bytes: pass.recall_bytes };
            self.push(node, &[], Stem::RECALL, Part::Weight)
        });
        let (input, part) = if self.npu.stage == 0 {
            let bytes = match layout {
                Layout::Physical => pass.lanes.iter().map(|lane| lane.input_bytes).sum(),
                Layout::Converted => pass.lanes[0].input_bytes,
            };
            (Node::Memory { location: self.host(), bytes }, Part::Input)
        } else {
            let from = first_rank + self.npu.number - spec.tp;
            (Node::Recv { from, bytes: pass.hidden_bytes, tag: HIDDEN_TAG }, Part::Message { collective: None })
        };
        let input = self.push(input, &[], first_row, part);
        self.latest_compute = input;
        self.next_waits_for.fill([input].into_iter().chain(recall).collect());
    }

    /// What it ends with: its output goes to the host, to the next stage or to its peer.
    fn end(&mut self, next_row: Stem) {
        let Step { pass, spec, first_rank, layout } = self.step;
        let last_lane = pass.lanes.len() - 1;
        let is_last_stage = self.npu.stage + 1 == spec.pp;
        let output_bytes = output_bytes(pass, layout);
        let (output, part) = match (is_last_stage, spec.role) {
            (false, _) => {
                let to = first_rank + self.npu.number + spec.tp;
                let collective = self.latest_row.and_then(|row| row.1);
                (Node::Send { to, bytes: pass.hidden_bytes, tag: HIDDEN_TAG }, Part::Message { collective })
            }
            (true, Role::Prefill) => {
                let node = Node::Send { to: self.peer_rank(), bytes: output_bytes, tag: OUTPUT_TAG };
                (node, Part::Message { collective: None })
            }
            (true, _) => (Node::Memory { location: self.host(), bytes: output_bytes }, Part::Output),
        };
        let waits_for = match layout {
            Layout::Physical => self.next_waits_for.concat(),
            Layout::Converted => match (&self.next_waits_for[last_lane][..], self.latest_collective) {
                // Where a stage is one NPU, the converter passes over the collective of its experts here.
                (&[last], Some(collective)) if spec.tp == 1 && last == collective => vec![self.latest_compute],
                (waits_for, _) => waits_for.to_vec(),
            },
        };
        let stem = self.latest_row.map_or(next_row, |row| row.0);
        self.push(output, &waits_for, stem, part);
    }

    /// Loads weights that are not where they are needed; waits for `waits_for` alone.
    fn load_weights(&mut self, line: Line<'_>, layer: Layer, bytes: u64, waits_for: &[u32], stem: Stem) -> Option<u32> {
        let placement = &self.step.spec.placement;
        let location = placement.weights_of(layer, line.block);
        let is_needed = bytes > 0 && (location != Location::Npu || placement.loads_npu_weights);
        is_needed.then(|| self.push(Node::Memory { location, bytes }, waits_for, stem, Part::Weight))
    }

    /// Computes for `time`, after everything the lane waits for and after its weights.
    fn compute(&mut self, lane: usize, layer: Layer, time: Duration, weights: Option<u32>, stem: Stem) {
        if time == Duration::ZERO {
            return;
        }
        let mut waits_for = mem::take(&mut self.scratch);
        waits_for.clear();
        if !mem::take(&mut self.converted.cuts_chain) {
            // In the converter's order.
            waits_for.extend(weights.filter(|_| self.has_computed));
            waits_for.extend(&self.next_waits_for[lane]);
            waits_for.extend(weights.filter(|_| !self.has_computed));
        }
        match self.step.layout {
            // Attention of prompts on the NPU runs beside that of decodes in memory.
            Layout::Physical if layer == Layer::Attention => {}
            Layout::Physical => waits_for.append(&mut self.pim[lane]),
            Layout::Converted => self.converted.wait(lane, self.step.pass.lanes.len(), &mut waits_for),
        }
        let node = match self.continued(&waits_for) {
            Some(latest) => {
                self.graph.lengthen_last(time);
                self.labels.lengthen_last(stem, time);
                latest
            }
            None => self.push(Node::Compute(time), &waits_for, stem, Part::Work),
        };
        self.scratch = waits_for;
        self.latest_compute = node;
        self.has_computed = true;
        self.latest_row = Some((stem, None));
        self.set_tail(lane, node);
    }

    /// The node written last, if computing that waits for `waits_for` may as well be part of it: it computes, nothing else
    /// waits for it, and no other lane could come between. Where nodes are to be told apart, none is.
    fn continued(&self, waits_for: &[u32]) -> Option<u32> {
        let latest = (self.graph.num_nodes() as u32).checked_sub(1)?;
        let is_chain = self.step.layout == Layout::Physical && self.step.pass.lanes.len() == 1;
        let computes = || matches!(self.graph.op(latest), Node::Compute(_));
        (is_chain && !self.labels.are_wanted() && waits_for == [latest] && computes()).then_some(latest)
    }

    fn collective(&mut self, line: Line<'_>, collective: Collective) {
        let mut waits_for = mem::take(&mut self.scratch);
        waits_for.clear();
        match self.step.layout {
            Layout::Physical => waits_for.extend(&self.next_waits_for[line.lane]),
            Layout::Converted => waits_for.push(self.latest_compute),
        }
        // With two lanes, which one meets first must not depend on the rank.
        if self.step.layout == Layout::Physical && self.step.pass.lanes.len() > 1 {
            waits_for.extend(self.latest_collective);
        }
        let stem = match (collective.kind, &mut self.latest_row) {
            (CollectiveKind::AllReduce, Some((stem, in_row))) => {
                *in_row = Some(collective.kind);
                *stem
            }
            (_, Some(_)) => Stem::EXPERT_START,
            (_, None) => Stem::EXPERT_END,
        };
        let node = self.push(Node::Collective(collective), &waits_for, stem, Part::Work);
        self.scratch = waits_for;
        self.latest_collective = Some(node);
        self.set_tail(line.lane, node);
    }

    fn set_tail(&mut self, lane: usize, node: u32) {
        let lanes = match self.step.layout {
            Layout::Physical => lane..lane + 1,
            Layout::Converted => 0..self.next_waits_for.len(),
        };
        for waits_for in &mut self.next_waits_for[lanes] {
            waits_for.clear();
            waits_for.push(node);
        }
    }

    fn experts(&mut self, line: Line<'p>) {
        let Step { pass, layout, .. } = self.step;
        let (lane, rank) = (&pass.lanes[line.lane], self.npu.rank);
        let time = lane.expert_time(line.block.unwrap_or(0), rank as usize);
        if time > Duration::ZERO {
            let before = [self.latest_compute];
            let row = line.row + rank + 1 + num_busy_ranks(lane, line.block, rank);
            let stem = Stem { name: "expert", row: Some(row) };
            let weights = self.load_weights(line, Layer::Moe, pass.expert_weight_bytes, &before, stem);
            if layout == Layout::Converted && rank > 0 {
                self.next_waits_for[line.lane] = before.to_vec();
            }
            self.compute(line.lane, Layer::Moe, time, weights, stem);
        }
        self.latest_row = None;
    }

    /// Attention of the decodes on the channels that fall to this rank.
    fn attend_in_memory(&mut self, line: Line<'p>) {
        let Step { pass, spec, layout, .. } = self.step;
        let waits_for = self.next_waits_for[line.lane].clone();
        let tasks = &pass.lanes[line.lane].pim;
        let mut nodes = Vec::new();
        for (index, task) in tasks.iter().enumerate() {
            if task.channel % spec.tp != self.npu.rank {
                continue;
            }
            // Tasks come channel by channel.
            let row = line.row + task.channel + 1 + index as u32;
            let stem = Stem { name: Layer::Attention.name(), row: Some(row) };
            let location = Location::Host(spec.node.0);
            let node = Node::Pim { location, channel: task.channel, time: task.time, bytes: task.bytes };
            nodes.push(self.push(node, &waits_for, stem, Part::Work));
        }
        match layout {
            Layout::Physical => self.pim[line.lane].append(&mut nodes),
            Layout::Converted => {
                self.converted.cuts_chain = true;
                self.converted.latest.append(&mut nodes);
            }
        }
    }

    fn send_kv(&mut self, line: Line<'_>) {
        let bytes = self.step.pass.lanes[line.lane].kv_bytes;
        if bytes > 0 {
            let node = Node::Send { to: self.peer_rank(), bytes, tag: kv_tag(&line) };
            let waits_for = [self.latest_compute];
            self.push(node, &waits_for, Stem::KV, Part::Message { collective: None });
        }
    }

    fn host(&self) -> Location {
        Location::Host(self.step.spec.node.0)
    }

    /// Where its peer is in the topology.
    fn peer_rank(&self) -> u32 {
        self.step.first_rank + self.step.spec.num_npus() + self.npu.number
    }
}

impl ConvertedPim {
    /// Adds what an op of `lane` waits for. With one lane, that is all that was begun; with two, an op of the other lane
    /// than the last waits for what was begun before.
    fn wait(&mut self, lane: usize, num_lanes: usize, waits_for: &mut Vec<u32>) {
        if num_lanes == 1 {
            waits_for.append(&mut self.latest);
        } else if !self.latest.is_empty() && lane != self.lane {
            waits_for.append(&mut self.before);
            self.before = mem::take(&mut self.latest);
            self.lane = lane;
        }
    }
}
