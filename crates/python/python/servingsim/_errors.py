"""What can go wrong, as exceptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class ServingsimError(Exception):
    """Whatever this package raises of its own."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one input.

    >>> print(Fault("cluster.json", 14, 22, "$.nodes[0].ep_size", "ep_size 3 does not divide 128 experts", "1, 2 do"))
    cluster.json:14:22 at $.nodes[0].ep_size: ep_size 3 does not divide 128 experts
      hint: 1, 2 do
    """

    source: str
    """The file as it was named, the flag, or what was given in memory: `cluster`, `requests[3]`."""
    line: int | None
    """Line in the file, from 1."""
    column: int | None
    """Column in the file, from 1."""
    path: str | None
    """The place by name, such as `$.nodes[0].instances[1].ep_size`."""
    message: str
    """What is wrong."""
    hint: str | None
    """What to write instead."""

    @property
    def where(self) -> str:
        """Source and place, as the command tells them."""
        place = f":{self.line}:{self.column}" if self.line is not None else ""
        path = f" at {self.path}" if self.path is not None else ""
        return f"{self.source}{place}{path}"

    def __str__(self) -> str:
        hint = f"\n  hint: {self.hint}" if self.hint is not None else ""
        return f"{self.where}: {self.message}{hint}"


class InputError(ServingsimError, ValueError):
    """The input is at fault. All faults are told at once.

    >>> import servingsim
    >>> try:
    ...     servingsim.run(max_num_sequences=8)
    ... except servingsim.InputError as error:
    ...     for fault in error.faults:
    ...         print(fault.where, "-", fault.hint)
    max_num_sequences - did you mean `max_num_seqs`?
    """

    faults: list[Fault]
    """What is wrong, in the order in which it was found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class StuckError(ServingsimError):
    """The run came to a standstill, which `polling="reference"` can: requests wait, and nothing will ever start them."""

    num_requests: int
    """How many wait."""

    def __init__(self, num_requests: int) -> None:
        self.num_requests = num_requests
        super().__init__(num_requests)

    def __str__(self) -> str:
        return f'{self.num_requests} requests wait, and nothing will ever start them; use polling="exact"'


class RoutingError(ServingsimError, ValueError):
    """A routing policy of one's own has answered what can't be."""
