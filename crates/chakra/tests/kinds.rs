//! What attributes make of a node where they are odd but no fault.

mod common;

use chakra::{NodeKind, Numbering};
use common::{attribute, decoded, file, int32, int64, node, number, uint32, uint64, varint};

fn check(node_type: u64, fields: &[Vec<u8>], expected: &str) {
    let set = decoded(&[file(&[]), file(&[node(5, node_type, fields)])], Some(Numbering::Casys)).unwrap();
    let kind: &NodeKind = &set.traces[1].nodes[0].kind;
    assert_eq!(format!("{kind:?}"), expected);
}

fn is_cpu_op(value: u64) -> Vec<u8> {
    attribute("is_cpu_op", number(27, value))
}

#[test]
fn defaults() {
    check(5, &[], "Compute { time_ns: 0, num_ops: 0, tensor_bytes: 0, on_host: false }");
    // The NPU of the file stands for the end that is left out.
    let size = || int64("comm_size", 8);
    check(6, &[int32("comm_dst", 3), size()], "Send(Message { from: 1, to: 3, bytes: 8, tag: 0, comm_type: None })");
    check(7, &[int32("comm_src", 3), size()], "Recv(Message { from: 3, to: 1, bytes: 8, tag: 0, comm_type: None })");
    check(
        8,
        &[int64("comm_type", 9)],
        "Collective(Collective { kind: Barrier, bytes: 0, involved: None, priority: 0, group: None, time_ns: 0 })",
    );
    let tensor = [uint64("tensor_size", 0), uint32("tensor_loc", 3)];
    check(2, &tensor, "Load(Tensor { bytes: 0, location: Pool, device: 0 })");
    check(4, &tensor, "Pim { tensor: Tensor { bytes: 0, location: Pool, device: 0 }, channel: 0, time_ns: 0 }");
}

/// MLCommons' own traces know of one memory.
#[test]
fn memory_that_is_not_named() {
    let files = [file(&[node(0, 2, &[uint64("tensor_size", 8)])])];
    let set = decoded(&files, Some(Numbering::MlCommons)).expect("a sound file");
    let kind = format!("{:?}", set.traces[0].nodes[0].kind);
    assert_eq!(kind, "Load(Tensor { bytes: 8, location: Host, device: 0 })");
}

#[test]
fn computations_on_the_host() {
    let host = "Compute { time_ns: 9, num_ops: 0, tensor_bytes: 0, on_host: true }";
    for node_type in [0, 1, 5, 6, 7, 8] {
        check(node_type, &[number(7, 9), is_cpu_op(1)], host);
    }
    check(1, &[is_cpu_op(0)], "Metadata");
    let load = [uint64("tensor_size", 8), uint32("tensor_loc", 1), is_cpu_op(1)];
    check(3, &load, "Store(Tensor { bytes: 8, location: Npu, device: 0 })");
}

/// Any type of integer will do, and of attributes with one name the last counts.
#[test]
fn integers() {
    let tag = |field: u64, wire_type: u64| varint(field << 3 | wire_type);
    let fixed32 = |field| [tag(field, 5), vec![8, 0, 0, 0]].concat();
    let fixed64 = |field| [tag(field, 1), vec![8, 0, 0, 0, 0, 0, 0, 0]].concat();
    let values = [
        number(7, 8),
        number(9, 8),
        number(11, 8),
        number(13, 8),
        number(15, 16),
        number(17, 16),
        fixed32(19),
        fixed64(21),
        fixed32(23),
        fixed64(25),
    ];
    for value in values {
        let fields = [uint32("tensor_loc", 9), uint32("tensor_loc", 1), attribute("tensor_size", value)];
        check(2, &fields, "Load(Tensor { bytes: 8, location: Npu, device: 0 })");
    }
}
