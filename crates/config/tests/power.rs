//! What nodes draw, against their cluster files.

mod common;

use common::{LINKS, LLAMA, cluster_of, instance, loaded};
use config::{Inputs, Source};
use engine::{CpuPower, DramPower, NodePower, NpuPower};

const POWER: &str = r#""power": {
    "base_node_power": 60,
    "npu": {
        "RTXPRO6000": {"idle_power": 35, "standby_power": 300, "active_power": 600, "standby_duration": 18},
        "H100": {"idle_power": 70, "standby_power": 200, "active_power": 700, "standby_duration": 5}
    },
    "cpu": {"idle_power": 10, "active_power": 200, "util": 0.15},
    "dram": {"dimm_size": 48, "idle_power": 2.5, "energy_per_bit": 6},
    "link": {"num_links": 3, "idle_power": 5, "energy_per_bit": 4.5},
    "nic": {"num_nics": 2, "idle_power": 20},
    "storage": {"num_devices": 4, "idle_power": 7}
}"#;

/// A cluster with `power` on the first `num_told` nodes.
fn inputs(nodes: &[Vec<String>], num_told: usize) -> Inputs {
    let mut inputs = cluster_of(nodes, LINKS);
    let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
    *text = text.replacen(r#""num_instances""#, &format!(r#"{POWER}, "num_instances""#), num_told);
    inputs
}

fn power(num_npus: u32, dram: DramPower) -> NodePower {
    let npu = |hardware: &str, count, idle_w, standby_w, active_w, standby_s| NpuPower {
        hardware: hardware.to_owned(),
        count,
        idle_w,
        standby_w,
        active_w,
        standby_s,
    };
    NodePower {
        base_w: 60.0,
        npus: vec![npu("RTXPRO6000", num_npus, 35.0, 300.0, 600.0, 18.0), npu("H100", 0, 70.0, 200.0, 700.0, 5.0)],
        cpu: CpuPower { idle_w: 10.0, active_w: 200.0, utilization: 0.15 },
        dram,
        link_idle_w: 15.0,
        link_pj_per_bit: 4.5,
        nic_w: 40.0,
        storage_w: 28.0,
    }
}

#[test]
fn parts_are_added_up() {
    let roles = [r#", "pd_type": "prefill", "tp_size": 2"#, r#", "pd_type": "decode", "pp_size": 3"#];
    let nodes = [roles.map(|keys| instance(LLAMA, keys)).to_vec(), vec![instance(LLAMA, "")]];
    // Ten whole modules of 48 in 512 GiB. The peers of the prefill instance don't count.
    let dram = DramPower { idle_w: 25.0, pj_per_bit: 6.0, pim_active_w: 0.0 };
    let loaded = loaded(&inputs(&nodes, 2));
    assert_eq!(loaded.deployment.power, Some(vec![power(5, dram), power(1, dram)]));
    assert_eq!(loaded.notes, [""; 0]);
}

#[test]
fn all_nodes_must_tell() {
    let nodes = [vec![instance(LLAMA, "")], vec![instance(LLAMA, "")]];
    let check = |num_told, notes: &[&str]| {
        let loaded = loaded(&inputs(&nodes, num_told));
        assert_eq!(loaded.deployment.power.is_some(), num_told == 2);
        assert_eq!(loaded.notes, notes);
    };
    check(0, &[]);
    check(1, &["power is not counted: 1 of 2 nodes have `power`"]);
    check(2, &[]);
}

#[test]
fn memory_that_computes_draws_by_channel() {
    let mut inputs = inputs(&[vec![instance(LLAMA, "")]], 1);
    let Source::Text { text, .. } = &mut inputs.cluster else { panic!("a cluster in a file") };
    *text = text.replace(r#""mem_latency": 7.9"#, r#""mem_latency": 7.9, "pim_config": "DDR4_8GB_3200_pim""#);
    *text = text.replace(r#""dimm_size": 48, "idle_power": 2.5, "#, "");
    inputs.flags.attn_offloading = true;
    // 64 channels of 0.623 W, 3.803 W at work.
    let dram = DramPower { idle_w: 0.623 * 64.0, pj_per_bit: 6.0, pim_active_w: 3.803 - 0.623 };
    assert_eq!(loaded(&inputs).deployment.power, Some(vec![power(1, dram)]));
}
