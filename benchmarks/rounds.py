"""Rounds in which contenders take turns, so that a busy moment of the machine hits all of them; medians over rounds."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import peers
from benchmarks.contenders import RAW, AgentMem, Contender
from benchmarks.operations import OPERATIONS, STORED, VALUES, Operation
from benchmarks.stores import placed
from benchmarks.workload import BATCH

Rates = dict[str, dict[str, float]]
"""Operations per second, by what was measured and by contender; the raw driver first, then agentmem."""


@contextmanager
def contenders(backend: str, *, with_peers: bool = False) -> Iterator[list[Contender]]:
    """The raw driver, agentmem and, if asked for, the peers; each with the same entries in a store of its own."""
    makers: list[Callable[[str], Contender]] = [RAW[backend], AgentMem]
    makers += peers.available(backend) if with_peers else []
    with ExitStack() as stack:
        made: list[Contender] = []
        for maker, url in zip(makers, stack.enter_context(placed(backend, len(makers))), strict=True):
            contender = maker(url)
            stack.callback(contender.close)
            for mapping in VALUES.values():
                contender.put_many(mapping)
            made.append(contender)
        # What the others have loaded is not to be looked through by the collector of garbage while we are measured.
        gc.collect()
        gc.freeze()
        stack.callback(gc.unfreeze)
        yield made


def measure(
    made: Sequence[Contender], rounds: int, operations: Mapping[str, Operation] = OPERATIONS, *, threads: int = 1
) -> Rates:
    """Operations per second of all threads together, the median over the rounds."""
    rates: dict[str, dict[str, list[float]]] = {name: {} for name in operations}
    with ThreadPoolExecutor(threads) as pool:
        for number in range(rounds + 1):
            at = number % (STORED // BATCH) * BATCH
            for name, operation in operations.items():
                for contender in made:
                    if operation.method in contender.lacks:
                        continue
                    rate = _rate(operation, contender, at, threads, pool)
                    if number:  # the first round warms up
                        rates[name].setdefault(contender.name, []).append(rate)
    return {name: {who: statistics.median(each) for who, each in by.items()} for name, by in rates.items()}


def _rate(operation: Operation, contender: Contender, at: int, threads: int, pool: ThreadPoolExecutor) -> float:
    if threads == 1:
        prepared = operation.prepare(at)
        started = time.perf_counter()
        done = operation.work(contender, prepared)
        return done / (time.perf_counter() - started)
    barrier = threading.Barrier(threads + 1)

    def one(number: int) -> tuple[int, float]:
        prepared = operation.prepare((at + number * BATCH) % STORED)
        barrier.wait()
        done = operation.work(contender, prepared)
        return done, time.perf_counter()

    running = [pool.submit(one, number) for number in range(threads)]
    barrier.wait()
    started = time.perf_counter()
    ended = [each.result() for each in running]
    return sum(done for done, _ in ended) / (max(moment for _, moment in ended) - started)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
