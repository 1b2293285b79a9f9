//! Small files written out byte by byte.

mod common;

use chakra::{
    Collective, CollectiveType, MemoryKind, Message, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode,
};
use common::{decoded, encoded};

const METADATA: &[u8] = b"\x35\
    \x12\x1d\x0a\x06schema\xea\x01\x121.0.2-chakra.0.0.4\
    \x12\x14\x0a\x0ainput_file\xea\x01\x05a.txt";

/// The first node: neither id 0 nor type 0 is written.
const INVALID: &[u8] = b"\x03\x12\x01i";

const METADATA_NODE: &[u8] = b"\x04\x08\x01\x18\x01";

/// Waits for nodes 0 and 1.
const LOAD: &[u8] = b"\x40\
    \x08\x02\x12\x01l\x18\x02\x2a\x02\x00\x01\
    \x52\x10\x0a\x0btensor_size\x68\xac\x02\
    \x52\x0e\x0a\x0atensor_loc\x58\x02\
    \x52\x11\x0a\x0dtensor_device\x58\x00";

const PIM: &[u8] = b"\x54\
    \x08\x04\x12\x02pi\x18\x04\x38\xc8\x01\
    \x52\x10\x0a\x0btensor_size\x68\x80\x01\
    \x52\x0e\x0a\x0atensor_loc\x58\x02\
    \x52\x11\x0a\x0dtensor_device\x58\x01\
    \x52\x12\x0a\x0etensor_channel\x58\x07";

/// Type 5; only its time.
const COMPUTE: &[u8] = b"\x0c\x08\x05\x12\x01c\x18\x05\x2a\x01\x02\x38\x2a";

/// Type 6. The collective, 0, is written because it is a chosen value of the attribute.
const SEND: &[u8] = b"\x4f\
    \x08\x06\x12\x01s\x18\x06\
    \x52\x0d\x0a\x09comm_type\x48\x00\
    \x52\x0c\x0a\x08comm_src\x38\x00\
    \x52\x0c\x0a\x08comm_dst\x38\x01\
    \x52\x0d\x0a\x09comm_size\x48\x40\
    \x52\x0c\x0a\x08comm_tag\x38\x03";

/// Type 8, over the first of two dimensions.
const COLLECTIVE: &[u8] = b"\x3e\
    \x08\x08\x12\x02ar\x18\x08\
    \x52\x0d\x0a\x09comm_type\x48\x00\
    \x52\x0e\x0a\x09comm_size\x48\x80\x20\
    \x52\x15\x0a\x0cinvolved_dim\xe2\x01\x04\x0a\x02\x01\x00";

fn node(id: u64, name: &str, kind: NodeKind, parents: &[u64]) -> TraceNode {
    TraceNode { id, name: name.to_owned(), kind, parents: parents.to_vec() }
}

#[test]
fn a_file_of_the_converter() {
    let bytes = [METADATA, INVALID, METADATA_NODE, LOAD, PIM, COMPUTE, SEND, COLLECTIVE].concat();
    let host = |bytes, device| Tensor { bytes, location: MemoryKind::Host, device };
    let send = Message { from: 0, to: 1, bytes: 64, tag: 3, comm_type: Some(CollectiveType::AllReduce) };
    let all_reduce = Collective {
        kind: CollectiveType::AllReduce,
        bytes: 4096,
        involved: Some(vec![true, false]),
        priority: 0,
        group: None,
        time_ns: 0,
    };
    let trace = Trace {
        metadata: Metadata::of("a.txt"),
        nodes: vec![
            node(0, "i", NodeKind::Invalid, &[]),
            node(1, "", NodeKind::Metadata, &[]),
            node(2, "l", NodeKind::Load(host(300, 0)), &[0, 1]),
            node(4, "pi", NodeKind::Pim { tensor: host(128, 1), channel: 7, time_ns: 200 }, &[]),
            node(5, "c", NodeKind::Compute { time_ns: 42, num_ops: 0, tensor_bytes: 0, on_host: false }, &[2]),
            node(6, "s", NodeKind::Send(send), &[]),
            node(8, "ar", NodeKind::Collective(all_reduce), &[]),
        ],
    };
    let set = decoded(std::slice::from_ref(&bytes), None).unwrap();
    assert_eq!(set.numbering, Numbering::Casys);
    assert_eq!(set.num_nodes_with_ctrl_deps, 0);
    assert_eq!(set.traces, std::slice::from_ref(&trace));
    assert_eq!(encoded(&trace, Numbering::Casys), bytes);
}

/// The same node in the other numbering; the fields that nothing reads are skipped, and unpacked numbers are read.
#[test]
fn a_file_of_others() {
    let bytes = b"\x00\
        \x18\x08\x05\x18\x04\x20\x01\x20\x02\x28\x06\x30\x63\x38\x2a\x42\x03\x0a\x01x\x4a\x03\x0a\x01y\
        \x02\x08\x06";
    let set = decoded(&[bytes.to_vec()], None).unwrap();
    assert_eq!(set.numbering, Numbering::MlCommons);
    assert_eq!(set.num_nodes_with_ctrl_deps, 1);
    let compute = NodeKind::Compute { time_ns: 42, num_ops: 0, tensor_bytes: 0, on_host: false };
    assert_eq!(set.traces[0].metadata, Metadata::default());
    assert_eq!(set.traces[0].nodes, [node(5, "", compute, &[6]), node(6, "", NodeKind::Invalid, &[])]);
}

#[test]
fn what_a_file_cannot_hold() {
    fn check(kind: NodeKind, numbering: Numbering, expected: &str) {
        let trace = Trace { metadata: Metadata::default(), nodes: vec![node(7, "", kind, &[])] };
        let error = chakra::encode(&trace, numbering, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), expected);
    }
    let tensor = Tensor { bytes: 1, location: MemoryKind::Host, device: 0 };
    check(
        NodeKind::Pim { tensor, channel: 0, time_ns: 1 },
        Numbering::MlCommons,
        "node 7 can't be written: MLCommons' numbering has no computation in memory",
    );
    let message = Message { from: 0, to: 1, bytes: 1, tag: 0, comm_type: None };
    check(
        NodeKind::Send(Message { tag: 1 << 31, ..message }),
        Numbering::Casys,
        "node 7 can't be written: comm_tag is 2147483648, more than 2147483647",
    );
    check(
        NodeKind::Recv(Message { bytes: 1 << 63, ..message }),
        Numbering::Casys,
        "node 7 can't be written: comm_size is 9223372036854775808, more than 9223372036854775807",
    );
}
