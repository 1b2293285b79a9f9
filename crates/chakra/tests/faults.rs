//! Every way a set of traces can be wrong, with the whole text a user gets to see.

mod common;

use std::path::Path;

use chakra::Numbering::{self, Casys, MlCommons};
use common::{attribute, bytes, decoded, file, framed, int32, int64, node, number, uint32, uint64};

/// Checks the faults of these files, without the hint about the format and the word "error: ".
fn check(files: &[Vec<u8>], numbering: Option<Numbering>, expected: &str) {
    let told = match decoded(files, numbering) {
        Ok(set) => format!("{set:?}"),
        Err(faults) => faults.to_string(),
    };
    assert_eq!(told.replace("error: ", ""), expected.replace("\n    ", "\n"));
}

const NO_TRACE: &str = "\n  hint: a trace file is a sequence of protobuf messages, each behind its length: the metadata, \
                        then the nodes; JSON and text forms of traces must be converted first";
const CUT_OFF: &str = "\n  hint: the file was cut off, or is no Chakra trace";

#[test]
fn not_a_trace() {
    let check = |bytes: &[u8], expected: &str| check(&[bytes.to_vec()], None, expected);
    check(b"", "a.0.et: is empty\n  hint: even a trace without nodes has a message of metadata");
    check(b"\x1f\x8b\x08\x00", "a.0.et: is compressed with gzip\n  hint: decompress it first");
    check(
        b"{\"nodes\": []}",
        &format!("a.0.et at byte 0: the metadata has 123 bytes by its length, and 12 are left{CUT_OFF}"),
    );
    check(b"\x00\x80", &format!("a.0.et at byte 1: ends within the length of a node{CUT_OFF}"));
    check(&[0xff; 20], &format!("a.0.et at byte 0: has no length of the metadata{NO_TRACE}"));
    check(
        b"\x00\x02\x08\x01\x05\x08\x02",
        &format!("a.0.et at byte 4: a node has 5 bytes by its length, and 2 are left{CUT_OFF}"),
    );
    check(
        b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        &format!("a.0.et at byte 1: a node has 18446744073709551615 bytes by its length, and 0 are left{CUT_OFF}"),
    );
    check(
        b"\x00\x02\x08\x80",
        &format!(
            "a.0.et at byte 1: a node can't be decoded: failed to decode Protobuf message: Node.id: invalid varint{NO_TRACE}"
        ),
    );
    // A node where the metadata should be: its id is a number, and the version is a string.
    check(
        b"\x02\x08\x01",
        &format!(
            "a.0.et at byte 0: the metadata can't be decoded: failed to decode Protobuf message: \
             GlobalMetadata.version: invalid wire type: Varint (expected LengthDelimited){NO_TRACE}"
        ),
    );
    // A length that no file has, of a name within the node.
    check(
        b"\x00\x07\x12\xff\xff\xff\xff\xff\x7f",
        &format!(
            "a.0.et at byte 1: a node can't be decoded: failed to decode Protobuf message: Node.name: buffer underflow{NO_TRACE}"
        ),
    );
}

#[test]
fn attributes() {
    let check = |numbering: Numbering, node_type: u64, fields: &[Vec<u8>], expected: &str| {
        check(&[file(&[node(5, node_type, fields)])], Some(numbering), expected);
    };
    let size = || int64("comm_size", 8);
    let kind = || int64("comm_type", 0);
    let tensor = |location| [uint64("tensor_size", 8), uint32("tensor_loc", location)];
    let locations = "\n  hint: 1 is the NPU's memory, 2 the host's, 3 a memory pool";
    // Types.
    check(MlCommons, 8, &[], "a.0.et at node 5: unknown node type 8\n  hint: MLCommons' numbering goes from 0 to 7");
    check(Casys, 9, &[], "a.0.et at node 5: unknown node type 9\n  hint: LLMServingSim's numbering goes from 0 to 8");
    check(
        Casys,
        u64::MAX,
        &[],
        "a.0.et at node 5: unknown node type -1\n  hint: LLMServingSim's numbering goes from 0 to 8",
    );
    // What is missing.
    check(
        MlCommons,
        5,
        &[int32("comm_src", 0)],
        "a.0.et at node 5, comm_dst: is missing, which a send needs (type 5 in MLCommons' numbering)
    a.0.et at node 5, comm_size: is missing, which a send needs (type 5 in MLCommons' numbering)",
    );
    check(
        Casys,
        7,
        &[size()],
        "a.0.et at node 5, comm_src: is missing, which a receive needs (type 7 in LLMServingSim's numbering)",
    );
    check(
        MlCommons,
        7,
        &[],
        "a.0.et at node 5, comm_type: is missing, which a collective needs (type 7 in MLCommons' numbering)
    a.0.et at node 5, comm_size: is missing, which a collective needs (type 7 in MLCommons' numbering)",
    );
    check(
        Casys,
        2,
        &[uint32("tensor_device", 0)],
        "a.0.et at node 5, tensor_size: is missing, which a load needs (type 2 in LLMServingSim's numbering)
    a.0.et at node 5, tensor_loc: is missing, which a load needs (type 2 in LLMServingSim's numbering)",
    );
    check(
        Casys,
        4,
        &[uint32("tensor_loc", 2)],
        "a.0.et at node 5, tensor_size: is missing, which a computation in memory needs (type 4 in LLMServingSim's numbering)",
    );
    // Memory.
    check(Casys, 3, &tensor(0), &format!("a.0.et at node 5, tensor_loc: is 0, no memory{locations}"));
    let storage = format!("a.0.et at node 5, tensor_loc: is 4, storage, which is not simulated{locations}");
    check(Casys, 3, &tensor(4), &storage);
    check(Casys, 3, &tensor(5), &format!("a.0.et at node 5, tensor_loc: is 5, an unknown memory{locations}"));
    // Numbers.
    let send = |size| [int32("comm_dst", 1), int64("comm_size", size)];
    check(
        MlCommons,
        5,
        &send(0),
        "a.0.et at node 5, comm_size: is 0, and a message has at least 1 byte
      hint: leave the message out, or give it a byte",
    );
    check(MlCommons, 5, &send(-8), "a.0.et at node 5, comm_size: is -8 and must be from 0 to 9223372036854775807");
    check(
        MlCommons,
        5,
        &[int32("comm_dst", -1), uint64("comm_size", u64::MAX), int64("comm_tag", 1 << 31)],
        "a.0.et at node 5, comm_dst: is -1 and must be from 0 to 2147483647
    a.0.et at node 5, comm_size: is 18446744073709551615 and must be from 0 to 9223372036854775807
    a.0.et at node 5, comm_tag: is 2147483648 and must be from 0 to 2147483647",
    );
    check(
        Casys,
        5,
        &[int64("num_ops", -1)],
        "a.0.et at node 5, num_ops: is -1 and must be from 0 to 9223372036854775807",
    );
    check(Casys, 8, &[int64("comm_type", 10), size()], "a.0.et at node 5, comm_type: is 10 and must be from 0 to 9");
    check(
        Casys,
        2,
        &[int64("tensor_size", -1), uint32("tensor_loc", 1)],
        "a.0.et at node 5, tensor_size: is -1 and must be from 0 to 18446744073709551615",
    );
    // Kinds of value: a string, a double, a list of integers, none.
    let string = |name: &str| attribute(name, bytes(29, b"1"));
    let double = attribute("comm_size", [varint_tag(3, 1), 8f64.to_le_bytes().to_vec()].concat());
    check(Casys, 8, &[kind(), string("comm_size")], "a.0.et at node 5, comm_size: is a string and must be an integer");
    check(
        Casys,
        8,
        &[kind(), double],
        "a.0.et at node 5, comm_size: is a floating-point number and must be an integer",
    );
    let list = attribute("comm_size", bytes(10, &bytes(1, &[1])));
    check(Casys, 8, &[kind(), list], "a.0.et at node 5, comm_size: is empty or a list and must be an integer");
    check(
        Casys,
        8,
        &[kind(), size(), int64("involved_dim", 1), int64("pg_name", 1)],
        "a.0.et at node 5, involved_dim: is an integer and must be a list of booleans
    a.0.et at node 5, pg_name: is an integer and must be a string",
    );
    check(Casys, 5, &[int64("is_cpu_op", 1)], "a.0.et at node 5, is_cpu_op: is an integer and must be a boolean");
}

fn varint_tag(field: u64, wire_type: u64) -> Vec<u8> {
    common::varint(field << 3 | wire_type)
}

#[test]
fn graphs() {
    let check = |nodes: &[Vec<u8>], expected: &str| check(&[file(nodes)], None, expected);
    let waits = |id, parents: &[u64]| {
        let fields: Vec<Vec<u8>> = parents.iter().map(|&parent| number(5, parent)).collect();
        node(id, 0, &fields)
    };
    check(
        &[waits(7, &[]), waits(3, &[]), waits(7, &[3])],
        "a.0.et at node 7: is the id of two nodes, number 1 and number 3 in the file
      hint: ids are unique in a file",
    );
    check(
        &[waits(7, &[3]), waits(8, &[9, 7])],
        "a.0.et at node 7, data_deps: waits for node 3, which is not in the file
    a.0.et at node 8, data_deps: waits for node 9, which is not in the file",
    );
    check(&[waits(7, &[7])], "a.0.et at node 7, data_deps: waits for itself");
    check(&[waits(7, &[8]), waits(8, &[7])], "a.0.et at node 7, data_deps: waits for itself by way of node 8");
    check(
        &[waits(9, &[]), waits(7, &[5]), waits(8, &[9, 6]), waits(6, &[5]), waits(5, &[8, 9])],
        "a.0.et at node 5, data_deps: waits for itself by way of nodes 8, 6",
    );
    let ring: Vec<Vec<u8>> = (0..12).map(|id| waits(id, &[(id + 1) % 12])).collect();
    check(&ring, "a.0.et at node 0, data_deps: waits for itself by way of nodes 1, 2, 3, 4, 5, 6, 7, 8, …");
}

/// One node for each kind of evidence: what it speaks for, in the file of NPU 1.
#[test]
fn evidence() {
    let compute_in_memory = [uint64("tensor_size", 8), uint32("tensor_loc", 2)];
    let between = |from, to| vec![int32("comm_src", from), int32("comm_dst", to), int64("comm_size", 8)];
    let collective = || vec![int64("comm_type", 0), int64("comm_size", 8)];
    type Row = (&'static str, u64, Vec<Vec<u8>>, Option<Numbering>);
    let rows: [Row; 14] = [
        ("nothing", 0, vec![], None),
        ("a load", 2, compute_in_memory.to_vec(), None),
        ("type 4 without tensor_loc", 4, vec![], Some(MlCommons)),
        ("type 4 with tensor_loc", 4, compute_in_memory.to_vec(), Some(Casys)),
        ("type 4 with tensor_channel", 4, vec![uint32("tensor_channel", 0)], Some(Casys)),
        ("type 5 with comm_dst", 5, between(1, 0), Some(MlCommons)),
        ("type 5 without attributes of communication", 5, vec![], Some(Casys)),
        ("type 6 in the file of its comm_src", 6, between(1, 0), Some(Casys)),
        ("type 6 in the file of its comm_dst", 6, between(0, 1), Some(MlCommons)),
        ("a message of others", 6, between(2, 3), None),
        ("type 7 with comm_src", 7, between(0, 1), Some(Casys)),
        ("type 7 with comm_tag", 7, vec![int32("comm_tag", 0)], Some(Casys)),
        ("type 7 with comm_type, without comm_src", 7, collective(), Some(MlCommons)),
        ("type 8", 8, collective(), Some(Casys)),
    ];
    for (what, node_type, fields, expected) in rows {
        let witness = node(5, node_type, &fields);
        for numbering in [MlCommons, Casys] {
            // The other file speaks for one numbering. If this one doesn't agree, both are named.
            let (said, type_8) = match numbering {
                MlCommons => ("type 4 without tensor_loc", node(9, 4, &[])),
                Casys => ("type 8", node(9, 8, &collective())),
            };
            let result = decoded(&[file(&[type_8]), file(std::slice::from_ref(&witness))], None);
            let told = result.as_ref().map(|set| set.numbering).map_err(ToString::to_string);
            match (expected, numbering) {
                (Some(MlCommons), Casys) => assert_eq!(told, Err(disagreement(1, 5, what, 0, 9, said))),
                (Some(Casys), MlCommons) => assert_eq!(told, Err(disagreement(0, 9, said, 1, 5, what))),
                (Some(_), _) => assert!(told == Ok(numbering) || !told.clone().unwrap_err().contains("disagree")),
                (None, _) => assert!(!told.clone().is_err_and(|told| told.contains("disagree")), "{what}: {told:?}"),
            }
        }
    }
}

/// What is told of a node for MLCommons' numbering and one for LLMServingSim's.
fn disagreement(npu: u32, id: u64, what: &str, other_npu: u32, other_id: u64, other_what: &str) -> String {
    format!(
        "error: a.{npu}.et at node {id}: the files disagree about the numbering of node types: \
         node {id} of a.{npu}.et ({what}) has MLCommons' numbering, \
         node {other_id} of a.{other_npu}.et ({other_what}) has LLMServingSim's numbering\n  \
         hint: say which numbering it is, if you know; a set of traces has one"
    )
}

/// A caller's numbering is not argued with.
#[test]
fn a_forced_numbering() {
    let files = [file(&[node(1, 4, &[]), node(2, 5, &[])])];
    assert!(decoded(&files, None).is_err());
    assert_eq!(decoded(&[file(&[node(1, 5, &[])])], Some(Casys)).unwrap().numbering, Casys);
    assert_eq!(decoded(&[file(&[node(1, 0, &[])])], Some(Casys)).unwrap().numbering, Casys);
    assert_eq!(decoded(&[file(&[node(1, 0, &[])])], None).unwrap().numbering, MlCommons);
}

/// All files are looked at; after 20 faults they are counted.
#[test]
fn many_faults() {
    let unknown: Vec<Vec<u8>> = (0..15).map(|id| node(id, 99, &[])).collect();
    let files = [file(&unknown), b"\x05".to_vec(), file(&unknown)];
    let told = decoded(&files, None).unwrap_err();
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 21);
    assert!(told[14].starts_with("a.0.et at node 14: unknown node type 99"), "{}", told[14]);
    assert!(told[15].starts_with("a.1.et at byte 0: the metadata has 5 bytes"), "{}", told[15]);
    assert!(told[19].starts_with("a.2.et at node 3: unknown node type 99"), "{}", told[19]);
    assert_eq!(told[20], "a.0.et: 11 more faults");
}

#[test]
fn missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("run");
    let shown = |text: String| text.replace(&folder.path().display().to_string(), "FOLDER");
    let read =
        |prefix: &Path, num_npus| chakra::read_set(prefix, num_npus, None).map_err(|faults| shown(faults.to_string()));
    for npu in [0, 1, 2, 4, 8, 11] {
        std::fs::write(chakra::file_path(&prefix, npu), framed(&[])).unwrap();
    }
    assert_eq!(read(&prefix, 3).map(|set| set.traces.len()), Ok(3));
    assert_eq!(read(&prefix, 0).map(|set| set.traces.len()), Ok(0));
    let check = |num_npus, expected: &str| assert_eq!(read(&prefix, num_npus), Err(expected.to_owned()));
    check(4, "error: FOLDER/run: no file for NPU 3\n  hint: the trace of NPU 3 is looked for at FOLDER/run.3.et");
    check(
        200,
        "error: FOLDER/run: no file for NPUs 3, 5–7, 9, 10, 12–199\n  \
         hint: the trace of NPU 3 is looked for at FOLDER/run.3.et",
    );
    std::fs::create_dir(chakra::file_path(&prefix, 3)).unwrap();
    let told = read(&prefix, 4).unwrap_err();
    assert!(told.starts_with("error: FOLDER/run.3.et: can't be read: "), "{told}");
}
