//! The table of intervals, cell by cell against the CSV of the same run.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use engine::{CpuPower, DramPower, GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, MemberStep};
use engine::{NodePower, NpuPower, Observer, RunTotals, StepWork, Wave};
use metrics::{GroupLayout, InstanceLayout, IntervalMeter, IntervalResults, Layout, NodeLayout};
use network::CollectiveKind;
use report::IntervalCsvWriter;
use tables::IntervalTable;
use units::{Duration, GroupId, InstanceId, Instant};

const SECOND: Duration = Duration::from_ns(1_000_000_000);

fn power() -> NodePower {
    NodePower {
        base_w: 60.0,
        npus: vec![NpuPower {
            hardware: "H".to_owned(),
            count: 4,
            idle_w: 35.0,
            standby_w: 300.0,
            active_w: 600.0,
            standby_s: 18.0,
        }],
        cpu: CpuPower { idle_w: 10.0, active_w: 210.0, utilization: 0.2 },
        dram: DramPower { idle_w: 32.0, pj_per_bit: 6.0, pim_active_w: 0.0 },
        link_idle_w: 5.0,
        link_pj_per_bit: 4.0,
        nic_w: 20.0,
        storage_w: 10.0,
    }
}

/// A named group of two instances on one node, and a lone instance on another.
fn layout(has_power: bool) -> Layout {
    let instance = InstanceLayout {
        hardware: "H".to_owned(),
        tp: 2,
        num_npus: 2,
        num_npus_with_peers: 2,
        kv_blocks: 300,
        ..InstanceLayout::default()
    };
    let ids = |ids: &[u32]| ids.iter().copied().map(InstanceId).collect::<Vec<_>>();
    let group = |name: Option<&str>, members: &[u32]| GroupLayout {
        name: name.map(str::to_owned),
        members: ids(members),
        is_moe: true,
    };
    let node = |instances: &[u32]| NodeLayout { instances: ids(instances), power: has_power.then(power) };
    Layout {
        instances: vec![instance; 3],
        groups: vec![group(Some("A"), &[0, 1]), group(None, &[2])],
        nodes: vec![node(&[0, 1]), node(&[2])],
        ..Layout::default()
    }
}

/// Different in every count, after so many seconds.
fn did(instance: u64, seconds: u64) -> InstanceTotals {
    let count = |number: u64| number * seconds * seconds * (instance + 1);
    InstanceTotals {
        finished_requests: count(2),
        prompt_tokens: count(1_003),
        generated_tokens: count(107),
        prefix_lookup_tokens: count(905),
        prefix_hit_tokens: count(320),
        tier_hit_tokens: count(256),
        handoff_waits: count(3),
        preemptions: count(4),
        recomputed_tokens: count(11),
        steps: count(30),
        dummy_steps: count(5),
    }
}

fn collectives(seconds: u64) -> GroupTotals {
    let bytes = std::array::from_fn::<u64, { CollectiveKind::ALL.len() }, _>(|kind| (kind as u64) << 20);
    GroupTotals { waves: 3 * seconds, collective_bytes: bytes.map(|bytes| bytes * seconds) }
}

/// A step, two log intervals, a pause of some, and what is left at the end.
fn run(layout: &Layout) -> Vec<IntervalResults> {
    let mut meter = IntervalMeter::new(layout);
    let second = |number: u64| Instant::ZERO + SECOND * number;
    let work = StepWork {
        npu_time: Duration::from_ns(400_000_000),
        pim_time: Duration::ZERO,
        memory_bytes: 10_000_000_000,
        link_bytes: 5_000_000_000,
    };
    let members = [MemberStep { instance: InstanceId(2), sequences: 1, tokens: 1, work }];
    meter.wave_started(&Wave { group: GroupId(1), start: second(0), padded_tokens: 1, members: &members });
    meter.step_finished(InstanceId(2), Instant::from_ns(700_000_000));
    for end in [1, 2, 7] {
        let member = |id: &InstanceId| MemberInterval {
            totals: did(id.0.into(), end),
            batch_sequences: 4 + end,
            running: 5 + end,
            waiting: id.0.into(),
            kv_blocks_held: 100 + id.0,
            npu_bytes: 12_345_678_901 * end,
        };
        let group = |group: &GroupLayout| GroupInterval {
            totals: collectives(end),
            synchronised_bytes: None,
            members: group.members.iter().map(member).collect(),
        };
        let groups: Vec<_> = layout.groups.iter().map(group).collect();
        meter.interval_ended(&Interval { end: second(end), length: SECOND, groups: &groups });
    }
    meter.finish(&RunTotals {
        end: Instant::from_ns(7_123_456_789),
        instances: (0..3).map(|instance| did(instance, 8)).collect(),
        groups: vec![collectives(8); 2],
    });
    meter.take()
}

fn batch(layout: &Layout, results: &[IntervalResults]) -> RecordBatch {
    let mut table = IntervalTable::new(layout);
    results.iter().for_each(|results| table.push(results));
    assert!(table.take().is_empty(), "no batch is full");
    table.finish().remove(0)
}

/// As the CSV has it: of reals, so many decimals.
fn text(column: &ArrayRef, row: usize, like: &str) -> String {
    if column.is_null(row) {
        return String::new();
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => {
            let decimals = like.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            format!("{:.decimals$}", column.as_primitive::<Float64Type>().value(row))
        }
        _ => {
            let names = column.as_dictionary::<Int32Type>();
            names.values().as_string::<i32>().value(names.keys().value(row) as usize).to_owned()
        }
    }
}

#[test]
fn cells_are_those_of_the_csv() {
    for has_power in [true, false] {
        let layout = layout(has_power);
        let results = run(&layout);
        let mut csv = IntervalCsvWriter::new(Vec::new(), &layout);
        results.iter().for_each(|results| csv.write(results));
        let csv = String::from_utf8(csv.finish().expect("memory takes everything")).expect("plain text");
        let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().expect("a header");

        let batch = batch(&layout, &results);
        assert_eq!(batch.schema().fields().iter().map(|field| field.name()).collect::<Vec<_>>(), header);
        assert_eq!(batch.num_rows(), results.len() * if has_power { 7 } else { 5 });
        for (row, line) in lines.by_ref().enumerate() {
            for ((name, column), expected) in header.iter().zip(batch.columns()).zip(line) {
                assert_eq!(text(column, row, expected), expected, "row {row}, {name}");
            }
        }
        let all_null = |index: usize| batch.column(index).null_count() == batch.num_rows();
        let nulls: Vec<_> = (0..header.len()).filter(|&index| all_null(index)).map(|index| header[index]).collect();
        assert_eq!(nulls.len(), if has_power { 0 } else { 8 }, "{nulls:?}");
    }
}

#[test]
fn batches_are_bounded() {
    let layout = layout(false);
    let results = run(&layout).remove(0);
    let mut table = IntervalTable::new(&layout);
    (0..30_000).for_each(|_| table.push(&results));
    let full: Vec<_> = table.take().iter().map(RecordBatch::num_rows).collect();
    let rest: Vec<_> = table.finish().iter().map(RecordBatch::num_rows).collect();
    // The first number of rows beyond 2^16 that is a multiple of five.
    assert_eq!((full, rest), (vec![65_540, 65_540], vec![150_000 - 2 * 65_540]));
}
