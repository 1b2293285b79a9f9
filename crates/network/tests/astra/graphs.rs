//! Graphs in the notation of the recordings.

use network::{Collective, CollectiveKind, DimMask, Graph, Location, Op};
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;
use units::Duration;

/// One node of a recorded graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) parents: Vec<u32>,
}

/// The graphs of `npus` NPUs in the notation of the recordings: NPUs separated by `|` or all alike, nodes by `;`, each
/// after the one before unless `<-` lists its parents.
pub(crate) fn parse_graphs(text: &str, npus: usize) -> Vec<Vec<Node>> {
    let graphs: Vec<Vec<Node>> = text.split('|').map(parse_graph).collect();
    if graphs.len() == 1 {
        return vec![graphs[0].clone(); npus];
    }
    assert_eq!(graphs.len(), npus, "{text}");
    graphs
}

fn parse_graph(text: &str) -> Vec<Node> {
    let nodes = text.trim().split(';').filter(|node| !node.is_empty()).zip(0u32..);
    nodes
        .map(|(node, id)| {
            let (op, parents) = match node.split_once("<-") {
                Some((op, parents)) => (op, parse_parents(parents)),
                None => (node, id.checked_sub(1).into_iter().collect()),
            };
            Node { op: parse_op(op), parents }
        })
        .collect()
}

fn parse_parents(text: &str) -> Vec<u32> {
    text.split('.').filter(|number| !number.is_empty()).map(number).collect()
}

/// `AR4096@01`, `C500`, `S4096>1#2`, `V4096<0#2`, `L4096@R0`, `W4096@C1`, `P500+4096@R0.1`.
fn parse_op(op: &str) -> Op {
    // Two letters first: "C" begins no collective.
    let kind = match op.get(..2) {
        Some("AR") => Some(CollectiveKind::AllReduce),
        Some("AG") => Some(CollectiveKind::AllGather),
        Some("RS") => Some(CollectiveKind::ReduceScatter),
        Some("AA") => Some(CollectiveKind::AllToAll),
        _ => None,
    };
    if let Some(kind) = kind {
        let (bytes, mask) = op[2..].split_once('@').unwrap_or((&op[2..], ""));
        let involved: Vec<bool> = mask.chars().map(|dim| dim == '1').collect();
        let dims = if involved.is_empty() { DimMask::ALL } else { DimMask::new(&involved) };
        return Op::Collective(Collective { kind, bytes: number(bytes), dims });
    }
    let rest = &op[1..];
    match &op[..1] {
        "C" => Op::Compute(Duration::from_ns(number(rest))),
        "L" | "W" => {
            let (bytes, location) = split(rest, '@');
            Op::Memory { location: parse_location(location), bytes: number(bytes) }
        }
        "P" => {
            let (work, place) = split(rest, '@');
            let (time, bytes) = split(work, '+');
            let (device, channel) = split(place, '.');
            let (location, channel) = (parse_location(device), number(channel));
            Op::Pim { location, channel, time: Duration::from_ns(number(time)), bytes: number(bytes) }
        }
        "S" => {
            let (bytes, to, tag) = parse_message(rest, '>');
            Op::Send { to, bytes, tag }
        }
        "V" => {
            let (bytes, from, tag) = parse_message(rest, '<');
            Op::Recv { from, bytes, tag }
        }
        _ => panic!("an unknown operation: {op}"),
    }
}

/// Bytes, the other side, and the tag, which is 0 when left out.
fn parse_message(text: &str, arrow: char) -> (u64, u32, u32) {
    let (bytes, peer) = split(text, arrow);
    let (peer, tag) = peer.split_once('#').unwrap_or((peer, "0"));
    (number(bytes), number(peer), number(tag))
}

fn parse_location(text: &str) -> Location {
    let device = &text[1..];
    match &text[..1] {
        "R" => Location::Host(number(device)),
        "C" => Location::Pool(number(device)),
        "L" => Location::Npu,
        _ => panic!("an unknown memory: {text}"),
    }
}

fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or_else(|| panic!("no {separator} in {text}"))
}

fn number<N: FromStr<Err: fmt::Debug>>(text: &str) -> N {
    text.parse().unwrap_or_else(|error| panic!("{error:?}: {text}"))
}

/// Builds what [`parse_graphs`] read.
pub(crate) fn build(nodes: &[Node]) -> Rc<Graph> {
    let mut graph = Graph::with_capacity(nodes.len());
    for node in nodes {
        graph.push(node.op, &[]);
    }
    for (node, id) in nodes.iter().zip(0..) {
        node.parents.iter().for_each(|&parent| graph.connect(parent, id));
    }
    Rc::new(graph)
}
