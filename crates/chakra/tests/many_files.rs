//! A set of many small files: in order, the same each time, and how long that takes.

mod common;

use std::time::Instant;

use chakra::{
    Collective, CollectiveType, MemoryKind, Metadata, NodeKind, Numbering, Tensor, Trace, TraceNode, file_path,
    read_set,
};

const NUM_NPUS: u32 = 1024;

fn trace(npu: u32) -> Trace {
    let collective = Collective {
        kind: CollectiveType::AllReduce,
        bytes: 1 << 20,
        involved: Some(vec![true, false]),
        priority: 0,
        group: None,
        time_ns: 0,
    };
    let tensor = |bytes| Tensor { bytes, location: MemoryKind::Host, device: npu / 8 };
    let compute = NodeKind::Compute { time_ns: u64::from(npu), num_ops: 0, tensor_bytes: 0, on_host: false };
    let kinds = [
        ("MEM_LOAD_NODE_layer_INPUT", NodeKind::Load(tensor(300))),
        ("COMP_NODE_layer", compute.clone()),
        ("COMM_COLL_NODE_layer_ALLREDUCE", NodeKind::Collective(collective)),
        ("COMP_NODE_layer", compute),
        ("MEM_STORE_NODE_layer_OUTPUT", NodeKind::Store(tensor(4096))),
    ];
    let nodes = (0..).zip(kinds).map(|(id, (name, kind))| {
        let parents = if id == 0 { Vec::new() } else { vec![id - 1] };
        TraceNode { id, name: name.to_owned(), kind, parents }
    });
    Trace { metadata: Metadata::of("inputs/trace/batch.txt"), nodes: nodes.collect() }
}

#[test]
fn many_small_files() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("run");
    for npu in 0..NUM_NPUS {
        let bytes = common::encoded(&trace(npu), Numbering::Casys);
        std::fs::write(file_path(&prefix, npu), bytes).unwrap();
    }
    let mut best_ms = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let set = read_set(&prefix, NUM_NPUS, None).unwrap();
        best_ms = best_ms.min(start.elapsed().as_secs_f64() * 1e3);
        assert!(set.traces.iter().zip(0..).all(|(read, npu)| *read == trace(npu)));
    }
    let files: Vec<Vec<u8>> = (0..NUM_NPUS).map(|npu| common::encoded(&trace(npu), Numbering::Casys)).collect();
    let mut best_decode_ms = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        common::decoded(&files, None).unwrap();
        best_decode_ms = best_decode_ms.min(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "{NUM_NPUS} files of 5 nodes are read in {best_ms:.1} ms, from memory in {best_decode_ms:.1} ms (best of 5)"
    );
}
