//! The nodes of a step as LLMServingSim's converter writes them: ids, names, tags, attributes.
//!
//! Ids and message tags count through all traces of an instance's part, in the order in which the converter makes nodes:
//! NPU by NPU, what a peer receives right after what sends it. What all NPUs bring back from a lower tier is one node in
//! all their traces.

use std::collections::HashMap;

use chakra::{Collective, CollectiveType, MemoryKind, Message, Metadata, NodeKind, Tensor, Trace, TraceNode};
use engine::{Label, MemberGraphs, Part, Stem};
use network::{CollectiveKind, DimMask, Location, Op};

/// The traces of an instance's part of a step, by NPU. The topology of its group has so many dimensions.
pub(super) fn traces(member: &MemberGraphs, num_dims: usize, input_file: &str) -> Vec<Trace> {
    let numbers = Numbers::of(member);
    let trace = |(index, labelled): (usize, &engine::LabelledGraph)| {
        let parents = labelled.graph.parents();
        let npu = member.first_rank + index as u32;
        let node = |(node, label): (usize, &Label)| {
            let op = labelled.graph.op(node as u32);
            let tag = numbers.tags.get(&channel(&op, npu)).copied().unwrap_or_default();
            TraceNode {
                id: numbers.ids[index][node],
                name: name(&op, label, npu),
                kind: kind(&op, label, (npu, tag), num_dims),
                parents: parents[node].iter().map(|&parent| numbers.ids[index][parent as usize]).collect(),
            }
        };
        let nodes = labelled.labels.iter().enumerate().map(node).collect();
        Trace { metadata: Metadata::of(input_file), nodes }
    };
    member.graphs.iter().enumerate().map(trace).collect()
}

/// Sender, receiver and tag of a message within a run; `None` of other nodes.
type Channel = Option<(u32, u32, u32)>;

fn channel(op: &Op, npu: u32) -> Channel {
    match *op {
        Op::Send { to, tag, .. } => Some((npu, to, tag)),
        Op::Recv { from, tag, .. } => Some((from, npu, tag)),
        _ => None,
    }
}

/// The numbers of nodes and messages.
struct Numbers {
    /// By NPU and node.
    ids: Vec<Vec<u64>>,
    tags: HashMap<Channel, u32>,
}

impl Numbers {
    fn of(member: &MemberGraphs) -> Self {
        let ids = member.graphs.iter().map(|labelled| vec![0; labelled.labels.len()]).collect();
        let mut numbers = Self { ids, tags: HashMap::new() };
        let brings_back = |label: &Label| label.stem == Stem::RECALL;
        let recall = member.graphs.iter().flat_map(|labelled| &labelled.labels).any(brings_back);
        // Every node that brings a prefix back has the first number.
        let mut next_id = u64::from(recall);
        let num_computing = member.num_computing as usize;
        // Nodes of each peer that have a number: what it receives comes in the order in which it is sent.
        let mut num_received = vec![0; member.graphs.len()];
        for (index, labelled) in member.graphs.iter().enumerate().take(num_computing) {
            let npu = member.first_rank + index as u32;
            for (node, label) in labelled.labels.iter().enumerate() {
                if brings_back(label) {
                    continue;
                }
                let op = labelled.graph.op(node as u32);
                numbers.set(index, node, &mut next_id, channel(&op, npu));
                let Op::Send { to, .. } = op else { continue };
                let peer = (to - member.first_rank) as usize;
                if peer >= num_computing {
                    numbers.set(peer, num_received[peer], &mut next_id, None);
                    num_received[peer] += 1;
                }
            }
        }
        numbers
    }

    fn set(&mut self, index: usize, node: usize, next_id: &mut u64, channel: Channel) {
        self.ids[index][node] = *next_id;
        *next_id += 1;
        if channel.is_some() {
            let next_tag = self.tags.len() as u32;
            self.tags.entry(channel).or_insert(next_tag);
        }
    }
}

fn name(op: &Op, label: &Label, npu: u32) -> String {
    let Stem { name, row } = label.stem;
    let stem = row.map_or_else(|| name.to_owned(), |row| format!("{name}_{row}"));
    match (op, label.part) {
        (Op::Compute(_), _) => format!("COMP_NODE_{stem}"),
        (Op::Memory { .. }, Part::Input) => format!("MEM_LOAD_NODE_{stem}_INPUT"),
        (Op::Memory { .. }, Part::Output) => format!("MEM_STORE_NODE_{stem}_OUTPUT"),
        (Op::Memory { .. }, _) => format!("MEM_LOAD_NODE_{stem}_WEIGHT"),
        (Op::Pim { .. }, _) => format!("PIM_COMP_NODE_{stem}_PIM"),
        (Op::Collective(collective), _) => format!("COMM_COLL_NODE_{stem}_{}", kind_name(Some(collective.kind))),
        (Op::Send { to, .. }, Part::Message { collective }) => {
            format!("COMM_SEND_NODE_{stem}_{}_{npu}_{to}", kind_name(collective))
        }
        (Op::Recv { from, .. }, _) => format!("COMM_RECV_NODE_{stem}_{}_{from}_{npu}", kind_name(None)),
        (Op::HostCompute(_) | Op::Broadcast(_) | Op::Send { .. }, _) => {
            unreachable!("no step has a {op:?} with {label:?}")
        }
    }
}

fn kind_name(kind: Option<CollectiveKind>) -> &'static str {
    match kind {
        None => "NONE",
        Some(CollectiveKind::AllReduce) => "ALLREDUCE",
        Some(CollectiveKind::AllGather) => "ALLGATHER",
        Some(CollectiveKind::ReduceScatter) => "REDUCESCATTER",
        Some(CollectiveKind::AllToAll) => "ALLTOALL",
    }
}

fn collective_type(kind: CollectiveKind) -> CollectiveType {
    match kind {
        CollectiveKind::AllReduce => CollectiveType::AllReduce,
        CollectiveKind::AllGather => CollectiveType::AllGather,
        CollectiveKind::ReduceScatter => CollectiveType::ReduceScatter,
        CollectiveKind::AllToAll => CollectiveType::AllToAll,
    }
}

fn kind(op: &Op, label: &Label, (npu, tag): (u32, u32), num_dims: usize) -> NodeKind {
    match *op {
        Op::Compute(time) => NodeKind::Compute { time_ns: time.ns(), num_ops: 0, tensor_bytes: 0, on_host: false },
        Op::Memory { location, bytes } if label.part == Part::Output => NodeKind::Store(tensor(location, bytes)),
        Op::Memory { location, bytes } => NodeKind::Load(tensor(location, bytes)),
        Op::Pim { location, channel, time, bytes } => {
            NodeKind::Pim { tensor: tensor(location, bytes), channel, time_ns: time.ns() }
        }
        Op::Collective(collective) => NodeKind::Collective(Collective {
            kind: collective_type(collective.kind),
            bytes: collective.bytes,
            involved: involved(collective.dims, num_dims),
            priority: 0,
            group: None,
            time_ns: 0,
        }),
        Op::Send { to, bytes, .. } => NodeKind::Send(message((npu, to), bytes, tag, label)),
        Op::Recv { from, bytes, .. } => NodeKind::Recv(message((from, npu), bytes, tag, label)),
        Op::HostCompute(_) | Op::Broadcast(_) => unreachable!("no step has a {op:?}"),
    }
}

/// Left out where there is nothing to choose.
fn involved(dims: DimMask, num_dims: usize) -> Option<Vec<bool>> {
    (num_dims > 1).then(|| (0..num_dims).map(|dim| dims.contains(dim)).collect())
}

/// The type of a message is that of the collective in its row, or 0.
fn message((from, to): (u32, u32), bytes: u64, tag: u32, label: &Label) -> Message {
    let kind = match label.part {
        Part::Message { collective: Some(kind) } => collective_type(kind),
        _ => CollectiveType::AllReduce,
    };
    Message { from, to, bytes, tag, comm_type: Some(kind) }
}

fn tensor(location: Location, bytes: u64) -> Tensor {
    let (location, device) = match location {
        Location::Npu => (MemoryKind::Npu, 0),
        Location::Host(device) => (MemoryKind::Host, device),
        Location::Pool(device) => (MemoryKind::Pool, device),
    };
    Tensor { bytes, location, device }
}
