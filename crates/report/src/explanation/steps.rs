//! What steps take.

use explain::{Step, StepRow};

use crate::human;
use crate::table::{columns, row};

pub(super) fn text(step: &Step) -> String {
    let pieces: Vec<_> = step
        .batch
        .iter()
        .map(|piece| {
            let (sequences, history) = (human::grouped(piece.sequences), human::grouped(piece.history));
            format!("{sequences} × {} tokens on {history}", human::grouped(piece.tokens))
        })
        .collect();
    let padded = match step.padded_tokens == step.tokens {
        true => String::new(),
        false => format!(", padded to {} tokens", human::grouped(step.padded_tokens)),
    };
    let many = if step.groups.count() == 1 { "group" } else { "groups" };
    let head = format!(
        "Step of {many} {} ({}): {}{padded}\n  {:.3} ms: {:.3} ms computing, {:.3} ms on links; {} in, {} out of host memory\n",
        step.groups,
        step.name,
        pieces.join(" + "),
        step.time_ns as f64 / 1e6,
        step.compute_ns as f64 / 1e6,
        step.network_ns as f64 / 1e6,
        human::bytes(step.input_bytes),
        human::bytes(step.output_bytes),
    );
    let mut rows = vec![row(["  Op", "part", "times", "µs", "bytes", "NPUs", "dims"])];
    rows.extend(step.ops.iter().map(row_of));
    head + &columns(&rows, 2)
}

fn row_of(op: &StepRow) -> Vec<String> {
    let half = op.half.map_or_else(String::new, |half| format!(" (half {half})"));
    let kind = match op.kind {
        "memory" => " in memory",
        "message" if op.is_beside => " sent, beside",
        "message" => " sent on",
        _ => "",
    };
    let dims = op.dimensions.as_ref().map(|dims| dims.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    vec![
        format!("  {}{kind}{half}", op.name),
        op.part.to_owned(),
        op.times.to_string(),
        format!("{:.3}", op.time_ns as f64 / 1e3),
        op.bytes.map_or_else(String::new, human::grouped),
        op.members.map_or_else(String::new, |members| members.to_string()),
        dims.unwrap_or_default(),
    ]
}
