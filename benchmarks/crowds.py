"""Many at once: 1, 8 and 32 threads of one process, and 4 processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.contenders import RAW, AgentMem, Contender
from benchmarks.operations import AT_ONCE, OPERATIONS, STORED, VALUES, Operation, put, some
from benchmarks.rounds import Rates, measure
from benchmarks.stores import places
from benchmarks.workload import BATCH

THREADS = (8, 32)
PROCESSES = 4
BLOCKS = 10
CROWDED = {"get": OPERATIONS["get"], "put": Operation("put", some, put)}


def by_threads(made: Sequence[Contender], rounds: int) -> Rates:
    """`get, 8 threads` and so on, by those that are made for threads."""
    found: Rates = {}
    made = [each for each in made if each.for_threads]
    for threads in THREADS:
        for name, by in measure(made, rounds, CROWDED, threads=threads).items():
            found[f"{name}, {threads} threads"] = by
    return found


def by_processes(backend: str, rounds: int) -> Rates:
    """The raw driver and agentmem, each from 4 processes of its own at a time; one more process would be ours."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in CROWDED}
    with ExitStack() as stack:
        urls = dict(zip(("raw", "agentmem"), stack.enter_context(places(backend)), strict=True))
        for who, url in urls.items():
            with _made(backend, who, url) as contender:
                for mapping in VALUES.values():
                    contender.put_many(mapping)
        for _ in range(rounds):
            for name in CROWDED:
                for who, url in urls.items():
                    rates[name].setdefault(_name(backend, who), []).append(_rate(backend, who, url, name))
    return {
        f"{name}, {PROCESSES} processes": {who: statistics.median(each) for who, each in by.items()}
        for name, by in rates.items()
    }


def _name(backend: str, who: str) -> str:
    return AgentMem.name if who == "agentmem" else str(RAW[backend].name)


class _made:  # noqa: N801  # reads as a function
    """A contender for the length of a block."""

    def __init__(self, backend: str, who: str, url: str) -> None:
        self._contender: Contender = AgentMem(url) if who == "agentmem" else RAW[backend](url)

    def __enter__(self) -> Contender:
        return self._contender

    def __exit__(self, *_: object) -> None:
        self._contender.close()


def _rate(backend: str, who: str, url: str, operation: str) -> float:
    """Every process says that it is ready, and is let go when all are; each reports the seconds that it took."""
    words = [sys.executable, "-m", "benchmarks.crowds", backend, who, url, operation]
    running = [
        subprocess.Popen([*words, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    try:
        for each in running:
            _line(each)
        for each in running:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        seconds = [float(_line(each)) for each in running]
    finally:
        for each in running:
            each.communicate(timeout=60)
    return PROCESSES * BLOCKS * AT_ONCE / max(seconds)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "a process of the benchmark ended before its work did"
    return line


def _main(backend: str, who: str, url: str, operation: str, number: str) -> Iterator[str]:
    import time

    with _made(backend, who, url) as contender:
        _, prepare, work = CROWDED[operation]
        at = int(number) * BATCH
        blocks = [prepare((at + block * BATCH) % STORED) for block in range(BLOCKS + 1)]
        work(contender, blocks.pop())
        yield "ready"
        sys.stdin.readline()
        started = time.perf_counter()
        for block in blocks:
            work(contender, block)
        yield str(time.perf_counter() - started)


if __name__ == "__main__":
    for text in _main(*sys.argv[1:]):
        print(text, flush=True)
