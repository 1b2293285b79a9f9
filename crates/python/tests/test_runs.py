"""Runs beside each other, watched, and broken off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import servingsim


def long_workload(requests: int) -> list[dict[str, Any]]:
    return [{"input_toks": 200, "output_toks": 150, "arrival_time_ns": n * 20_000_000} for n in range(requests)]


def test_progress(plain: list[dict[str, Any]]) -> None:
    told: list[tuple[int, int]] = []
    servingsim.run(workload=plain, progress=lambda finished, total: told.append((finished, total)))
    assert told[0] == (0, 200) and told[-1] == (200, 200)
    assert told == sorted(told)


def test_progress_is_told_now_and_then() -> None:
    told: list[float] = []
    begun = time.monotonic()

    def slowly(request: servingsim.RoutedRequest, instances: object) -> int:
        time.sleep(0.01)
        return 0

    servingsim.run(
        workload=long_workload(100),
        request_routing_policy=slowly,
        progress=lambda *_: told.append(time.monotonic()),
    )
    seconds = time.monotonic() - begun
    assert seconds > 0.5, "the run is too short to tell"
    assert 3 <= len(told) <= seconds / 0.1 + 2


def test_progress_may_break_a_run_off(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def enough(finished: int, total: int) -> None:
        if finished > 0:
            raise Enough

    output = tmp_path / "out.csv"
    with pytest.raises(Enough):
        servingsim.run(workload=long_workload(20_000), progress=enough, output=output)
    assert list(tmp_path.iterdir()) == []


def test_threads_give_what_one_gives() -> None:
    options: list[Any] = [{"seed": seed, "expert_routing_policy": "RAND"} for seed in range(8)]
    alone = [servingsim.run(**each).to_json() for each in options]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: servingsim.run(**each).to_json(), options))
    assert together == alone and len(set(alone)) == 8


def test_threads_with_callables() -> None:
    def policy(instance: int) -> Any:
        return lambda request, instances: instance

    def run(instance: int) -> set[int]:
        return set(servingsim.run(request_routing_policy=policy(instance)).requests.column("instance"))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, [0, 1] * 4)) == [{0}, {1}] * 4


def test_others_run_meanwhile() -> None:
    """The interpreter's lock is released: this thread counts on while another one simulates."""
    workload = long_workload(20_000)
    begun, ended = threading.Event(), threading.Event()

    def simulate() -> None:
        servingsim.run(workload=workload, no_itl=True, progress=lambda *_: begun.set())
        ended.set()

    thread = threading.Thread(target=simulate)
    thread.start()
    begun.wait()
    count = 0
    while not ended.is_set():
        count += 1
    thread.join()
    assert count > 10_000


SCRIPT = """
import servingsim, sys
requests = [{"input_toks": 200, "output_toks": 400, "arrival_time_ns": n * 20_000_000} for n in range(400_000)]
def progress(finished, total):
    if finished > 0:
        print("running", flush=True)
try:
    servingsim.run(workload=requests, no_itl=True, progress=progress)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(5)
"""


def test_ctrl_c() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    os.kill(process.pid, signal.SIGINT)
    begun = time.monotonic()
    output = process.stdout.read()
    assert process.wait() == 5 and output.endswith("interrupted\n")
    assert time.monotonic() - begun < 5
