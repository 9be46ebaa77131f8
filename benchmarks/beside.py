"""What writers notice of a clear and of a purge: the time of their puts meanwhile, and at rest."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import agentmem
from benchmarks import targets
from benchmarks.rounds import timed
from benchmarks.stores import places
from benchmarks.workload import value

WRITERS = 4
REST_SECONDS = 1.5

Figures = dict[str, dict[str, float]]
"""By what went on: its seconds, how many puts there were, and their median and 99th percentile in ms."""


def measure(backend: str, number: int) -> Figures:
    """Four threads put without a pause, at rest and while so many entries are cleared or purged."""
    with places(backend, 1) as (url,), agentmem.connect(url, partition="beside", create="always") as memory:
        scratch = memory.scoped("scratch/")
        found = {"nothing": _watched(memory, lambda: time.sleep(REST_SECONDS))}
        _fill(scratch, number, ttl=None)
        found[f"clear of {number:,}"] = _watched(memory, scratch.clear)
        _fill(scratch, number, ttl=0.001)
        time.sleep(0.01)
        found[f"purge of {number:,}"] = _watched(memory, memory.purge_expired)
        return found


def rows(backend: str, found: Figures) -> Iterator[str]:
    """Markdown."""
    yield f"| {backend}, puts of {WRITERS} threads beside | seconds | puts | p50 ms | p99 ms | of rest | target |"
    yield "|---|---|---|---|---|---|---|"
    rest = found["nothing"]["p99"]
    for name, each in found.items():
        cells = f"{each['seconds']:.2f} | {each['puts']:,.0f} | {each['p50']:.2f} | {each['p99']:.2f}"
        yield f"| {name} | {cells} | {each['p99'] / rest:.1f} | {_target(each['p99'] / rest)} |"


def _target(times: float) -> str:
    return targets.shown(f"{targets.BESIDE:.1f}", reached=times <= targets.BESIDE)


def _fill(scratch: agentmem.Memory, number: int, ttl: float | None) -> None:
    same = value(0)
    scratch.load(((f"{index:07d}", same) for index in range(number)), ttl=ttl)


def _watched(memory: agentmem.Memory, work: Callable[[], object]) -> dict[str, float]:
    with _writers(memory) as times:
        seconds = timed(work)
    cuts = statistics.quantiles(times, n=100)
    return {"seconds": seconds, "puts": len(times), "p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


@contextmanager
def _writers(memory: agentmem.Memory) -> Iterator[list[float]]:
    stop = threading.Event()
    times: list[float] = []

    def write(name: int) -> None:
        put = value(name)
        while not stop.is_set():
            times.append(timed(lambda: memory.put(f"writer/{name}", put)))

    writers = [threading.Thread(target=write, args=(name,)) for name in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield times
    finally:
        stop.set()
        for writer in writers:
            writer.join()
