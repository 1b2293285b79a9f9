"""Runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import _native
from ._arrow import ArrowStream
from ._errors import Fault, InputError
from ._result import Result
from ._workload import Call, Request, Session, to_lines

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

Cluster = Mapping[str, Any] | str | os.PathLike[str]
"""A cluster: its file's JSON as a dict or as text, or the path of the file."""

Workload = (
    str
    | os.PathLike[str]
    | Iterable[Mapping[str, Any] | Request | Session]
    | Mapping[str, Iterable[Any]]
    | ArrowStream
)
"""A workload: the path of its file, requests and sessions, a table of them, or its columns."""

_NOT_HERE = {
    "cluster_config": "give the cluster as the first argument",
    "dataset": "give the workload as the second argument",
    "format": "`str(result)` is the text, `result.to_json()` the JSON",
    "quiet": "nothing is printed here; `print(result)` does",
    "log_level": "nothing is printed here; `progress=` is called while the run goes",
    "timings": "`result.timings` is always there",
}
"""Flags of the command that are about its console or have a place of their own, and what there is instead."""

_OF_TABLES = ("no_itl", "output_stamps")
"""Flags about columns of the request file, which are about those of `result.requests` too."""


def run(
    cluster: Cluster | None = None,
    workload: Workload | None = None,
    *,
    progress: Callable[[int, int], object] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Simulates `cluster` under `workload`.

    `cluster` is LLMServingSim's JSON: a dict, a text that begins with `{`, or the path of a file. `workload` is the path
    of a JSONL file; an iterable of requests and sessions, as dicts with the keys of such a file or as
    :class:`Request` and :class:`Session`; a table of any library that speaks Arrow, with those keys as columns; or a
    dict of columns. `None` stands for the built-in example.

    `progress(finished, total)` is called at the start, about ten times a second, and at the end; what it raises ends the
    run. So does Ctrl-C. Nothing is printed.

    Every flag of `servingsim run` is a keyword (:class:`Options`). Besides a name, `request_routing_policy` may be a
    callable `(request, instances) -> index`, and `expert_routing_policy` a callable `(block) -> counts`, which has a
    number of tokens for each expert, or the experts that each token takes. What they raise ends the run, and is raised
    here. Runs release the interpreter's lock, so threads run side by side.

    Raises :class:`InputError` with every fault of the input, :class:`StuckError` where a run comes to a standstill, and
    :class:`RoutingError` where a callable has answered what can't be.

    >>> import servingsim
    >>> cluster = servingsim.examples()["moe-dp-ep"].cluster
    >>> requests = [{"input_toks": 2000, "output_toks": 100, "arrival_time_ns": 0}] * 32
    >>> few = servingsim.run(cluster, requests, max_num_seqs=4)
    >>> many = servingsim.run(cluster, requests, max_num_seqs=256, engine="vllm")
    >>> few.summary.generated_tokens_per_s < many.summary.generated_tokens_per_s
    True

    A policy of one's own:

    >>> def longest_apart(request, instances):
    ...     return 1 if request.input_tokens > 1000 else 0
    >>> result = servingsim.run(request_routing_policy=longest_apart)
    >>> requests = result.requests.to_pydict()
    >>> {i for i, tokens in zip(requests["instance"], requests["input_tokens"]) if tokens > 1000} <= {1}
    True
    """
    flags, tables, routers = _flags(dict(options))
    cluster_text, cluster_is_object = None, False
    if isinstance(cluster, Mapping):
        cluster_text, cluster_is_object = json.dumps(cluster), True
    elif isinstance(cluster, str) and cluster.lstrip().startswith("{"):
        cluster_text = cluster
    elif isinstance(cluster, (str, os.PathLike)):
        flags.append(f"--cluster-config={os.fspath(cluster)}")
    elif cluster is not None:
        raise TypeError(f"a cluster is a dict, JSON or a path, not {type(cluster).__name__}")
    requests = None
    if isinstance(workload, (str, os.PathLike)):
        flags.append(f"--dataset={os.fspath(workload)}")
    elif workload is not None:
        requests = to_lines(workload)
    raw = _native.run(
        flags,
        cluster=cluster_text,
        cluster_is_object=cluster_is_object,
        requests=requests,
        request_router=routers["request_routing_policy"],
        expert_router=routers["expert_routing_policy"],
        progress=progress,
        itl=not tables["no_itl"],
        stamps=tables["output_stamps"],
    )
    return Result(raw)


def _flags(options: dict[str, Any]) -> tuple[list[str], dict[str, bool], dict[str, Any]]:
    """Options as flags of the command, those about tables, and callables by the flag that they stand for."""
    faults: list[Fault] = []
    routers = {name: options.pop(name) if callable(options.get(name)) else None for name in _ROUTERS}
    for name, file in _ROUTERS.items():
        if routers[name] is not None and options.get(file) is not None:
            faults.append(_fault(_dashed(name), "a file of recorded routes is given too", "leave out either"))
    tables = {name: options.get(name) is True for name in _OF_TABLES}
    if options.get("output") is None:
        for name in _OF_TABLES:
            if isinstance(options.get(name), bool):
                del options[name]
    known = {flag.name.replace("-", "_"): flag for flag in _native.flags()}
    aliases = {alias.replace("-", "_"): flag for flag in known.values() for alias in flag.aliases}
    flags: list[str] = []
    for name, value in options.items():
        flag = known.get(name) or aliases.get(name)
        if name in _NOT_HERE:
            faults.append(_fault(name, "is not an option here", _NOT_HERE[name]))
        elif flag is None:
            names = [name for name in known if name not in _NOT_HERE]
            faults.append(_fault(name, "there is no such option", _native.hint(name, names)))
        elif value is not None:
            try:
                flags.extend(_words(flag, value, known))
            except TypeError as error:
                faults.append(_fault(_dashed(name), str(error), None))
    if faults:
        raise InputError(faults)
    return flags, tables, routers


_ROUTERS = {"request_routing_policy": "request_routing_file", "expert_routing_policy": "expert_routing_file"}
"""Options that may be callables, and those that say the same in another way."""


def _words(flag: _native.Flag, value: Any, known: Mapping[str, _native.Flag]) -> list[str]:
    """A flag and its value, as the command takes them."""
    if not flag.takes_value:
        if not isinstance(value, bool):
            raise TypeError(f"expected True or False, found {value!r}")
        opposite = f"no-{flag.name}"
        if value:
            return [f"--{flag.name}"]
        return [f"--{opposite}"] if opposite.replace("-", "_") in known else []
    if flag.takes_list and not isinstance(value, (str, bytes)) and isinstance(value, Iterable):
        return [f"--{flag.name}={','.join(_text(item) for item in value)}"]
    return [f"--{flag.name}={_text(value)}"]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        raise TypeError(f"expected a value, found {value}")
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, float):
        return repr(float(value))
    if hasattr(value, "__index__"):
        return str(value.__index__())
    if hasattr(value, "__float__"):
        return repr(float(value))
    raise TypeError(f"expected a number, a text or a path, found {value!r}")


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _fault(source: str, message: str, hint: str | None) -> Fault:
    return Fault(source, None, None, None, message, hint)
