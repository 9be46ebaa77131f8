"""Work queues: agentmem, the same work by hand, and peers; `python -m benchmarks.queues [sqlite|postgresql|redis …]`.

Every contender of a backend has a store of its own on one server or file system, with the same durability, and the
contenders take turns within a round. The makers of each backend stand in MAKERS: by hand first, then ours, then peers,
which are left out where they are not installed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import agentmem
from benchmarks.stores import BACKENDS, placed
from benchmarks.workload import value

ITEMS = 200
"""How many items a round takes out, of each contender."""
SIZES = (1, 20, 100)
STANDING = 1_000
"""How many lie in the queue all the time."""

Rates = dict[str, dict[str, float]]


class QueueContender(ABC):
    """A queue of one backend.

    Attributes:
        name: in tables.
        most: how many items it takes out at once.
        needs: the module that must be installed.
    """

    name: ClassVar[str]
    most: ClassVar[int] = max(SIZES)
    needs: ClassVar[str | None] = None

    @abstractmethod
    def __init__(self, url: str) -> None: ...

    @abstractmethod
    def put(self, values: list[Any]) -> None:
        """Put them, at once where it can."""

    @abstractmethod
    def work(self, size: int) -> int:
        """Claim so many and acknowledge them; return how many there were."""

    def close(self) -> None:
        """The end."""
        return  # nothing, by default


class Huey(QueueContender):
    """huey: what is taken is gone from the store at once, so there is nothing to acknowledge."""

    name = "huey"
    most = 1
    needs = "huey"

    def __init__(self, url: str) -> None:
        self._huey = self.opened(url)
        self._task = self._huey.task()(nothing)

    @abstractmethod
    def opened(self, url: str) -> Any:
        """huey's own handle on a store."""

    def put(self, values: list[Any]) -> None:
        for each in values:
            self._task(each)

    def work(self, _: int) -> int:
        self._huey.execute(self._huey.dequeue())
        return 1


def nothing(value: Any) -> None:
    """The task of the peers."""


class OurQueue(QueueContender):
    """`memory.queue`: a claim, then an ack."""

    name = "agentmem"

    def __init__(self, url: str) -> None:
        self._memory = agentmem.connect(url, create="always")
        self._queue = self._memory.queue("bench", lease=3_600)

    def put(self, values: list[Any]) -> None:
        self._queue.put_many(values)

    def work(self, size: int) -> int:
        jobs = self._queue.claim(size)
        done = [job.value for job in jobs]
        self._queue.ack(*jobs)
        return len(done)

    def close(self) -> None:
        self._memory.close()


class OurRelay(OurQueue):
    """`ack_and_claim`: what a worker that goes on does, in one round trip."""

    name = "agentmem, ack_and_claim"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._held: list[Any] = []

    def work(self, size: int) -> int:
        self._held = self._queue.ack_and_claim(self._held, size)
        return len([job.value for job in self._held])


@contextmanager
def contenders(backend: str) -> Iterator[list[QueueContender]]:
    """All that are there, each with a store of its own, and something in its queue."""
    by_hand, peers = import_module(f"benchmarks.queues_{backend}").MAKERS
    installed = [maker for maker in peers if maker.needs is None or find_spec(maker.needs)]
    makers: list[Callable[[str], QueueContender]] = [by_hand, OurQueue, OurRelay, *installed]
    with ExitStack() as stack:
        made: list[QueueContender] = []
        for maker, url in zip(makers, stack.enter_context(placed(backend, len(makers))), strict=True):
            contender = maker(url)
            stack.callback(contender.close)
            contender.put([value(n) for n in range(STANDING)])
            made.append(contender)
        yield made


def measure(made: list[QueueContender], rounds: int) -> Rates:
    """Items per second by size and contender, claimed and acknowledged in turn: the median of the rounds."""
    rates: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for contender in made:
            started = time.perf_counter()
            for start in range(0, ITEMS, 100):
                contender.put([value(start + n) for n in range(100)])
            _note(rates, "put by 100", contender, ITEMS / (time.perf_counter() - started), number)
        for size in SIZES:
            for contender in made:
                if size <= contender.most:
                    _note(rates, f"claim and ack by {size}", contender, _drained(contender, size), number)
                    contender.put([value(n) for n in range(ITEMS)])
        for contender in made:
            _drained(contender, min(contender.most, 100))
    return {name: {who: statistics.median(each) for who, each in by.items()} for name, by in rates.items()}


def _note(
    rates: dict[str, dict[str, list[float]]], name: str, contender: QueueContender, rate: float, number: int
) -> None:
    found = rates.setdefault(name, {}).setdefault(contender.name, [])
    if number:  # the first round warms up
        found.append(rate)


def _drained(contender: QueueContender, size: int) -> float:
    started, done = time.perf_counter(), 0
    while done < ITEMS:
        done += contender.work(size)
    return done / (time.perf_counter() - started)


def main() -> None:
    """Print rates, and their ratios to the work by hand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queues", description=__doc__)
    parser.add_argument("backends", nargs="*", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for backend in given.backends:
        with contenders(backend) as made:
            for name, by in measure(made, given.rounds).items():
                first = next(iter(by.values()))
                shown = ", ".join(f"{who} {rate:,.0f}/s ({rate / first:.2f})" for who, rate in by.items())
                print(f"{backend}: {name}: {shown}", flush=True)


if __name__ == "__main__":
    main()
