"""Faults of the input, with the places and hints that the command tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars
import pytest
from conftest import Binary

import servingsim
from servingsim import Fault, InputError


def faults(*args: Any, **options: Any) -> list[Fault]:
    with pytest.raises(InputError) as caught:
        servingsim.run(*args, **options)
    assert isinstance(caught.value, servingsim.ServingsimError) and isinstance(caught.value, ValueError)
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return caught.value.faults


def test_a_cluster_in_all_forms(tmp_path: Path, binary: Binary) -> None:
    cluster = servingsim.examples()["moe-dp-ep"].cluster
    cluster["nodes"][0]["instances"][1]["ep_size"] = 3
    cluster["nodes"][0]["instances"][0]["hardwear"] = cluster["nodes"][0]["instances"][0].pop("hardware")
    text = json.dumps(cluster, indent=2)
    path = tmp_path / "cluster.json"
    path.write_text(text)
    [unknown, missing, *_] = of_file = faults(path)
    assert unknown.source == str(path) and unknown.line is not None
    assert (unknown.path, unknown.hint) == ("$.nodes[0].instances[0].hardwear", "did you mean `hardware`?")
    of_text, of_dict = faults(text), faults(cluster)
    assert {fault.source for fault in of_text + of_dict} == {"cluster"}
    assert [fault.line for fault in of_text] == [fault.line for fault in of_file]
    assert {fault.line for fault in of_dict} == {None}
    assert of_dict[0].where == "cluster at $.nodes[0].instances[0].hardwear"
    for name in ("path", "message", "hint"):
        expected = sorted(str(getattr(fault, name)) for fault in of_file)
        for others in (of_text, of_dict):
            assert sorted(str(getattr(fault, name)) for fault in others) == expected
    workload = tmp_path / "workload.jsonl"
    workload.write_text('{"input_toks": 1, "output_toks": 0}\n')
    told = binary("run", "--cluster-config", path, "--dataset", workload)
    assert told.returncode == 2
    ours = "".join(f"error: {fault}\n" for fault in faults(path, workload))
    assert told.stderr.decode() == ours and "workload.jsonl:1:" in ours


def test_requests_in_memory() -> None:
    requests = [
        {"input_toks": 10, "output_toks": 1, "arrival_time_ns": 0},
        {"input_toks": 0, "output_toks": 1, "arrival_time_ns": 0},
        {"input_toks": 10, "output_tokens": 1, "arrival_time_ns": 0},
        {"input_toks": 10, "output_toks": 1.5, "arrival_time_ns": float("nan")},
        3,
        {"arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 1}, {"input_toks": 1}]},
    ]
    told = faults(None, requests)
    assert [fault.source for fault in told] == [f"requests[{index}]" for index in range(1, 6)]
    assert {fault.line for fault in told} == {None}
    assert told[0].where == "requests[1] at $.input_toks"
    assert told[1].message == "unknown key `output_tokens`, did you mean `output_toks`?"
    assert told[4].path == "$.sub_requests[1]"


def test_tables_in_memory() -> None:
    good = {"input_toks": [1, 2], "output_toks": [1, 1], "arrival_time_ns": [0, 1]}
    [fault] = faults(None, polars.DataFrame({**good, "input_toks": [1, None]}))
    assert (fault.source, fault.message) == ("requests[1]", "`input_toks` is missing")
    [fault, _] = faults(None, polars.DataFrame({**good, "outputs": [1, 2]}))
    assert fault.source == "requests[0]" and "outputs" in str(fault)
    dates = polars.DataFrame(good).with_columns(polars.col("arrival_time_ns").cast(polars.Datetime("ns")))
    [fault] = faults(None, dates)
    assert (fault.path, fault.message[:17]) == ("arrival_time_ns", "a column of type ")
    [fault] = faults(None, {"input_toks": [1], "output_toks": [1, 2]})
    assert fault.message == "columns of different lengths: input_toks 1, output_toks 2"
    assert [fault.message for fault in faults(None, [])] == ["no requests"]


def test_requests_that_never_fit() -> None:
    told = faults(None, [servingsim.Request(10, 5), servingsim.Request(10_000_000, 5)])
    assert len(told) >= 1 and "request 1" in str(told[0])


def test_options() -> None:
    told = faults(max_num_sequences=8, max_batched=3, quiet=True, format="json", enforce_eager=1, seed=True, output=[1])
    assert [fault.where for fault in told] == [
        "max_num_sequences",
        "max_batched",
        "quiet",
        "format",
        "--enforce-eager",
        "--seed",
        "--output",
    ]
    assert told[0].hint == "did you mean `max_num_seqs`?"
    assert told[2].hint == "nothing is printed here; `print(result)` does"
    assert told[4].message == "expected True or False, found 1"


def test_values_of_options() -> None:
    told = faults(seed=-1, engine="vlm", max_num_seqs="many", chakra_batches=["3-1"], chakra_dir="x")
    assert [fault.source for fault in told] == ["--seed", "--engine", "--max-num-seqs", "--chakra-batches"]
    assert told[1].hint is not None and "reference, vllm" in told[1].hint
    [fault] = faults(block_size=0)
    assert (fault.source, fault.hint) == ("--block-size", "16 is usual")
    [fault] = faults(warm_up=3.0)
    assert (fault.source, fault.hint) == ("--warm-up", "add --engine vllm")
    [fault] = faults(chakra_schema="mlcommons")
    assert "--chakra-dir" in fault.message


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    cluster = servingsim.examples()["moe-ep"].cluster
    assert [fault.source for fault in faults(cluster, example="moe-ep")] == ["--example"]
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps(cluster))
    assert "cannot be used with" in faults(path, example="moe-ep")[0].message
    [fault] = faults(request_routing_policy="CUSTOM")
    assert fault.source == "--request-routing-policy"
    [fault] = faults(polling="reference", engine="vllm")
    assert fault.hint == "leave out --polling reference"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    [fault] = faults(tmp_path / "none.json")
    assert fault.source == str(tmp_path / "none.json")
    [fault] = faults(None, tmp_path)
    assert fault.message == "is a folder, not a workload file"
    [fault] = faults(output=tmp_path)
    assert fault.source == str(tmp_path)


def test_nothing_is_replaced(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    output.write_text("old")
    faults(output=output, seed=-1)
    faults(None, output, output=output)
    assert output.read_text() == "old"


def test_notes_tell_what_does_nothing() -> None:
    assert "--run-id changes nothing" in servingsim.run(run_id="a").notes


def test_a_standstill() -> None:
    error = servingsim.StuckError(3)
    assert isinstance(error, servingsim.ServingsimError)
    assert str(error) == '3 requests wait, and nothing will ever start them; use polling="exact"'


def test_errors_can_be_pickled() -> None:
    import pickle

    error = InputError([Fault("a", 1, 2, None, "b", None)])
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == error.faults and str(again) == "a:1:2: b"
