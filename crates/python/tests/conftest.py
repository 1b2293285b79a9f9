"""What the tests have in common.

They run in an environment that has the package installed, with the binary of the same sources at `SERVINGSIM_BINARY`:
`cargo xtask test` makes both.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servingsim

Binary = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def binary() -> Binary:
    """Runs the binary."""
    path = os.environ["SERVINGSIM_BINARY"]

    def run(*args: str | os.PathLike[str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([path, *args], capture_output=True, check=False)

    return run


@pytest.fixture(params=["moe-dp-ep", "moe-dp-ep-agents"])
def example(request: pytest.FixtureRequest) -> servingsim.Example:
    """An example of requests, and one of sessions."""
    return servingsim.examples()[request.param]


@pytest.fixture
def files(example: servingsim.Example, tmp_path: Path) -> tuple[Path, Path]:
    """The example's cluster and workload as files."""
    cluster, workload = tmp_path / "cluster.json", tmp_path / "workload.jsonl"
    cluster.write_text(json.dumps(example.cluster, indent=2))
    workload.write_text("".join(json.dumps(entry) + "\n" for entry in example.workload))
    return cluster, workload


@pytest.fixture
def plain() -> list[dict[str, Any]]:
    """Requests without token ids, with uneven lengths and arrivals."""
    return [
        {"input_toks": 5 + n * 37 % 900, "output_toks": 1 + n * 7 % 60, "arrival_time_ns": n * 3_000_000}
        for n in range(200)
    ]
