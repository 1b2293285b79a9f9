"""What a run came to."""

from __future__ import annotations

import html
import json
from functools import cached_property

from ._native import RawResult, Table
from ._summary import Spread, Summary


class Result:
    """What a run came to: its summary, and tables of its requests and of what happened in each log interval.

    The tables speak Arrow: `polars.DataFrame(result.requests)`, `pyarrow.table(result.requests)`, and DuckDB's
    `SELECT * FROM requests` where a variable `requests` holds one, take them without copying.

    >>> import servingsim
    >>> result = servingsim.run(example="moe-ep")
    >>> result.requests.column_names[:4]
    ['instance', 'request', 'model', 'input_tokens']
    >>> max(result.requests.column("ttft_ns")) / 1e6 == result.summary.ttft.max_ms
    True
    """

    def __init__(self, raw: RawResult) -> None:
        self._raw = raw

    @cached_property
    def summary(self) -> Summary:
        """What the run came to, in numbers."""
        return Summary.from_json(json.loads(self._raw.json))

    @property
    def requests(self) -> Table:
        """A row a request, in the order in which they finished; times are in nanoseconds."""
        return self._raw.requests

    @property
    def intervals(self) -> Table:
        """A row an instance, group or node and log interval, with the columns of `docs/interval-csv.md`."""
        return self._raw.intervals

    @property
    def notes(self) -> list[str]:
        """What one should know about how the input was read, a sentence each."""
        return self._raw.notes

    @property
    def timings(self) -> dict[str, float]:
        """Seconds that the run itself took, by what they were spent on."""
        return self._raw.timings

    def to_json(self) -> str:
        """The summary, as `servingsim run --format json` writes it."""
        return self._raw.json

    def __str__(self) -> str:
        """The summary, as `servingsim run` writes it."""
        return self._raw.text

    def __repr__(self) -> str:
        summary = self.summary
        latencies = "".join(
            f", {name} p50 {spread.median_ms:.1f} p99 {spread.p99_ms:.1f} ms" for name, spread in self._shown()[:2]
        )
        rate = summary.generated_tokens_per_s
        speed = f", {rate:,.0f} generated tok/s" if rate is not None else ""
        return f"<servingsim.Result: {summary.requests} requests in {summary.makespan_s:.3f} s{latencies}{speed}>"

    def _repr_html_(self) -> str:
        summary = self.summary
        numbers = [("Requests", f"{summary.requests:,}"), ("Makespan", f"{summary.makespan_s:.3f} s")]
        if summary.requests_per_s is not None and summary.generated_tokens_per_s is not None:
            numbers.append(("Requests per second", f"{summary.requests_per_s:.2f}"))
            numbers.append(("Generated tokens per second", f"{summary.generated_tokens_per_s:,.0f}"))
        if summary.dummy_steps:
            numbers.append(("Dummy steps", f"{summary.dummy_share:.1%}"))
        facts = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in numbers)
        head = "".join(f"<th>{title}</th>" for title in ("ms", "mean", "median", "P90", "P99", "max"))
        rows = "".join(
            f"<tr><th>{name}</th>"
            + "".join(
                f"<td>{value:,.2f}</td>"
                for value in (spread.mean_ms, spread.median_ms, spread.p90_ms, spread.p99_ms, spread.max_ms)
            )
            + "</tr>"
            for name, spread in self._shown()
        )
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        latencies = f"<table><tr>{head}</tr>{rows}</table>" if rows else ""
        return f"<table>{facts}</table>{latencies}" + (f"<ul>{notes}</ul>" if notes else "")

    def _shown(self) -> list[tuple[str, Spread]]:
        summary = self.summary
        named = [("TTFT", summary.ttft), ("TPOT", summary.tpot), ("ITL", summary.itl), ("Latency", summary.latency)]
        return [(name, spread) for name, spread in named if spread is not None]
