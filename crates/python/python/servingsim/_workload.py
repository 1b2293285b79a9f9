"""What arrives: requests and sessions, in whichever form they come."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from ._arrow import ArrowStream
from ._errors import Fault, InputError
from ._native import json_lines


@dataclass
class Request:
    """One call to a model, named as a line of a workload file.

    >>> import servingsim
    >>> requests = [Request(input_toks=512, output_toks=64, arrival_time_ns=i * 50_000_000) for i in range(20)]
    >>> servingsim.run(workload=requests).summary.generated_tokens
    1280
    """

    input_toks: int
    """Tokens of the prompt."""
    output_toks: int
    """Tokens to generate."""
    arrival_time_ns: int = 0
    """When it arrives, in nanoseconds from the start."""
    input_tok_ids: Sequence[int] | None = None
    """Ids of the prompt's tokens, by which prefixes are found again."""
    output_tok_ids: Sequence[int] | None = None
    """Ids of the tokens that will be generated."""


@dataclass
class Call:
    """One of the calls of a session."""

    input_toks: int
    """Tokens of the prompt."""
    output_toks: int
    """Tokens to generate."""
    tool_duration_ns: int = 0
    """Nanoseconds from its last token to the arrival of the next call."""
    input_tok_ids: Sequence[int] | None = None
    """Ids of the prompt's tokens, by which prefixes are found again."""
    output_tok_ids: Sequence[int] | None = None
    """Ids of the tokens that will be generated."""


@dataclass
class Session:
    """Calls that follow one another, as those of an agent do.

    >>> import servingsim
    >>> calls = [Call(900, 40, tool_duration_ns=2_000_000_000), Call(1200, 30)]
    >>> servingsim.run(workload=[Session(calls, arrival_time_ns=0)]).summary.requests
    2
    """

    sub_requests: Sequence[Call]
    """The calls, in order."""
    arrival_time_ns: int = 0
    """When the first arrives, in nanoseconds from the start."""
    session_id: str | None = None
    """What it is called."""


def to_lines(workload: object) -> str:
    """A workload in memory as the lines of a file, one a request or session."""
    if isinstance(workload, ArrowStream):
        try:
            return json_lines(workload)
        except ImportError:
            # pandas hands its data on through PyArrow, which need not be there.
            if not hasattr(workload, "columns"):
                raise
            return _columns_to_lines({name: workload[name] for name in workload.columns})  # type: ignore[index]
    if isinstance(workload, Mapping):
        return _columns_to_lines(workload)
    if isinstance(workload, Iterable) and not isinstance(workload, (str, bytes)):
        return "".join(_line(entry) + "\n" for entry in workload)
    raise TypeError(
        "a workload is a path, requests (dicts, or Request and Session), a table or a dict of columns, "
        f"not {type(workload).__name__}"
    )


def _line(entry: object) -> str:
    if is_dataclass(entry) and not isinstance(entry, type):
        entry = _without_none(asdict(entry))
    return json.dumps(entry, default=_plain)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        return [_without_none(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays, and whatever else is a number or a sequence, as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__index__"):
        return operator.index(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _without_none(asdict(value))
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return list(value)
    raise TypeError(f"a request can't hold a {type(value).__name__}")


def _columns_to_lines(columns: Mapping[Any, Any]) -> str:
    """Rows of columns; what is None or not a number is left out."""
    lists = {}
    for name, column in columns.items():
        if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
            raise TypeError(f"a workload as a dict has a column for each key, and `{name}` is none")
        lists[name] = column.tolist() if hasattr(column, "tolist") else list(column)
    lengths = {name: len(column) for name, column in lists.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError([Fault("requests", None, None, None, f"columns of different lengths: {told}", None)])
    rows = zip(*lists.values())
    return "".join(json.dumps(_row(lists.keys(), row), default=_plain) + "\n" for row in rows)


def _row(names: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    row = {}
    for name, value in zip(names, values):
        if isinstance(value, float):
            if value != value:
                continue
            # A column in which numbers are missing may be of floats for that alone.
            value = int(value) if value.is_integer() else value
        if value is not None:
            row[name] = value
    return row
