"""Every library reads from a result what the files of the same run say, and the binary writes the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow
import pytest
from conftest import Binary

import servingsim

# The names of a CSV's columns in tables.
NAMES = {
    "instance id": "instance",
    "request id": "request",
    "model": "model",
    "input": "input_tokens",
    "output": "output_tokens",
    "arrival": "arrival_ns",
    "end_time": "end_ns",
    "latency": "latency_ns",
    "queuing_delay": "queuing_delay_ns",
    "TTFT": "ttft_ns",
    "TPOT": "tpot_ns",
    "ITL": "itl_ns",
    "queued": "queued_ns",
    "first_scheduled": "first_scheduled_ns",
    "first_token": "first_token_ns",
    "first_delivered": "first_delivered_ns",
}

OPTIONS = [
    {},
    {"engine": "vllm", "output_stamps": True},
    {"no_itl": True, "enable_prefix_caching": False, "all2all_backend": "alltoall"},
    {"max_num_seqs": 4, "expert_routing_policy": "RAND", "enable_block_copy": False, "seed": 3},
    {"network_model": "aware", "request_routing_policy": "RR"},
]
FLAGS = [
    [],
    ["--engine", "vllm", "--output-stamps"],
    ["--no-itl", "--no-enable-prefix-caching", "--all2all-backend", "alltoall"],
    ["--max-num-seqs", "4", "--expert-routing-policy", "RAND", "--no-enable-block-copy", "--seed", "3"],
    ["--network-model", "aware", "--request-routing-policy", "RR"],
]


def rows_of_csv(path: Path) -> list[dict[str, Any]]:
    def value(name: str, text: str) -> Any:
        return text if name == "model" else json.loads(text)

    with path.open(newline="") as file:
        return [{NAMES[name]: value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def by_request(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["request"])


@pytest.mark.parametrize(("options", "flags"), list(zip(OPTIONS, FLAGS)))
def test_the_binary_writes_the_same(options: Any, flags: list[str], binary: Binary, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("ours.csv", "ours-intervals.csv", "its.csv", "its-intervals.csv")]
    result = servingsim.run(output=outputs[0], interval_output=outputs[1], **options)
    written = ["--output", outputs[2], "--interval-output", outputs[3]]
    told = binary("run", "--quiet", "--format", "json", *written, *flags)
    assert told.returncode == 0, told.stderr
    assert result.to_json().encode() == told.stdout
    assert outputs[0].read_bytes() == outputs[2].read_bytes()
    assert outputs[1].read_bytes() == outputs[3].read_bytes()
    # Above the summary, the command tells intervals.
    assert binary("run", *written, *flags).stdout.endswith(str(result).encode())
    assert servingsim.run(**options).to_json() == result.to_json()


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_requests_as_in_the_file(options: Any, tmp_path: Path) -> None:
    path = tmp_path / "requests.csv"
    requests = servingsim.run(output=path, **options).requests
    expected = by_request(rows_of_csv(path))
    assert len(requests) == len(expected) == 64
    assert requests.column_names == list(expected[0])
    columns = requests.to_pydict()
    ours = [dict(zip(columns, values)) for values in zip(*columns.values())]
    assert by_request(ours) == expected
    assert by_request(polars.DataFrame(requests).to_dicts()) == expected
    assert by_request(requests.to_polars().to_dicts()) == expected
    assert by_request(pyarrow.table(requests).to_pylist()) == expected
    frames = [requests.to_pandas()]
    if hasattr(pandas.DataFrame, "from_arrow"):
        frames.append(pandas.DataFrame.from_arrow(requests))
    for frame in frames:
        listed = [
            {name: value.tolist() if hasattr(value, "tolist") else value for name, value in row.items()}
            for row in frame.to_dict("records")
        ]
        assert by_request(listed) == expected
    found = duckdb.sql("SELECT * FROM requests ORDER BY request").fetchall()
    assert [dict(zip(requests.column_names, row)) for row in found] == expected
    total = duckdb.sql("SELECT sum(ttft_ns) FROM requests").fetchall()
    assert total == [(sum(row["ttft_ns"] for row in expected),)]


def test_intervals_as_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "intervals.csv"
    intervals = servingsim.run(interval_output=path, log_interval=0.25).intervals
    with path.open(newline="") as file:
        expected = list(csv.DictReader(file))
    frame = polars.DataFrame(intervals)
    assert intervals.column_names == list(expected[0])
    assert len(frame) == len(expected) > 100
    for row, told in zip(frame.to_dicts(), expected):
        for name, text in told.items():
            match row[name]:
                case None:
                    assert text == ""
                case float(number):
                    # The file rounds to so many digits.
                    assert number == pytest.approx(float(text), rel=1e-4, abs=1e-3)
                case value:
                    assert str(value) == text
    found = duckdb.sql("SELECT sum(finished_requests) FROM intervals WHERE scope = 'instance'").fetchall()
    assert found == [(64,)]


def test_columns_are_not_copied() -> None:
    requests = servingsim.run().requests
    first, second = pyarrow.table(requests), pyarrow.table(requests)
    for name in ("ttft_ns", "end_ns"):
        addresses = [table[name].chunk(0).buffers()[1].address for table in (first, second)]
        assert addresses[0] == addresses[1]
    of_polars = pyarrow.chunked_array(polars.DataFrame(requests)["ttft_ns"])
    assert of_polars.chunk(0).buffers()[1].address == first["ttft_ns"].chunk(0).buffers()[1].address
    assert pyarrow.schema(requests) == first.schema


def test_a_table_outlives_its_result() -> None:
    frame = polars.DataFrame(servingsim.run().requests)
    assert frame["request"].sort().to_list() == list(range(64))


def test_columns_by_name() -> None:
    requests = servingsim.run(no_itl=True).requests
    assert "itl_ns" not in requests.column_names
    assert len(requests.column("ttft_ns")) == 64
    with pytest.raises(KeyError, match="did you mean `ttft_ns`"):
        requests.column("ttft")
    assert repr(requests).startswith("<servingsim.Table: 64 rows of instance, request, model")


def test_a_result_is_shown() -> None:
    result = servingsim.run()
    assert repr(result) == (
        "<servingsim.Result: 64 requests in 9.079 s, TTFT p50 40.3 p99 64.8 ms, TPOT p50 18.0 p99 22.4 ms, "
        "698 generated tok/s>"
    )
    shown = result._repr_html_()
    assert "<th>Requests</th><td>64</td>" in shown
    assert "<th>TTFT</th><td>41.40</td><td>40.35</td><td>53.81</td><td>64.78</td><td>66.46</td>" in shown
    assert "<li>no profile for RTXPRO6000" in shown
    assert list(result.timings)[:2] == ["cluster and operator times", "workload"]
    assert all(seconds >= 0 for seconds in result.timings.values())


def as_json(summary: servingsim.Summary) -> dict[str, Any]:
    """The summary as its JSON names it."""
    values = dataclasses.asdict(summary)
    for name in ("ttft", "tpot", "itl", "latency", "queuing_delay"):
        spread = values.pop(name)
        values[f"{name}_ms"] = spread and {key.removesuffix("_ms"): value for key, value in spread.items()}
    return values


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"engine": "vllm", "warm_up": 20.0, "without": ["graph-padding"]},
        {"prefix_storage": "CPU", "example": "moe-dp-ep-agents"},
        {"network_model": "aware", "example": "dense-tp"},
    ],
)
def test_the_summary_has_all_of_the_json(options: Any) -> None:
    result = servingsim.run(**options)
    ours, expected = as_json(result.summary), json.loads(result.to_json())

    def check(ours: Any, expected: Any, path: str) -> None:
        if isinstance(expected, dict) and not path.endswith(".host_us"):
            for name, value in ours.items():
                if name not in expected:
                    assert value in (None, [], "unaware"), f"{path}.{name}"
            assert expected.keys() <= ours.keys(), path
            for name, value in expected.items():
                check(ours[name], value, f"{path}.{name}")
        elif isinstance(expected, list):
            assert len(ours) == len(expected), path
            for index, (one, other) in enumerate(zip(ours, expected)):
                check(one, other, f"{path}[{index}]")
        else:
            assert ours == expected, path

    check(ours, expected, "$")


def test_a_page_tells_what_ran(tmp_path: Path) -> None:
    cluster = servingsim.examples()["moe-dp-ep"].cluster
    path = tmp_path / "page.html"
    requests = [servingsim.Request(100, 10)]
    expected = servingsim.run(cluster, requests).to_json()
    ran = servingsim.run(cluster, requests, report=path, request_routing_policy=lambda request, instances: 0)
    assert ran.to_json() == expected
    page = path.read_text()
    assert "cluster · requests" in page and "CUSTOM" in page


def test_power() -> None:
    cluster = servingsim.examples()["moe-dp-ep"].cluster
    cluster["nodes"][0]["power"] = POWER
    power = servingsim.run(cluster).summary.power
    assert power is not None
    assert power.energy_j == pytest.approx(sum(node.energy_j for node in power.nodes))
    assert power.nodes[0].npu_j > 0


POWER = {
    "base_node_power": 60,
    "npu": {"RTXPRO6000": {"idle_power": 60, "standby_power": 90, "active_power": 600, "standby_duration": 18}},
    "cpu": {"idle_power": 20, "active_power": 300, "util": 0.15},
    "dram": {"dimm_size": 32, "idle_power": 2, "energy_per_bit": 9},
    "link": {"num_links": 2, "idle_power": 1, "energy_per_bit": 5},
    "nic": {"num_nics": 1, "idle_power": 20},
    "storage": {"num_devices": 1, "idle_power": 5},
}
