"""The load: it runs, measures what it says, and notices a store that is not as it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

import agentmem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory

ROOT = Path(__file__).parents[2]


def load(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_a_second_and_a_half_on_sqlite(tmp_path: Path) -> None:
    done = load("sqlite", "--seconds=1.5", "--processes=2", "--threads=3", f"--out={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that was confirmed is there" in done.stdout
    found = json.loads((tmp_path / "load.json").read_text())["results"]["sqlite"]
    assert (found["threads"], found["errors"], found["inconsistencies"]) == (6, {}, [])
    assert found["operations"] == sum(found["operations_by_second"]) > 200
    assert found["operations"] == sum(each["count"] for each in found["milliseconds"].values())
    for each in found["milliseconds"].values():
        assert 0 < each["p50"] <= each["p95"] <= each["p99"] < 60_000
    for name in ("throughput.svg", "latency-sqlite.svg"):
        assert ET.fromstring((tmp_path / name).read_text()).tag.endswith("svg")


def test_the_number_of_calls_is_bounded(tmp_path: Path) -> None:
    done = load("sqlite", "--seconds=60", "--processes=1", "--threads=2", "--most=300", f"--out={tmp_path}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "load.json").read_text())["results"]["sqlite"]
    assert found["operations"] + sum(found["errors"].values()) == 300


@pytest.mark.parametrize("arguments", [["oracle"], ["--seconds=0"], ["--threads=-1"]])
def test_what_cannot_be_run_is_refused(arguments: list[str]) -> None:
    done = load(*arguments)
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/load_work.py, which is installed nowhere."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import load_work

    return load_work


@pytest.fixture
def worn(work: Any, sqlite_url: str) -> Iterator[tuple[Memory, Any]]:
    """A store after some load, and what happened."""
    with agentmem.connect(sqlite_url, partition=work.PARTITION) as memory:
        work.prepare(memory)
        yield memory, work.run(sqlite_url, 0, threads=2, seconds=60, most=250)


HARM: dict[str, Callable[[Memory, Any], object]] = {
    "counter/": lambda memory, tally: memory.increment(next(iter(tally.increments))),
    "the accounts hold": lambda memory, _: memory.increment("account/0"),
    "of more than one batch": lambda memory, _: memory.delete(next(memory.keys("group/"))),
    "too long": lambda memory, _: memory.put("log/0", [0] * 100),
    "1 times get: Unavailable": lambda _, tally: tally.errors.update(["get: Unavailable"]),
}


@pytest.mark.parametrize("name", HARM)
def test_what_is_not_as_it_must_be_is_found(work: Any, worn: tuple[Memory, Any], name: str) -> None:
    memory, tally = worn
    assert work.inconsistencies(memory, tally) == []
    HARM[name](memory, tally)
    (found,) = work.inconsistencies(memory, tally)
    assert name in found


def test_quantiles_of_a_histogram_are_at_most_five_per_cent_too_much(work: Any) -> None:
    histogram, other = work.Histogram(), work.Histogram()
    for number in range(1, 1001):
        (histogram if number % 2 else other).add(number / 1000)
    histogram.merge(other)
    assert len(histogram) == 1000
    for share in (0.01, 0.5, 0.95, 0.99, 1):
        assert share <= histogram.quantile(share) <= share * 1.0501
    assert work.Histogram().quantile(0.5) == 0
    for extreme in (0.0, 1e9):
        other.add(extreme)  # neither is outside of its classes
