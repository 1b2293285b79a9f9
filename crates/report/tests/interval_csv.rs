//! The CSV of log intervals, whole and column by column.

mod common;

use engine::{GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, Observer, RunTotals};
use metrics::{GroupLayout, InstanceLayout, IntervalMeter, Layout, NodeLayout};
use report::IntervalCsvWriter;
use units::{Duration, InstanceId, Instant};

const SECOND: Duration = Duration::from_ns(1_000_000_000);

/// A group of two instances on one node and a lone instance on another, which has two NPUs to spare.
fn layout() -> Layout {
    let mut instance = InstanceLayout { kv_blocks: 400, ..InstanceLayout::default() };
    common::set_npus(&mut instance, 2);
    let ids = |ids: &[u32]| ids.iter().copied().map(InstanceId).collect::<Vec<_>>();
    let group = |name: Option<&str>, members: &[u32]| GroupLayout {
        name: name.map(str::to_owned),
        members: ids(members),
        is_moe: true,
    };
    let node =
        |instances: &[u32], npus| NodeLayout { instances: ids(instances), power: Some(common::node_power(npus)) };
    Layout {
        instances: vec![instance; 3],
        groups: vec![group(Some("A, \"the first\""), &[0, 1]), group(None, &[2])],
        nodes: vec![node(&[0, 1], 4), node(&[2], 4)],
        ..Layout::default()
    }
}

fn did(instance: u64, tenths: u64) -> InstanceTotals {
    InstanceTotals {
        finished_requests: tenths / 10,
        prompt_tokens: 1_000 * tenths * (instance + 1),
        generated_tokens: 7 * tenths,
        prefix_lookup_tokens: 900 * tenths,
        prefix_hit_tokens: 320 * tenths,
        tier_hit_tokens: 256 * tenths,
        handoff_waits: tenths / 5,
        preemptions: tenths / 4,
        recomputed_tokens: 11 * tenths,
        steps: 3 * tenths,
        dummy_steps: tenths / 2,
    }
}

fn collectives(tenths: u64) -> GroupTotals {
    GroupTotals { waves: 3 * tenths, collective_bytes: [0, 1 << 20, 1 << 21, 0].map(|bytes| bytes * tenths) }
}

/// The text of a run of 1.3 seconds.
fn csv(layout: &Layout) -> String {
    let mut meter = IntervalMeter::new(layout);
    common::run_step(&mut meter, InstanceId(2), Instant::ZERO, Instant::ZERO + SECOND);
    let member = |id: &InstanceId| MemberInterval {
        totals: did(u64::from(id.0), 10),
        batch_sequences: 4,
        running: 5,
        waiting: u64::from(id.0),
        kv_blocks_held: 100,
        npu_bytes: 12_345_678_901,
    };
    let group = |group: &GroupLayout| GroupInterval {
        totals: collectives(10),
        synchronised_bytes: None,
        members: group.members.iter().map(member).collect(),
    };
    let groups: Vec<_> = layout.groups.iter().map(group).collect();
    meter.interval_ended(&Interval { end: Instant::ZERO + SECOND, length: SECOND, groups: &groups });
    meter.finish(&RunTotals {
        end: Instant::from_ns(1_300_000_000),
        instances: (0..3).map(|instance| did(instance, 13)).collect(),
        groups: vec![collectives(13); 2],
    });
    let mut csv = IntervalCsvWriter::new(Vec::new(), layout);
    meter.take().iter().for_each(|results| csv.write(results));
    String::from_utf8(csv.finish().expect("memory takes everything")).expect("plain text")
}

#[test]
fn a_file() {
    insta::assert_snapshot!(csv(&layout()));
}

#[test]
fn without_power_there_are_no_nodes() {
    let mut layout = layout();
    layout.nodes[1].power = None;
    let text = csv(&layout);
    assert_eq!(text.lines().count(), 1 + 2 * (3 + 2));
    assert!(text.lines().skip(1).all(|line| line.ends_with(",,,,,,,")), "{text}");
}

/// Rates times lengths, and counts, add up to what the run came to.
#[test]
fn columns_add_up() {
    let text = csv(&layout());
    // The name with a comma in it is no number, and only in the way of taking lines apart.
    let text = text.replace("\"A, \"\"the first\"\"\"", "A");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let rows: Vec<_> = lines.collect();
    assert!(rows.iter().all(|row| row.len() == header.len()));
    let sum = |scope: &str, name: &str, is_rate: bool| -> f64 {
        let column = header.iter().position(|column| *column == name).expect("a column of that name");
        let of_scope = rows.iter().filter(|row| row[2] == scope);
        let number = |text: &str| text.parse::<f64>().expect("a number");
        of_scope.map(|row| number(row[column]) * if is_rate { number(row[1]) } else { 1.0 }).sum()
    };
    let check = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-2, "{found} instead of {expected}");
    check(sum("instance", "prompt_tok_per_s", true), 13_000.0 * 6.0);
    check(sum("instance", "generated_tok_per_s", true), 3.0 * 91.0);
    check(sum("instance", "tier_hit_tokens", false), 3.0 * 13.0 * 256.0);
    check(sum("instance", "handoff_waits", false), 3.0 * 2.0);
    check(sum("group", "reduce_scatter_bytes", false), 2.0 * 13.0 * f64::from(1 << 21));
    // Two nodes of 60 W; eight NPUs that idle, of which two of three pairs stand by all the time, and the third after
    // its step.
    check(sum("node", "power_base_w", true), 2.0 * 60.0 * 1.3);
    let npu = 8.0 * 35.0 * 1.3 + 4.0 * 265.0 * 1.3 + 2.0 * 265.0 * 0.3 + 565.0 * 0.5;
    check(sum("node", "power_npu_w", true), npu);
    check(sum("instance", "power_npu_w", true), npu - 2.0 * 35.0 * 1.3);
}

#[test]
fn a_sink_that_fails_is_told_at_the_end() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = IntervalCsvWriter::new(Full, &layout()).finish().err();
    assert_eq!(error.map(|error| error.kind()), Some(std::io::ErrorKind::StorageFull));
}
