//! The lines that tell how a run goes.

use metrics::{GroupLayout, GroupResults, InstanceResults, IntervalResults, Layout};
use units::Duration;

use crate::human;

/// Gives a line per group for every log interval:
///
/// `[INFO] step=8 batch=4+4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=[81.2 GB, 81.2 GB] alltoall=512 KB`
///
/// - `step`: waves so far; `batch`: sequences in each member's latest batch, dummies being 0;
/// - `prompt_t`, `decode_t`: tokens through prefill and tokens generated, per simulated second of the interval;
/// - `npu_mem`: use of each NPU of each member, with 1 GB = 2^30 bytes;
/// - `alltoall`: bytes that the last wave synchronised per expert collective, with 1 KB = 1024 bytes. Only groups of
///   several instances of a mixture-of-experts model have it;
/// - `tier_hit`: prompt tokens found in the prefix caches below the NPUs' in the interval. Only groups with such caches
///   have it;
/// - `power`: mean power of the whole cluster in the interval, where power is modelled.
///
/// A lone instance has single values without brackets. Where there are several groups, a line begins with which one it
/// is of: `[INFO] group=A step=8`, or `[INFO] instance=3 step=8` where it has no name; power, which is not a group's,
/// then follows in a line of its own: `[INFO] cluster power=5120.3 W`.
#[derive(Debug)]
pub struct IntervalLog<F> {
    layout: Layout,
    sink: F,
}

impl<F: FnMut(&str)> IntervalLog<F> {
    /// Gives lines, without line breaks, to `sink`.
    pub fn new(layout: Layout, sink: F) -> Self {
        Self { layout, sink }
    }

    /// Gives the lines of one interval, if it is a whole one.
    pub fn write(&mut self, results: &IntervalResults) {
        if !results.is_whole {
            return;
        }
        let is_one_of_many = self.layout.groups.len() > 1;
        let power = results.power.as_ref();
        let power = power.map(|power| format!("power={:.1} W", power.cluster().mean_w(results.length)));
        for (layout, group) in self.layout.groups.iter().zip(&results.groups) {
            let name = if is_one_of_many { which(layout) } else { String::new() };
            let mut line = format!("[INFO] {name}{}", self.line(layout, group, results));
            if let (Some(power), false) = (&power, is_one_of_many) {
                line += &format!(" {power}");
            }
            (self.sink)(&line);
        }
        if let (Some(power), true) = (power, is_one_of_many) {
            (self.sink)(&format!("[INFO] cluster {power}"));
        }
    }

    fn line(&self, layout: &GroupLayout, group: &GroupResults, results: &IntervalResults) -> String {
        let members: Vec<&InstanceResults> = layout.members.iter().map(|id| &results.instances[id.index()]).collect();
        let sum = |count: fn(&InstanceResults) -> u64| members.iter().map(|member| count(member)).sum::<u64>();
        let rate = |tokens: u64| match results.length {
            Duration::ZERO => human::count(0.0),
            length => human::count(tokens as f64 / length.secs_f64()),
        };
        let batches: Vec<_> = members.iter().map(|member| member.batch_sequences.unwrap_or(0).to_string()).collect();
        let memory: Vec<_> = members.iter().map(|member| human::bytes(member.npu_bytes.unwrap_or(0))).collect();
        let memory = memory.join(", ");
        let is_lone = members.len() == 1;
        let mut line = format!(
            "step={} batch={} prompt_t={} tok/s decode_t={} tok/s npu_mem={}",
            group.waves_total,
            batches.join("+"),
            rate(sum(|member| member.did.prompt_tokens)),
            rate(sum(|member| member.did.generated_tokens)),
            if is_lone { memory } else { format!("[{memory}]") },
        );
        if layout.is_moe && !is_lone {
            line += &format!(" alltoall={}", human::bytes(group.synchronised_bytes.unwrap_or(0)));
        }
        if layout.members.iter().any(|id| self.layout.instances[id.index()].has_tier) {
            line += &format!(" tier_hit={} tok", human::count(sum(|member| member.did.tier_hit_tokens) as f64));
        }
        line
    }
}

/// Which group it is, with a space after it.
fn which(layout: &GroupLayout) -> String {
    match (&layout.name, layout.members.first()) {
        (Some(name), _) => format!("group={name} "),
        (None, Some(member)) => format!("instance={member} "),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use engine::{
        CpuPower, DramPower, GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, NodePower, NpuPower,
        Observer, RunTotals,
    };
    use metrics::{InstanceLayout, IntervalMeter, NodeLayout};
    use units::{InstanceId, Instant};

    use super::*;

    fn group(name: Option<&str>, members: &[u32], is_moe: bool) -> GroupLayout {
        let members = members.iter().copied().map(InstanceId).collect();
        GroupLayout { name: name.map(str::to_owned), members, is_moe }
    }

    fn layout(groups: &[GroupLayout]) -> Layout {
        let num_instances = groups.iter().map(|group| group.members.len()).sum();
        let instances = vec![InstanceLayout { tp: 1, ..InstanceLayout::default() }; num_instances];
        Layout { instances, groups: groups.to_vec(), ..Layout::default() }
    }

    /// A group whose members take equal parts in 700 tokens prefilled and 260 generated.
    fn interval(batches: &[u64]) -> GroupInterval {
        let num_members = batches.len() as u64;
        let member = |&batch_sequences| MemberInterval {
            totals: InstanceTotals {
                prompt_tokens: 700 / num_members,
                generated_tokens: 260 / num_members,
                tier_hit_tokens: 256,
                ..InstanceTotals::default()
            },
            batch_sequences,
            npu_bytes: 87_187_835_617,
            ..MemberInterval::default()
        };
        GroupInterval {
            totals: GroupTotals { waves: 8, ..GroupTotals::default() },
            synchronised_bytes: (batches.len() > 1).then_some(512 << 10),
            members: batches.iter().map(member).collect(),
        }
    }

    const LENGTH: Duration = Duration::from_ns(500_000_000);

    fn check(layout: &Layout, groups: &[GroupInterval], expected: &[&str]) {
        let mut meter = IntervalMeter::new(layout);
        meter.interval_ended(&Interval { end: Instant::ZERO + LENGTH, length: LENGTH, groups });
        meter.finish(&RunTotals { end: Instant::ZERO + LENGTH * 2, ..RunTotals::default() });
        let mut lines = Vec::new();
        let mut log = IntervalLog::new(layout.clone(), |line| lines.push(line.to_owned()));
        meter.take().iter().for_each(|results| log.write(results));
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_per_group() {
        let dp = "batch=4+4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=[81.2 GB, 81.2 GB]";
        let lone = "batch=4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=81.2 GB";
        check(
            &layout(&[group(Some("A"), &[0, 1], true)]),
            &[interval(&[4, 4])],
            &[&format!("[INFO] step=8 {dp} alltoall=512 KB")],
        );
        check(&layout(&[group(Some("A"), &[0, 1], false)]), &[interval(&[4, 4])], &[&format!("[INFO] step=8 {dp}")]);
        check(&layout(&[group(None, &[0], true)]), &[interval(&[4])], &[&format!("[INFO] step=8 {lone}")]);
        check(
            &layout(&[group(Some("A"), &[0, 1], true), group(None, &[2], false)]),
            &[interval(&[4, 4]), interval(&[4])],
            &[&format!("[INFO] group=A step=8 {dp} alltoall=512 KB"), &format!("[INFO] instance=2 step=8 {lone}")],
        );
    }

    #[test]
    fn a_group_that_has_done_nothing() {
        let idle = GroupInterval { members: vec![MemberInterval::default(); 2], ..GroupInterval::default() };
        check(
            &layout(&[group(Some("A"), &[0, 1], true)]),
            &[idle],
            &["[INFO] step=0 batch=0+0 prompt_t=0 tok/s decode_t=0 tok/s npu_mem=[0 B, 0 B] alltoall=0 B"],
        );
    }

    #[test]
    fn tiers_and_power_where_there_are_any() {
        let lone = "step=8 batch=4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=81.2 GB";
        let mut one = layout(&[group(None, &[0], false)]);
        let mut two = layout(&[group(None, &[0], false), group(Some("B"), &[1], false)]);
        one.instances[0].has_tier = true;
        check(&one, &[interval(&[4])], &[&format!("[INFO] {lone} tier_hit=256 tok")]);
        one.nodes = vec![node(&[0])];
        check(&one, &[interval(&[4])], &[&format!("[INFO] {lone} tier_hit=256 tok power=177.5 W")]);
        two.instances[1].has_tier = true;
        two.nodes = vec![node(&[0]), node(&[1])];
        check(
            &two,
            &[interval(&[4]), interval(&[4])],
            &[
                &format!("[INFO] instance=0 {lone}"),
                &format!("[INFO] group=B {lone} tier_hit=256 tok"),
                "[INFO] cluster power=355.0 W",
            ],
        );
    }

    /// A node that draws 177.5 W, its NPUs nothing.
    fn node(instances: &[u32]) -> NodeLayout {
        let hardware = String::new();
        let npu = NpuPower { hardware, count: 1, idle_w: 0.0, standby_w: 0.0, active_w: 0.0, standby_s: 0.0 };
        let power = NodePower {
            base_w: 60.0,
            npus: vec![npu],
            cpu: CpuPower { idle_w: 10.0, active_w: 210.0, utilization: 0.2 },
            dram: DramPower { idle_w: 32.0, pj_per_bit: 6.0, pim_active_w: 0.0 },
            link_idle_w: 5.5,
            link_pj_per_bit: 4.0,
            nic_w: 20.0,
            storage_w: 10.0,
        };
        NodeLayout { instances: instances.iter().copied().map(InstanceId).collect(), power: Some(power) }
    }
}
