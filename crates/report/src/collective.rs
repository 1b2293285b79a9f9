//! The time of a collective, for people and for programs.

use network::CollectiveKind;
use serde::Serialize;
use units::Instant;

use crate::table::{columns, row};

/// A collective, and when each NPU was through with it.
#[derive(Clone, Debug)]
pub struct CollectiveTime {
    /// What it does.
    pub kind: CollectiveKind,
    /// How, by dimension or for all.
    pub algorithm: String,
    /// Bytes each member brings.
    pub bytes: u64,
    /// When each NPU was through, by rank.
    pub finished: Vec<Instant>,
    /// Messages that each member sends one after the other.
    pub steps: u64,
    /// Bytes that a member sends, the one that sends most.
    pub bytes_on_wire: u64,
    /// How long its links are taken by them, in nanoseconds.
    pub limit_ns: f64,
}

impl CollectiveTime {
    /// When the last NPU is through.
    fn last(&self) -> Instant {
        self.finished.iter().copied().max().unwrap_or_default()
    }

    /// The share of the time in which links could not have been faster. None where no time passes.
    fn share_of_limit(&self) -> Option<f64> {
        let ns = self.last().ns();
        (ns > 0).then(|| self.limit_ns / ns as f64)
    }
}

/// One collective as the nanosecond in which the last NPU is through, or each NPU, and nothing else; several as a table.
pub fn collective_text(times: &[CollectiveTime], per_npu: bool) -> String {
    let all = |time: &CollectiveTime| {
        let each: Vec<_> = time.finished.iter().map(|at| at.ns().to_string()).collect();
        each.join(" ")
    };
    match times {
        [time] if per_npu => format!("{}\n", all(time)),
        [time] => format!("{}\n", time.last().ns()),
        _ if per_npu => times.iter().map(|time| format!("{} {}\n", time.bytes, all(time))).collect(),
        _ => table(times),
    }
}

fn table(times: &[CollectiveTime]) -> String {
    let header = row(["bytes", "time (ns)", "steps", "bytes on wire", "share of limit"]);
    let of_time = |time: &CollectiveTime| {
        let share = time.share_of_limit().map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let numbers = [time.bytes, time.last().ns(), time.steps, time.bytes_on_wire];
        numbers.iter().map(u64::to_string).chain([share]).collect()
    };
    let rows: Vec<Vec<String>> = [header].into_iter().chain(times.iter().map(of_time)).collect();
    columns(&rows, 0)
}

/// One collective as an object, several as an array of them.
pub fn collective_json(times: &[CollectiveTime], per_npu: bool) -> String {
    let objects: Vec<Json<'_>> = times.iter().map(|time| Json::of(time, per_npu)).collect();
    let json = match &objects[..] {
        [object] => serde_json::to_string_pretty(object),
        objects => serde_json::to_string_pretty(objects),
    };
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

/// When each NPU was through with a replay.
pub fn finish_json(finished: &[Instant]) -> String {
    #[derive(Serialize)]
    struct Finish {
        time_ns: u64,
        finish_ns: Vec<u64>,
    }
    let finish_ns: Vec<u64> = finished.iter().map(|at| at.ns()).collect();
    let finish = Finish { time_ns: finish_ns.iter().copied().max().unwrap_or_default(), finish_ns };
    serde_json::to_string_pretty(&finish).expect("plain numbers have a JSON form") + "\n"
}

#[derive(Serialize)]
struct Json<'a> {
    kind: &'static str,
    algorithm: &'a str,
    bytes: u64,
    time_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_ns: Option<Vec<u64>>,
    steps: u64,
    bytes_on_wire: u64,
    limit_ns: f64,
    share_of_limit: Option<f64>,
}

impl<'a> Json<'a> {
    fn of(time: &'a CollectiveTime, per_npu: bool) -> Self {
        Self {
            kind: time.kind.name(),
            algorithm: &time.algorithm,
            bytes: time.bytes,
            time_ns: time.last().ns(),
            finish_ns: per_npu.then(|| time.finished.iter().map(|at| at.ns()).collect()),
            steps: time.steps,
            bytes_on_wire: time.bytes_on_wire,
            limit_ns: time.limit_ns,
            share_of_limit: time.share_of_limit(),
        }
    }
}
