//! Energy of a run, by node and component, as LLMServingSim counts it (behaviour contract, section 14).
//!
//! With `t` seconds gone by, a node has used, in joules:
//!
//! - base, network cards, storage: `w * t`
//! - NPUs: `Σ idle_w * t`, and over all its instances `(active_w - idle_w) * npu_s + (standby_w - idle_w) * standby_s`
//! - processors: `(idle_w + (active_w - idle_w) * utilization) * t`, and for each instance
//!   `(active_w - idle_w) * max(0.7 - utilization, 0) * npu_s / tp`: while an instance computes, its node's processors
//!   are taken to be 70 % busy. Instances add up, so many on one node draw more than processors at full load do.
//! - memory: `idle_w * t + pj_per_bit * bits + pim_active_w * channel_s`
//! - links: `idle_w * t + pj_per_bit * bits`
//!
//! `npu_s` is the computing time of all NPUs. In the rest of a step, which are collectives and loads, an NPU idles.
//! `standby_s` is the time of all NPUs of an instance from the end of a step to the start of the next, or up to the
//! hardware's standby time if that is shorter; the start of the run counts as the end of a step.
//!
//! How far a step in progress is can't be told from outside. Its work counts as spread evenly over its computing time
//! from its start on, and all of it counts when the step is done. So NPUs never draw more than their active power
//! between two readings, and readings add up exactly to the whole.

use std::collections::VecDeque;

use engine::{NodePower, NpuPower, Observer, StepWork, Wave};
use units::{Duration, InstanceId, Instant};

use crate::energy::{Energy, PowerReading};
use crate::{InstanceLayout, Layout, NodeLayout};

/// The part of its node's processors that an instance keeps busy while it computes, their standing load included.
const CPU_UTILIZATION_COMPUTING: f64 = 0.7;

const JOULES_PER_PICOJOULE: f64 = 1e-12;

/// Counts the energy of a run.
#[derive(Clone, Debug)]
pub struct PowerMeter {
    nodes: Vec<NodeMeter>,
    instances: Vec<InstanceMeter>,
    /// When the latest step ended.
    latest: Instant,
}

#[derive(Clone, Debug)]
struct NodeMeter {
    power: NodePower,
    instances: Vec<InstanceId>,
}

#[derive(Clone, Debug)]
struct InstanceMeter {
    /// What its node and one of its NPUs draw.
    node: usize,
    npu: NpuPower,
    tp: u32,
    num_npus: u32,
    num_npus_with_peers: u32,
    /// Work of the steps that are done.
    done: StepWork,
    /// The steps in progress, oldest first, with their starts.
    in_flight: VecDeque<(Instant, StepWork)>,
    /// Standby of each of its NPUs before the latest rest, in whole nanoseconds.
    standby: Duration,
    /// When its latest rest began.
    rests_since: Instant,
}

/// Work that is done, steps in progress in part.
struct Busy {
    npu_s: f64,
    pim_s: f64,
    memory_bytes: f64,
    link_bytes: f64,
}

impl PowerMeter {
    /// A meter for a deployment with this `layout`; `None` when a node does not say what it draws, or is not known.
    ///
    /// # Panics
    /// When a node does not say what NPUs of a type that is on it draw.
    pub fn new(layout: &Layout) -> Option<Self> {
        let node = |node: &NodeLayout| {
            let power = node.power.clone()?;
            Some(NodeMeter { power, instances: node.instances.clone() })
        };
        let nodes: Vec<NodeMeter> = layout.nodes.iter().map(node).collect::<Option<_>>()?;
        let instance = |(index, instance): (usize, &InstanceLayout)| {
            let node = nodes.iter().position(|node| node.instances.contains(&index.into()))?;
            Some(InstanceMeter::new(instance, node, &nodes))
        };
        let instances = layout.instances.iter().enumerate().map(instance).collect::<Option<_>>()?;
        Some(Self { nodes, instances, latest: Instant::ZERO })
    }

    /// Up to when a reading at `now` counts: to the end of the latest step if that is later.
    pub fn end(&self, now: Instant) -> Instant {
        now.max(self.latest)
    }

    /// What was used from the start of the run to `now`, or to the end of the latest step if that is later.
    pub fn reading(&self, now: Instant) -> PowerReading {
        let now = self.end(now);
        let of_instance = |instance: &InstanceMeter| instance.energy_above_idle(&self.nodes[instance.node].power, now);
        let above_idle: Vec<Energy> = self.instances.iter().map(of_instance).collect();
        let node = |node: &NodeMeter| {
            let added: Energy = node.instances.iter().map(|instance| above_idle[instance.index()]).sum();
            node.energy_idle(now) + added
        };
        let with_idle = |(instance, &above_idle): (&InstanceMeter, &Energy)| above_idle + instance.energy_idle(now);
        PowerReading {
            nodes: self.nodes.iter().map(node).collect(),
            instances: self.instances.iter().zip(&above_idle).map(with_idle).collect(),
        }
    }
}

impl Observer for PowerMeter {
    fn wave_started(&mut self, wave: &Wave<'_>) {
        for member in wave.members {
            self.instances[member.instance.index()].start(wave.start, member.work);
        }
    }

    fn step_finished(&mut self, instance: InstanceId, now: Instant) {
        self.instances[instance.index()].finish(now);
        self.latest = now;
    }
}

impl NodeMeter {
    /// What the node would have used by `now` without any step.
    fn energy_idle(&self, now: Instant) -> Energy {
        let power = &self.power;
        let npus_w: f64 = power.npus.iter().map(|npu| npu.idle_w * f64::from(npu.count)).sum();
        let cpu_w = power.cpu.idle_w + (power.cpu.active_w - power.cpu.idle_w) * power.cpu.utilization;
        // In the order of the components.
        let watts = [power.base_w, npus_w, cpu_w, power.dram.idle_w, power.link_idle_w, power.nic_w, power.storage_w];
        Energy { joules: watts.map(|watts| watts * now.secs_f64()), npu_standby_j: 0.0 }
    }
}

impl InstanceMeter {
    fn new(layout: &InstanceLayout, node: usize, nodes: &[NodeMeter]) -> Self {
        let npu = nodes[node].power.npus.iter().find(|npu| npu.hardware == layout.hardware);
        Self {
            node,
            npu: npu.expect("a node says what every type of NPU on it draws").clone(),
            tp: layout.tp,
            num_npus: layout.num_npus,
            num_npus_with_peers: layout.num_npus_with_peers,
            done: StepWork::default(),
            in_flight: VecDeque::new(),
            standby: Duration::ZERO,
            rests_since: Instant::ZERO,
        }
    }

    fn start(&mut self, now: Instant, work: StepWork) {
        self.standby = self.standby_by(now);
        self.in_flight.push_back((now, work));
    }

    fn finish(&mut self, now: Instant) {
        let (_, work) = self.in_flight.pop_front().expect("only a step that started can end");
        self.done.npu_time += work.npu_time;
        self.done.pim_time += work.pim_time;
        self.done.memory_bytes += work.memory_bytes;
        self.done.link_bytes += work.link_bytes;
        self.rests_since = now;
    }

    /// Standby of each of its NPUs by `now`.
    fn standby_by(&self, now: Instant) -> Duration {
        if !self.in_flight.is_empty() {
            return self.standby;
        }
        let standby_max = Duration::from_ns((self.npu.standby_s * 1e9) as u64);
        self.standby + (now - self.rests_since).min(standby_max)
    }

    fn busy_by(&self, now: Instant) -> Busy {
        let mut busy = Busy {
            npu_s: self.done.npu_time.secs_f64(),
            pim_s: self.done.pim_time.secs_f64(),
            memory_bytes: self.done.memory_bytes as f64,
            link_bytes: self.done.link_bytes as f64,
        };
        for &(start, work) in &self.in_flight {
            let share = match work.npu_time {
                Duration::ZERO => 1.0,
                npu_time => ((now - start).secs_f64() * f64::from(self.tp) / npu_time.secs_f64()).min(1.0),
            };
            busy.npu_s += share * work.npu_time.secs_f64();
            busy.pim_s += share * work.pim_time.secs_f64();
            busy.memory_bytes += share * work.memory_bytes as f64;
            busy.link_bytes += share * work.link_bytes as f64;
        }
        busy
    }

    /// What its NPUs would have used by `now` without any step.
    fn energy_idle(&self, now: Instant) -> Energy {
        let npu_j = self.npu.idle_w * f64::from(self.num_npus_with_peers) * now.secs_f64();
        Energy { joules: [0.0, npu_j, 0.0, 0.0, 0.0, 0.0, 0.0], npu_standby_j: 0.0 }
    }

    /// What it has added by `now` to what its node uses idle.
    fn energy_above_idle(&self, node: &NodePower, now: Instant) -> Energy {
        let busy = self.busy_by(now);
        let standby_s = self.standby_by(now).secs_f64() * f64::from(self.num_npus);
        let npu_standby_j = (self.npu.standby_w - self.npu.idle_w) * standby_s;
        let npu_j = (self.npu.active_w - self.npu.idle_w) * busy.npu_s + npu_standby_j;
        let cpu_utilization = (CPU_UTILIZATION_COMPUTING - node.cpu.utilization).max(0.0);
        let cpu_w = (node.cpu.active_w - node.cpu.idle_w) * cpu_utilization;
        let cpu_j = cpu_w * busy.npu_s / f64::from(self.tp);
        let moved_j = |bytes: f64, pj_per_bit: f64| bytes * 8.0 * pj_per_bit * JOULES_PER_PICOJOULE;
        let dram_j = moved_j(busy.memory_bytes, node.dram.pj_per_bit) + node.dram.pim_active_w * busy.pim_s;
        let link_j = moved_j(busy.link_bytes, node.link_pj_per_bit);
        Energy { joules: [0.0, npu_j, cpu_j, dram_j, link_j, 0.0, 0.0], npu_standby_j }
    }
}
