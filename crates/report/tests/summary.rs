//! Whole summaries, as people and programs get them.

mod common;

use engine::{
    FinishedRequest, GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, Observer, RunTotals,
};
use metrics::{GroupLayout, InstanceLayout, Layout, NodeLayout, PowerMeter, RequestStatistics, Summary};
use report::{summary_json, summary_table};
use units::{Duration, GIB, InstanceId, Instant, RequestId};

/// Two instances of a mixture-of-experts model in one group.
fn layout(model: &str, scale: u64) -> Layout {
    let instance = InstanceLayout {
        model: model.to_owned(),
        weight_bytes: 40 * GIB,
        kv_bytes: 32 * GIB,
        kv_tokens: 699_040 * scale,
        ..InstanceLayout::default()
    };
    let group = GroupLayout { name: Some("A".to_owned()), members: vec![InstanceId(0), InstanceId(1)], is_moe: true };
    Layout { instances: vec![instance; 2], groups: vec![group], ..Layout::default() }
}

/// The same with a prefix cache below, the second instance taking requests over, and each on a node that says what it
/// draws.
fn layout_with_everything(model: &str, scale: u64) -> Layout {
    let mut layout = layout(model, scale);
    layout.instances[1].is_decode = true;
    for (index, instance) in layout.instances.iter_mut().enumerate() {
        instance.has_tier = true;
        common::set_npus(instance, 1);
        let power = Some(common::node_power(1));
        layout.nodes.push(NodeLayout { instances: vec![InstanceId::from(index)], power });
    }
    layout
}

/// A run of six requests; numbers are multiplied by `scale`.
fn summary(layout: &Layout, scale: u64) -> Summary {
    let mut statistics = RequestStatistics::new();
    for index in 0..6_u64 {
        let itl: Vec<_> =
            (0..40 + index).map(|token| Duration::from_ns((9_000_000 + token * 10_000) * scale)).collect();
        let ttft = Duration::from_ns((80_000_000 + index * 7_000_000) * scale);
        let arrival = Instant::from_ns(index * 100_000_000);
        itl.iter().for_each(|&latency| statistics.tokens_yielded(latency, 1));
        statistics.request_finished(&FinishedRequest {
            instance: InstanceId(index as u32 % 2),
            id: RequestId(index),
            input_tokens: 1_000,
            output_tokens: 1 + itl.len() as u64,
            arrival,
            end: arrival + ttft + itl.iter().copied().sum(),
            queuing_delay: Duration::from_ns(index * 1_500_000 * scale),
            ttft,
            itl: itl.as_slice().into(),
            prefix_hit_tokens: 0,
            preemptions: 0,
            stamps: engine::Stamps::default(),
        });
    }
    let member = |npu_gib: u64| MemberInterval { npu_bytes: npu_gib * GIB, ..MemberInterval::default() };
    let groups = [GroupInterval { members: vec![member(48), member(72)], ..GroupInterval::default() }];
    let end = Instant::from_ns(1_000_000_000);
    statistics.interval_ended(&Interval { end, length: Duration::from_ns(1_000_000_000), groups: &groups });
    let did = |dummy_steps| InstanceTotals {
        finished_requests: 3,
        prompt_tokens: 3_000 * scale,
        generated_tokens: 129 * scale,
        prefix_lookup_tokens: 3_000 * scale,
        prefix_hit_tokens: 480 * scale,
        tier_hit_tokens: 256 * scale,
        handoff_waits: scale * (dummy_steps - 2),
        preemptions: scale,
        recomputed_tokens: 517 * scale,
        steps: 96 * scale,
        dummy_steps: dummy_steps * scale,
    };
    let totals = RunTotals {
        end: Instant::from_ns(1_024_500_000 * scale),
        instances: vec![did(2), did(5)],
        groups: vec![GroupTotals { waves: 96 * scale, collective_bytes: [0, 3 << 30, 5 << 20, 0].map(|b| b * scale) }],
    };
    let mut power = PowerMeter::new(layout);
    if let Some(power) = &mut power {
        common::run_step(power, InstanceId(0), Instant::ZERO, totals.end);
    }
    Summary::new(layout, &statistics, power.as_ref(), &totals)
}

const MODEL: &str = "Qwen/Qwen3-30B-A3B-Instruct-2507";

#[test]
fn a_table() {
    insta::assert_snapshot!(summary_table(&summary(&layout(MODEL, 1), 1)));
}

#[test]
fn a_json_object() {
    insta::assert_snapshot!(summary_json(&summary(&layout(MODEL, 1), 1)));
}

#[test]
fn everything_there_is() {
    let summary = summary(&layout_with_everything(MODEL, 1), 1);
    insta::assert_snapshot!(summary_table(&summary) + &summary_json(&summary));
}

#[test]
fn a_run_of_nothing() {
    let layout = Layout { instances: vec![InstanceLayout::default()], ..Layout::default() };
    let totals = RunTotals { instances: vec![InstanceTotals::default()], ..RunTotals::default() };
    let summary = Summary::new(&layout, &RequestStatistics::new(), None, &totals);
    insta::assert_snapshot!(summary_table(&summary) + &summary_json(&summary));
}

#[test]
fn tables_fit_a_terminal() {
    for scale in [1, 1_000, 1_000_000] {
        let layout = layout_with_everything("a-model-with-a-name-that-goes-on-and-on-and-on", scale);
        let table = summary_table(&summary(&layout, scale));
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{widest:?} columns:\n{table}");
    }
}
