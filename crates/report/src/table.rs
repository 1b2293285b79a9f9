//! The summary for people.

use metrics::{Component, Energy, EngineLayout, InstanceSummary, NetworkLayout, PowerSummary, Spread, Summary};
use network::{CollectiveKind, NetworkModel};
use units::Duration;

use crate::human;

/// Most characters of a model's name.
const MODEL_CHARS_MAX: usize = 28;

/// The summary as aligned text of at most 100 columns, with a line break at its end.
pub fn summary_table(summary: &Summary) -> String {
    let power = summary.power.as_ref().map(power);
    let parts = [totals(summary), latencies(summary), notable(summary)].into_iter().chain(power);
    parts.chain([instances(summary)]).collect::<Vec<_>>().join("\n")
}

fn totals(summary: &Summary) -> String {
    let rate = |rate: fn(&metrics::Throughput) -> f64, unit: &str| match &summary.throughput {
        Some(throughput) => format!("{:.2} {unit}", rate(throughput)),
        None => "-".to_owned(),
    };
    let total_tokens = summary.prompt_tokens + summary.generated_tokens;
    columns(
        &[
            row(["Makespan", &format!("{:.3} s", summary.makespan.secs_f64()), ""]),
            row(["Requests", &human::grouped(summary.requests), &rate(|rates| rates.requests_per_s, "req/s")]),
            row([
                "Prompt tokens",
                &human::grouped(summary.prompt_tokens),
                &rate(|rates| rates.prompt_tokens_per_s, "tok/s"),
            ]),
            row([
                "Generated tokens",
                &human::grouped(summary.generated_tokens),
                &rate(|rates| rates.generated_tokens_per_s, "tok/s"),
            ]),
            row(["Total tokens", &human::grouped(total_tokens), &rate(|rates| rates.total_tokens_per_s, "tok/s")]),
        ],
        1,
    )
}

fn latencies(summary: &Summary) -> String {
    let latency = |name: &str, spread: Option<Spread>| {
        let values = match spread {
            Some(Spread { mean, min, median, p90, p99, max }) => {
                [mean, median, p90, p99, min, max].map(|millis| format!("{millis:.2}"))
            }
            None => ["-"; 6].map(str::to_owned),
        };
        [name.to_owned()].into_iter().chain(values).collect()
    };
    columns(
        &[
            row(["Latency (ms)", "mean", "median", "P90", "P99", "min", "max"]),
            latency("TTFT", summary.ttft),
            latency("TPOT", summary.tpot),
            latency("ITL", summary.itl),
            latency("Request latency", summary.latency),
            latency("Queuing delay", summary.queuing_delay),
        ],
        1,
    )
}

fn notable(summary: &Summary) -> String {
    let grouped = human::grouped;
    let (prefix, waves) = (&summary.prefix, &summary.waves);
    let hits = |tokens: u64, ratio: f64| {
        format!("{} of {} tokens ({})", grouped(tokens), grouped(prefix.lookup_tokens), human::percent(ratio))
    };
    let preemptions =
        format!("{} ({} tokens recomputed)", grouped(summary.preemptions), grouped(summary.recomputed_tokens));
    let dummies = format!(
        "{} of {} steps ({})",
        grouped(waves.dummy_steps),
        grouped(waves.steps),
        human::percent(waves.dummy_share())
    );
    let tier_hits = prefix.tier_hit_tokens.zip(prefix.tier_hit_ratio());
    let energy = summary.power.as_ref().map(|power| {
        let total = power.total();
        format!("{:.2} kJ ({:.1} W on average)", total.total_j() / 1e3, total.mean_w(power.makespan))
    });
    let rows = [
        ("Prefix cache hits", Some(hits(prefix.hit_tokens, prefix.hit_ratio()))),
        ("Lower tier hits", tier_hits.map(|(tokens, ratio)| hits(tokens, ratio))),
        ("Preemptions", Some(preemptions)),
        ("Handoff waits", summary.handoff_waits.map(grouped)),
        ("Waves", Some(grouped(waves.waves))),
        ("Dummy steps", Some(dummies)),
        ("Collectives", Some(collectives(summary))),
        ("Engine", engine(&summary.engine)),
        ("Network", network(&summary.network)),
        ("Energy", energy),
    ];
    let rows: Vec<_> = rows.into_iter().filter_map(|(name, value)| Some(row([name, &value?]))).collect();
    columns(&rows, 2)
}

fn collectives(summary: &Summary) -> String {
    let used = summary.collective_bytes.iter().filter(|&&(_, bytes)| bytes > 0);
    let texts: Vec<_> = used.map(|&(kind, bytes)| format!("{} {}", kind_name(kind), human::bytes(bytes))).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// What is not as usual about engines: they step as vLLM's do.
fn engine(layout: &EngineLayout) -> Option<String> {
    let vllm = layout.engine.vllm()?;
    let preset = layout.preset.as_ref().map(|name| format!("preset {name}"));
    let synchronous = (!vllm.async_scheduling).then(|| "one batch in flight".to_owned());
    let warm_up = (vllm.warm_up > Duration::ZERO).then(|| format!("warm-up {:.1} ms", vllm.warm_up.millis_f64()));
    let eager = (!layout.captures_graphs).then(|| "no captured graphs".to_owned());
    let left_out = vllm.left_out();
    let without = (!left_out.is_empty()).then(|| format!("without {}", left_out.join(", ")));
    let parts = [Some(layout.engine.name().to_owned()), preset, synchronous, eager, warm_up, without];
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// What is not as usual about the network: links never shared, collectives computed.
fn network(network: &NetworkLayout) -> Option<String> {
    let shared = (network.model == NetworkModel::Aware).then(|| "links are shared".to_owned());
    let measured = |&(dim, kind): &(usize, CollectiveKind)| format!("{} in dimension {dim} measured", kind_name(kind));
    let texts: Vec<_> = shared.into_iter().chain(network.measured.iter().map(measured)).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

const fn kind_name(kind: CollectiveKind) -> &'static str {
    match kind {
        CollectiveKind::AllReduce => "all-reduce",
        CollectiveKind::AllGather => "all-gather",
        CollectiveKind::ReduceScatter => "reduce-scatter",
        CollectiveKind::AllToAll => "all-to-all",
    }
}

fn power(power: &PowerSummary) -> String {
    // One unit for all, so that numbers compare, and six digits at most before the point.
    let (unit, joules) = match power.total().total_j() {
        ..1e6 => ("J", 1.0),
        1e6..1e9 => ("kJ", 1e3),
        _ => ("MJ", 1e6),
    };
    let node = |(name, energy): (String, &Energy)| {
        let components = Component::ALL.map(|component| energy.of(component));
        let energies = [energy.total_j()].into_iter().chain(components).map(|energy| format!("{:.1}", energy / joules));
        let mean = format!("{:.1}", energy.mean_w(power.makespan));
        [name].into_iter().chain(energies).chain([mean]).collect::<Vec<_>>()
    };
    let head = row([
        &format!("Energy ({unit})"),
        "total",
        "base",
        "NPU",
        "CPU",
        "memory",
        "links",
        "NICs",
        "storage",
        "mean W",
    ]);
    let nodes = power.nodes.iter().enumerate().map(|(index, energy)| node((format!("Node {index}"), energy)));
    columns(&[head].into_iter().chain(nodes).collect::<Vec<_>>(), 1)
}

fn instances(summary: &Summary) -> String {
    let head = row(["Instance", "Model", "requests", "prompt", "generated", "steps", "dummy", "hits", "KV max"]);
    let rows: Vec<_> = [head].into_iter().chain(summary.instances.iter().map(instance)).collect();
    columns(&rows, 2)
}

fn instance(instance: &InstanceSummary) -> Vec<String> {
    let totals = &instance.totals;
    let count = |number: u64| human::count(number as f64);
    let hit_ratio = match totals.prefix_lookup_tokens {
        0 => "-".to_owned(),
        tokens => human::percent(totals.prefix_hit_tokens as f64 / tokens as f64),
    };
    vec![
        instance.id.to_string(),
        shortened(&instance.model),
        count(totals.finished_requests),
        count(totals.prompt_tokens),
        count(totals.generated_tokens),
        count(totals.steps),
        count(totals.dummy_steps),
        hit_ratio,
        instance.kv_share_max.map_or_else(|| "-".to_owned(), human::percent),
    ]
}

/// A model's name without its owner, and not too long.
fn shortened(model: &str) -> String {
    let name = model.rsplit('/').next().unwrap_or(model);
    if name.chars().count() <= MODEL_CHARS_MAX {
        return name.to_owned();
    }
    name.chars().take(MODEL_CHARS_MAX - 1).chain(['…']).collect()
}

pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// Rows of equally many cells below each other, two spaces apart: the first `left` columns to the left, the others to
/// the right.
///
/// # Panics
/// When there are no rows.
pub fn columns(rows: &[Vec<String>], left: usize) -> String {
    let width = |index: usize| rows.iter().map(|row| row[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cell = |(index, (cell, &width)): (usize, (&String, &usize))| {
            if index < left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        };
        let cells: Vec<_> = row.iter().zip(&widths).enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
