"""Writes what follows from the command's flags: `servingsim/_options.py`, and the table in `docs/python.md`.

`python crates/python/tests/options.py` writes both; a test says when they are not as they would be written.
"""

from __future__ import annotations

from pathlib import Path

from servingsim._native import Flag, flags
from servingsim._run import _NOT_HERE

PACKAGE = Path(__file__).parents[1] / "python" / "servingsim"
DOCS = Path(__file__).parents[3] / "docs" / "python.md"
BEGIN, END = "<!-- options begin -->\n", "<!-- options end -->\n"

PATH = "str | os.PathLike[str]"
TYPES = {
    "N": "int",
    "TOKENS": "int",
    "FRACTION": "float",
    "MS": "float",
    "SECONDS": "float",
    "FILE": PATH,
    "DIR": PATH,
    "NAME": "str",
    "NAME|FILE": PATH,
    "ID": "str",
    "FROM..TO": "str",
    "FIRST..LAST": "str",
    "TOKENS,…": "Sequence[int] | str",
    "PART,…": "Sequence[str] | str",
    "N-M,…": "Sequence[int | str] | str",
}
CALLABLES = {
    "request-routing-policy": "Callable[[RoutedRequest, list[InstanceLoad]], SupportsIndex]",
    "expert-routing-policy": "Callable[[ExpertBlock], Any]",
}

HEAD = '''"""The options of a run. Written by `tests/options.py` from the flags of the command."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsIndex, TypedDict

from ._native import ExpertBlock, InstanceLoad, RoutedRequest


class Options(TypedDict, total=False):
    """Keywords of :func:`run`: the flags of `servingsim run`. `None` is as good as not given."""
'''


def keyword(flag: Flag) -> str:
    return flag.name.replace("-", "_")


def values_of(flag: Flag) -> list[str]:
    # The parser of the command knows them, but does not list them.
    return ["unaware", "aware"] if flag.name == "network-model" else flag.values


def type_of(flag: Flag) -> str:
    if not flag.takes_value:
        return "bool | None"
    if values_of(flag) and not flag.takes_list:
        literal = f"Literal[{', '.join(repr(value) for value in values_of(flag))}]".replace("'", '"')
    else:
        literal = TYPES[flag.value_name or "?"]
    return " | ".join(filter(None, [literal, CALLABLES.get(flag.name), "None"]))


def is_here(flag: Flag) -> bool:
    return keyword(flag) not in _NOT_HERE


def here() -> list[Flag]:
    return [flag for flag in flags() if is_here(flag)]


def options_py() -> str:
    text = HEAD
    for flag in here():
        text += f"\n    {keyword(flag)}: {type_of(flag)}\n"
        lines = " ".join((flag.help or "Kept for LLMServingSim's sake; it changes nothing").split()) + "."
        text += wrapped(f'"""{lines}"""')
        for alias in flag.aliases:
            text += f"\n    {alias.replace('-', '_')}: {type_of(flag)}\n"
            text += f'    """Another name of `{keyword(flag)}`."""\n'
    return text


def wrapped(text: str) -> str:
    lines, line = [], "   "
    for word in text.split():
        if len(line) + 1 + len(word) > 120:
            lines.append(line)
            line = "   "
        line += " " + word
    return "\n".join([*lines, line]) + "\n"


def table() -> str:
    text = "| keyword | values | default | meaning |\n|---|---|---|---|\n"
    for flag in here():
        if flag.help is None:
            continue
        kind = type_of(flag).removesuffix(" | None").replace("os.PathLike[str]", "path")
        if flag.name in CALLABLES:
            kind = kind.replace(CALLABLES[flag.name], "callable")
        if values_of(flag) and not flag.takes_list:
            kind = ", ".join(f"`{value}`" for value in values_of(flag)) + (" or a callable" if flag.name in CALLABLES else "")
        else:
            kind = " or ".join(f"`{part}`" if part != "path" else "path" for part in kind.replace("int | str", "…").split(" | "))
            kind = kind.replace("…", "int | str").replace("|", "\\|")
        default = f"`{flag.default}`" if flag.default else ("`False`" if not flag.takes_value else "")
        if f"no-{flag.name}" in {other.name for other in flags()}:
            default = "`True`"
        help_text = flag.help.replace("|", "\\|").replace("--", "").removesuffix(" (default)")
        text += f"| `{keyword(flag)}` | {kind} | {default} | {help_text} |\n"
    return text


def docs_with_table() -> str:
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def main() -> None:
    (PACKAGE / "_options.py").write_text(options_py(), encoding="utf-8")
    DOCS.write_text(docs_with_table(), encoding="utf-8")


if __name__ == "__main__":
    main()
