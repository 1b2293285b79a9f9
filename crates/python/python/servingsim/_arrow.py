"""The part of the Arrow PyCapsule interface that tables of requests come through."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class ArrowStream(Protocol):
    """A table of whichever library, that others can take over: data frames of Polars and pandas, PyArrow's tables."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """An `ArrowArrayStream` in a capsule."""
