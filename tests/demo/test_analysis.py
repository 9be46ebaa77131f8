"""What an analyst says about one file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agentmem.demo import analysis
from agentmem.demo.analysis import examine
from agentmem.testing.support import run_threads

SOURCE = """
import os.path, sys
from json import dumps
from . import sibling

class Outer:
    def method(self, items):
        if items and len(items) > 1 or None:
            return [item for item in items if item]
        def inner():
            while True:
                pass
        return inner

async def last(x):
    try:
        assert x
    except ValueError:
        pass
    return 1 if x else 2
"""


def finding(folder: Path, source: bytes) -> dict:
    file = folder / "module.py"
    file.write_bytes(source)
    return examine(file)


def test_a_finding_counts_functions_branches_and_imports(tmp_path: Path) -> None:
    found = finding(tmp_path, SOURCE.encode())
    assert (found["functions"], found["classes"], found["lines"], found["error"]) == (3, 1, 20, None)
    assert found["imports"] == ["json", "os", "sys"]
    # method: if, and, or, comprehension; inner: while; last: assert, except, conditional. Each begins at 1.
    assert found["complexity"] == 1 + (1 + 4) + (1 + 1) + (1 + 3)
    assert found["knottiest"] == {"name": "Outer.method", "line": 7, "lines": 7, "complexity": 5}
    assert found["longest"]["name"] == "Outer.method"


def test_a_nested_function_bears_its_scope_in_its_name(tmp_path: Path) -> None:
    found = finding(tmp_path, b"def a():\n  def b():\n    if 1: pass\n    if 2: pass\n")
    assert found["knottiest"]["name"] == "a.b"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"def f(:\n", "SyntaxError"),
        (b"x = 1\0\n", ""),
        (b"# -*- coding: no-such -*-\n", "SyntaxError: unknown encoding"),
        (b"name = '\xe9'\n", "SyntaxError"),
        (b"(" * 5000, ""),
        (b"x" + b"+x" * 200_000, ""),
    ],
    ids=["syntax", "nul", "coding", "not-utf-8", "parentheses", "deep"],
)
def test_a_file_that_does_not_parse_is_a_finding_with_an_error(tmp_path: Path, source: bytes, error: str) -> None:
    found = finding(tmp_path, source)
    assert found["error"].startswith(error)
    assert (found["functions"], found["complexity"], found["longest"]) == (0, 0, None)
    assert json.loads(json.dumps(found)) == found


def test_a_missing_file_is_a_finding_with_an_error(tmp_path: Path) -> None:
    assert examine(tmp_path / "gone.py")["error"].startswith("not readable: ")


def test_a_file_above_the_limit_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MAX_SOURCE_BYTES", 10)
    found = finding(tmp_path, b"x = 1\ny = 2\n")
    assert found["error"] == "12 bytes, the limit is 10"
    assert found["lines"] == 2


def test_the_same_bytes_give_the_same_finding(tmp_path: Path) -> None:
    assert finding(tmp_path, SOURCE.encode()) == finding(tmp_path, SOURCE.encode())


@pytest.mark.parametrize(("source", "lines"), [(b"", 0), (b"x", 1), (b"x\n", 1), (b"x\ny", 2)])
def test_a_last_line_counts_without_its_newline(tmp_path: Path, source: bytes, lines: int) -> None:
    assert finding(tmp_path, source)["lines"] == lines


def test_threads_may_examine_at_once(tmp_path: Path) -> None:
    """python/cpython#106905: threads that parse at once got a SystemError now and then."""
    file = tmp_path / "large.py"
    file.write_bytes(b"".join(b"def f%d(x):\n    return [x, (x, {x: [x]})]\n" % number for number in range(400)))
    first, *others = run_threads(4, lambda _: [examine(file) for _ in range(3)])
    assert first[0]["functions"] == 400
    assert all(found == first for found in others)
