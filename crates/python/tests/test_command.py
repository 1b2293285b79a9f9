"""`python -m servingsim` and the script are the command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Binary

SCRIPT = Path(sys.executable).with_name("servingsim")


def module(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "servingsim", *args], capture_output=True, check=False)


def script(*args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([SCRIPT, *args], capture_output=True, check=False)


@pytest.mark.parametrize(
    "args",
    [
        ["run", "--format", "json", "--seed", "5"],
        ["run", "--engine", "vllm", "--no-enable-prefix-caching"],
        ["run", "--max-num-seqs", "x"],
        ["run", "--cluster-config", "none.json", "--dataset", "none.jsonl"],
        ["examples"],
        ["collective", "--kind", "all_reduce", "--topology", "Ring", "--npus", "4", "--bandwidth", "50"]
        + ["--latency", "500", "--bytes", "1048576"],
        ["--version"],
        ["--help"],
        [],
    ],
)
def test_the_same_as_the_binary(args: list[str], binary: Binary) -> None:
    expected = binary(*args)
    for ours in (module(*args), script(*args)):
        assert (ours.returncode, ours.stdout, ours.stderr) == (expected.returncode, expected.stdout, expected.stderr)


def test_results_in_parquet(tmp_path: Path) -> None:
    import polars

    import servingsim

    path = tmp_path / "requests.parquet"
    assert module("run", "--quiet", "--output", str(path)).returncode == 0
    assert polars.read_parquet(path).equals(polars.DataFrame(servingsim.run().requests))
