//! What is said about faulty files: each row breaks a sound one in one place.

mod common;

use astra::{Loaded, Options};
use common::{MEMORY, NETWORK, SYSTEM, read, replaced, texts};
use diagnostics::Faults;

/// All that is said, line by line, without the names of files.
fn lines(result: Result<Loaded, Faults>) -> Vec<String> {
    let faults = result.expect_err("sound");
    let told = faults.iter().map(|fault| fault.to_string()[fault.source.len() + 1..].to_owned());
    told.flat_map(|fault| fault.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn networks() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert_eq!(lines(read(&replaced(NETWORK, from, to), SYSTEM, MEMORY)), expected, "{to}");
    };
    check(
        "topology: [ Ring, Switch ]",
        "topology: Ring",
        &[
            r#"1:11 at $.topology: expected a list with an entry for each dimension, found "Ring""#,
            "hint: write `[Ring]`",
        ],
    );
    check(
        "topology: [ Ring, Switch ]",
        "topology: []",
        &["1:11 at $.topology: expected a list with an entry for each dimension, found an empty list"],
    );
    check(
        "topology: [ Ring, Switch ]",
        "topology: [ ring, Mesh ]",
        &[
            r#"1:13 at $.topology[0]: expected one of `Ring`, `FullyConnected`, `Switch`, found "ring""#,
            "hint: did you mean `Ring`?",
            r#"1:19 at $.topology[1]: expected one of `Ring`, `FullyConnected`, `Switch`, found "Mesh""#,
        ],
    );
    check(
        "topology: [ Ring, Switch ]",
        "topology: [ Ring ]",
        &[
            "2:13 at $.npus_count: `npus_count` has 2 entries for 1 in `topology`",
            "3:12 at $.bandwidth: `bandwidth` has 2 entries for 1 in `topology`",
            "4:10 at $.latency: `latency` has 2 entries for 1 in `topology`",
        ],
    );
    check(
        "topology: [ Ring, Switch ]",
        "topology: {Ring: 1}",
        &["1:11 at $.topology: expected a list with an entry for each dimension, found a mapping"],
    );
    check(
        "topology: [ Ring, Switch ]",
        "topology: [ [Ring], 2 ]",
        &[
            "1:13 at $.topology[0]: expected one of `Ring`, `FullyConnected`, `Switch`, found a list",
            "1:21 at $.topology[1]: expected one of `Ring`, `FullyConnected`, `Switch`, found 2",
        ],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: 8",
        &["2:13 at $.npus_count: expected a list with an entry for each dimension, found 8", "hint: write `[8]`"],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count:",
        &["2:11 at $.npus_count: expected a list with an entry for each dimension, found nothing"],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: [ 0, 2.0 ]",
        &[
            "2:15 at $.npus_count[0]: expected a whole number from 1 to 1048576, found 0",
            "2:18 at $.npus_count[1]: expected a whole number from 1 to 1048576, found 2.0",
        ],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: [ -1, 1e3 ]",
        &[
            "2:15 at $.npus_count[0]: expected a whole number from 1 to 1048576, found -1",
            "2:19 at $.npus_count[1]: expected a whole number from 1 to 1048576, found 1000.0",
        ],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: [ 1048577, '2' ]",
        &[
            "2:15 at $.npus_count[0]: expected a whole number from 1 to 1048576, found 1048577",
            r#"2:24 at $.npus_count[1]: expected a whole number from 1 to 1048576, found "2""#,
        ],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: [ 1048576, 2 ]",
        &["2:13 at $.npus_count: expected at most 1048576 NPUs in all, found 2097152"],
    );
    check("npus_count: [ 8, 2 ]\n", "", &["1:1 at $: missing key `npus_count`"]);
    check(
        "npus_count",
        "npu_count",
        &[
            "2:1 at $: unknown key `npu_count`",
            "hint: did you mean `npus_count`?",
            "1:1 at $: missing key `npus_count`",
        ],
    );
    check(
        "npus_count: [ 8, 2 ]",
        "npus_count: [ 8, 2, 1 ]",
        &["2:13 at $.npus_count: `npus_count` has 3 entries for 2 in `topology`"],
    );
    check(
        "bandwidth: [ 50.0, 25 ]",
        "bandwidth: [ 0, -1 ]",
        &[
            "3:14 at $.bandwidth[0]: expected a number from 0.001 to 1000000000, found 0",
            "3:17 at $.bandwidth[1]: expected a number from 0.001 to 1000000000, found -1",
        ],
    );
    check(
        "bandwidth: [ 50.0, 25 ]",
        "bandwidth: [ .inf, .nan ]",
        &[
            "3:14 at $.bandwidth[0]: expected a number from 0.001 to 1000000000, found inf",
            "3:20 at $.bandwidth[1]: expected a number from 0.001 to 1000000000, found NaN",
        ],
    );
    check(
        "bandwidth: [ 50.0, 25 ]",
        "bandwidth: [ 1e10, fast ]",
        &[
            "3:14 at $.bandwidth[0]: expected a number from 0.001 to 1000000000, found 10000000000.0",
            r#"3:20 at $.bandwidth[1]: expected a number from 0.001 to 1000000000, found "fast""#,
        ],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ -0.5, null ]",
        &[
            "4:12 at $.latency[0]: expected a number from 0 to 1000000000000, found -0.5",
            "4:18 at $.latency[1]: expected a number from 0 to 1000000000000, found nothing",
        ],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ 1e13, true ]",
        &[
            "4:12 at $.latency[0]: expected a number from 0 to 1000000000000, found 10000000000000.0",
            "4:18 at $.latency[1]: expected a number from 0 to 1000000000000, found true",
        ],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ 500.0, 2e3",
        &["5:1: not YAML: while parsing a flow sequence, expected ',' or ']'"],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ 500.0 ]\nlatency: [ 1 ]",
        &["5:1: not YAML: duplicated key in mapping"],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ 0, 0 ]\n---\nx: 1",
        &["6:1 at $: a second document begins here", "hint: keep one of them"],
    );
    check(
        "latency: [ 500.0, 2e3 ]",
        "latency: [ 0, 0 ]\ndimensions-count: 2\n[1]: 2",
        &[
            "5:1 at $: unknown key `dimensions-count`",
            "hint: known are `topology`, `npus_count`, `bandwidth`, `latency`",
            "6:1 at $: expected a name as the key, found a list",
        ],
    );
    check(
        "topology: [ Ring, Switch ]\nnpus_count: [ 8, 2 ]",
        "npus_count: [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\ntopology: [Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring, Ring]",
        &["2:11 at $.topology: at most 32 dimensions are possible, found 33"],
    );
}

#[test]
fn networks_as_a_whole() {
    let check = |text: &str, expected: &[&str]| assert_eq!(lines(read(text, SYSTEM, MEMORY)), expected);
    let list = |entry: &str| format!("[{}]", vec![entry; 33].join(", "));
    check(
        &format!("topology: {}\nnpus_count: 1\nbandwidth: 1\nlatency: 1", list("Ring")),
        &[
            "2:13 at $.npus_count: expected a list with an entry for each dimension, found 1",
            "hint: write `[1]`",
            "3:12 at $.bandwidth: expected a list with an entry for each dimension, found 1",
            "hint: write `[1]`",
            "4:10 at $.latency: expected a list with an entry for each dimension, found 1",
            "hint: write `[1]`",
            "1:11 at $.topology: at most 32 dimensions are possible, found 33",
        ],
    );
    check("", &["the file is empty"]);
    check("Ring", &["1:1 at $: expected the keys `topology`, `npus_count`, `bandwidth`, `latency`, found \"Ring\""]);
    check(&"[".repeat(10_000), &["the file is too long for a network"]);
}

#[test]
fn systems() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert_eq!(lines(read(NETWORK, &replaced(SYSTEM, from, to), MEMORY)), expected, "{to}");
    };
    check(
        r#""endpoint-delay": 10"#,
        r#""endpoint-delay": -1"#,
        &[r#"2:23 at $["endpoint-delay"]: expected a number from 0 to 1000000000, found -1"#],
    );
    check(
        r#""endpoint-delay": 10"#,
        r#""endpoint-delay": "10""#,
        &[r#"2:23 at $["endpoint-delay"]: expected a number from 0 to 1000000000, found "10""#],
    );
    check(
        r#""endpoint-delay": 10"#,
        r#""endpont-delay": 10"#,
        &[r#"2:5 at $["endpont-delay"]: unknown key `endpont-delay`"#, "hint: did you mean `endpoint-delay`?"],
    );
    check(
        r#""endpoint-delay": 10"#,
        r#""endpoint-delay": 10, "endpoint-delay": 11"#,
        &[r#"2:27 at $["endpoint-delay"]: key `endpoint-delay` stands here twice"#, "hint: keep one of them"],
    );
    check(
        r#""endpoint-delay": 10"#,
        r#""endpoint-delay": 10 // ns"#,
        &[
            "2:26: not JSON: comments are not allowed",
            "hint: the file must be plain JSON, without comments or trailing commas",
        ],
    );
    check(
        r#""endpoint-delay": 10"#,
        r#""intra-dimension-scheduling": "FIFO""#,
        &[
            r#"2:5 at $["intra-dimension-scheduling"]: unknown key `intra-dimension-scheduling`"#,
            "hint: known are `endpoint-delay`, `active-chunks-per-dimension`, `preferred-dataset-splits`, `all-reduce-implementation`, `all-gather-implementation`, `reduce-scatter-implementation`, `all-to-all-implementation`, `collective-optimization`, `local-mem-bw`, `peak-perf`, `roofline-enabled`, `model-shared-bus`, `replay-only`, `scheduling-policy`, `boost-mode`, `trace-enabled`, `local-reduction-delay`, `L`, `o`, `g`, `G`",
        ],
    );
    check(
        r#""active-chunks-per-dimension": 2"#,
        r#""active-chunks-per-dimension": 0"#,
        &[r#"3:36 at $["active-chunks-per-dimension"]: expected a whole number from 1 to 1048576, found 0"#],
    );
    check(
        r#""active-chunks-per-dimension": 2"#,
        r#""active-chunks-per-dimension": 1.5"#,
        &[r#"3:36 at $["active-chunks-per-dimension"]: expected a whole number from 1 to 1048576, found 1.5"#],
    );
    check(
        r#""preferred-dataset-splits": 4"#,
        r#""preferred-dataset-splits": 0"#,
        &[r#"4:33 at $["preferred-dataset-splits"]: expected a whole number from 1 to 1048576, found 0"#],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"["ring"]"#,
        &[
            r#"5:34 at $["all-reduce-implementation"]: `all-reduce-implementation` has 1 algorithm for the 2 dimensions of the network"#,
            "hint: list one for each",
        ],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#""ring""#,
        &[r#"5:34 at $["all-reduce-implementation"]: expected an array, found "ring""#],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"["ring", "ring", "ring"]"#,
        &[
            r#"5:34 at $["all-reduce-implementation"]: `all-reduce-implementation` has 3 algorithms for the 2 dimensions of the network"#,
            "hint: list one for each",
        ],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"["oneRing", "oneDirect8"]"#,
        &[
            r#"5:35 at $["all-reduce-implementation"][0]: `oneRing` runs over all dimensions at once, which is not modelled"#,
            "hint: list an algorithm for each dimension",
            r#"5:46 at $["all-reduce-implementation"][1]: `oneDirect8` runs over all dimensions at once, which is not modelled"#,
            "hint: list an algorithm for each dimension",
        ],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"["oneHalvingDoubling"]"#,
        &[
            r#"5:35 at $["all-reduce-implementation"][0]: `oneHalvingDoubling` runs over all dimensions at once, which is not modelled"#,
            "hint: list an algorithm for each dimension",
            r#"5:34 at $["all-reduce-implementation"]: `all-reduce-implementation` has 1 algorithm for the 2 dimensions of the network"#,
            "hint: list one for each",
        ],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"["Ring", "direct0"]"#,
        &[
            r#"5:35 at $["all-reduce-implementation"][0]: unknown algorithm `Ring`"#,
            "hint: known are `ring`, `direct`, `direct` with a window as in `direct4`, `halvingDoubling`, `doubleBinaryTree`",
            r#"5:43 at $["all-reduce-implementation"][1]: unknown algorithm `direct0`"#,
            "hint: known are `ring`, `direct`, `direct` with a window as in `direct4`, `halvingDoubling`, `doubleBinaryTree`",
        ],
    );
    check(
        r#"["ring", "direct4"]"#,
        r#"[1, ""]"#,
        &[
            r#"5:35 at $["all-reduce-implementation"][0]: expected a string that is not empty, found 1"#,
            r#"5:38 at $["all-reduce-implementation"][1]: expected a string that is not empty, found """#,
        ],
    );
    check(
        r#""all-reduce-implementation""#,
        r#""all-reduce-implementation-chakra""#,
        &[
            r#"5:41 at $["all-reduce-implementation-chakra"]: `all-reduce-implementation-chakra` is not modelled"#,
            "hint: list an algorithm for each dimension in `all-reduce-implementation`",
        ],
    );
    check(
        r#""all-to-all-implementation": ["ring", "ring"]"#,
        r#""all-to-all-implementation-chakra": ["path"]"#,
        &[
            r#"8:41 at $["all-to-all-implementation-chakra"]: `all-to-all-implementation-chakra` is not modelled"#,
            "hint: list an algorithm for each dimension in `all-to-all-implementation`",
        ],
    );
    check(
        r#""baseline""#,
        r#""localBwAware""#,
        &[r#"9:32 at $["collective-optimization"]: expected one of `localBWAware`, `baseline`, found "localBwAware""#],
    );
    check(
        r#""local-mem-bw": 1600.5"#,
        r#""local-mem-bw": 0"#,
        &[r#"10:21 at $["local-mem-bw"]: expected a number from 0.001 to 1000000000, found 0"#],
    );
    check(",\n    \"local-mem-bw\": 1600.5", "", &["1:1 at $: missing key `local-mem-bw`"]);
    check(
        r#""local-mem-bw": 1600.5"#,
        r#""local-mem-bw": 1e10"#,
        &[r#"10:21 at $["local-mem-bw"]: expected a number from 0.001 to 1000000000, found 1e10"#],
    );
    check(
        "{",
        r#"{"roofline-enabled": 1, "#,
        &["1:1 at $: missing key `peak-perf`", "hint: `roofline-enabled` needs it, in TFLOP/s"],
    );
    check(
        "{",
        r#"{"roofline-enabled": true, "peak-perf": 0, "#,
        &[
            r#"1:22 at $["roofline-enabled"]: expected a whole number from 0 to 1, found true"#,
            r#"1:41 at $["peak-perf"]: expected a number above 0 and at most 1000000000, found 0"#,
        ],
    );
    check(
        "{",
        r#"{"scheduling-policy": "lifo", "#,
        &[r#"1:23 at $["scheduling-policy"]: expected one of `LIFO`, `FIFO`, `EXPLICIT`, found "lifo""#],
    );
    check(
        "{",
        r#"{"model-shared-bus": 1, "replay-only": 1, "#,
        &[
            r#"1:22 at $["model-shared-bus"]: a shared bus is not modelled"#,
            "hint: leave it out, or write 0",
            r#"1:40 at $["replay-only"]: replaying recorded times alone is not modelled"#,
            "hint: leave it out, or write 0",
        ],
    );
    check(
        "{",
        r#"{"model-shared-bus": 2, "replay-only": false, "#,
        &[
            r#"1:22 at $["model-shared-bus"]: expected a whole number from 0 to 1, found 2"#,
            r#"1:40 at $["replay-only"]: expected a whole number from 0 to 1, found false"#,
        ],
    );
    check(
        "{",
        "[{",
        &["1:1: not JSON: unterminated array", "hint: what opens here is never closed: the file may be cut off"],
    );
}

#[test]
fn memories() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        assert_eq!(lines(read(NETWORK, SYSTEM, &replaced(MEMORY, from, to))), expected, "{to}");
    };
    check(
        r#""MEMORY_POOL""#,
        r#""POOL""#,
        &[
            r#"10:32 at $.cxl_mem["memory-type"]: expected one of `NO_MEMORY_EXPANSION`, `PER_NPU_MEMORY_EXPANSION`, `PER_NODE_MEMORY_EXPANSION`, `MEMORY_POOL`, found "POOL""#,
        ],
    );
    check(r#""memory-type": "MEMORY_POOL", "#, "", &["10:16 at $.cxl_mem: missing key `memory-type`"]);
    check(
        r#""PER_NPU_MEMORY_EXPANSION""#,
        r#""MEMORY_POOL""#,
        &[
            r#"2:34 at $.local_mem["memory-type"]: memory of the NPUs' own that they share is not modelled"#,
            "hint: write `PER_NPU_MEMORY_EXPANSION`",
        ],
    );
    check(
        r#""mem-latency": 250"#,
        r#""mem-latency": -1"#,
        &[r#"10:62 at $.cxl_mem["mem-latency"]: expected a number from 0 to 1000000000000, found -1"#],
    );
    check(r#""mem-latency": 250, "#, "", &["10:16 at $.cxl_mem: missing key `mem-latency`"]);
    check(
        r#""mem-bw": 60"#,
        r#""mem-bw": 0.9"#,
        &[r#"10:77 at $.cxl_mem["mem-bw"]: expected a number from 1 to 1000000000, found 0.9"#],
    );
    check(
        r#""mem-bw": 60"#,
        r#""mem-bw": 1e10"#,
        &[r#"10:77 at $.cxl_mem["mem-bw"]: expected a number from 1 to 1000000000, found 1e10"#],
    );
    check(
        r#""mem-latency": 250, "mem-bw": 60"#,
        r#""remote-mem-latency": 250, "remote-mem-bw": 60"#,
        &[
            r#"10:69 at $.cxl_mem["remote-mem-latency"]: unknown key `remote-mem-latency`"#,
            "hint: write `mem-latency`",
            r#"10:91 at $.cxl_mem["remote-mem-bw"]: unknown key `remote-mem-bw`"#,
            "hint: write `mem-bw`",
        ],
    );
    check(
        r#""num-devices": 4"#,
        r#""num-devices": 0"#,
        &[r#"10:96 at $.cxl_mem["num-devices"]: expected a whole number from 1 to 32768, found 0"#],
    );
    check(
        r#""num-devices": 4"#,
        r#""num-devices": 32769"#,
        &[r#"10:96 at $.cxl_mem["num-devices"]: expected a whole number from 1 to 32768, found 32769"#],
    );
    check(
        r#""num-devices": 4"#,
        r#""num_devices": 4"#,
        &["10:81 at $.cxl_mem.num_devices: unknown key `num_devices`", "hint: did you mean `num-devices`?"],
    );
    check(
        r#""pim-channels": 4.0"#,
        r#""pim-channels": 4.5"#,
        &[r#"8:25 at $.remote_mem["pim-channels"]: expected a whole number from 0 to 32768, found 4.5"#],
    );
    check(
        r#""pim-channels": 4.0"#,
        r#""pim-channels": -1"#,
        &[r#"8:25 at $.remote_mem["pim-channels"]: expected a whole number from 0 to 32768, found -1"#],
    );
    check(
        r#""mem-bw": 936"#,
        r#""mem-bw": 936, "pim-channels": 2"#,
        &[
            r#"2:112 at $.local_mem["pim-channels"]: memory that each NPU has to itself has no PIM channels"#,
            "hint: write `PER_NODE_MEMORY_EXPANSION` or `MEMORY_POOL`, or leave them out",
        ],
    );
    check(
        r#""local_mem""#,
        r#""local-mem""#,
        &[r#"2:5 at $["local-mem"]: unknown key `local-mem`"#, "hint: did you mean `local_mem`?"],
    );
    check(
        r#""local_mem""#,
        r#""storage_mem""#,
        &["2:5 at $.storage_mem: unknown key `storage_mem`", "hint: did you mean `remote_mem`?"],
    );
    check(
        r#""local_mem""#,
        r#""mem-bw": 1, "local_mem""#,
        &[r#"2:5 at $["mem-bw"]: unknown key `mem-bw`"#, "hint: known are `local_mem`, `remote_mem`, `cxl_mem`"],
    );
    check(
        r#""local_mem""#,
        r#""memory-type": "NO_MEMORY_EXPANSION", "local_mem""#,
        &[r#"2:20 at $["memory-type"]: either one memory by itself or `local_mem`, not both"#],
    );
    check(
        r#""cxl_mem": {"#,
        r#""cxl_mem": [], "x": {"#,
        &[
            "10:20 at $.x: unknown key `x`",
            "hint: known are `local_mem`, `remote_mem`, `cxl_mem`",
            "10:16 at $.cxl_mem: expected an object, found an array",
        ],
    );
}

#[test]
fn one_memory_by_itself() {
    let check = |text: &str, expected: &[&str]| assert_eq!(lines(read(NETWORK, SYSTEM, text)), expected, "{text}");
    check(
        r#"{"memory-type": "MEMORY_POOL", "memory-location": "STORAGE_MEMORY", "mem-latency": 1, "mem-bw": 1}"#,
        &[
            r#"1:51 at $["memory-location"]: expected one of `LOCAL_MEMORY`, `REMOTE_MEMORY`, `CXL_MEMORY`, found "STORAGE_MEMORY""#,
        ],
    );
    check(
        r#"{"memory-type": "MEMORY_POOL", "memory-location": "LOCAL_MEMORY", "mem-latency": 1, "mem-bw": 1}"#,
        &[
            r#"1:17 at $["memory-type"]: memory of the NPUs' own that they share is not modelled"#,
            "hint: write `PER_NPU_MEMORY_EXPANSION`",
        ],
    );
    check(r#"{"memory-type": "MEMORY_POOL", "mem-bw": 1}"#, &["1:1 at $: missing key `mem-latency`"]);
}

#[test]
fn all_faults_of_all_files_at_once() {
    let network = replaced(&replaced(NETWORK, "Switch", "Torus"), "50.0", "-50.0");
    let system = replaced(&replaced(SYSTEM, "direct4", "tree"), "1600.5", "\"fast\"");
    let memory = replaced(&replaced(MEMORY, "MEMORY_POOL", "POOL"), "936", "0");
    let expected = r#"
error: network.yml:1:19 at $.topology[1]: expected one of `Ring`, `FullyConnected`, `Switch`, found "Torus"
error: network.yml:3:14 at $.bandwidth[0]: expected a number from 0.001 to 1000000000, found -50.0
error: system.json:5:43 at $["all-reduce-implementation"][1]: unknown algorithm `tree`
  hint: known are `ring`, `direct`, `direct` with a window as in `direct4`, `halvingDoubling`, `doubleBinaryTree`
error: system.json:10:21 at $["local-mem-bw"]: expected a number from 0.001 to 1000000000, found "fast"
error: memory.json:2:91 at $.local_mem["mem-bw"]: expected a number from 1 to 1000000000, found 0
error: memory.json:10:32 at $.cxl_mem["memory-type"]: expected one of `NO_MEMORY_EXPANSION`, `PER_NPU_MEMORY_EXPANSION`, `PER_NODE_MEMORY_EXPANSION`, `MEMORY_POOL`, found "POOL"
"#;
    assert_eq!(read(&network, &system, &memory).unwrap_err().to_string(), expected.trim());
    let broken = read("[", "[", "[").unwrap_err();
    let sources: Vec<_> = broken.iter().map(|fault| fault.source.as_str()).collect();
    assert_eq!(sources, ["network.yml", "system.json", "memory.json"]);
}

#[test]
#[should_panic(expected = "no queue")]
fn options_out_of_bounds() {
    let _ = texts(NETWORK, SYSTEM, MEMORY).read(&Options { queues_per_dim: 0, ..Options::default() });
}
