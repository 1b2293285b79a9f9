//! Reading the recorded runs of ASTRA-Sim: their tables and their graphs.

use network::{Collective, CollectiveKind, DimMask, Graph, Op};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use units::Duration;

/// One row of a table, by column.
#[derive(Debug)]
pub(crate) struct Row(HashMap<String, String>);

impl Row {
    pub(crate) fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    pub(crate) fn number<N: std::str::FromStr<Err: fmt::Debug>>(&self, column: &str) -> N {
        self.text(column).parse().unwrap_or_else(|error| panic!("{column}: {error:?} in {self:?}"))
    }

    /// Values joined by `separator`.
    pub(crate) fn list<N: std::str::FromStr<Err: fmt::Debug>>(&self, column: &str, separator: char) -> Vec<N> {
        let values = self.text(column).split(separator).filter(|value| !value.is_empty());
        values.map(|value| value.parse().unwrap_or_else(|error| panic!("{column}: {error:?} in {self:?}"))).collect()
    }
}

/// The rows of a CSV file with a header.
pub(crate) fn read_table(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().map(split_line);
    let header = lines.next().expect("a header");
    let row = |fields: Vec<String>| Row(header.iter().cloned().zip(fields).collect());
    lines.map(row).collect()
}

/// The fields of a CSV line; a quoted one may hold commas, and quotes written twice.
fn split_line(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        let field = fields.last_mut().expect("a field");
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            char => field.push(char),
        }
    }
    fields
}

/// One node of a recorded graph.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) parents: Vec<u32>,
}

/// The graphs of `npus` NPUs in the notation of the recordings: NPUs separated by `|` or all alike, nodes by `;`, each
/// after the one before unless `<-` lists its parents. `None` when it has an operation that is not simulated, or a node
/// that waits for a later one, which no [`Graph`] has.
pub(crate) fn parse_graphs(text: &str, npus: usize) -> Option<Vec<Vec<Node>>> {
    let graphs: Vec<Vec<Node>> = text.split('|').map(parse_graph).collect::<Option<_>>()?;
    if graphs.len() == 1 {
        return Some(vec![graphs[0].clone(); npus]);
    }
    assert_eq!(graphs.len(), npus, "{text}");
    Some(graphs)
}

fn parse_graph(text: &str) -> Option<Vec<Node>> {
    let nodes = text.trim().split(';').filter(|node| !node.is_empty()).zip(0u32..);
    nodes
        .map(|(node, id)| {
            let (op, parents) = match node.split_once("<-") {
                Some((op, parents)) => (op, parse_numbers(parents)),
                None => (node, id.checked_sub(1).into_iter().collect()),
            };
            let waits_for_earlier = parents.iter().all(|&parent| parent < id);
            waits_for_earlier.then_some(Node { op: parse_op(op)?, parents })
        })
        .collect()
}

fn parse_numbers(text: &str) -> Vec<u32> {
    text.split('.').filter(|number| !number.is_empty()).map(|number| number.parse().expect("a node")).collect()
}

fn parse_op(op: &str) -> Option<Op> {
    let collective = |kind, rest: &str| {
        let (bytes, dims) = match rest.split_once('@') {
            Some((bytes, mask)) => (bytes, DimMask::new(&mask.chars().map(|dim| dim == '1').collect::<Vec<_>>())),
            None => (rest, DimMask::ALL),
        };
        Op::Collective(Collective { kind, bytes: bytes.parse().expect("bytes"), dims })
    };
    // Two letters first: "C" begins no collective.
    let op = match op.split_at(op.len().min(2)) {
        ("AR", rest) => collective(CollectiveKind::AllReduce, rest),
        ("AG", rest) => collective(CollectiveKind::AllGather, rest),
        ("RS", rest) => collective(CollectiveKind::ReduceScatter, rest),
        ("AA", rest) => collective(CollectiveKind::AllToAll, rest),
        _ => match op.split_at(1) {
            ("C", ns) => Op::Compute(Duration::from_ns(ns.parse().expect("a time"))),
            ("L" | "W", rest) => {
                let (bytes, device) = rest.split_once('@').expect("a device");
                Op::Memory { bytes: bytes.parse().expect("bytes"), device: device[1..].parse().expect("a device") }
            }
            ("S" | "V" | "P", _) => return None,
            _ => panic!("an unknown operation: {op}"),
        },
    };
    Some(op)
}

/// The kinds of memory a recorded graph uses: `R`, `C` or `L`, each once.
pub(crate) fn memory_kinds(text: &str) -> Vec<char> {
    let mut kinds: Vec<char> = text.split('@').skip(1).filter_map(|rest| rest.chars().next()).collect();
    kinds.retain(|kind| kind.is_alphabetic());
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Builds what [`parse_graphs`] read.
pub(crate) fn build(nodes: &[Node]) -> Rc<Graph> {
    let mut graph = Graph::with_capacity(nodes.len());
    for node in nodes {
        graph.push(node.op, &node.parents);
    }
    Rc::new(graph)
}
