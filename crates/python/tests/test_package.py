"""The package as a whole: what is written of it holds, and its types do."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import options
import pytest

import servingsim

ROOT = Path(__file__).parents[3]
MODULES = ["servingsim", *(f"servingsim.{module.name}" for module in pkgutil.iter_modules(servingsim.__path__))]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_docstrings(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_docstrings_have_examples() -> None:
    finder = doctest.DocTestFinder()
    tests = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert {"servingsim", "servingsim._run.run", "servingsim._result.Result"} <= {test.name for test in tests}


def test_the_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example in `docs/python.md` gives what stands below it."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    assert len(blocks) > 5
    for block in blocks:
        line = text.count("\n", 0, block.start()) + 1
        test = doctest.DocTestParser().get_doctest(block[1], names, "docs/python.md", "docs/python.md", line)
        assert test.examples
        assert runner.run(test, clear_globs=False).failed == 0
        names.update(test.globs)


def test_the_example_sizes_a_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    script = ROOT / "crates" / "python" / "examples" / "size_dp_ep.py"
    names = runpy.run_path(str(script), run_name="__main__")
    told = capsys.readouterr().out
    assert re.search(r"^smallest group that keeps to it: \d GPUs$", told, re.MULTILINE)
    best = names["best"]
    assert 0 < best[1] < best[2] < best[4]
    # Beyond, what the experts' collectives take eats up what more GPUs bring: links are of 16 GB/s.
    assert best[8] < 1.2 * best[4]


def test_options_are_those_of_the_command() -> None:
    wanted = "python crates/python/tests/options.py writes it anew"
    installed = Path(servingsim.__file__).with_name("_options.py").read_text(encoding="utf-8")
    assert installed == options.options_py(), wanted
    assert options.DOCS.read_text(encoding="utf-8") == options.docs_with_table(), wanted


def test_types(tmp_path: Path) -> None:
    """The package is well typed, its stubs are complete, and what uses it can be typed."""
    tests = Path(__file__).parent
    for command in (
        ["mypy", "--strict", "-p", "servingsim"],
        ["mypy.stubtest", "servingsim"],
        ["mypy", "--strict", str(ROOT / "crates" / "python" / "examples")],
        ["mypy", "--strict", *(f"{tests / name}.py" for name in ("test_policies", "test_runs", "test_errors"))],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_version() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", servingsim.__version__)
    assert set(servingsim.__all__) <= set(dir(servingsim))
