//! What the metrics of a summary mean: the table that the reference page is made from.
//!
//! A test of the command holds it to what summaries have, as JSON and as text, both ways.

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its key in the JSON summary, with those that it stands below.
    pub key: &'static str,
    /// What the text summary calls it; empty where that does not have it by itself.
    pub label: &'static str,
    /// Its unit; empty where it has none.
    pub unit: &'static str,
    /// How it is defined.
    pub about: &'static str,
}

const fn metric(key: &'static str, label: &'static str, unit: &'static str, about: &'static str) -> Metric {
    Metric { key, label, unit, about }
}

/// The keys of every spread, and what they are (`metrics::Spread`).
pub const SPREAD: [(&str, &str); 6] = [
    ("mean", "the arithmetic mean"),
    (
        "median",
        "the 50th percentile: of `n` sorted values the one at `(n - 1) * 50 / 100`, counted from 0, between two of them linearly",
    ),
    ("p90", "the 90th percentile, likewise"),
    ("p99", "the 99th percentile, likewise"),
    ("min", "the smallest"),
    ("max", "the largest"),
];

/// Every metric. Those whose key ends with `.*` are spreads.
pub const METRICS: &[Metric] = &[
    metric("requests", "Requests", "requests", "finished requests, every call of a session counted"),
    metric("makespan_s", "Makespan", "s", "from the start of the run to the end of its last request"),
    metric(
        "prompt_tokens",
        "Prompt tokens",
        "tokens",
        "prompt tokens that went through prefill, prefix hits and recomputed ones included",
    ),
    metric("generated_tokens", "Generated tokens", "tokens", "tokens generated"),
    metric("requests_per_s", "", "requests/s", "`requests` by `makespan_s`; `null` when that is zero"),
    metric("prompt_tokens_per_s", "", "tokens/s", "`prompt_tokens` by `makespan_s`"),
    metric("generated_tokens_per_s", "", "tokens/s", "`generated_tokens` by `makespan_s`"),
    metric("total_tokens_per_s", "Total tokens", "tokens/s", "prompt and generated tokens together by `makespan_s`"),
    metric("ttft_ms.*", "TTFT", "ms", "time to first token: from arrival to the first token, one value a request"),
    metric(
        "tpot_ms.*",
        "TPOT",
        "ms",
        "time per output token: from the first token to the last, by the tokens after the first; one value a request, 0 \
         for requests of a single token",
    ),
    metric(
        "itl_ms.*",
        "ITL",
        "ms",
        "inter-token latency: time of each token after the first, one value a token; percentiles of more than a million \
         different values are within 0.1 %",
    ),
    metric("latency_ms.*", "Request latency", "ms", "from arrival to the last token, one value a request"),
    metric(
        "queuing_delay_ms.*",
        "Queuing delay",
        "ms",
        "from arrival to the last time a request was scheduled before its first token, one value a request",
    ),
    metric("prefix_cache.lookup_tokens", "", "tokens", "prompt tokens looked up in prefix caches"),
    metric("prefix_cache.hit_tokens", "Prefix cache hits", "tokens", "of these, found on the NPU"),
    metric(
        "prefix_cache.hit_ratio",
        "",
        "",
        "the part that was found on the NPU, from 0 to 1; 0 when nothing was looked up",
    ),
    metric(
        "prefix_cache.tier.hit_tokens",
        "Lower tier hits",
        "tokens",
        "found in the tier below instead; only where an instance has one",
    ),
    metric("prefix_cache.tier.hit_ratio", "", "", "the part that was found there"),
    metric("prefix_cache.tier.total_hit_ratio", "", "", "the part that was found at all"),
    metric("preemptions", "Preemptions", "", "times a sequence lost its KV blocks"),
    metric("recomputed_tokens", "", "tokens", "tokens computed again after that"),
    metric(
        "handoff_waits",
        "Handoff waits",
        "requests",
        "requests that had to wait for room when they came from a prefill instance; only with decode instances",
    ),
    metric("waves", "Waves", "", "waves of all groups: steps that the members of a group take together"),
    metric("steps", "", "", "steps of all instances, dummies included"),
    metric("dummy_steps", "Dummy steps", "", "of these, run only to keep pace with the group"),
    metric("dummy_share", "", "", "the part of the steps that were dummies, from 0 to 1"),
    metric(
        "collective_bytes.all_reduce",
        "Collectives",
        "bytes",
        "bytes handed to all-reduces, counted once per collective and not once per rank",
    ),
    metric("collective_bytes.all_gather", "", "bytes", "the same of all-gathers"),
    metric("collective_bytes.reduce_scatter", "", "bytes", "the same of reduce-scatters"),
    metric("collective_bytes.all_to_all", "", "bytes", "the same of all-to-alls"),
    metric("network_model", "Network", "", "`aware` where links carry one message at a time; left out otherwise"),
    metric("measured_collectives[].dimension", "", "", "a dimension in which times of collectives are measured"),
    metric("measured_collectives[].kind", "", "", "the kind of collective that they are of"),
    metric("engine.name", "Engine", "", "how engines step, where they do not one step after the other"),
    metric("engine.async_scheduling", "", "", "whether the next batch is formed while one runs"),
    metric("engine.preset", "", "", "what the host's times are from"),
    metric("engine.host_us.step", "", "µs", "what the host takes to schedule a step and prepare its launch"),
    metric("engine.host_us.sequence", "", "µs", "more for each sequence of the step"),
    metric("engine.host_us.new_request", "", "µs", "more for each request that starts in it"),
    metric("engine.host_us.block", "", "µs", "for which the GPU waits in each block of a step that is not one graph"),
    metric("engine.host_us.frontend_request", "", "µs", "from a request's arrival until its engine can see it"),
    metric("engine.host_us.frontend_token", "", "µs", "from a token's being computed until the client has it"),
    metric("engine.warm_up_ms", "", "ms", "by how much the first step of a group is late, where it is"),
    metric("engine.captures_graphs", "", "", "whether any step can be launched as one captured graph"),
    metric("engine.without", "", "", "parts of the engine that are left out"),
    metric("power.energy_j", "Energy", "J", "energy of all nodes; only where every node says what it draws"),
    metric("power.mean_w", "", "W", "this by the time to the end of the last step, a dummy's too"),
    metric("power.nodes[].energy_j", "", "J", "energy of a node"),
    metric("power.nodes[].mean_w", "", "W", "this by the same time"),
    metric("power.nodes[].base_j", "", "J", "of this, everything that is not one of the others"),
    metric("power.nodes[].npu_j", "", "J", "of NPUs"),
    metric("power.nodes[].cpu_j", "", "J", "of processors"),
    metric("power.nodes[].dram_j", "", "J", "of host memory"),
    metric("power.nodes[].link_j", "", "J", "of links"),
    metric("power.nodes[].nic_j", "", "J", "of network cards"),
    metric("power.nodes[].storage_j", "", "J", "of storage devices"),
    metric("power.nodes[].npu_standby_j", "", "J", "the part of `npu_j` that NPUs drew in standby"),
    metric("instances[].id", "", "", "the instance"),
    metric("instances[].model", "", "", "the model it serves"),
    metric("instances[].requests", "", "requests", "requests that it finished"),
    metric("instances[].prompt_tokens", "", "tokens", "as above, on this instance"),
    metric("instances[].generated_tokens", "", "tokens", "as above, on this instance"),
    metric("instances[].prefix_lookup_tokens", "", "tokens", "prompt tokens looked up"),
    metric("instances[].prefix_hit_tokens", "", "tokens", "of these, found on the NPU"),
    metric("instances[].tier_hit_tokens", "", "tokens", "found in the tier below instead"),
    metric("instances[].preemptions", "", "", "as above, on this instance"),
    metric("instances[].recomputed_tokens", "", "tokens", "as above, on this instance"),
    metric("instances[].handoff_waits", "", "requests", "as above, on this instance"),
    metric("instances[].steps", "", "", "steps, dummies included"),
    metric("instances[].dummy_steps", "", "", "of these, run only to keep pace"),
    metric("instances[].kv_capacity_tokens", "", "tokens", "tokens that its KV cache holds"),
    metric(
        "instances[].kv_max_share",
        "",
        "",
        "the largest part of its KV cache in use at the end of any log interval, findable prefixes included; `null` when \
         no interval ended",
    ),
    metric("instances[].npu_max_bytes", "", "bytes", "most bytes in use on each of its NPUs then"),
];
