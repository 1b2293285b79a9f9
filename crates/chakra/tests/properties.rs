//! What holds for any trace, and for any bytes.

mod common;

use chakra::{NodeKind, Trace};
use common::{decoded, encoded, numberings, traces};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// The trace as one that NPU `npu` of four may have: its messages are its own and go to somebody else.
fn at_home(mut trace: Trace, npu: u32) -> Trace {
    for node in &mut trace.nodes {
        match &mut node.kind {
            NodeKind::Send(message) => (message.from, message.to) = (npu, (npu + 1 + message.to % 3) % 4),
            NodeKind::Recv(message) => (message.from, message.to) = ((npu + 1 + message.from % 3) % 4, npu),
            _ => {}
        }
    }
    trace
}

proptest! {
    /// What was written is read.
    #[test]
    fn a_trace_survives((numbering, trace) in numberings().prop_flat_map(|one| (Just(one), traces(one)))) {
        let set = decoded(&[encoded(&trace, numbering)], Some(numbering)).map_err(|faults| faults.to_string());
        let traces = set.map(|set| set.traces);
        prop_assert_eq!(traces, Ok(vec![trace]));
    }

    /// Traces that a converter could have made say themselves how their types are numbered.
    #[test]
    fn the_numbering_is_found(
        (numbering, traces) in numberings().prop_flat_map(|one| (Just(one), vec(traces(one), 4)))
    ) {
        let traces: Vec<Trace> = (0..).zip(traces).map(|(npu, trace)| at_home(trace, npu)).collect();
        let files: Vec<Vec<u8>> = traces.iter().map(|trace| encoded(trace, numbering)).collect();
        let set = decoded(&files, None).map_err(|faults| faults.to_string());
        prop_assert_eq!(set.map(|set| set.traces), Ok(traces));
    }

    /// Noise is told, twice in the same words.
    #[test]
    fn noise_is_refused_or_read(files in vec(vec(any::<u8>(), 0..64), 0..3)) {
        prop_assert_eq!(decoded(&files, None), decoded(&files, None));
    }

    /// So are files that were cut off, changed, or put together from others.
    #[test]
    fn damage_is_refused_or_read(
        (numbering, trace) in numberings().prop_flat_map(|one| (Just(one), traces(one))),
        changes in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in any::<Index>(),
        from in any::<Index>(),
    ) {
        let whole = encoded(&trace, numbering);
        let mut changed = whole.clone();
        for (index, byte) in changes {
            let index = index.index(changed.len());
            changed[index] = byte;
        }
        let cut_off = whole[..cut.index(whole.len())].to_vec();
        let joined = [&cut_off, &changed[from.index(changed.len())..]].concat();
        for files in [vec![changed.clone()], vec![cut_off.clone()], vec![joined.clone()], vec![changed, cut_off, joined]] {
            prop_assert_eq!(decoded(&files, None), decoded(&files, None));
            prop_assert_eq!(decoded(&files, Some(numbering)), decoded(&files, Some(numbering)));
        }
    }
}

/// A file that ends early is a fault, unless it ends between two messages.
#[test]
fn every_cut_is_seen() {
    use common::{file, int32, int64, node};
    let nodes = [node(1, 0, &[]), node(2, 5, &[int32("comm_dst", 1), int64("comm_size", 300)])];
    let whole = file(&nodes);
    let ends = [1, 1 + nodes[0].len(), whole.len()];
    for length in 0..=whole.len() {
        let result = decoded(&[whole[..length].to_vec()], None);
        assert_eq!(result.is_ok(), ends.contains(&length), "{length} of {} bytes: {result:?}", whole.len());
    }
}
