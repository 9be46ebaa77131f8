"""Workers on a memory while something breaks, and what must hold afterwards.

What they were told decides: nothing that was confirmed is missing, nothing that was refused is there, and what is of
unknown outcome is there once or not at all (R17, R18).
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from agentmem.errors import AgentMemError, OutcomeUnknown, Unavailable
from agentmem.handle import repository_of
from agentmem.testing.support import eventually, run_threads
from agentmem.testing.witnesses import Witness, assert_consistent, assert_counted, lost

if TYPE_CHECKING:
    from agentmem.memory import Memory

LISTS: Final = "lists:"
_LISTED: Final = 40
_PAUSE_SECONDS: Final = 0.002


class Worker(Witness):
    """A witness that also appends to lists which all share, and reads again what it wrote.

    Attributes:
        appended: `confirmed`, `unknown` or `refused`, by item.
        errors: how often it was told what, increments left out.
    """

    def __init__(self, memory: Memory, name: str) -> None:
        super().__init__(memory, name)
        self.appended: dict[str, str] = {}
        self.errors: Counter[type[AgentMemError]] = Counter()

    def _writes(self, stem: str) -> list[tuple[list[str], Callable[[], object]]]:
        calls = super()._writes(stem)
        calls += [([], partial(self._append, stem)), ([], self._read_again)]
        return [(keys, partial(self._watched, call)) for keys, call in calls]

    def _watched(self, call: Callable[[], object]) -> object:
        try:
            return call()
        except AgentMemError as error:
            self.errors[type(error)] += 1
            raise

    def _append(self, item: str) -> None:
        number = int(item.rpartition("/")[2])
        self.appended[item] = "unknown"
        try:
            self._memory.append(f"{LISTS}{number // _LISTED}", item)
        except Unavailable:
            self.appended[item] = "refused"
            raise
        except OutcomeUnknown:
            raise
        self.appended[item] = "confirmed"

    def _read_again(self) -> None:
        """The last key that was confirmed; and rest a little, so that machines with few cores serve other tests too."""
        time.sleep(_PAUSE_SECONDS)
        key = next(reversed(self.confirmed), None)
        if key is None:
            return
        try:
            value = self._memory.get(key)
        except OutcomeUnknown as error:
            raise AssertionError("a read has no outcome that could be unknown") from error
        assert value == key.rpartition("/")[0], f"{key!r} was confirmed and is {value!r}"


class Crew:
    """Workers at work.

    Args:
        memory: where.
        size: how many.

    Attributes:
        workers: each in a thread of its own.
        repository: of the memory, for what must be broken from inside.
        over: set when they are to end.
    """

    def __init__(self, memory: Memory, size: int) -> None:
        self.workers = [Worker(memory, f"{number}") for number in range(size)]
        self.repository = repository_of(memory)
        self.over = threading.Event()

    @property
    def confirmed(self) -> int:
        """How many entries were confirmed so far."""
        return sum(len(worker.confirmed) for worker in self.workers)

    @property
    def refused(self) -> int:
        """How many calls were certainly not applied so far."""
        return sum(worker.refused for worker in self.workers)

    @property
    def failures(self) -> int:
        """How many calls but increments ended in an error so far."""
        return sum(sum(worker.errors.values()) for worker in self.workers)

    @property
    def errors(self) -> set[type[AgentMemError]]:
        """What was told to any of them."""
        return {kind for worker in self.workers for kind in worker.errors}

    def proceed(self, entries: int = 100, timeout: float = 20.0) -> None:
        """Wait until so many more entries were confirmed.

        Raises:
            AssertionError: they were not in time, or a worker has failed.
        """
        goal = self.confirmed + entries
        eventually(lambda: self.confirmed >= goal or self.over.is_set(), timeout=timeout)
        assert not self.over.is_set(), "a worker has ended before its time"


def endure(memory: Memory, strike: Callable[[Crew], object], *, size: int = 8) -> Crew:
    """Let workers work, strike, and let them work on.

    Args:
        memory: where, through whatever is going to break.
        strike: breaks something and mends it; called once, in a thread of its own.
        size: how many workers.

    Raises:
        AssertionError: they did not get on again, or read something that they had not been told.
        BaseException: any error that was not to be expected.
    """
    crew = Crew(memory, size)

    def work(index: int) -> None:
        try:
            if index < size:
                crew.workers[index].write_until(crew.over)
                return
            crew.proceed()
            strike(crew)
            crew.proceed()
        finally:
            crew.over.set()  # who fails ends it for all

    run_threads(size + 1, work, timeout=60)
    return crew


def assert_survived(memory: Memory, crew: Crew) -> None:
    """Hold what is there against what the workers were told.

    Args:
        memory: a handle that goes around what was broken.
        crew: as `endure` gave it, all of its calls at their ends.

    Raises:
        AssertionError: something is missing, is there twice, is there by halves, or was written by nobody.
    """
    assert lost(memory, crew.workers) == {}
    assert_consistent(memory, [*crew.workers])
    assert_counted(memory, crew.workers)
    _assert_appended(memory, crew.workers)


def _assert_appended(memory: Memory, workers: Sequence[Worker]) -> None:
    told = {item: outcome for worker in workers for item, outcome in worker.appended.items()}
    listed: list[str] = [item for entry in memory.items(LISTS) for item in entry.value]
    counts = Counter(listed)
    allowed = {"confirmed": {1}, "unknown": {0, 1}, "refused": {0}}
    wrong = {item: (outcome, counts[item]) for item, outcome in told.items() if counts[item] not in allowed[outcome]}
    assert not wrong, f"what was told, and how often it is listed: {wrong}"
    assert counts.keys() <= told.keys()
    _assert_in_order(memory, told)


def _assert_in_order(memory: Memory, told: dict[str, str]) -> None:
    for entry in memory.items(LISTS):
        numbers: dict[str, list[int]] = defaultdict(list)
        for item in entry.value:
            worker, _, number = item.partition("/")
            if told[item] == "confirmed":
                numbers[worker].append(int(number))
        assert all(each == sorted(each) for each in numbers.values()), f"{entry.key!r} is out of order"


class Resources(NamedTuple):
    """What this process holds of the system."""

    threads: int
    descriptors: int

    @classmethod
    def now(cls) -> Resources:
        """As of now."""
        import psutil  # comes with the extra [test]

        return cls(threading.active_count(), psutil.Process().num_fds())
