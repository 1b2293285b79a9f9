//! Traces to bytes, as LLMServingSim's converter lays them out.

use std::io::{self, Write};

use prost::Message as _;

use crate::numbering::{NodeType, Numbering};
use crate::trace::{Collective, Message, Metadata, NodeKind, Tensor, Trace, TraceNode};
use crate::wire::{Attribute, BoolList, GlobalMetadata, Node, Value};

/// Writes a trace file: attributes in the converter's order and of its types, and of what the converter doesn't write
/// (operations, the host's computations, priorities, groups) only what is not 0, false or absent.
///
/// # Errors
/// Those of `sink`, and [`io::ErrorKind::InvalidInput`] for a node that the file can't hold: a computation in memory in
/// MLCommons' numbering, a rank or tag over 2³¹ − 1, a message's or collective's size or a number of operations over
/// 2⁶³ − 1. What came before it is written by then.
pub fn encode(trace: &Trace, numbering: Numbering, sink: &mut impl Write) -> io::Result<()> {
    let mut buffer = metadata(&trace.metadata).encode_length_delimited_to_vec();
    for node in &trace.nodes {
        sink.write_all(&buffer)?;
        buffer.clear();
        buffer.extend(wire_node(node, numbering)?.encode_length_delimited_to_vec());
    }
    sink.write_all(&buffer)
}

fn metadata(metadata: &Metadata) -> GlobalMetadata {
    let text = |name: &str, text: &Option<String>| Some(attribute(name, Value::String(text.clone()?)));
    let attributes = [text("schema", &metadata.schema), text("input_file", &metadata.input_file)];
    GlobalMetadata { version: metadata.version.clone(), attributes: attributes.into_iter().flatten().collect() }
}

fn wire_node(node: &TraceNode, numbering: Numbering) -> io::Result<Node> {
    let refuse = |what: String| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("node {} can't be written: {what}", node.id))
    };
    let (node_type, duration_micros, attributes) = match &node.kind {
        NodeKind::Invalid => (NodeType::Invalid, 0, Ok(Vec::new())),
        NodeKind::Metadata => (NodeType::Metadata, 0, Ok(Vec::new())),
        NodeKind::Load(tensor) => (NodeType::Load, 0, Ok(of_tensor(tensor))),
        NodeKind::Store(tensor) => (NodeType::Store, 0, Ok(of_tensor(tensor))),
        NodeKind::Pim { tensor, channel, time_ns } => {
            let mut attributes = of_tensor(tensor);
            attributes.push(attribute("tensor_channel", Value::Uint32(*channel)));
            (NodeType::Pim, *time_ns, Ok(attributes))
        }
        NodeKind::Compute { time_ns, num_ops, tensor_bytes, on_host } => {
            (NodeType::Compute, *time_ns, of_compute(*num_ops, *tensor_bytes, *on_host))
        }
        NodeKind::Send(message) => (NodeType::Send, 0, of_message(message)),
        NodeKind::Recv(message) => (NodeType::Recv, 0, of_message(message)),
        NodeKind::Collective(collective) => (NodeType::Collective, collective.time_ns, of_collective(collective)),
    };
    let number = numbering.number(node_type);
    Ok(Node {
        id: node.id,
        name: node.name.clone(),
        kind: number.ok_or_else(|| refuse(format!("{numbering} has no computation in memory")))?,
        ctrl_deps: Vec::new(),
        data_deps: node.parents.clone(),
        duration_micros,
        attributes: attributes.map_err(refuse)?,
    })
}

fn of_tensor(tensor: &Tensor) -> Vec<Attribute> {
    vec![
        attribute("tensor_size", Value::Uint64(tensor.bytes)),
        attribute("tensor_loc", Value::Uint32(tensor.location as u32)),
        attribute("tensor_device", Value::Uint32(tensor.device)),
    ]
}

fn of_compute(num_ops: u64, tensor_bytes: u64, on_host: bool) -> Result<Vec<Attribute>, String> {
    let mut attributes = Vec::new();
    if on_host {
        attributes.push(attribute("is_cpu_op", Value::Bool(true)));
    }
    if num_ops > 0 {
        attributes.push(int64("num_ops", num_ops)?);
    }
    if tensor_bytes > 0 {
        attributes.push(attribute("tensor_size", Value::Uint64(tensor_bytes)));
    }
    Ok(attributes)
}

fn of_message(message: &Message) -> Result<Vec<Attribute>, String> {
    let comm_type = message.comm_type.map(|kind| attribute("comm_type", Value::Int64(kind as i64)));
    let mut attributes: Vec<Attribute> = comm_type.into_iter().collect();
    attributes.extend([
        int32("comm_src", message.from)?,
        int32("comm_dst", message.to)?,
        int64("comm_size", message.bytes)?,
        int32("comm_tag", message.tag)?,
    ]);
    Ok(attributes)
}

fn of_collective(collective: &Collective) -> Result<Vec<Attribute>, String> {
    let mut attributes =
        vec![attribute("comm_type", Value::Int64(collective.kind as i64)), int64("comm_size", collective.bytes)?];
    if let Some(involved) = &collective.involved {
        attributes.push(attribute("involved_dim", Value::BoolList(BoolList { values: involved.clone() })));
    }
    if collective.priority != 0 {
        attributes.push(attribute("comm_priority", Value::Int32(collective.priority)));
    }
    if let Some(group) = &collective.group {
        attributes.push(attribute("pg_name", Value::String(group.clone())));
    }
    Ok(attributes)
}

fn int32(name: &str, value: u32) -> Result<Attribute, String> {
    let value = i32::try_from(value).map_err(|_| format!("{name} is {value}, more than {}", i32::MAX))?;
    Ok(attribute(name, Value::Int32(value)))
}

fn int64(name: &str, value: u64) -> Result<Attribute, String> {
    let value = i64::try_from(value).map_err(|_| format!("{name} is {value}, more than {}", i64::MAX))?;
    Ok(attribute(name, Value::Int64(value)))
}

fn attribute(name: &str, value: Value) -> Attribute {
    Attribute { name: name.to_owned(), value: Some(value) }
}
