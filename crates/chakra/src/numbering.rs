//! Two numberings of node types, and how to tell them apart.

use std::fmt;

use crate::attributes::Attributes;
use crate::wire::{Attribute, Node};

/// How node types are numbered in a file, which doesn't say so itself.
///
/// LLMServingSim's converter and simulator come from a fork of Chakra that put the computation in memory in the middle,
/// as type 4, so that the types after it moved up by one. Types 0 to 3 are the same in both. Where a caller doesn't know,
/// the nodes of all files of a set are asked:
///
/// | type | speaks for MLCommons | speaks for the fork |
/// |---|---|---|
/// | 4 | computes: neither `tensor_loc` nor `tensor_channel` | computes in memory: either of them |
/// | 5 | sends: `comm_dst` | computes: no attribute of communication |
/// | 6 | receives: in the file of its `comm_dst` | sends: in the file of its `comm_src` |
/// | 7 | collective: `comm_type`, no `comm_src`, no `comm_tag` | receives: `comm_src` or `comm_tag` |
/// | 8 | | collective |
///
/// Where none speaks for either, it doesn't matter, and MLCommons' is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// MLCommons' own: compute 4, send 5, receive 6, collective 7.
    MlCommons,
    /// That of the fork by casys-kaist, which LLMServingSim uses: compute in memory 4, compute 5, send 6, receive 7,
    /// collective 8.
    Casys,
}

impl fmt::Display for Numbering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MlCommons => "MLCommons' numbering",
            Self::Casys => "LLMServingSim's numbering",
        })
    }
}

/// What the number of a type means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeType {
    Invalid,
    Metadata,
    Load,
    Store,
    Pim,
    Compute,
    Send,
    Recv,
    Collective,
}

impl Numbering {
    /// The types in the order of their numbers.
    pub(crate) fn types(self) -> &'static [NodeType] {
        use NodeType::*;
        match self {
            Self::MlCommons => &[Invalid, Metadata, Load, Store, Compute, Send, Recv, Collective],
            Self::Casys => &[Invalid, Metadata, Load, Store, Pim, Compute, Send, Recv, Collective],
        }
    }

    /// The number of a type; `None` where there is none.
    pub(crate) fn number(self, node_type: NodeType) -> Option<i32> {
        self.types().iter().position(|&other| other == node_type).map(|index| index as i32)
    }
}

/// Nodes that speak for a numbering: the first in file order for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) mlcommons: Option<Witness>,
    pub(crate) casys: Option<Witness>,
}

/// A node that speaks for a numbering.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Witness {
    /// Whose file it is in.
    pub(crate) npu: u32,
    pub(crate) node_id: u64,
    /// What it has.
    pub(crate) what: &'static str,
}

impl Evidence {
    /// What the nodes of one file say.
    pub(crate) fn of(npu: u32, nodes: &[Node]) -> Self {
        let mut evidence = Self::default();
        for node in nodes {
            let Some((numbering, what)) = testimony(npu, node) else { continue };
            let slot = match numbering {
                Numbering::MlCommons => &mut evidence.mlcommons,
                Numbering::Casys => &mut evidence.casys,
            };
            slot.get_or_insert(Witness { npu, node_id: node.id, what });
            if evidence.mlcommons.is_some() && evidence.casys.is_some() {
                break;
            }
        }
        evidence
    }

    /// This, or what a later file says.
    pub(crate) fn or(self, later: Self) -> Self {
        Self { mlcommons: self.mlcommons.or(later.mlcommons), casys: self.casys.or(later.casys) }
    }
}

/// Which numbering a node speaks for, and by what.
fn testimony(npu: u32, node: &Node) -> Option<(Numbering, &'static str)> {
    use Numbering::{Casys, MlCommons};
    if !(4..=8).contains(&node.kind) {
        return None;
    }
    let attributes = Attributes::of(&node.attributes);
    let is_here = |rank: Option<&Attribute>| rank.is_some_and(|rank| rank.integer() == Some(npu.into()));
    match node.kind {
        4 if attributes.tensor_loc.is_some() => Some((Casys, "type 4 with tensor_loc")),
        4 if attributes.tensor_channel.is_some() => Some((Casys, "type 4 with tensor_channel")),
        4 => Some((MlCommons, "type 4 without tensor_loc")),
        5 if attributes.comm_dst.is_some() => Some((MlCommons, "type 5 with comm_dst")),
        5 if !attributes.communicates() => Some((Casys, "type 5 without attributes of communication")),
        6 => match (is_here(attributes.comm_src), is_here(attributes.comm_dst)) {
            (true, false) => Some((Casys, "type 6 in the file of its comm_src")),
            (false, true) => Some((MlCommons, "type 6 in the file of its comm_dst")),
            _ => None,
        },
        7 if attributes.comm_src.is_some() => Some((Casys, "type 7 with comm_src")),
        7 if attributes.comm_tag.is_some() => Some((Casys, "type 7 with comm_tag")),
        7 if attributes.comm_type.is_some() => Some((MlCommons, "type 7 with comm_type, without comm_src")),
        8 => Some((Casys, "type 8")),
        _ => None,
    }
}
