"""A simulator of LLM serving clusters.

:func:`run` simulates a cluster on a workload and returns a :class:`Result`: what every request saw, and what the
cluster did.

>>> import servingsim
>>> result = servingsim.run()  # the built-in example: Qwen3-30B-A3B, DP+EP on two GPUs
>>> result.summary.requests
64
>>> round(result.summary.ttft.p99_ms, 2)
64.78
>>> len(result.requests)
64

Everything that the command `servingsim run` can do is a keyword here, spelled with underscores; `docs/python.md` lists
them all. `python -m servingsim` is the command itself.
"""

from ._errors import Fault, InputError, RoutingError, ServingsimError, StuckError
from ._examples import Example, examples
from ._native import ExpertBlock, InstanceLoad, RoutedRequest, Table, __version__
from ._options import Options
from ._result import Result
from ._run import run
from ._summary import (
    CollectiveBytes,
    EngineSummary,
    InstanceSummary,
    MeasuredCollective,
    NodePower,
    Power,
    PrefixCache,
    PrefixTier,
    Spread,
    Summary,
)
from ._workload import Call, Request, Session

__all__ = [
    "Call",
    "CollectiveBytes",
    "EngineSummary",
    "Example",
    "ExpertBlock",
    "Fault",
    "InputError",
    "InstanceLoad",
    "InstanceSummary",
    "MeasuredCollective",
    "NodePower",
    "Options",
    "Power",
    "PrefixCache",
    "PrefixTier",
    "Request",
    "Result",
    "RoutedRequest",
    "RoutingError",
    "ServingsimError",
    "Session",
    "Spread",
    "StuckError",
    "Summary",
    "Table",
    "__version__",
    "examples",
    "run",
]
