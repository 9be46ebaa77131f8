"""Two hosts in one URL: the primary is killed under load, its standby takes over, and what was acknowledged counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import pytest

import agentmem
from agentmem import OutcomeUnknown, Unavailable
from agentmem.memory import Memory
from agentmem.testing.postgres_pair import PostgresPair
from agentmem.testing.servers import local_postgres_binaries, wheel_postgres_binaries
from agentmem.testing.support import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.fault, pytest.mark.slow]


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[PostgresPair]:
    binaries = [*wheel_postgres_binaries(), *local_postgres_binaries()]
    if not binaries:
        pytest.skip("no PostgreSQL programs here to make a standby with")
    with PostgresPair(binaries[0], **getattr(request, "param", {})) as pair:
        yield pair


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Note a measurement, for the XML report of a run."""
    return lambda name, value: request.node.user_properties.append((name, value))


@dataclass
class Load:
    """Writers that go on whatever happens, and note what they were told.

    Attributes:
        acknowledged: the keys of puts that returned.
        unknown: how many calls ended as OutcomeUnknown.
        moments: when a call returned, in seconds of the monotonic clock.
    """

    memory: Memory
    acknowledged: set[str] = field(default_factory=set)
    increments: int = 0
    unknown: int = 0
    moments: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._write, args=(number,), daemon=True) for number in range(4)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def goes_on(self, calls: int = 200) -> bool:
        """Whether so many more calls have returned by now, or will."""
        enough = len(self.moments) + calls
        eventually(lambda: len(self.moments) >= enough, 60)
        return True

    def _write(self, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            key = f"{number}/{turn}"
            if self._told(lambda key=key: self.memory.put(key, number)):  # type: ignore[misc]  # bound now
                with self._lock:
                    self.acknowledged.add(key)
            if self._told(lambda: self.memory.increment("n")):
                with self._lock:
                    self.increments += 1

    def _told(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except (Unavailable, OutcomeUnknown) as error:
            with self._lock:
                self.unknown += isinstance(error, OutcomeUnknown)
            time.sleep(0.01)
            return False
        self.moments.append(time.monotonic())
        return True

    @property
    def gap_seconds(self) -> float:
        """The longest time in which no call returned."""
        moments = sorted(self.moments)
        return max(later - earlier for earlier, later in pairwise(moments))


def fail_over(pair: PostgresPair, report: Callable[[str, object], None]) -> tuple[Load, set[str], int]:
    """Kill the primary under load; gives the load, the acknowledged puts that are gone, and the counter."""
    with agentmem.connect(pair.new_database(), create="always") as memory:
        memory.put("n", 0)
        with Load(memory) as load:
            assert load.goes_on()
            pair.failover()
            assert load.goes_on()
        lost = load.acknowledged - set(memory.keys())
        for name, value in (("gap", load.gap_seconds), ("lost", len(lost)), ("unknown", load.unknown)):
            report(name, value)
        assert load.gap_seconds < 30
        assert memory.check() == []
        counted = memory.get("n")
        assert counted <= load.increments + load.unknown, "an increment was applied twice"
        return load, lost, counted


@pytest.mark.parametrize("pair", [{"synchronous": True}], ids=["synchronous"], indirect=True)
def test_r17_a_synchronous_standby_has_all_that_was_acknowledged(
    pair: PostgresPair, report: Callable[[str, object], None]
) -> None:
    load, lost, counted = fail_over(pair, report)
    assert lost == set()
    assert counted >= load.increments


def test_a_failover_to_a_standby_that_may_lag(pair: PostgresPair, report: Callable[[str, object], None]) -> None:
    """What it had not got is lost, as the server was configured; how much, the report of the run tells."""
    _, lost, _ = fail_over(pair, report)
    assert len(lost) < 100


def test_a_standby_alone_reads_and_refuses_to_write(pair: PostgresPair) -> None:
    url = pair.new_database()
    with agentmem.connect(url, create="always") as memory:
        memory.put("key", 1)
    pair.wait_until_in_step()
    with agentmem.connect(url.replace("read-write", "standby")) as memory:
        assert memory.get("key") == 1
        with pytest.raises(Unavailable, match="read-only"):
            memory.put("key", 2)
        pair.failover()
        memory.put("key", 3)  # on the connection that was the standby's
        assert memory.get("key") == 3


def test_migrations_find_the_primary(pair: PostgresPair) -> None:
    from agentmem import migrations

    url = pair.new_database()
    migrations.upgrade(url)
    pair.wait_until_in_step()
    migrations.check(url.replace("read-write", "standby"))
    pair.failover()
    migrations.downgrade(url, "base")
    migrations.upgrade(url)
