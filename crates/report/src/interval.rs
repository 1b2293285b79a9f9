//! The lines that tell how a run goes.

use engine::{GroupInterval, Interval, Observer};
use metrics::{GroupLayout, Layout};
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
///   several instances of a mixture-of-experts model have it.
///
/// A lone instance has single values without brackets. Where there are several groups, a line begins with which one it
/// is of: `[INFO] group=A step=8`, or `[INFO] instance=3 step=8` where it has no name.
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
}

impl<F: FnMut(&str)> Observer for IntervalLog<F> {
    fn interval_ended(&mut self, interval: &Interval<'_>) {
        let is_one_of_many = self.layout.groups.len() > 1;
        for (layout, group) in self.layout.groups.iter().zip(interval.groups) {
            let name = if is_one_of_many { which(layout) } else { String::new() };
            (self.sink)(&format!("[INFO] {name}{}", line(layout, group, interval.length)));
        }
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

fn line(layout: &GroupLayout, group: &GroupInterval, length: Duration) -> String {
    let rate = |tokens: u64| match length {
        Duration::ZERO => human::count(0.0),
        length => human::count(tokens as f64 / length.secs_f64()),
    };
    let batches: Vec<_> = group.members.iter().map(|member| member.batch_sequences.to_string()).collect();
    let memory: Vec<_> = group.members.iter().map(|member| human::bytes(member.npu_bytes)).collect();
    let memory = memory.join(", ");
    let is_lone = group.members.len() == 1;
    let mut line = format!(
        "step={} batch={} prompt_t={} tok/s decode_t={} tok/s npu_mem={}",
        group.waves,
        batches.join("+"),
        rate(group.prompt_tokens),
        rate(group.generated_tokens),
        if is_lone { memory } else { format!("[{memory}]") },
    );
    if layout.is_moe && !is_lone {
        line += &format!(" alltoall={}", human::bytes(group.synchronised_bytes.unwrap_or(0)));
    }
    line
}

#[cfg(test)]
mod tests {
    use engine::MemberInterval;
    use units::{InstanceId, Instant};

    use super::*;

    fn group(name: Option<&str>, members: &[u32], is_moe: bool) -> GroupLayout {
        let members = members.iter().copied().map(InstanceId).collect();
        GroupLayout { name: name.map(str::to_owned), members, is_moe }
    }

    fn interval(batches: &[u64]) -> GroupInterval {
        let member = |&batch_sequences| MemberInterval {
            batch_sequences,
            npu_bytes: 87_187_835_617,
            ..MemberInterval::default()
        };
        GroupInterval {
            waves: 8,
            prompt_tokens: 700,
            generated_tokens: 260,
            synchronised_bytes: (batches.len() > 1).then_some(512 << 10),
            members: batches.iter().map(member).collect(),
        }
    }

    fn check(layouts: &[GroupLayout], groups: &[GroupInterval], expected: &[&str]) {
        let layout = Layout { groups: layouts.to_vec(), ..Layout::default() };
        let mut lines = Vec::new();
        let length = Duration::from_ns(500_000_000);
        let end = Instant::ZERO + length;
        IntervalLog::new(layout, |line| lines.push(line.to_owned())).interval_ended(&Interval { end, length, groups });
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_line_per_group() {
        let dp = "batch=4+4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=[81.2 GB, 81.2 GB]";
        let lone = "batch=4 prompt_t=1.4k tok/s decode_t=520 tok/s npu_mem=81.2 GB";
        check(
            &[group(Some("A"), &[0, 1], true)],
            &[interval(&[4, 4])],
            &[&format!("[INFO] step=8 {dp} alltoall=512 KB")],
        );
        check(&[group(Some("A"), &[0, 1], false)], &[interval(&[4, 4])], &[&format!("[INFO] step=8 {dp}")]);
        check(&[group(None, &[0], true)], &[interval(&[4])], &[&format!("[INFO] step=8 {lone}")]);
        check(
            &[group(Some("A"), &[0, 1], true), group(None, &[2], false)],
            &[interval(&[4, 4]), interval(&[4])],
            &[&format!("[INFO] group=A step=8 {dp} alltoall=512 KB"), &format!("[INFO] instance=2 step=8 {lone}")],
        );
    }

    #[test]
    fn a_group_that_has_done_nothing() {
        let idle = GroupInterval { members: vec![MemberInterval::default(); 2], ..GroupInterval::default() };
        check(
            &[group(Some("A"), &[0, 1], true)],
            &[idle],
            &["[INFO] step=0 batch=0+0 prompt_t=0 tok/s decode_t=0 tok/s npu_mem=[0 B, 0 B] alltoall=0 B"],
        );
    }
}
