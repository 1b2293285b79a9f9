//! An explained deployment, for people and for programs.

mod ranks;
mod steps;

use explain::{Explanation, GroupKind, InstanceKind, Load, NodeKind, WorkloadSection};

use crate::human;
use crate::table::{columns, row};

/// The explanation as one JSON object, with a line break at its end. Its keys are described in docs/checking.md.
pub fn explanation_json(explanation: &Explanation) -> String {
    let json = serde_json::to_string_pretty(explanation);
    json.expect("plain structures of numbers and strings have a JSON form") + "\n"
}

/// The explanation as aligned text, with a line break at its end.
pub fn explanation_text(explanation: &Explanation) -> String {
    let mut parts = vec![engine(explanation), nodes(explanation)];
    parts.push(groups(&explanation.groups));
    parts.push(ranks::text(&explanation.npus, &explanation.groups));
    for kind in &explanation.instances {
        parts.extend([instance(kind), memory(kind), operators(kind)]);
    }
    parts.extend(explanation.steps.iter().map(steps::text));
    parts.extend(explanation.workload.as_ref().map(workload));
    parts.extend(sentences(explanation));
    parts.join("\n")
}

fn engine(explanation: &Explanation) -> String {
    let facts = &explanation.engine;
    let preset = facts.preset.as_ref().map_or_else(String::new, |name| format!(", preset {name}"));
    let links = if facts.network_model == "aware" { "shared" } else { "never shared" };
    let mut rows = vec![
        row(["Engine", &format!("{}{preset}, {} polling", facts.name, facts.polling)]),
        row(["Requests", &format!("to instances by {}", facts.request_routing)]),
    ];
    if explanation.instances.iter().any(|kind| kind.experts.is_some()) {
        rows.push(row([
            "Experts",
            &format!("chosen by {}, reached by {}", facts.expert_routing, facts.all2all_backend),
        ]));
    }
    rows.push(row(["Links", links]));
    columns(&rows, 2)
}

fn nodes(explanation: &Explanation) -> String {
    let head = row(["Node", "host memory", "bandwidth", "latency", "NPUs", "instances"]);
    let of = |kind: &NodeKind| {
        row([
            &kind.nodes.to_string(),
            &human::bytes(kind.host_memory_bytes),
            &format!("{} GB/s", kind.host_bandwidth_gb_per_s),
            &format!("{} ns", kind.host_latency_ns),
            &kind.npus.to_string(),
            &match kind.nodes.count() {
                1 => kind.first_instances.to_string(),
                _ => format!("{} on the first", kind.first_instances),
            },
        ])
    };
    let mut text = columns(&[head].into_iter().chain(explanation.nodes.iter().map(of)).collect::<Vec<_>>(), 1);
    if let Some(pool) = &explanation.pool {
        text += &format!(
            "CXL memory: {} on {} devices, {} GB/s each, {} ns\n",
            human::bytes(pool.memory_bytes),
            pool.devices,
            pool.bandwidth_gb_per_s,
            pool.latency_ns
        );
    }
    for tier in &explanation.prefix_tiers {
        text += &format!(
            "Prefix cache below the NPUs' of instances {}: {} of {} blocks of {} tokens, {} each\n",
            tier.instances,
            tier.count,
            human::grouped(u64::from(tier.blocks)),
            tier.tokens_per_block,
            human::bytes(tier.bytes_per_block)
        );
    }
    text
}

fn groups(groups: &[GroupKind]) -> String {
    let head = row(["Group", "instances", "dim", "NPUs", "bandwidth", "latency", "joins", "carries"]);
    let mut rows = vec![head];
    for kind in groups {
        let name = match &kind.names[..] {
            [] => kind.groups.to_string(),
            [name] => format!("{} ({name})", kind.groups),
            [first, .., last] => format!("{} ({first} … {last})", kind.groups),
        };
        for (dim, dimension) in kind.dimensions.iter().enumerate() {
            let measured = match &dimension.measured[..] {
                [] => String::new(),
                kinds => format!(" ({} measured)", kinds.join(", ")),
            };
            let or_none = |names: &[&str]| if names.is_empty() { "-".to_owned() } else { names.join("+") };
            rows.push(vec![
                if dim == 0 { name.clone() } else { String::new() },
                if dim == 0 { kind.instances.to_string() } else { String::new() },
                dim.to_string(),
                dimension.npus.to_string(),
                format!("{} GiB/s", dimension.bandwidth_gib_per_s),
                format!("{} ns", dimension.latency_ns),
                or_none(&dimension.joins),
                or_none(&dimension.carries) + &measured,
            ]);
        }
    }
    columns(&rows, 2)
}

fn instance(kind: &InstanceKind) -> String {
    let InstanceKind { instances, model, hardware, role, scheduler, kv, .. } = kind;
    let many = if instances.count() == 1 { "Instance" } else { "Instances" };
    let limit = |number: Option<u64>| number.map_or_else(|| "no limit".to_owned(), human::grouped);
    let stages = match &kind.blocks_by_stage[..] {
        [[first, last]] => format!("blocks {first}–{last}"),
        stages => {
            let shown: Vec<_> = stages.iter().map(|[first, last]| format!("{first}–{last}")).collect();
            format!("blocks by stage {}", shown.join(", "))
        }
    };
    let mut rows = vec![
        row(["  Model", &format!("{model}, {stages}")]),
        row(["  NPUs", &npus(kind)]),
        row(["  Degrees", &format!("tp {}, pp {}, ep {}", kind.tp, kind.pp, kind.ep)]),
    ];
    if let Some(experts) = &kind.experts {
        let (count, per_rank) = (experts.count, experts.per_rank);
        let text = format!("{count} in a block, {per_rank} a rank, {} for each token", experts.per_token);
        rows.push(row(["  Experts", &text]));
    }
    let mut switches = Vec::new();
    for (is_on, name) in [
        (scheduler.chunked_prefill, "chunked prefill"),
        (scheduler.prefix_caching, "prefix caching"),
        (scheduler.reserve_full_isl, "whole prompts reserved"),
        (kind.attention_in_memory, "decode attention in host memory"),
    ] {
        switches.extend(is_on.then_some(name));
    }
    rows.push(row([
        "  Scheduler",
        &format!(
            "{} sequences, {} tokens a step; {}",
            limit(scheduler.max_num_seqs),
            human::grouped(scheduler.max_num_batched_tokens),
            if switches.is_empty() { "nothing switched on".to_owned() } else { switches.join(", ") }
        ),
    ]));
    rows.push(row([
        "  KV cache",
        &format!(
            "{} tokens in {} blocks of {}, {} a block",
            human::grouped(kv.tokens),
            human::grouped(kv.blocks),
            kv.block_size,
            human::bytes(kv.bytes_per_block)
        ),
    ]));
    if let Some(fit) = &kv.requests {
        let text = format!(
            "{} requests of the mean length ({} tokens at their end), {} of the longest ({})",
            human::grouped(fit.of_mean),
            human::grouped(fit.mean_tokens),
            human::grouped(fit.of_longest),
            human::grouped(fit.longest_tokens)
        );
        rows.push(row(["  It holds", &text]));
    }
    format!("{many} {instances}: {hardware}, {}\n", role_text(role)) + &columns(&rows, 2)
}

fn npus(kind: &InstanceKind) -> String {
    match kind.peer_npus {
        0 => kind.npus.to_string(),
        peers => format!("{} and {peers} peers that take in what they send", kind.npus),
    }
}

fn role_text(role: &str) -> &'static str {
    match role {
        "prefill" => "prefill alone",
        "decode" => "decode alone",
        _ => "prefill and decode",
    }
}

fn memory(kind: &InstanceKind) -> String {
    let memory = &kind.memory;
    let weights = &memory.weights;
    let parts = [
        ("weights: embeddings", weights.embeddings_bytes),
        ("weights: attention", weights.attention_bytes),
        ("weights: norms", weights.norms_bytes),
        ("weights: feed-forward", weights.feed_forward_bytes),
        ("weights: experts", weights.experts_bytes),
        ("KV blocks", memory.kv_bytes),
        ("null block", memory.null_block_bytes),
        ("activations", memory.activation_peak_bytes),
        ("runtime context", memory.runtime_context_bytes),
        ("not to be used", memory.withheld_bytes),
        ("free", memory.free_bytes),
        ("all", memory.total_bytes),
    ];
    let share = |bytes: u64| human::percent(bytes as f64 / memory.total_bytes.max(1) as f64);
    let shown = parts.iter().filter(|(_, bytes)| *bytes > 0);
    let rows = shown.map(|&(name, bytes)| row([&format!("  {name}"), &human::bytes(bytes), &share(bytes)]));
    let mut text = columns(&[row(["  Memory of an NPU", "", ""])].into_iter().chain(rows).collect::<Vec<_>>(), 1);
    for elsewhere in &kind.weights_elsewhere {
        text += &format!("  Weights in {}: {} of all ranks\n", elsewhere.memory, human::bytes(elsewhere.bytes));
    }
    text
}

fn operators(kind: &InstanceKind) -> String {
    if kind.operators.iter().all(|operator| operator.source == "analytic") {
        let mut names: Vec<_> = kind.operators.iter().map(|operator| operator.layer).collect();
        names.dedup();
        return columns(&[row(["  Operator times", &format!("analytic: {}", names.join(", "))])], 2);
    }
    let head = row(["  Operator", "part", "times", "measured to", "steps can have"]);
    let mut rows = vec![head];
    for operator in &kind.operators {
        let listed = |of: fn(&explain::Axis) -> u64| {
            let axes: Vec<_> =
                operator.axes.iter().map(|axis| format!("{} {}", human::grouped(of(axis)), axis.name)).collect();
            axes.join(", ")
        };
        let beyond = if operator.can_be_beyond { " (beyond)" } else { "" };
        rows.push(vec![
            format!("  {}", operator.layer),
            operator.part.to_owned(),
            operator.source.to_owned(),
            listed(|axis| axis.measured),
            listed(|axis| axis.reachable) + beyond,
        ]);
    }
    columns(&rows, 5)
}

fn workload(section: &WorkloadSection) -> String {
    let rate = |rate: Option<f64>, unit: &str| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2} {unit}"));
    let tokens = |tokens: &explain::Tokens| {
        format!("{} (mean {:.1}, {} to {})", human::grouped(tokens.total), tokens.mean, tokens.min, tokens.max)
    };
    let sessions = match section.sessions {
        0 => String::new(),
        sessions => format!(", in {} sessions of several calls", human::grouped(sessions)),
    };
    let mut rows = vec![
        row([
            "Workload",
            &format!("{} requests{sessions}", human::grouped(section.requests)),
            &rate(section.requests_per_s, "req/s"),
        ]),
        row(["  Prompt tokens", &tokens(&section.prompt), &rate(section.prompt_tokens_per_s, "tok/s")]),
        row(["  Output tokens", &tokens(&section.output), &rate(section.output_tokens_per_s, "tok/s")]),
        row(["  Arrivals", &format!("{:.3} s to {:.3} s", section.first_arrival_s, section.last_arrival_s), ""]),
    ];
    if section.tool_time_s > 0.0 {
        rows.push(row(["  Tool time", &format!("{:.3} s", section.tool_time_s), ""]));
    }
    let ids = if section.has_token_ids { "listed" } else { "not listed: no prefix is found" };
    rows.push(row(["  Token ids", ids, ""]));
    rows.extend(section.load.iter().map(load));
    columns(&rows, 2)
}

fn load(load: &Load) -> Vec<String> {
    let at_most = |rate: Option<f64>, what: &str| rate.map(|rate| format!("{} {what} tok/s", human::count(rate)));
    let most: Vec<_> =
        [at_most(load.prompt_tokens_per_s_max, "prompt"), at_most(load.output_tokens_per_s_max, "output")]
            .into_iter()
            .flatten()
            .collect();
    let share = load.share.map_or_else(|| "-".to_owned(), human::percent);
    row([&format!("  Load, {}", load.role), &format!("of {}", most.join(" or ")), &share])
}

fn sentences(explanation: &Explanation) -> Vec<String> {
    let notes: String = explanation.notes.iter().map(|note| format!("  {note}\n")).collect();
    let limits = explanation.not_modelled.iter();
    let limits: String =
        limits.map(|limit| format!("  {}: {}\n", limit.title.trim_end_matches('.'), limit.here)).collect();
    let sections = [("Notes", notes), ("Not modelled (LIMITATIONS.md)", limits)];
    sections.into_iter().filter(|(_, text)| !text.is_empty()).map(|(head, text)| format!("{head}\n{text}")).collect()
}
