"""The turn to write, where a database lets one thread write at a time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import agentmem
from agentmem.pool import drivers
from agentmem.pool.drivers import HAND_OVER_SECONDS, LONG_SECONDS, Turn
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


def give_back(turn: Turn) -> None:
    was_long = turn.pause()
    turn.lock.release()
    if was_long:
        turn.hand_over()


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drivers, "time", clock)
    return clock


@pytest.fixture
def turn(clock: Clock) -> Turn:
    return Turn(timeout=10, polls=False)


@pytest.fixture
def waiter(turn: Turn) -> Iterator[threading.Thread]:
    """A thread that waits for the turn, which is taken."""
    assert turn.take([])

    def wait() -> None:
        assert turn.take([])
        give_back(turn)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: turn._is_wanted)
    yield thread
    thread.join(10)
    assert not thread.is_alive()


def test_after_a_long_step_others_go_first(clock: Clock, turn: Turn, waiter: threading.Thread) -> None:
    """A clear took the turn anew before any writer was awake: for its 200 steps they were as good as shut out."""
    clock.now += 2 * LONG_SECONDS
    give_back(turn)
    waiter.join(10)
    assert clock.slept == [HAND_OVER_SECONDS]


def test_after_a_short_step_nobody_is_waited_for(clock: Clock, turn: Turn, waiter: threading.Thread) -> None:
    clock.now += LONG_SECONDS / 2
    give_back(turn)
    waiter.join(10)
    assert clock.slept == []


def test_who_writes_alone_pays_nothing(clock: Clock, turn: Turn) -> None:
    for _ in range(3):
        assert turn.take([])
        clock.now += 2 * LONG_SECONDS
        give_back(turn)
    assert clock.slept == []


def test_a_long_write_hands_over_once_its_turn_is_given_back(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    monkeypatch.setattr(Turn, "hand_over", lambda turn: seen.append(turn.lock.locked()))
    with agentmem.connect(sqlite_url) as memory:
        connections = memory._gateway.repository._connections  # type: ignore[attr-defined]
        seen.clear()
        connections.write(lambda link: time.sleep(2 * LONG_SECONDS))
    assert seen == [False]


def test_who_waits_in_vain_is_told() -> None:
    turn = Turn(timeout=0.01, polls=False)
    mine: list[bool] = []
    theirs: list[bool] = []
    assert turn.take(mine)
    assert not turn.take(theirs)
    assert (mine[-1], theirs[-1]) == (True, False)
    give_back(turn)
    assert turn.take(theirs)
    give_back(turn)
