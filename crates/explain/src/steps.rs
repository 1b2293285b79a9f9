//! What steps take: ops in order, collectives with their bytes and times.
//!
//! A step is told as if it were alone: its ranks enter together, and every other member of the group has the same batch.
//! Its time is then the sum of its ops, experts counting with the slowest rank.

use std::collections::HashMap;
use std::rc::Rc;

use engine::{Deployment, GroupSpec, InstanceSpec, LanePreview, Role, StepOp, StepPiece, StepPreview};
use network::{Collective, Fabric, Graph, MemoryDevices, NetworkModel, Op, Outcome, Plan, System, replay};
use units::{Duration, GroupId, Instant};

use crate::instances::most_sequences;
use crate::{BatchPiece, Facts, GroupKind, Step, StepRow, WorkloadFacts};

/// Tokens of KV of a decode where no workload says how many.
const CONTEXT_TOKENS: u64 = 1024;

/// Most sequences of a decode batch that nobody asked for.
const SEQUENCES_MAX: u64 = 1 << 16;

/// Most messages that are run one by one, where links are shared and there is no formula.
const MESSAGES_MAX: f64 = 1e6;

/// The steps of each kind of group.
pub(crate) fn all(facts: &Facts<'_>, groups: &[GroupKind]) -> Vec<Step> {
    let mut steps = Vec::new();
    for kind in groups {
        let Some(index) = kind.groups.first() else { continue };
        let group = &facts.deployment.groups[index as usize];
        let spec = &facts.deployment.instances[group.members[0].index()];
        let batches: Vec<(&'static str, Vec<StepPiece>)> = match facts.batches {
            [] => usual(spec, facts.workload),
            asked => asked.iter().map(|batch| ("as asked", batch.clone())).collect(),
        };
        let mut timer = Timer { deployment: facts.deployment, group, known: HashMap::new() };
        steps.extend(batches.into_iter().map(|(name, batch)| {
            let preview = engine::preview(facts.deployment, GroupId(index), &batch);
            Step { groups: kind.groups.clone(), ..timer.step(name, &batch, &preview, spec) }
        }));
    }
    steps
}

/// The largest decode batch, and a step full of prompts.
fn usual(spec: &InstanceSpec, workload: Option<&WorkloadFacts>) -> Vec<(&'static str, Vec<StepPiece>)> {
    let workload = workload.filter(|workload| workload.requests() > 0);
    let (blocks, block_size) = (u64::from(spec.kv.num_blocks), u64::from(spec.kv.block_size));
    let longest = spec.model.max_position_embeddings.min(blocks * block_size);
    let history = workload.map_or(CONTEXT_TOKENS, WorkloadFacts::mean_context).clamp(1, (longest - 1).max(1));
    let fitting = blocks / (history + 1).div_ceil(block_size);
    let sequences = most_sequences(spec).min(fitting).clamp(1, SEQUENCES_MAX);
    let budget = spec.scheduler.max_num_batched_tokens;
    let capped = match spec.scheduler.long_prefill_token_threshold {
        0 => budget,
        threshold => threshold.min(budget),
    };
    let tokens = workload.map_or(capped, |workload| workload.mean_prompt().min(capped)).min(longest).max(1);
    let prompts = (budget / tokens).min(most_sequences(spec)).clamp(1, SEQUENCES_MAX);
    let decode = ("decode", vec![StepPiece { sequences, tokens: 1, history }]);
    let mut full = vec![StepPiece { sequences: prompts, tokens, history: 0 }];
    // The rest of the step goes to the beginning of one more prompt; of a single token it would be a decode.
    let rest = budget - prompts * tokens;
    if spec.scheduler.chunked_prefill && prompts < most_sequences(spec) && (2..tokens).contains(&rest) {
        full.push(StepPiece { sequences: 1, tokens: rest, history: 0 });
    }
    let prefill = ("prefill", full);
    match spec.role {
        Role::Prefill => vec![prefill],
        Role::Decode => vec![decode],
        Role::Whole if spec.skips_prefill => vec![decode],
        Role::Whole => vec![decode, prefill],
    }
}

/// A collective on a group's links: its time, how many meet, what the busiest sends.
#[derive(Clone, Copy)]
struct Timed {
    time: Duration,
    members: usize,
    bytes_sent: u64,
}

/// Times the collectives of one group, each once.
struct Timer<'a> {
    deployment: &'a Deployment,
    group: &'a GroupSpec,
    known: HashMap<Collective, Timed>,
}

impl Timer<'_> {
    fn step(&mut self, name: &'static str, batch: &[StepPiece], preview: &StepPreview, spec: &InstanceSpec) -> Step {
        let mut ops = Vec::new();
        for (half, lane) in (0..).zip(&preview.lanes) {
            let half = (preview.lanes.len() > 1).then_some(half);
            ops.extend(self.rows(lane, preview.num_blocks).into_iter().map(|row| StepRow { half, ..row }));
        }
        ops.extend(self.between_stages(preview.hidden_bytes, spec));
        let sum = |is_counted: &dyn Fn(&StepRow) -> bool| {
            let counted = ops.iter().filter(|row| !row.is_beside && is_counted(row));
            counted.map(|row| row.time_ns * row.times).sum::<u64>()
        };
        let is_network = |row: &StepRow| matches!(row.kind, "collective" | "message");
        let input = |of: fn(&LanePreview) -> u64| preview.lanes.iter().map(of).sum();
        Step {
            groups: crate::Ids::default(),
            name,
            batch: batch
                .iter()
                .map(|&StepPiece { sequences, tokens, history }| BatchPiece { sequences, tokens, history })
                .collect(),
            tokens: batch.iter().map(|piece| piece.sequences * piece.tokens).sum(),
            sequences: batch.iter().map(|piece| piece.sequences).sum(),
            padded_tokens: preview.padded_tokens,
            time_ns: sum(&|_| true),
            compute_ns: sum(&|row| !is_network(row)),
            network_ns: sum(&is_network),
            input_bytes: input(|lane| lane.input_bytes),
            output_bytes: input(|lane| lane.output_bytes),
            ops,
        }
    }

    fn rows(&mut self, lane: &LanePreview, num_blocks: u64) -> Vec<StepRow> {
        let parts = [("prologue", &lane.prologue, 1), ("block", &lane.block, num_blocks), ("head", &lane.head, 1)];
        let mut rows = Vec::new();
        for (part, ops, times) in parts {
            for op in ops {
                rows.push(StepRow { part, times, ..self.row(op) });
            }
        }
        rows
    }

    fn row(&mut self, op: &StepOp) -> StepRow {
        let row = |kind, name, time: Duration| StepRow { kind, name, time_ns: time.ns(), ..EMPTY };
        match op {
            StepOp::Layer { layer, time } => row("layer", layer.name(), *time),
            StepOp::Experts { times } => row("experts", "moe", times.iter().copied().max().unwrap_or(Duration::ZERO)),
            StepOp::MemoryAttention { time } => row("memory", "attention", *time),
            StepOp::SendKv { bytes } => {
                let time = self.send_kv(*bytes);
                StepRow { bytes: Some(*bytes), is_beside: true, ..row("message", "kv", time) }
            }
            StepOp::Collective(collective) => {
                let timed = self.time(*collective);
                let dims = 0..self.group.topology.dims().len();
                let involved = dims
                    .filter(|&dim| collective.dims.contains(dim) && self.group.topology.dims()[dim].npus > 1)
                    .collect();
                StepRow {
                    bytes: Some(collective.bytes),
                    members: Some(timed.members),
                    dimensions: Some(involved),
                    bytes_sent: Some(timed.bytes_sent),
                    ..row("collective", collective.kind.name(), timed.time)
                }
            }
        }
    }

    /// A prefill instance sends each block's KV from every NPU to its peer.
    fn send_kv(&self, bytes: u64) -> Duration {
        let spec = &self.deployment.instances[self.group.members[0].index()];
        self.group.topology.message_delay(0, spec.num_npus() as usize, bytes)
    }

    /// What each pipeline stage hands to the next.
    fn between_stages(&self, bytes: u64, spec: &InstanceSpec) -> Option<StepRow> {
        let hops = u64::from(spec.pp - 1);
        (hops > 0).then(|| {
            let time = self.group.topology.message_delay(0, spec.tp as usize, bytes);
            let (kind, name) = ("message", "hidden state");
            StepRow { part: "stages", kind, name, times: hops, time_ns: time.ns(), bytes: Some(bytes), ..EMPTY }
        })
    }

    fn time(&mut self, collective: Collective) -> Timed {
        if let Some(&known) = self.known.get(&collective) {
            return known;
        }
        let timed = time(self.group, &self.deployment.system, collective);
        self.known.insert(collective, timed);
        timed
    }
}

const EMPTY: StepRow = StepRow {
    part: "",
    half: None,
    kind: "",
    name: "",
    times: 1,
    time_ns: 0,
    bytes: None,
    members: None,
    dimensions: None,
    bytes_sent: None,
    is_beside: false,
};

/// The time of a collective that all NPUs of a group enter together.
fn time(group: &GroupSpec, system: &System, collective: Collective) -> Timed {
    let Ok(plan) = Plan::new(&group.topology, system, collective) else {
        return Timed { time: Duration::ZERO, members: 1, bytes_sent: 0 };
    };
    let mut at = vec![Instant::ZERO; group.topology.num_npus()];
    if !plan.advance(&mut at) {
        if plan.num_messages() > MESSAGES_MAX && system.network_model == NetworkModel::Aware {
            // Too many to run one by one: as if links were never shared.
            let alone = System { network_model: NetworkModel::Unaware, ..system.clone() };
            return time(group, &alone, collective);
        }
        at = by_message(group, system, collective).unwrap_or_default();
    }
    let end = at.into_iter().max().unwrap_or_default();
    Timed { time: end - Instant::ZERO, members: plan.num_members(), bytes_sent: plan.bytes_sent() }
}

fn by_message(group: &GroupSpec, system: &System, collective: Collective) -> Option<Vec<Instant>> {
    let mut graph = Graph::with_capacity(1);
    graph.then(Op::Collective(collective));
    let graph = Rc::new(graph);
    let graphs: Vec<_> = (0..group.topology.num_npus()).map(|_| Rc::clone(&graph)).collect();
    let memory = MemoryDevices::new(0.0, 1.0, 0).into();
    match replay(&Fabric { topology: group.topology.clone(), system: system.clone(), memory }, &graphs) {
        Outcome::Finished(finished) => Some(finished),
        Outcome::Deadlock { .. } => None,
    }
}
