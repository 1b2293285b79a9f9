//! Energies worked by hand, and that readings add up.

use engine::{
    CpuPower, DramPower, InstanceTotals, MemberStep, NodePower, NpuPower, Observer, RunTotals, StepWork, Wave,
};
use metrics::{
    Component, Energy, InstanceLayout, Layout, NodeLayout, PowerMeter, PowerReading, RequestStatistics, Summary,
};
use proptest::prelude::*;
use units::{Duration, GroupId, InstanceId, Instant};

const SECOND_NS: u64 = 1_000_000_000;

/// A node with `count` NPUs that idle at 35 W, stand by at 300 W for 18 s, and compute at 600 W.
fn node_power(count: u32) -> NodePower {
    NodePower {
        base_w: 60.0,
        npus: vec![NpuPower {
            hardware: "H".to_owned(),
            count,
            idle_w: 35.0,
            standby_w: 300.0,
            active_w: 600.0,
            standby_s: 18.0,
        }],
        cpu: CpuPower { idle_w: 10.0, active_w: 210.0, utilization: 0.2 },
        dram: DramPower { idle_w: 32.0, pj_per_bit: 6.0, pim_active_w: 1.5 },
        link_idle_w: 5.0,
        link_pj_per_bit: 4.0,
        nic_w: 20.0,
        storage_w: 10.0,
    }
}

fn instance(tp: u32, pp: u32) -> InstanceLayout {
    let hardware = "H".to_owned();
    InstanceLayout { hardware, tp, num_npus: tp * pp, num_npus_with_peers: tp * pp, ..InstanceLayout::default() }
}

/// A meter for one node with these instances and an NPU that none of them uses.
fn meter(instances: &[InstanceLayout]) -> PowerMeter {
    let count = 1 + instances.iter().map(|instance| instance.num_npus_with_peers).sum::<u32>();
    let ids = (0..instances.len()).map(InstanceId::from).collect();
    let nodes = vec![NodeLayout { instances: ids, power: Some(node_power(count)) }];
    let layout = Layout { instances: instances.to_vec(), nodes, ..Layout::default() };
    PowerMeter::new(&layout).expect("the node says what it draws")
}

fn at(seconds: f64) -> Instant {
    Instant::from_ns((seconds * SECOND_NS as f64) as u64)
}

fn at_ms(milliseconds: u64) -> Instant {
    Instant::from_ns(milliseconds * 1_000_000)
}

fn computing(seconds: f64) -> StepWork {
    StepWork { npu_time: at(seconds) - Instant::ZERO, ..StepWork::default() }
}

fn start(meter: &mut PowerMeter, instance: u32, start: Instant, work: StepWork) {
    let members = [MemberStep { instance: InstanceId(instance), sequences: 1, tokens: 1, work }];
    meter.wave_started(&Wave { group: GroupId(instance), start, padded_tokens: 1, members: &members });
}

fn run(meter: &mut PowerMeter, from_s: f64, to_s: f64, work: StepWork) {
    start(meter, 0, at(from_s), work);
    meter.step_finished(InstanceId(0), at(to_s));
}

fn check(found: &Energy, expected: [f64; 7]) {
    for (component, expected) in Component::ALL.into_iter().zip(expected) {
        let found = found.of(component);
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{component:?}: {found} J instead of {expected} J");
    }
}

#[test]
fn a_run_of_nothing_idles_after_standby() {
    // Two NPUs idle, and one of them stood by for the first 18 seconds. Processors: 10 + 200 * 0.2 W.
    let reading = meter(&[instance(1, 1)]).reading(at(100.0));
    let npu = 2.0 * 35.0 * 100.0 + 265.0 * 18.0;
    check(&reading.nodes[0], [6_000.0, npu, 5_000.0, 3_200.0, 500.0, 2_000.0, 1_000.0]);
    check(&reading.instances[0], [0.0, 35.0 * 100.0 + 265.0 * 18.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(reading.nodes[0].npu_standby_j, 265.0 * 18.0);
    assert_eq!(reading.cluster(), reading.nodes[0]);
}

#[test]
fn one_instance_by_hand() {
    // 1 s of computing in a step of 2 s, 3 s of standby, the same again, then standby up to its limit.
    let mut meter = meter(&[instance(1, 1)]);
    let work = StepWork {
        npu_time: Duration::from_ns(SECOND_NS),
        pim_time: Duration::from_ns(4 * SECOND_NS),
        memory_bytes: 10_u64.pow(12),
        link_bytes: 5 * 10_u64.pow(11),
    };
    run(&mut meter, 0.0, 2.0, work);
    run(&mut meter, 5.0, 7.0, work);
    let reading = meter.reading(at(40.0));
    let standby = 265.0 * (3.0 + 18.0);
    let npu = 35.0 * 40.0 + 565.0 * 2.0 + standby;
    // 200 W more by 0.7 - 0.2 while computing; 8e12 bits at 6 pJ and 4e12 at 4 pJ a step; four channel-seconds a step.
    let (cpu, dram, link) = (200.0 * 0.5 * 2.0, 2.0 * (48.0 + 6.0), 2.0 * 16.0);
    check(&reading.instances[0], [0.0, npu, cpu, dram, link, 0.0, 0.0]);
    let idle_npu = 35.0 * 40.0;
    let idle = [2_400.0, idle_npu, 2_000.0, 1_280.0, 200.0, 800.0, 400.0];
    check(&reading.nodes[0], [idle[0], idle[1] + npu, idle[2] + cpu, idle[3] + dram, idle[4] + link, idle[5], idle[6]]);
    assert_eq!(reading.nodes[0].npu_standby_j, standby);
}

/// Dummies may run on when the last request is through: what they draw counts, and so does their time.
#[test]
fn steps_after_the_last_request_count_with_their_time() {
    let layout = |count| Layout {
        instances: vec![instance(1, 1)],
        nodes: vec![NodeLayout { instances: vec![InstanceId(0)], power: Some(node_power(count)) }],
        ..Layout::default()
    };
    let mut meter = meter(&[instance(1, 1)]);
    run(&mut meter, 0.0, 10.0, computing(10.0));
    assert_eq!((meter.end(at(1.0)), meter.end(at(12.0))), (at(10.0), at(12.0)));
    let totals = RunTotals { end: at(1.0), instances: vec![InstanceTotals::default()], groups: Vec::new() };
    let summary = Summary::new(&layout(2), &RequestStatistics::new(), Some(&meter), &totals);
    let power = summary.power.expect("the node says what it draws");
    assert_eq!(power.makespan, Duration::from_ns(10 * SECOND_NS));
    // An NPU at 600 W, one at 35, and the rest of the node.
    let mean_w = power.total().mean_w(power.makespan);
    assert!((mean_w - (635.0 + 60.0 + 50.0 + 100.0 + 32.0 + 5.0 + 20.0 + 10.0)).abs() < 1e-6, "{mean_w}");
}

#[test]
fn all_npus_of_an_instance() {
    // Two stages of two: computing time is of all NPUs together, they stand by together, and processors are busy once
    // for the two NPUs that compute at the same time. Peers of a prefill instance idle.
    let peers = InstanceLayout { num_npus_with_peers: 8, ..instance(2, 2) };
    let mut meter = meter(&[peers]);
    run(&mut meter, 0.0, 10.0, computing(12.0));
    let reading = meter.reading(at(14.0));
    let npu = 8.0 * 35.0 * 14.0 + 565.0 * 12.0 + 4.0 * 265.0 * 4.0;
    check(&reading.instances[0], [0.0, npu, 200.0 * 0.5 * 6.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn nothing_stands_by_while_any_step_is_in_flight() {
    let mut meter = meter(&[instance(1, 2)]);
    start(&mut meter, 0, at(0.0), computing(1.0));
    start(&mut meter, 0, at(1.0), computing(1.0));
    meter.step_finished(InstanceId(0), at(3.0));
    meter.step_finished(InstanceId(0), at(4.0));
    assert_eq!(meter.reading(at(4.0)).nodes[0].npu_standby_j, 0.0);
    assert_eq!(meter.reading(at(6.0)).nodes[0].npu_standby_j, 2.0 * 2.0 * 265.0);
}

#[test]
fn a_step_in_progress_counts_from_its_start() {
    // Two NPUs compute for 3 s of a step of 8 s.
    let mut meter = meter(&[instance(2, 1)]);
    let work = StepWork { memory_bytes: 3_000_000_000, ..computing(6.0) };
    start(&mut meter, 0, at(1.0), work);
    let standby = 2.0 * 265.0;
    let above_idle = |meter: &PowerMeter, seconds: f64| {
        let energy = meter.reading(at(seconds)).instances[0];
        energy.of(Component::Npu) - 2.0 * 35.0 * seconds - standby
    };
    for (seconds, computed_s) in [(1.0, 0.0), (1.5, 1.0), (3.0, 4.0), (4.0, 6.0), (7.0, 6.0)] {
        assert!((above_idle(&meter, seconds) - 565.0 * computed_s).abs() < 1e-9, "at {seconds} s");
    }
    let dram = meter.reading(at(2.0)).instances[0].of(Component::Dram);
    assert!((dram - 8e9 * 6e-12).abs() < 1e-12, "a third of the bytes after a third of the time: {dram} J");
    // It ends, and a reading is never before that.
    meter.step_finished(InstanceId(0), at(9.0));
    assert_eq!(meter.reading(at(5.0)), meter.reading(at(9.0)));
    assert!((above_idle(&meter, 9.0) - 565.0 * 6.0).abs() < 1e-9);
    // A step that computes nothing counts at once.
    start(&mut meter, 0, at(10.0), StepWork { link_bytes: 1_000_000_000, ..StepWork::default() });
    assert_eq!(meter.reading(at(10.0)).instances[0].of(Component::Link), 8e9 * 4.0 * 1e-12);
}

#[test]
fn power_is_modelled_where_all_nodes_say_what_they_draw() {
    let node = |power| NodeLayout { instances: Vec::new(), power };
    let is_modelled = |nodes| PowerMeter::new(&Layout { nodes, ..Layout::default() }).is_some();
    assert!(is_modelled(vec![node(Some(node_power(1)))]));
    assert!(!is_modelled(vec![node(Some(node_power(1))), node(None)]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the steps and the intervals, intervals add up to the run, no component draws less than idle, and NPUs
    /// no more than active.
    #[test]
    fn intervals_add_up(
        steps in prop::collection::vec((0..40_000_u64, 0..3_000_u64, 0..100_u64), 1..30),
        interval_ms in 100..20_000_u64,
    ) {
        let mut meter = meter(&[instance(2, 1)]);
        let idle_w = meter.reading(at(1.0)).since(&meter.reading(at(0.0))).nodes[0];
        let idle_npu_w = idle_w.of(Component::Npu) - 2.0 * 265.0;
        let (mut now_ms, mut npu_s, mut closed_ms) = (0, 0.0, 0);
        let mut last = PowerReading { nodes: vec![Energy::default()], instances: vec![Energy::default()] };
        let mut intervals = Energy::default();
        let mut close = |meter: &PowerMeter, to_ms: u64| -> Result<(), TestCaseError> {
            while closed_ms + interval_ms <= to_ms {
                closed_ms += interval_ms;
                let reading = meter.reading(at_ms(closed_ms));
                let used = reading.since(&last).nodes[0];
                let length = Duration::from_ns(interval_ms * 1_000_000);
                let npu_w = used.mean_w_of(Component::Npu, length);
                prop_assert!((idle_npu_w - 1e-6..=idle_npu_w + 2.0 * 565.0 + 1e-6).contains(&npu_w), "{} W", npu_w);
                for component in Component::ALL.into_iter().filter(|&component| component != Component::Npu) {
                    prop_assert!(used.mean_w_of(component, length) >= idle_w.of(component) - 1e-6);
                }
                intervals = intervals + used;
                last = reading;
            }
            Ok(())
        };
        for (rest_ms, step_ms, share_percent) in steps {
            now_ms += rest_ms;
            close(&meter, now_ms)?;
            // Two NPUs compute for that part of the step.
            let work = StepWork { memory_bytes: step_ms * 1_000_000, ..computing((step_ms * share_percent) as f64 / 5e4) };
            npu_s += work.npu_time.secs_f64();
            start(&mut meter, 0, at_ms(now_ms), work);
            now_ms += step_ms;
            close(&meter, now_ms)?;
            meter.step_finished(InstanceId(0), at_ms(now_ms));
        }
        let end_ms = now_ms.next_multiple_of(interval_ms) + interval_ms;
        close(&meter, end_ms)?;
        let whole = meter.reading(at_ms(end_ms)).nodes[0];
        for component in Component::ALL {
            prop_assert!((intervals.of(component) / whole.of(component) - 1.0).abs() < 1e-9);
        }
        let npu = idle_npu_w * end_ms as f64 / 1e3 + 565.0 * npu_s + whole.npu_standby_j;
        prop_assert!((whole.of(Component::Npu) / npu - 1.0).abs() < 1e-9);
    }
}
