"""Whatever form an input comes in, the run is the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy
import pandas
import polars
import pyarrow
import pytest

import servingsim


def records(workload: list[dict[str, Any]]) -> list[servingsim.Request | servingsim.Session]:
    def of(entry: dict[str, Any]) -> servingsim.Request | servingsim.Session:
        if "sub_requests" in entry:
            calls = [servingsim.Call(**call) for call in entry["sub_requests"]]
            return servingsim.Session(**{**entry, "sub_requests": calls})
        return servingsim.Request(**entry)

    return [of(entry) for entry in workload]


def test_clusters_and_workloads(example: servingsim.Example, files: tuple[Path, Path]) -> None:
    cluster, workload = files
    expected = servingsim.run(cluster, workload).to_json()
    assert servingsim.run(example=example.name).to_json() == expected
    clusters: list[Any] = [str(cluster), example.cluster, cluster.read_text()]
    for same_cluster in clusters:
        assert servingsim.run(same_cluster, workload).to_json() == expected
    tables: dict[str, Any] = {
        "path": str(workload),
        "dicts": example.workload,
        "generator": (entry for entry in example.workload),
        "dataclasses": records(example.workload),
        "polars": polars.DataFrame(example.workload),
        "pyarrow": pyarrow.Table.from_pylist(example.workload),
        "reader": pyarrow.Table.from_pylist(example.workload).to_reader(max_chunksize=7),
        "pandas": pandas.DataFrame(example.workload),
    }
    for form, same_workload in tables.items():
        assert servingsim.run(cluster, same_workload).to_json() == expected, form
    assert json.loads(expected)["requests"] > 30


def test_columns(plain: list[dict[str, Any]]) -> None:
    expected = servingsim.run(workload=plain).to_json()
    columns = {name: [request[name] for request in plain] for name in plain[0]}
    assert servingsim.run(workload=columns).to_json() == expected
    arrays = {name: numpy.array(column) for name, column in columns.items()}
    assert servingsim.run(workload=arrays).to_json() == expected
    assert servingsim.run(workload=pandas.DataFrame(columns)).to_json() == expected
    small = pandas.DataFrame({name: numpy.array(column, dtype="uint64") for name, column in columns.items()})
    assert servingsim.run(workload=small.astype("float64")).to_json() == expected
    numbers = [{name: numpy.int64(value) for name, value in request.items()} for request in plain]
    assert servingsim.run(workload=numbers).to_json() == expected


def test_pandas_without_pyarrow(plain: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = servingsim.run(workload=plain).to_json()

    def refuse(self: pandas.DataFrame, requested_schema: object = None) -> object:
        raise ImportError("no pyarrow here")

    monkeypatch.setattr(pandas.DataFrame, "__arrow_c_stream__", refuse)
    frame = pandas.DataFrame(plain)
    assert servingsim.run(workload=frame).to_json() == expected
    frame["session_id"] = float("nan")
    assert servingsim.run(workload=frame).to_json() == expected


def test_tables_of_many_types(plain: list[dict[str, Any]]) -> None:
    expected = servingsim.run(workload=plain).to_json()
    types = [pyarrow.int16(), pyarrow.uint32(), pyarrow.float64()]
    columns = [[request[name] for request in plain] for name in plain[0]]
    table = pyarrow.table([pyarrow.array(c, t) for c, t in zip(columns, types)], names=list(plain[0]))
    assert servingsim.run(workload=table).to_json() == expected
    ids = [list(range(request["input_toks"])) for request in plain]
    with_ids = [{**request, "input_tok_ids": i} for request, i in zip(plain, ids)]
    hits = servingsim.run(workload=with_ids)
    assert hits.summary.prefix_cache.hit_tokens > 0
    for type_ in [pyarrow.list_(pyarrow.int32()), pyarrow.large_list(pyarrow.uint32())]:
        longer = table.append_column("input_tok_ids", pyarrow.array(ids, type_))
        assert servingsim.run(workload=longer).to_json() == hits.to_json()
    encoded = table.append_column("session_id", pyarrow.array([None] * len(plain), pyarrow.string()).dictionary_encode())
    assert servingsim.run(workload=encoded).to_json() == expected


def test_sessions_of_dataclasses_leave_out_what_is_not_there() -> None:
    call = servingsim.Call(100, 5)
    assert dataclasses.asdict(call)["input_tok_ids"] is None
    session = servingsim.Session([call, servingsim.Call(200, 5)], session_id="a")
    assert servingsim.run(workload=[session]).summary.requests == 2


def test_parquet(plain: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "workload.parquet"
    polars.DataFrame(plain).write_parquet(path)
    assert servingsim.run(workload=path).to_json() == servingsim.run(workload=plain).to_json()


def test_num_reqs(plain: list[dict[str, Any]]) -> None:
    assert servingsim.run(workload=plain, num_reqs=7).to_json() == servingsim.run(workload=plain[:7]).to_json()


@pytest.mark.parametrize("workload", [3, b"bytes", object()])
def test_what_is_no_workload(workload: Any) -> None:
    with pytest.raises(TypeError, match="a workload is a path, requests"):
        servingsim.run(workload=workload)


def test_what_is_no_cluster() -> None:
    with pytest.raises(TypeError, match="a cluster is a dict, JSON or a path, not list"):
        servingsim.run([])  # type: ignore[arg-type]
