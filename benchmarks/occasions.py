"""What is done now and then: a filter over many entries, with an index and without, statistics, a cold start."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import agentmem
from benchmarks.rounds import timed
from benchmarks.stores import places
from benchmarks.workload import key, value

MANY = 100_000
CHUNK = 10_000
WHERE = {"agent": "analyst-3", "status": "failed", "score": {"$gt": 0.98}}


def measure(backend: str, many: int = MANY, rounds: int = 5) -> dict[str, float]:
    """Median seconds by occasion."""
    with ExitStack() as stack:
        (url,) = stack.enter_context(places(backend, 1))
        memory = stack.enter_context(agentmem.connect(url, partition="occasions", create="always"))
        for start in range(0, many, CHUNK):
            memory.put_many({key(index): value(index) for index in range(start, min(start + CHUNK, many))})
        found = {
            f"search with a filter among {many:,}": _median(lambda: memory.search(where=WHERE, limit=50), rounds),
            f"count with a filter among {many:,}": _median(lambda: memory.count(where=WHERE), rounds),
            f"search for one of {many:,}": _median(lambda: memory.search(where={"task": key(many // 2)}), rounds),
            **_indexed(memory, many, rounds),
            f"stats of {many:,}": _median(memory.stats, rounds),
            "cold start: import, connect, get": _median(lambda: _cold_start(url), rounds),
        }
    found["cold start: python alone"] = _median(lambda: subprocess.run([sys.executable, "-c", ""], check=True), rounds)
    return found


def _indexed(memory: agentmem.Memory, many: int, rounds: int) -> dict[str, float]:
    """The same with an index of values, where the backend has one, and what writing costs then."""
    without = _median(lambda: _put(memory), rounds)
    built = timed(lambda: memory.partition("occasions", index_values=True))
    found = {
        f"with index: search with a filter among {many:,}": _median(
            lambda: memory.search(where=WHERE, limit=50), rounds
        ),
        f"with index: count with a filter among {many:,}": _median(lambda: memory.count(where=WHERE), rounds),
        f"with index: search for one of {many:,}": _median(
            lambda: memory.search(where={"task": key(many // 2)}), rounds
        ),
        "with index: 100 puts": _median(lambda: _put(memory), rounds),
        "100 puts": without,
        f"to build an index of {many:,}": built,
    }
    memory.partition("occasions", index_values=False)
    return found


def _put(memory: agentmem.Memory) -> None:
    for index in range(100):
        memory.put(key(index * 7), value(index))


def _median(work: Callable[[], object], rounds: int) -> float:
    work()
    return statistics.median(timed(work) for _ in range(rounds))


def _cold_start(url: str) -> None:
    words = f"import agentmem; agentmem.connect({url!r}, partition='occasions').get('run/0000/000001')"
    subprocess.run([sys.executable, "-c", words], check=True)


def rows(backend: str, seconds: dict[str, float]) -> list[str]:
    """Markdown."""
    lines = [f"| {backend} | ms |", "|---|---|"]
    return lines + [f"| {name} | {each * 1000:,.1f} |" for name, each in seconds.items()]
