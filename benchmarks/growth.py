"""What must not grow with the store: gets and puts all over it, a page of fifty by prefix, to clear a scope of ten."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from benchmarks import targets
from benchmarks.contenders import RAW, AgentMem, Contender
from benchmarks.stores import placed
from benchmarks.workload import PAGE, key, value

SMALL = 10_000
LARGE = 1_000_000
CHUNK = 10_000
ROUNDS = 50
AT_ONCE = 20

Seconds = dict[str, dict[str, dict[int, float]]]
"""By what was done, by contender, and by how many other entries the store had."""


def measure(backend: str, large: int) -> Seconds:
    """Medians; all stores take turns."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    with ExitStack() as stack:
        made: list[tuple[Contender, int]] = []
        urls = iter(stack.enter_context(placed(backend, 4)))
        for maker in (AgentMem, RAW[backend]):
            for size in (SMALL, large):
                contender = maker(next(urls))
                stack.callback(contender.close)
                _fill(contender, size)
                made.append((contender, size))
        for _ in range(ROUNDS):
            for name, check in CHECKS.items():
                for contender, size in made:
                    if name in COMMON or isinstance(contender, AgentMem):
                        times = found.setdefault(name, {}).setdefault(contender.name, {}).setdefault(size, [])
                        times.append(check(contender, size))
    return {
        name: {who: {size: statistics.median(times) for size, times in sizes.items()} for who, sizes in by.items()}
        for name, by in found.items()
    }


def _fill(contender: Contender, size: int) -> None:
    same = value(0)  # making them is not what is measured
    for start in range(0, size, CHUNK):
        contender.put_many({key(number): same for number in range(start, min(start + CHUNK, size))})


def _get(contender: Contender, size: int) -> float:
    keys = [key(number) for number in random.sample(range(size), AT_ONCE)]
    started = time.perf_counter()
    found = [contender.get(each) for each in keys]
    taken = time.perf_counter() - started
    assert all(found)
    return taken / AT_ONCE


def _put(contender: Contender, size: int) -> float:
    values = {key(number): value(number) for number in random.sample(range(size), AT_ONCE)}
    started = time.perf_counter()
    for each, put in values.items():
        contender.put(each, put)
    return (time.perf_counter() - started) / AT_ONCE


def _page(contender: Contender, _: int) -> float:
    started = time.perf_counter()
    found = contender.search("run/0000/")
    taken = time.perf_counter() - started
    assert found == PAGE, found
    return taken


def _clear(contender: Contender, _: int) -> float:
    assert isinstance(contender, AgentMem)
    scope = contender.memory.scoped("run/0000/scope/")
    scope.put_many({str(number): number for number in range(10)})
    started = time.perf_counter()
    removed = scope.clear()
    taken = time.perf_counter() - started
    assert removed == 10, removed
    return taken


CHECKS: dict[str, Callable[[Contender, int], float]] = {
    "get": _get,
    "put": _put,
    f"a page of {PAGE}": _page,
    "clear a scope of 10": _clear,
}
COMMON = ("get", "put")
"""What the raw driver does as well."""


def rows(backend: str, medians: Seconds) -> Iterator[str]:
    """Markdown."""
    small, large = medians["get"][AgentMem.name]
    raw = RAW[backend].name
    yield f"| {backend}, ms | among {int(small):,} | among {int(large):,} | times | {raw}, times | target |"
    yield "|---|---|---|---|---|---|"
    for name, by in medians.items():
        ours = by[AgentMem.name]
        times = {who: each[large] / each[small] for who, each in by.items()}
        cells = f"{ours[small] * 1000:.3f} | {ours[large] * 1000:.3f} | {times[AgentMem.name]:.2f}"
        beside = f"{times[raw]:.2f}" if raw in times else "-"
        target = targets.shown(f"{targets.GROWTH:.2f}", reached=times[AgentMem.name] <= targets.GROWTH)
        yield f"| {name} | {cells} | {beside} | {target} |"
