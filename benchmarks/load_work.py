"""What one process of the load does: threads that call at random, how long each call took, and what must hold then."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import agentmem
from agentmem import Transaction, VersionConflict
from agentmem.errors import AgentMemError
from agentmem.memory import Memory
from agentmem.testing.support import run_threads
from benchmarks.workload import key, value

PARTITION = "load"
STORED = 2_000
COUNTERS, ACCOUNTS, LOGS, GROUPS, MEMBERS = 10, 40, 10, 40, 10
FUNDS = 1_000
LOG_LENGTH = 50

#: Everything that happens is among these; a hundredth share each.
SHARES = {
    "get": 40, "put": 15, "increment": 10, "transfer": 5, "append": 5, "put_many": 5, "get_many": 5, "search": 5,
    "delete": 4, "put with a TTL": 3, "count": 3,
}  # fmt: skip


class Histogram:
    """Counts of durations in classes that are 5 % wide: bounded, however many there are."""

    _BASE, _FIRST_SECONDS, _CLASSES = math.log(1.05), 1e-6, 420  # up to 13 minutes

    def __init__(self) -> None:
        self.counts = [0] * self._CLASSES

    def add(self, seconds: float) -> None:
        place = int(math.log(max(seconds / self._FIRST_SECONDS, 1.0)) / self._BASE)
        self.counts[min(place, self._CLASSES - 1)] += 1

    def merge(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]

    def __len__(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """Seconds that this share of the durations is not above, 5 % too much at the most."""
        wanted, seen = share * len(self), 0
        for place, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return self._FIRST_SECONDS * math.exp((place + 1) * self._BASE)
        return 0.0


@dataclass
class Tally:
    """What happened, in one thread or in many."""

    latencies: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram() for name in SHARES})
    by_second: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    increments: Counter[str] = field(default_factory=Counter)

    def merge(self, other: Tally) -> None:
        for name, histogram in other.latencies.items():
            self.latencies[name].merge(histogram)
        self.by_second += other.by_second
        self.errors += other.errors
        self.increments += other.increments

    @property
    def operations(self) -> int:
        return sum(self.by_second.values())


def prepare(memory: Memory) -> None:
    """What the calls expect to be there."""
    memory.put_many({key(number): value(number) for number in range(STORED)})
    memory.put_many({f"account/{number}": FUNDS for number in range(ACCOUNTS)})


class Caller:
    """One thread."""

    def __init__(self, memory: Memory, name: str) -> None:
        self.tally = Tally()
        self._memory = memory
        self._dice = random.Random(name)  # noqa: S311 - the same calls in every run
        self._calls: dict[str, Callable[[int], object]] = {
            "get": lambda number: memory.get(key(number)),
            "put": lambda number: memory.put(key(number), value(number)),
            "increment": self._increment,
            "transfer": lambda _: self._transfer(),
            "append": lambda number: memory.append(f"log/{number % LOGS}", number, limit=LOG_LENGTH),
            "put_many": lambda number: memory.put_many(dict.fromkeys(group(number % GROUPS), f"{name}/{number}")),
            "get_many": lambda number: memory.get_many([key((number + each) % STORED) for each in range(10)]),
            "search": lambda number: memory.search(key(number)[:-2] + "*", limit=50),
            "delete": lambda number: memory.delete(key(number)),
            "put with a TTL": lambda number: memory.put(f"short/{number % 100}", number, ttl=0.5),
            "count": lambda number: memory.count(key(number)[:-2] + "*"),
        }

    def _increment(self, number: int) -> None:
        name = f"counter/{number % COUNTERS}"
        self._memory.increment(name)
        self.tally.increments[name] += 1

    def _transfer(self) -> None:
        giver, taker = (f"account/{each}" for each in self._dice.sample(range(ACCOUNTS), 2))

        def move(tx: Transaction) -> None:
            tx.put(giver, tx.get(giver) - 1)
            tx.put(taker, tx.get(taker) + 1)

        self._memory.run(move, attempts=50)

    def call_until(self, started: float, deadline: float, most: int) -> None:
        """Call at random, by `time.monotonic`, and no more often than `most`."""
        names = self._dice.choices([*SHARES], [*SHARES.values()], k=4_096)
        for turn in range(most):
            began = time.monotonic()
            if began >= deadline:
                return
            name = names[turn % len(names)]
            try:
                self._calls[name](self._dice.randrange(STORED))
            except AgentMemError as error:
                self.tally.errors[f"{name}: {type(error).__name__}"] += 1
                continue
            ended = time.monotonic()
            self.tally.latencies[name].add(ended - began)
            self.tally.by_second[int(ended - started)] += 1


def group(number: int) -> list[str]:
    """The keys that are always written together."""
    return [f"group/{number}/{member}" for member in range(MEMBERS)]


def run(
    url: str, process: int, *, threads: int, seconds: float, most: int, meet: Callable[[], object] = lambda: None
) -> Tally:
    """Run threads and return what happened in all of them.

    Args:
        url: of a store that was prepared.
        process: its number.
        threads: how many.
        seconds: how long, after all processes have met.
        most: calls of each thread.
        meet: waits until the other processes are ready too.
    """
    total = Tally()
    with agentmem.connect(url, partition=PARTITION) as memory:
        memory.ping()
        callers = [Caller(memory, f"{process}/{thread}") for thread in range(threads)]
        meet()
        started = time.monotonic()
        work = partial(_call, callers, started, started + seconds, most)
        run_threads(threads, work, timeout=seconds + 120)
    for caller in callers:
        total.merge(caller.tally)
    return total


def _call(callers: list[Caller], started: float, deadline: float, most: int, index: int) -> None:
    callers[index].call_until(started, deadline, most)


def inconsistencies(memory: Memory, tally: Tally) -> list[str]:
    """What is not as it must be after all of that: counters, funds, groups, logs, the store's own books."""
    found = [f"check: {problem}" for problem in memory.check()]
    for name, expected in sorted(tally.increments.items()):
        if (stored := memory.get(name)) != expected:
            found.append(f"{name} is {stored}, {expected} increments were confirmed")
    funds = sum(entry.value for entry in memory.items("account/"))
    if funds != ACCOUNTS * FUNDS:
        found.append(f"the accounts hold {funds}, not {ACCOUNTS * FUNDS}")
    for number in range(GROUPS):
        values = list(memory.get_many(group(number)).values())
        if len(values) not in (0, MEMBERS) or len(set(values)) > 1:
            found.append(f"group {number} is of more than one batch: {values}")
    found += [f"{entry.key} is too long" for entry in memory.items("log/") if len(entry.value) > LOG_LENGTH]
    unexpected = {
        text: count for text, count in tally.errors.items() if text != f"transfer: {VersionConflict.__name__}"
    }
    return [*found, *(f"{count} times {text}" for text, count in unexpected.items())]
