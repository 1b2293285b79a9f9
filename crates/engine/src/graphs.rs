//! A forward pass as graphs, one for each NPU of the instance.
//!
//! A graph is a chain of the ops that the NPU runs, with side branches: weights that are not on the NPU are loaded from
//! the start, KV goes out beside what follows, attention in memory runs beside the NPU. An NPU of a later pipeline stage
//! begins with what it receives from the stage before; a peer of a prefill instance only receives.
//!
//! There are two [`Layout`]s. They differ in what waits for what, never in what is done.

use std::mem;

use model::Layer;
use network::{Graph, Location, Op as Node};
use units::Duration;

use crate::deployment::{InstanceSpec, Role};
use crate::forward::{ForwardPass, Lane, Op};

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
    let lines = lines(pass);
    let bounds = stage_bounds(&lines, pass.num_blocks, spec.pp as usize);
    let lines_of = |stage: u32| &lines[bounds[stage as usize]..bounds[stage as usize + 1]];
    let npus = (0..spec.num_npus()).map(|npu| Npu { stage: npu / spec.tp, rank: npu % spec.tp, number: npu });
    let computing = npus.clone().map(|npu| Writer::new(pass, spec, first_rank, layout, npu).write(lines_of(npu.stage)));
    let num_peers = (spec.num_npus_with_peers() - spec.num_npus()) as usize;
    let peers = npus.take(num_peers).map(|npu| peer(pass, spec, first_rank, layout, npu, lines_of(npu.stage)));
    computing.chain(peers).collect()
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
fn peer(
    pass: &ForwardPass,
    spec: &InstanceSpec,
    first_rank: u32,
    layout: Layout,
    npu: Npu,
    lines: &[Line<'_>],
) -> Graph {
    let mut graph = Graph::with_capacity(pass.num_blocks + 1);
    let from = first_rank + npu.number;
    for line in lines.iter().filter(|line| matches!(line.op, Op::SendKv)) {
        let bytes = pass.lanes[line.lane].kv_bytes;
        if bytes > 0 {
            graph.push(Node::Recv { from, bytes, tag: kv_tag(line) }, &[]);
        }
    }
    if npu.stage + 1 == spec.pp {
        graph.push(Node::Recv { from, bytes: output_bytes(pass, layout), tag: OUTPUT_TAG }, &[]);
    }
    graph
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
}

/// The pass from front to back. Two lanes take turns from attention to attention.
fn lines(pass: &ForwardPass) -> Vec<Line<'_>> {
    let mut lines = Vec::with_capacity(pass.lanes.len() * (pass.num_blocks * pass.lanes[0].block.len() + 8));
    if let [lane] = &pass.lanes[..] {
        push(&mut lines, 0, None, &lane.prologue);
        for block in 0..pass.num_blocks {
            push(&mut lines, 0, Some(block), &lane.block);
        }
        push(&mut lines, 0, None, &lane.head);
        return lines;
    }
    for (index, lane) in pass.lanes.iter().enumerate() {
        push(&mut lines, index, None, &lane.prologue);
        push(&mut lines, index, Some(0), &lane.block[..lane.pre_attn]);
    }
    for block in 0..pass.num_blocks {
        for (index, lane) in pass.lanes.iter().enumerate() {
            push(&mut lines, index, Some(block), &lane.block[lane.pre_attn..]);
            if block + 1 < pass.num_blocks {
                push(&mut lines, index, Some(block + 1), &lane.block[..lane.pre_attn]);
            } else {
                push(&mut lines, index, None, &lane.head);
            }
        }
    }
    lines
}

fn push<'p>(lines: &mut Vec<Line<'p>>, lane: usize, block: Option<usize>, ops: &'p [Op]) {
    lines.extend(ops.iter().map(|op| Line { lane, block, op }));
}

/// Where each pipeline stage begins, and the end. Blocks are split evenly, remainders going to the stages before the
/// last, which has the head too (vLLM's `get_pp_indices`).
fn stage_bounds(lines: &[Line<'_>], num_blocks: usize, num_stages: usize) -> Vec<usize> {
    let (least, remainder) = (num_blocks / num_stages, num_blocks % num_stages);
    let takes_one_more = |stage: usize| stage + 1 < num_stages && stage + 1 + remainder >= num_stages;
    let mut bounds = vec![0];
    let mut first_block = 0;
    for stage in 0..num_stages - 1 {
        first_block += least + usize::from(takes_one_more(stage));
        let begins_stage = |line: &Line<'_>| line.block == Some(first_block);
        bounds.push(lines.iter().position(begins_stage).expect("every stage has a block"));
    }
    bounds.push(lines.len());
    bounds
}

/// Writes the graph of one NPU.
struct Writer<'p> {
    pass: &'p ForwardPass,
    spec: &'p InstanceSpec,
    first_rank: u32,
    layout: Layout,
    npu: Npu,
    graph: Graph,
    /// By lane, what its next op waits for.
    next_waits_for: Vec<Vec<u32>>,
    /// By lane, attention in memory that nothing has waited for yet.
    pim: Vec<Vec<u32>>,
    latest_compute: u32,
    latest_collective: Option<u32>,
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
    fn new(pass: &'p ForwardPass, spec: &'p InstanceSpec, first_rank: u32, layout: Layout, npu: Npu) -> Self {
        let num_lanes = pass.lanes.len();
        let (next_waits_for, pim) = (vec![Vec::new(); num_lanes], vec![Vec::new(); num_lanes]);
        Self {
            pass,
            spec,
            first_rank,
            layout,
            npu,
            graph: Graph::with_capacity(2 + num_lanes * (pass.num_blocks * pass.lanes[0].block.len() + 8)),
            next_waits_for,
            pim,
            latest_compute: 0,
            latest_collective: None,
            converted: ConvertedPim::default(),
            scratch: Vec::new(),
        }
    }

    fn write(mut self, lines: &[Line<'p>]) -> Graph {
        self.begin();
        for &line in lines {
            match *line.op {
                Op::Compute { layer, time, weight_bytes } => {
                    let weights = self.load_weights(line, layer, weight_bytes, &[]);
                    self.compute(line.lane, layer, time, weights);
                }
                Op::Experts => self.experts(line),
                Op::Collective(collective) => {
                    let mut waits_for = mem::take(&mut self.scratch);
                    waits_for.clear();
                    match self.layout {
                        Layout::Physical => waits_for.extend(&self.next_waits_for[line.lane]),
                        Layout::Converted => waits_for.push(self.latest_compute),
                    }
                    // With two lanes, which one meets first must not depend on the rank.
                    if self.layout == Layout::Physical && self.pass.lanes.len() > 1 {
                        waits_for.extend(self.latest_collective);
                    }
                    let node = self.graph.push(Node::Collective(collective), &waits_for);
                    self.scratch = waits_for;
                    self.latest_collective = Some(node);
                    self.set_tail(line.lane, node);
                }
                Op::Pim => self.attend_in_memory(line.lane),
                Op::SendKv => self.send_kv(line),
            }
        }
        self.end();
        self.graph
    }

    /// What the NPU begins with: prefixes brought back, and its input.
    fn begin(&mut self) {
        let mut first = Vec::with_capacity(2);
        if self.pass.recall_bytes > 0 {
            let location = self.spec.placement.recall_from;
            first.push(self.graph.push(Node::Memory { location, bytes: self.pass.recall_bytes }, &[]));
        }
        let input = if self.npu.stage == 0 {
            let bytes = match self.layout {
                Layout::Physical => self.pass.lanes.iter().map(|lane| lane.input_bytes).sum(),
                Layout::Converted => self.pass.lanes[0].input_bytes,
            };
            Node::Memory { location: self.host(), bytes }
        } else {
            let from = self.first_rank + self.npu.number - self.spec.tp;
            Node::Recv { from, bytes: self.pass.hidden_bytes, tag: HIDDEN_TAG }
        };
        first.push(self.graph.push(input, &[]));
        self.latest_compute = first[first.len() - 1];
        self.next_waits_for.fill(first);
    }

    /// What it ends with: its output goes to the host, to the next stage or to its peer.
    fn end(&mut self) {
        let last_lane = self.pass.lanes.len() - 1;
        let is_last_stage = self.npu.stage + 1 == self.spec.pp;
        let output_bytes = output_bytes(self.pass, self.layout);
        let output = match (is_last_stage, self.spec.role) {
            (false, _) => {
                let to = self.first_rank + self.npu.number + self.spec.tp;
                Node::Send { to, bytes: self.pass.hidden_bytes, tag: HIDDEN_TAG }
            }
            (true, Role::Prefill) => Node::Send { to: self.peer_rank(), bytes: output_bytes, tag: OUTPUT_TAG },
            (true, _) => Node::Memory { location: self.host(), bytes: output_bytes },
        };
        let waits_for = match self.layout {
            Layout::Physical => self.next_waits_for.concat(),
            Layout::Converted => self.next_waits_for[last_lane].clone(),
        };
        self.graph.push(output, &waits_for);
    }

    /// Loads weights that are not where they are needed; waits for `waits_for` alone.
    fn load_weights(&mut self, line: Line<'_>, layer: Layer, bytes: u64, waits_for: &[u32]) -> Option<u32> {
        let placement = &self.spec.placement;
        let location = placement.weights_of(layer, line.block);
        let is_needed = bytes > 0 && (location != Location::Npu || placement.loads_npu_weights);
        is_needed.then(|| self.graph.push(Node::Memory { location, bytes }, waits_for))
    }

    /// Computes for `time`, after everything the lane waits for and after its weights.
    fn compute(&mut self, lane: usize, layer: Layer, time: Duration, weights: Option<u32>) {
        if time == Duration::ZERO {
            return;
        }
        let mut waits_for = mem::take(&mut self.scratch);
        waits_for.clear();
        if !mem::take(&mut self.converted.cuts_chain) {
            waits_for.extend(&self.next_waits_for[lane]);
            waits_for.extend(weights);
        }
        match self.layout {
            // Attention of prompts on the NPU runs beside that of decodes in memory.
            Layout::Physical if layer == Layer::Attention => {}
            Layout::Physical => waits_for.append(&mut self.pim[lane]),
            Layout::Converted => self.converted.wait(lane, self.pass.lanes.len(), &mut waits_for),
        }
        let node = self.graph.push(Node::Compute(time), &waits_for);
        self.scratch = waits_for;
        self.latest_compute = node;
        self.set_tail(lane, node);
    }

    fn set_tail(&mut self, lane: usize, node: u32) {
        let lanes = match self.layout {
            Layout::Physical => lane..lane + 1,
            Layout::Converted => 0..self.next_waits_for.len(),
        };
        for waits_for in &mut self.next_waits_for[lanes] {
            waits_for.clear();
            waits_for.push(node);
        }
    }

    fn experts(&mut self, line: Line<'p>) {
        let lane: &Lane = &self.pass.lanes[line.lane];
        let time = lane.expert_time(line.block.unwrap_or(0), self.npu.rank as usize);
        if time == Duration::ZERO {
            return;
        }
        let before = [self.latest_compute];
        let weights = self.load_weights(line, Layer::Moe, self.pass.expert_weight_bytes, &before);
        if self.layout == Layout::Converted && self.npu.rank > 0 {
            self.next_waits_for[line.lane] = before.to_vec();
        }
        self.compute(line.lane, Layer::Moe, time, weights);
    }

    /// Attention of the decodes on the channels that fall to this rank.
    fn attend_in_memory(&mut self, lane: usize) {
        let waits_for = self.next_waits_for[lane].clone();
        let nodes = match self.layout {
            Layout::Physical => &mut self.pim[lane],
            Layout::Converted => {
                self.converted.cuts_chain = true;
                &mut self.converted.latest
            }
        };
        for task in self.pass.lanes[lane].pim.iter().filter(|task| task.channel % self.spec.tp == self.npu.rank) {
            let location = Location::Host(self.spec.node.0);
            let node = Node::Pim { location, channel: task.channel, time: task.time, bytes: task.bytes };
            nodes.push(self.graph.push(node, &waits_for));
        }
    }

    fn send_kv(&mut self, line: Line<'_>) {
        let bytes = self.pass.lanes[line.lane].kv_bytes;
        if bytes > 0 {
            let node = Node::Send { to: self.peer_rank(), bytes, tag: kv_tag(&line) };
            self.graph.push(node, &[self.latest_compute]);
        }
    }

    fn host(&self) -> Location {
        Location::Host(self.spec.node.0)
    }

    /// Where its peer is in the topology.
    fn peer_rank(&self) -> u32 {
        self.first_rank + self.spec.num_npus() + self.npu.number
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
