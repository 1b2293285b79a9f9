//! A node that says what it draws, and something for it to do.

use engine::{CpuPower, DramPower, MemberStep, NodePower, NpuPower, Observer, StepWork, Wave};
use metrics::InstanceLayout;
use units::{Duration, GroupId, InstanceId, Instant};

/// A node with `count` NPUs.
pub(crate) fn node_power(count: u32) -> NodePower {
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
        dram: DramPower { idle_w: 32.0, pj_per_bit: 6.0, pim_active_w: 0.0 },
        link_idle_w: 5.0,
        link_pj_per_bit: 4.0,
        nic_w: 20.0,
        storage_w: 10.0,
    }
}

/// Gives an instance NPUs of that node.
pub(crate) fn set_npus(instance: &mut InstanceLayout, count: u32) {
    instance.hardware = "H".to_owned();
    (instance.tp, instance.num_npus, instance.num_npus_with_peers) = (count, count, count);
}

/// Runs a step that computes half of its time and moves some bytes.
pub(crate) fn run_step(observer: &mut impl Observer, instance: InstanceId, start: Instant, end: Instant) {
    let work = StepWork {
        npu_time: Duration::from_ns((end - start).ns() / 2),
        pim_time: Duration::ZERO,
        memory_bytes: 10_000_000_000,
        link_bytes: 5_000_000_000,
    };
    let members = [MemberStep { instance, sequences: 1, tokens: 1, work }];
    observer.wave_started(&Wave { group: GroupId(0), start, padded_tokens: 1, members: &members });
    observer.step_finished(instance, end);
}
