//! Protobuf by hand, and random traces.
#![allow(dead_code, reason = "each test target uses a part")]

use chakra::{
    Collective, CollectiveType, File, MemoryKind, Message, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds a varint.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that holds bytes: a string, a message or packed numbers.
pub(crate) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A message behind its length.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [varint(message.len() as u64), message.to_vec()].concat()
}

/// A node's field with the attribute `name`, whose value is the field `value`.
pub(crate) fn attribute(name: &str, value: Vec<u8>) -> Vec<u8> {
    bytes(10, &[bytes(1, name.as_bytes()), value].concat())
}

pub(crate) fn int32(name: &str, value: i32) -> Vec<u8> {
    attribute(name, number(7, i64::from(value) as u64))
}

pub(crate) fn int64(name: &str, value: i64) -> Vec<u8> {
    attribute(name, number(9, value as u64))
}

pub(crate) fn uint32(name: &str, value: u32) -> Vec<u8> {
    attribute(name, number(11, value.into()))
}

pub(crate) fn uint64(name: &str, value: u64) -> Vec<u8> {
    attribute(name, number(13, value))
}

/// A node behind its length, with these further fields.
pub(crate) fn node(id: u64, node_type: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    framed(&[number(1, id), number(3, node_type), fields.concat()].concat())
}

/// A file with empty metadata and these nodes.
pub(crate) fn file(nodes: &[Vec<u8>]) -> Vec<u8> {
    [framed(&[]), nodes.concat()].concat()
}

pub(crate) fn encoded(trace: &Trace, numbering: Numbering) -> Vec<u8> {
    let mut bytes = Vec::new();
    chakra::encode(trace, numbering, &mut bytes).expect("a vector takes everything");
    bytes
}

/// The set of these files, called `a.0.et` and so on.
pub(crate) fn decoded(
    files: &[Vec<u8>],
    numbering: Option<Numbering>,
) -> Result<chakra::TraceSet, diagnostics::Faults> {
    let names: Vec<String> = (0..files.len()).map(|npu| format!("a.{npu}.et")).collect();
    let files: Vec<File<'_>> = names.iter().zip(files).map(|(name, bytes)| File { name, bytes }).collect();
    chakra::decode(&files, numbering)
}

const INT32_MAX: u32 = i32::MAX as u32;
const INT64_MAX: u64 = i64::MAX as u64;

fn tensors() -> impl Strategy<Value = Tensor> {
    let location = prop_oneof![Just(MemoryKind::Npu), Just(MemoryKind::Host), Just(MemoryKind::Pool)];
    (any::<u64>(), location, any::<u32>()).prop_map(|(bytes, location, device)| Tensor { bytes, location, device })
}

fn messages() -> impl Strategy<Value = Message> {
    let comm_type = option::of(proptest::sample::select(&CollectiveType::ALL));
    (0..=INT32_MAX, 0..=INT32_MAX, 1..=INT64_MAX, 0..=INT32_MAX, comm_type)
        .prop_map(|(from, to, bytes, tag, comm_type)| Message { from, to, bytes, tag, comm_type })
}

fn collectives() -> impl Strategy<Value = Collective> {
    let kind = proptest::sample::select(&CollectiveType::ALL);
    let involved = option::of(vec(any::<bool>(), 0..4));
    let priority = prop_oneof![Just(0), any::<i32>()];
    (kind, 0..=INT64_MAX, involved, priority, option::of(".{0,3}"), any::<u64>()).prop_map(
        |(kind, bytes, involved, priority, group, time_ns)| Collective {
            kind,
            bytes,
            involved,
            priority,
            group,
            time_ns,
        },
    )
}

fn small_or_any(most: u64) -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..=most]
}

fn kinds(numbering: Numbering) -> BoxedStrategy<NodeKind> {
    let compute = (small_or_any(u64::MAX), small_or_any(INT64_MAX), small_or_any(u64::MAX), any::<bool>()).prop_map(
        |(time_ns, num_ops, tensor_bytes, on_host)| NodeKind::Compute { time_ns, num_ops, tensor_bytes, on_host },
    );
    let all = prop_oneof![
        Just(NodeKind::Invalid),
        Just(NodeKind::Metadata),
        tensors().prop_map(NodeKind::Load),
        tensors().prop_map(NodeKind::Store),
        compute,
        messages().prop_map(NodeKind::Send),
        messages().prop_map(NodeKind::Recv),
        collectives().prop_map(NodeKind::Collective),
    ];
    match numbering {
        Numbering::MlCommons => all.boxed(),
        Numbering::Casys => {
            let pim = (tensors(), any::<u32>(), any::<u64>()).prop_map(|(tensor, channel, time_ns)| NodeKind::Pim {
                tensor,
                channel,
                time_ns,
            });
            prop_oneof![8 => all, 1 => pim].boxed()
        }
    }
}

/// A trace whose nodes wait for any that were made before them, and then stand in any order.
pub(crate) fn traces(numbering: Numbering) -> impl Strategy<Value = Trace> {
    let metadata = (".{0,3}", option::of(".{0,9}"), option::of(".{0,9}"))
        .prop_map(|(version, schema, input_file)| Metadata { version, schema, input_file });
    let node = (".{0,9}", kinds(numbering), vec(any::<prop::sample::Index>(), 0..4));
    let ids = prop_oneof![
        proptest::collection::btree_set(any::<u64>(), 8).boxed(),
        Just((0..8).collect::<std::collections::BTreeSet<u64>>()).boxed(),
    ];
    let nodes = (vec(node, 0..8), ids.prop_map(Vec::from_iter).prop_shuffle()).prop_map(|(nodes, ids)| {
        let nodes = nodes.into_iter().enumerate().map(|(index, (name, kind, parents))| {
            let parents = parents.into_iter().filter(|_| index > 0).map(|parent| ids[parent.index(index)]).collect();
            TraceNode { id: ids[index], name, kind, parents }
        });
        nodes.collect::<Vec<_>>()
    });
    (metadata, nodes.prop_shuffle()).prop_map(|(metadata, nodes)| Trace { metadata, nodes })
}

pub(crate) fn numberings() -> impl Strategy<Value = Numbering> {
    prop_oneof![Just(Numbering::MlCommons), Just(Numbering::Casys)]
}
