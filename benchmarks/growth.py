"""What must not grow with the store: gets and puts all over it, a page of fifty by prefix, to clear a scope of ten."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import agentmem
from benchmarks.stores import places
from benchmarks.workload import PAGE, key, value

SMALL = 10_000
LARGE = 1_000_000
CHUNK = 10_000
ROUNDS = 50
AT_ONCE = 20


def measure(backend: str, large: int) -> dict[str, dict[int, float]]:
    """Median seconds by what was done and how many other entries the store had; both stores take turns."""
    seconds: dict[str, dict[int, list[float]]] = {name: {SMALL: [], large: []} for name in CHECKS}
    with ExitStack() as stack:
        memories = {}
        for size, url in zip((SMALL, large), stack.enter_context(places(backend)), strict=True):
            memories[size] = stack.enter_context(agentmem.connect(url, partition="growth", create="always"))
            fill(memories[size], size)
        for _ in range(ROUNDS):
            for name, check in CHECKS.items():
                for size, memory in memories.items():
                    seconds[name][size].append(check(memory, size))
    return {name: {size: statistics.median(each) for size, each in by.items()} for name, by in seconds.items()}


def fill(memory: agentmem.Memory, size: int) -> None:
    """So many entries, all with the same value: making them is not what is measured."""
    same = value(0)
    memory.load(((key(number), same) for number in range(size)), chunk=CHUNK)


def _get(memory: agentmem.Memory, size: int) -> float:
    keys = [key(number) for number in random.sample(range(size), AT_ONCE)]
    started = time.perf_counter()
    found = [memory.get(each) for each in keys]
    taken = time.perf_counter() - started
    assert all(found)
    return taken / AT_ONCE


def _put(memory: agentmem.Memory, size: int) -> float:
    values = {key(number): value(number) for number in random.sample(range(size), AT_ONCE)}
    started = time.perf_counter()
    for each, put in values.items():
        memory.put(each, put)
    return (time.perf_counter() - started) / AT_ONCE


def _clear(memory: agentmem.Memory, _: int) -> float:
    scope = memory.scoped("run/0000/scope/")
    scope.put_many({str(number): number for number in range(10)})
    started = time.perf_counter()
    removed = scope.clear()
    taken = time.perf_counter() - started
    assert removed == 10, removed
    return taken


def _page(memory: agentmem.Memory, _: int) -> float:
    started = time.perf_counter()
    found = memory.search("run/0000/*", limit=PAGE)
    taken = time.perf_counter() - started
    assert len(found) == PAGE, len(found)
    return taken


CHECKS: dict[str, Callable[[agentmem.Memory, int], float]] = {
    "get": _get,
    "put": _put,
    f"a page of {PAGE}": _page,
    "clear a scope of 10": _clear,
}


def rows(backend: str, medians: dict[str, dict[int, float]]) -> Iterator[str]:
    """Markdown; the last column is what counts."""
    sizes = list(next(iter(medians.values())))
    yield f"| {backend}, ms | {' | '.join(f'among {int(size):,}' for size in sizes)} | times | target |"
    yield "|---|---|---|---|---|"
    for name, by in medians.items():
        small, large = (by[size] * 1000 for size in sizes)
        yield f"| {name} | {small:.3f} | {large:.3f} | {large / small:.2f} | 1.30 |"
