"""The examples that the package carries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from . import _native


@dataclass(frozen=True)
class Example:
    """An example: a cluster, and what arrives there."""

    name: str
    """What `run(example=...)` calls it."""
    summary: str
    """What it shows."""
    cluster: dict[str, Any]
    """The cluster, as its file says."""
    workload: list[dict[str, Any]]
    """The requests and sessions, as their file says."""


def examples() -> dict[str, Example]:
    """The examples by name. They are copies, to be changed at will.

    >>> import servingsim
    >>> servingsim.examples()["moe-ep"].summary
    'Qwen3-30B-A3B on 2 GPUs: tensor-parallel attention, experts split 64 + 64 (EP)'
    >>> cluster = servingsim.examples()["moe-ep"].cluster
    >>> cluster["nodes"][0]["instances"][0]["ep_size"]
    2
    """
    return {
        name: Example(name, summary, json.loads(cluster), [json.loads(line) for line in workload.splitlines()])
        for name, summary, cluster, workload in _native.examples()
    }
