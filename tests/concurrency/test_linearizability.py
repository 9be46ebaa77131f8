"""Histories of threads and processes that meet at few keys, checked for an order that explains every answer."""

from __future__ import annotations

import itertools
import random
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import agentmem
from agentmem.commands import IncrementCommand, Outcome, PutCommand
from agentmem.handle import repository_of
from agentmem.repository import Repository
from agentmem.testing.faults import FaultProxy
from agentmem.testing.linearizability import Verdict, assert_linearizable, check
from agentmem.testing.mixes import wander_together
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agentmem.commands import Command
    from agentmem.entries import Record
    from agentmem.memory import Memory


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def seed() -> int:
    """Another one in each run; pytest-randomly prints what it follows from."""
    return random.getrandbits(32)


@pytest.mark.parametrize(("clients", "keys"), [(2, 2), (8, 2), (8, 5)], ids=["two", "crowded", "spread"])
def test_threads(memory: Memory, seed: int, clients: int, keys: int) -> None:
    for number in range(12):
        names = [f"{number}/{key}" for key in range(keys)]
        events = wander_together([memory], names, seed + number, clients=clients, calls=8 + 4 * keys)
        assert_linearizable(events)


def test_processes_of_threads(crew: Any, url: str, memory: Memory, seed: int) -> None:
    """Each with a handle of its own; their clock is one."""
    memory.ping()
    script = """
from random import Random
from agentmem.testing.histories import Client
from agentmem.testing.mixes import wander
events = []
with agentmem.connect(url) as m:
    def work(thread):
        wander(Client(index * 10 + thread, m, events), ["a", "b", "c"], Random(f"{seed}/{index}/{thread}"), 15)
    run_threads(2, work)
said.put(events)
"""
    histories = crew.run(3, script, url=url, seed=seed)
    assert [len(events) >= 30 for events in histories] == [True] * 3
    assert_linearizable([event for events in histories for event in events])


@pytest.mark.fault
@pytest.mark.parametrize("server", ["postgres_schema_url", "redis_url"])
def test_calls_of_unknown_outcome_took_effect_once_or_never(
    request: pytest.FixtureRequest, server: str, seed: int
) -> None:
    """Connections are cut all the time: what was asked of the server and not answered has a place in the order too."""
    unknown = 0
    with FaultProxy(request.getfixturevalue(server)) as proxy, agentmem.connect(proxy.url) as memory:
        for number in range(8):
            names = [f"{number}/{key}" for key in range(3)]
            events: list[Any] = []

            def work(index: int, number: int = number, names: list[str] = names, events: list[Any] = events) -> None:
                if index == 0:
                    events += wander_together([memory], names, seed + number, clients=4, calls=20)
                    return
                for _ in range(4):
                    time.sleep(0.005)
                    proxy.lose_reply()
                    proxy.cut()

            run_threads(2, work)
            assert_linearizable(events)
            unknown += sum(event.answers is None for event in events)
    assert unknown > 0


# What must be noticed


def _delegated(name: str) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(self.inner, name)(*args, **options)

    return call


_Delegating: Any = type("Delegating", (Repository,), {n: _delegated(n) for n in Repository.__abstractmethods__})


class Wrapper(_Delegating):  # type: ignore[misc]  # made at run time
    """Does what another repository does, but for what a subclass does worse."""

    name = "wrapper"

    def __init__(self, inner: Repository) -> None:
        self.inner = inner


class Stale(Wrapper):
    """Keeps what it has read for a few milliseconds."""

    def __init__(self, inner: Repository) -> None:
        super().__init__(inner)
        self._cache: dict[str, tuple[float, Record | None]] = {}

    def fetch_one(self, partition: str, key: str) -> Record | None:
        made, record = self._cache.get(key, (0.0, None))
        if time.monotonic() - made > 0.003:
            record = self.inner.fetch_one(partition, key)
            self._cache[key] = (time.monotonic(), record)
        return record


class Forgetful(Wrapper):
    """Counts by reading, adding and writing, as if nobody else did."""

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        match commands:
            case [IncrementCommand(key, by, initial)]:
                record = self.inner.fetch_one(partition, key)
                time.sleep(0)
                total = (initial if record is None else int(record.body or 0)) + by
                (outcome,) = self.inner.apply(partition, [PutCommand(key, str(total))])
                return [Outcome(total, outcome.record)]
            case _:
                return list(self.inner.apply(partition, commands))


class Repeating(Wrapper):
    """Tries again what had succeeded, as a driver does whose reply was lost."""

    def __init__(self, inner: Repository) -> None:
        super().__init__(inner)
        self._calls = itertools.count()

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        if next(self._calls) % 5 == 0 and isinstance(commands[0], IncrementCommand):
            self.inner.apply(partition, commands)
        return list(self.inner.apply(partition, commands))


class Torn(Wrapper):
    """Applies a batch one by one."""

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        return [self.inner.apply(partition, [command])[0] for command in commands]


@pytest.mark.parametrize("broken", [Stale, Forgetful, Repeating, Torn])
def test_a_store_that_is_not_linearizable_is_found_out(memory: Memory, seed: int, broken: type[Wrapper]) -> None:
    with agentmem.connect(broken(repository_of(memory))) as wrapped:

        def round_(number: int) -> Verdict:
            names = [f"{number}/{key}" for key in range(2)]
            events = wander_together([wrapped], names, seed + number, clients=6, calls=20)
            return check(events)

        kinds = (round_(number).kind for number in range(40))
        assert "violated" in kinds
