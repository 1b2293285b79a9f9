"""The summary of a run, with a type for each part. Names and values are those of the JSON summary.

What has no value, such as latencies of no requests, is `None`; so is what a deployment does not have, such as power.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Spread:
    """How a latency is spread over requests, in milliseconds."""

    mean_ms: float
    median_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    max_ms: float


@dataclass(frozen=True)
class PrefixTier:
    """What the prefix cache below the NPUs' found."""

    hit_tokens: int
    hit_ratio: float
    total_hit_ratio: float
    """Of both caches."""


@dataclass(frozen=True)
class PrefixCache:
    """What prefix caches found."""

    lookup_tokens: int
    """Prompt tokens looked up."""
    hit_tokens: int
    """Of these, found on the NPU."""
    hit_ratio: float
    tier: PrefixTier | None = None


@dataclass(frozen=True)
class CollectiveBytes:
    """Bytes handed to collectives, counted once per collective and not once per rank."""

    all_reduce: int
    all_gather: int
    reduce_scatter: int
    all_to_all: int


@dataclass(frozen=True)
class MeasuredCollective:
    """A kind of collective whose times in a dimension are measured, not computed."""

    dimension: int
    kind: str


@dataclass(frozen=True)
class EngineSummary:
    """How engines stepped, where not one step after the other."""

    name: str
    async_scheduling: bool
    preset: str | None
    host_us: dict[str, float]
    """Microseconds that the host takes, by what for."""
    captures_graphs: bool
    warm_up_ms: float | None = None
    without: list[str] = field(default_factory=list)
    """Parts that were left out."""


@dataclass(frozen=True)
class NodePower:
    """What a node used, by component, in joules."""

    energy_j: float
    mean_w: float
    base_j: float
    npu_j: float
    cpu_j: float
    dram_j: float
    link_j: float
    nic_j: float
    storage_j: float
    npu_standby_j: float
    """Part of `npu_j`."""


@dataclass(frozen=True)
class Power:
    """What all nodes used."""

    energy_j: float
    mean_w: float
    nodes: list[NodePower]


@dataclass(frozen=True)
class InstanceSummary:
    """One instance's part."""

    id: int
    model: str
    requests: int
    prompt_tokens: int
    generated_tokens: int
    prefix_lookup_tokens: int
    prefix_hit_tokens: int
    preemptions: int
    recomputed_tokens: int
    steps: int
    dummy_steps: int
    """Steps run only to keep pace with the group."""
    kv_capacity_tokens: int
    kv_max_share: float | None
    """Most of the KV cache that was in use at the end of any log interval, from 0 to 1."""
    npu_max_bytes: int | None
    tier_hit_tokens: int | None = None
    handoff_waits: int | None = None


@dataclass(frozen=True)
class Summary:
    """What a run came to.

    >>> import servingsim
    >>> summary = servingsim.run().summary
    >>> summary.makespan_s
    9.079176447
    >>> summary.tpot.median_ms < summary.tpot.p99_ms
    True
    >>> [instance.requests for instance in summary.instances]
    [32, 32]
    """

    requests: int
    makespan_s: float
    """From the start of the run to the end of its last request."""
    prompt_tokens: int
    generated_tokens: int
    requests_per_s: float | None
    prompt_tokens_per_s: float | None
    generated_tokens_per_s: float | None
    total_tokens_per_s: float | None
    ttft: Spread | None
    """Arrival to first token."""
    tpot: Spread | None
    """Mean time per token after the first, one value a request."""
    itl: Spread | None
    """Time of each token after the first, one value a token."""
    latency: Spread | None
    """Arrival to last token."""
    queuing_delay: Spread | None
    """Arrival to the last time a request was scheduled before its first token."""
    prefix_cache: PrefixCache
    preemptions: int
    recomputed_tokens: int
    waves: int
    steps: int
    dummy_steps: int
    dummy_share: float
    collective_bytes: CollectiveBytes
    instances: list[InstanceSummary]
    handoff_waits: int | None = None
    network_model: str = "unaware"
    measured_collectives: list[MeasuredCollective] = field(default_factory=list)
    engine: EngineSummary | None = None
    power: Power | None = None

    @classmethod
    def from_json(cls, summary: dict[str, Any]) -> Summary:
        """The summary that `servingsim run --format json` writes, read with `json.loads`."""
        values = dict(summary)
        for latency in ("ttft", "tpot", "itl", "latency", "queuing_delay"):
            spread = values.pop(f"{latency}_ms")
            values[latency] = spread and Spread(**{f"{name}_ms": value for name, value in spread.items()})
        prefix = dict(values["prefix_cache"])
        tier = prefix.pop("tier", None)
        values["prefix_cache"] = PrefixCache(**prefix, tier=tier and PrefixTier(**tier))
        values["collective_bytes"] = CollectiveBytes(**values["collective_bytes"])
        values["instances"] = [InstanceSummary(**instance) for instance in values["instances"]]
        measured = values.get("measured_collectives", [])
        values["measured_collectives"] = [MeasuredCollective(**collective) for collective in measured]
        if engine := values.get("engine"):
            values["engine"] = EngineSummary(**engine)
        if power := values.get("power"):
            values["power"] = Power(**{**power, "nodes": [NodePower(**node) for node in power["nodes"]]})
        return cls(**values)
