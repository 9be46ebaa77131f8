"""The benchmarks run, and write what they found; what they find is for an idle machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import compare, page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_one_round_of_the_benchmarks(tmp_path: Path) -> None:
    result, out = run(tmp_path, "redis", "--growth=1000")
    for name, by in result["operations_per_second"].items():
        assert f"| {name} | " in out
        assert all(figure > 0 for figure in by.values())
    assert set(result["growth_seconds"]["get"]) == {"agentmem", "redis-py"}
    for name, by in result["growth_seconds"].items():
        assert f"| {name} | " in out
        assert all(seconds > 0 for sizes in by.values() for seconds in sizes.values())
    assert result["footprint"]["entries"] == 1000
    for name, by in result["footprint"]["steps"].items():
        assert f"| {name} | {by['seconds']:.1f} | {by['peak_mb']:.0f} | below 200 |" in out


@pytest.mark.slow
def test_one_round_of_everything_and_the_page_of_it(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    result, out = run(tmp_path, "sqlite", "--all", "--peers", "--many=1000", f"--page={page}")
    parts = ("operations_per_second", "first_puts", "by_threads", "by_processes", "by_size")
    figures = {name: by for part in parts for name, by in result[part].items()}
    figures |= {name: {"agentmem": seconds} for name, seconds in result["occasions_seconds"].items()}
    figures |= result["by_layers"] | result["beside_writers"]
    for name, by in figures.items():
        assert f"| {name} | " in out
        assert f"| {name} | " in page.read_text()
        assert all(figure > 0 for figure in by.values())
    assert "plain ORM" in page.read_text()
    assert ET.fromstring((tmp_path / "performance-sqlite.svg").read_text()).tag.endswith("svg")


def test_the_page_says_which_targets_were_missed() -> None:
    fast, slow = ({"sqlite3": 100.0, "agentmem": speed, "diskcache": 20.0} for speed in (60.0, 30.0))
    rates = {"put": fast, "put, new key": slow, "put, 8 threads": fast, "increment": fast}
    _, _, *rows = page.rate_rows("sqlite", rates)
    assert [row.split(" | ")[-1] for row in rows] == [
        "0.55, 2 times diskcache |",
        "**0.55: missed**, **2 times diskcache: missed** |",
        "1 times diskcache |",
        " |",
    ]
    (*_, row) = page.rate_rows("redis", {"put": {"redis-py": 100.0, "agentmem": 69.0}})
    assert row == "| put | 100 | 0.69 | **0.70: missed** |"


def run(folder: Path, backend: str, *words: str) -> tuple[dict[str, Any], str]:
    found = folder / "found.json"
    command = [sys.executable, "-W", "error", "-m", "benchmarks", backend, "--rounds=1", f"--json={found}", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(found.read_text())["backends"][backend], done.stdout


def test_a_ratio_that_fell_is_found_and_a_busy_moment_forgiven(capsys: pytest.CaptureFixture[str]) -> None:
    before = {"get": 0.80, "put": 0.50}
    assert compare.fallen({"get": 0.65, "put": 0.39}, before, 0.2) == ["put"]
    assert compare.fallen({"get": 0.80}, before, 0.2) == ["put"]
    runs = iter([{"get": 0.30, "put": 0.60}, {"get": 0.70, "put": 0.30}])
    assert compare.best("sqlite", before, 0.2, lambda: next(runs)) == {"get": 0.70, "put": 0.60}
    assert "measuring again: get" in capsys.readouterr().out
    assert compare.best("sqlite", before, 0.2, lambda: {"get": 0.30, "put": 0.60})["get"] == 0.30


def test_a_drop_fails_the_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = tmp_path / "baseline.json"
    speed = {"get": {"raw": 10.0, "agentmem": 8.0}}
    monkeypatch.setattr(compare, "measure", lambda backend, rounds: speed)
    words = ["sqlite", "--baseline", str(baseline)]
    assert compare.main([*words, "--save"]) == 0
    assert json.loads(baseline.read_text()) == {"sqlite": {"get": 0.8}}
    assert compare.main(words) == 0
    speed["get"]["agentmem"] = 6.0
    assert compare.main(words) == 1
    assert compare.main([*words, "--tolerance", "0.3"]) == 0
