//! Messages to nodes: types become kinds, attributes become fields, and what is missing or odd becomes a fault.

use std::ops::RangeInclusive;

use diagnostics::Fault;

use crate::attributes::Attributes;
use crate::faults::Collected;
use crate::numbering::{NodeType, Numbering};
use crate::set::Source;
use crate::trace::{Collective, CollectiveType, MemoryKind, Message, NodeKind, Tensor, TraceNode};
use crate::wire::{self, Attribute, Value};

/// Ranks and tags are 32 bits with a sign in a file.
const INT32: RangeInclusive<i128> = 0..=i32::MAX as i128;
/// Sizes of messages and counts of operations are 64 bits with a sign.
const INT64: RangeInclusive<i128> = 0..=i64::MAX as i128;
const UINT32: RangeInclusive<i128> = 0..=u32::MAX as i128;
const UINT64: RangeInclusive<i128> = 0..=u64::MAX as i128;

/// The node that `node` is in the file of NPU `npu`, called `source`. Where a fault is added to `faults`, something
/// stands for what is wrong.
pub(crate) fn node(
    source: Source<'_>,
    npu: u32,
    numbering: Numbering,
    node: wire::Node,
    faults: &mut Collected,
) -> TraceNode {
    let attributes = Attributes::of(&node.attributes);
    let Some(&node_type) = usize::try_from(node.kind).ok().and_then(|number| numbering.types().get(number)) else {
        let last = numbering.types().len() - 1;
        faults.push(|| {
            Fault::new(source, format!("unknown node type {}", node.kind))
                .path(format!("node {}", node.id))
                .hint(format!("{numbering} goes from 0 to {last}"))
        });
        return TraceNode { id: node.id, name: node.name, kind: NodeKind::Invalid, parents: node.data_deps };
    };
    let mut reader = Reader { source, node_id: node.id, number: node.kind, numbering, node_type, faults };
    let kind = reader.kind(npu, node.duration_micros, &attributes);
    TraceNode { id: node.id, name: node.name, kind, parents: node.data_deps }
}

/// Reads the attributes of one node.
struct Reader<'a> {
    source: Source<'a>,
    node_id: u64,
    number: i32,
    numbering: Numbering,
    node_type: NodeType,
    faults: &'a mut Collected,
}

impl Reader<'_> {
    fn kind(&mut self, npu: u32, time_ns: u64, attributes: &Attributes<'_>) -> NodeKind {
        match self.node_type {
            NodeType::Load => return NodeKind::Load(self.tensor(attributes)),
            NodeType::Store => return NodeKind::Store(self.tensor(attributes)),
            NodeType::Pim => {
                let channel = self.integer(attributes.tensor_channel, UINT32).unwrap_or(0) as u32;
                return NodeKind::Pim { tensor: self.tensor(attributes), channel, time_ns };
            }
            _ => {}
        }
        // As ASTRA-Sim has it: a mark on any node but one of memory makes it a computation.
        if self.boolean(attributes.is_cpu_op) {
            return self.compute(time_ns, true, attributes);
        }
        match self.node_type {
            NodeType::Compute => self.compute(time_ns, false, attributes),
            NodeType::Send => NodeKind::Send(self.send(npu, attributes)),
            NodeType::Recv => NodeKind::Recv(self.recv(npu, attributes)),
            NodeType::Collective => NodeKind::Collective(self.collective(time_ns, attributes)),
            NodeType::Metadata => NodeKind::Metadata,
            _ => NodeKind::Invalid,
        }
    }

    fn compute(&mut self, time_ns: u64, on_host: bool, attributes: &Attributes<'_>) -> NodeKind {
        NodeKind::Compute {
            time_ns,
            num_ops: self.integer(attributes.num_ops, INT64).unwrap_or(0) as u64,
            tensor_bytes: self.integer(attributes.tensor_size, UINT64).unwrap_or(0) as u64,
            on_host,
        }
    }

    fn tensor(&mut self, attributes: &Attributes<'_>) -> Tensor {
        Tensor {
            bytes: self.required("tensor_size", attributes.tensor_size, UINT64).unwrap_or(0) as u64,
            location: self.location(attributes.tensor_loc),
            device: self.integer(attributes.tensor_device, UINT32).unwrap_or(0) as u32,
        }
    }

    fn location(&mut self, attribute: Option<&Attribute>) -> MemoryKind {
        if attribute.is_none() && self.numbering == Numbering::MlCommons {
            // MLCommons' own traces know of one memory, which ASTRA-Sim takes to be the host's.
            return MemoryKind::Host;
        }
        let wrong = match self.required("tensor_loc", attribute, UINT32) {
            None | Some(1) => return MemoryKind::Npu,
            Some(2) => return MemoryKind::Host,
            Some(3) => return MemoryKind::Pool,
            Some(0) => "is 0, no memory".to_owned(),
            Some(4) => "is 4, storage, which is not simulated".to_owned(),
            Some(other) => format!("is {other}, an unknown memory"),
        };
        self.fault("tensor_loc", wrong, Some("1 is the NPU's memory, 2 the host's, 3 a memory pool"));
        MemoryKind::Npu
    }

    fn send(&mut self, npu: u32, attributes: &Attributes<'_>) -> Message {
        let from = self.integer(attributes.comm_src, INT32).map_or(npu, |rank| rank as u32);
        let to = self.required("comm_dst", attributes.comm_dst, INT32).unwrap_or(0) as u32;
        self.message(from, to, attributes)
    }

    fn recv(&mut self, npu: u32, attributes: &Attributes<'_>) -> Message {
        let from = self.required("comm_src", attributes.comm_src, INT32).unwrap_or(0) as u32;
        let to = self.integer(attributes.comm_dst, INT32).map_or(npu, |rank| rank as u32);
        self.message(from, to, attributes)
    }

    fn message(&mut self, from: u32, to: u32, attributes: &Attributes<'_>) -> Message {
        let bytes = self.required("comm_size", attributes.comm_size, INT64);
        if bytes == Some(0) {
            let hint = "leave the message out, or give it a byte";
            self.fault("comm_size", "is 0, and a message has at least 1 byte".to_owned(), Some(hint));
        }
        Message {
            from,
            to,
            bytes: bytes.unwrap_or(0) as u64,
            tag: self.integer(attributes.comm_tag, INT32).unwrap_or(0) as u32,
            comm_type: self.collective_type(attributes.comm_type),
        }
    }

    fn collective(&mut self, time_ns: u64, attributes: &Attributes<'_>) -> Collective {
        if attributes.comm_type.is_none() {
            self.missing("comm_type");
        }
        let kind = self.collective_type(attributes.comm_type);
        let bytes = match kind {
            Some(CollectiveType::Barrier) => self.integer(attributes.comm_size, INT64),
            _ => self.required("comm_size", attributes.comm_size, INT64),
        };
        let priorities = i32::MIN.into()..=i32::MAX.into();
        Collective {
            kind: kind.unwrap_or(CollectiveType::Barrier),
            bytes: bytes.unwrap_or(0) as u64,
            involved: self.involved(attributes.involved_dim),
            priority: self.integer(attributes.comm_priority, priorities).unwrap_or(0) as i32,
            group: self.group(attributes.pg_name),
            time_ns,
        }
    }

    fn collective_type(&mut self, attribute: Option<&Attribute>) -> Option<CollectiveType> {
        let last = CollectiveType::ALL.len() as i128 - 1;
        let number = self.integer(attribute, 0..=last)?;
        CollectiveType::ALL.get(number as usize).copied()
    }

    fn involved(&mut self, attribute: Option<&Attribute>) -> Option<Vec<bool>> {
        let attribute = attribute?;
        match &attribute.value {
            Some(Value::BoolList(list)) => Some(list.values.clone()),
            _ => self.wrong_kind(attribute, "a list of booleans"),
        }
    }

    fn group(&mut self, attribute: Option<&Attribute>) -> Option<String> {
        let attribute = attribute?;
        match &attribute.value {
            Some(Value::String(name)) => Some(name.clone()),
            _ => self.wrong_kind(attribute, "a string"),
        }
    }

    fn boolean(&mut self, attribute: Option<&Attribute>) -> bool {
        let Some(attribute) = attribute else { return false };
        match attribute.value {
            Some(Value::Bool(value)) => value,
            _ => self.wrong_kind(attribute, "a boolean").unwrap_or(false),
        }
    }

    /// As [`Self::integer`], of an attribute that must be there.
    fn required(&mut self, name: &str, attribute: Option<&Attribute>, range: RangeInclusive<i128>) -> Option<i128> {
        if attribute.is_none() {
            self.missing(name);
        }
        self.integer(attribute, range)
    }

    /// An attribute's whole number; `None` where it is not there, or is wrong, which becomes a fault.
    fn integer(&mut self, attribute: Option<&Attribute>, range: RangeInclusive<i128>) -> Option<i128> {
        let attribute = attribute?;
        match attribute.integer() {
            Some(value) if range.contains(&value) => Some(value),
            Some(value) => {
                let (least, most) = range.into_inner();
                self.fault(&attribute.name, format!("is {value} and must be from {least} to {most}"), None);
                None
            }
            None => self.wrong_kind(attribute, "an integer"),
        }
    }

    fn wrong_kind<T>(&mut self, attribute: &Attribute, wanted: &str) -> Option<T> {
        self.fault(&attribute.name, format!("is {} and must be {wanted}", attribute.kind()), None);
        None
    }

    fn missing(&mut self, attribute: &str) {
        let Self { number, numbering, .. } = *self;
        let what = match self.node_type {
            NodeType::Load => "a load",
            NodeType::Store => "a store",
            NodeType::Pim => "a computation in memory",
            NodeType::Compute => "a computation",
            NodeType::Send => "a send",
            NodeType::Recv => "a receive",
            NodeType::Collective => "a collective",
            NodeType::Invalid | NodeType::Metadata => "a node",
        };
        self.fault(attribute, format!("is missing, which {what} needs (type {number} in {numbering})"), None);
    }

    fn fault(&mut self, attribute: &str, message: String, hint: Option<&str>) {
        let Self { source, node_id, .. } = *self;
        self.faults.push(|| {
            let fault = Fault::new(source, message).path(format!("node {node_id}, {attribute}"));
            if let Some(hint) = hint { fault.hint(hint) } else { fault }
        });
    }
}
