//! Any bytes are a trace or a fault, and a trace that was read is written and read alike.
//!
//! In the crate's folder, with `cargo install cargo-fuzz` and a nightly toolchain:
//!
//! ```text
//! mkdir -p fuzz/corpus/decode
//! cargo +nightly fuzz run decode fuzz/corpus/decode fuzz/seeds/decode
//! ```
//!
//! A stable toolchain will do without the sanitizer: `RUSTC_BOOTSTRAP=1 cargo fuzz run -s none decode …`.

#![no_main]

use chakra::{File, Numbering, TraceSet};
use libfuzzer_sys::fuzz_target;

/// The bytes as a file of NPU 0, and of NPU 1, where NPU 0 has nothing to do.
fn decode(bytes: &[u8], numbering: Option<Numbering>) -> Option<TraceSet> {
    let file = |name, bytes| File { name, bytes };
    let alone = chakra::decode(&[file("a.0.et", bytes)], numbering).ok();
    let second = chakra::decode(&[file("a.0.et", &[0]), file("a.1.et", bytes)], numbering).ok();
    // Which NPU's file it is matters to the numbering only.
    assert!(numbering.is_none() || alone.is_some() == second.is_some());
    alone
}

fuzz_target!(|bytes: &[u8]| {
    for numbering in [None, Some(Numbering::MlCommons), Some(Numbering::Casys)] {
        let Some(set) = decode(bytes, numbering) else { continue };
        let mut written = Vec::new();
        chakra::encode(&set.traces[0], set.numbering, &mut written).expect("what was read can be written");
        let again = decode(&written, Some(set.numbering)).expect("what was written can be read");
        assert_eq!(again.traces, set.traces);
    }
});
