"""What may happen between a client and its server, while eight threads write."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import pytest

from agentmem import OutcomeUnknown, Unavailable
from agentmem.testing.chaos import Crew
from agentmem.testing.faults import FaultProxy

pytestmark = [pytest.mark.fault, pytest.mark.slow]

HASTY: dict[str, dict[str, Any]] = {
    "redis": {"timeout": 0.2, "connect_timeout": 0.2},
    "postgresql": {"connect_timeout": 1},
}


class Fault(NamedTuple):
    """One line of the table.

    Attributes:
        strike: what happens.
        unnoticed: the servers whose callers only wait; those of others are told.
        options: of the handle, by server.
    """

    strike: Callable[[FaultProxy, Crew], None]
    unnoticed: Container[str] = ()
    options: Mapping[str, dict[str, Any]] = {}


def refuse(proxy: FaultProxy, crew: Crew) -> None:
    proxy.refuse()
    time.sleep(0.3)
    proxy.accept()


def cut(proxy: FaultProxy, crew: Crew) -> None:
    for _ in range(10):
        proxy.cut()
        crew.proceed(20)


def again_and_again(method: str) -> Callable[[FaultProxy, Crew], None]:
    """Twelve times, each time a few requests later than the last time."""

    def strike(proxy: FaultProxy, crew: Crew) -> None:
        for skip in range(12):
            getattr(proxy, method)(skip=skip)
            crew.proceed(20)
        proxy.relent()

    return strike


def fall_silent(proxy: FaultProxy, crew: Crew) -> None:
    proxy.hang()
    time.sleep(0.6)
    proxy.accept()


def fall_silent_and_die(proxy: FaultProxy, crew: Crew) -> None:
    proxy.hang()
    time.sleep(0.3)
    proxy.refuse()
    time.sleep(0.1)
    proxy.accept()


def slow_down(proxy: FaultProxy, crew: Crew) -> None:
    """Everything takes up to 30 ms more."""
    for _ in range(20):
        proxy.hang()
        time.sleep(0.03)
        proxy.accept()
        time.sleep(0.002)


FAULTS = {
    "refused": Fault(refuse),
    "cut": Fault(cut),
    "cut before it is sent": Fault(again_and_again("lose_request")),
    "cut after it is sent": Fault(again_and_again("lose_reply")),
    "half a reply": Fault(again_and_again("halve_reply")),
    # PostgreSQL has no time-out for a reply: its callers wait.
    "mute": Fault(fall_silent, {"postgresql"}, HASTY),
    "mute, then dead": Fault(fall_silent_and_die, (), HASTY),
    "slow": Fault(slow_down, {"postgresql", "redis"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_r18_what_was_told_is_so(stage: Any, name: str) -> None:
    fault = FAULTS[name]
    kind = stage.url.partition(":")[0]
    with FaultProxy(stage.url) as proxy:
        told = stage.survive(lambda crew: fault.strike(proxy, crew), through=proxy.url, **fault.options.get(kind, {}))
    assert told <= {Unavailable, OutcomeUnknown}
    assert (told == set()) is (kind in fault.unnoticed)
