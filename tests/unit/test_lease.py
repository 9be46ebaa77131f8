"""R40: how a lease is acquired when replies are lost, and how long one waits, on a dict."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import Any

import pytest

from agentmem import InvalidArgument, Lease, LeaseHeld, Memory, OutcomeUnknown, Unavailable, VersionConflict
from agentmem.commands import Command, Outcome
from agentmem.coordination import clock
from agentmem.coordination.clock import server_now
from agentmem.entries import Record
from agentmem.testing.support import eventually
from tests.unit.dict_repository import DictRepository


class Scripted(DictRepository):
    """Deals with the next writes as a script says: `lose` their reply, `refuse` them, or apply them `late`."""

    def __init__(self) -> None:
        super().__init__()
        self.script: list[str] = []
        self.late: list[tuple[str, Sequence[Command]]] = []

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        step = self.script.pop(0) if self.script else "apply"
        if step == "refuse":
            raise Unavailable("away")
        if step == "late":
            self.late.append((partition, commands))
            raise OutcomeUnknown("no reply yet")
        if step == "apply":
            return super().apply(partition, commands)
        with contextlib.suppress(VersionConflict):
            super().apply(partition, commands)
        raise OutcomeUnknown("the reply was lost")

    def arrive(self) -> None:
        """What is late is applied."""
        while self.late:
            super().apply(*self.late.pop())


@pytest.fixture
def repository() -> Scripted:
    return Scripted()


@pytest.fixture
def memory(repository: Scripted) -> Memory:
    return Memory(repository)


def test_r40_a_lost_reply_costs_one_more_call(memory: Memory, repository: Scripted) -> None:
    lease = memory.lease("name", 60)
    repository.script = ["lose"]
    assert lease.acquire()
    assert lease.is_held
    assert repository.calls["apply"] == 2


def test_r40_two_lost_replies_are_told(memory: Memory, repository: Scripted) -> None:
    lease = memory.lease("name", 60)
    repository.script = ["lose", "lose"]
    with pytest.raises(OutcomeUnknown):
        lease.acquire()
    assert not lease.is_held
    assert repository.calls["apply"] == 2


def test_r40_an_unknown_outcome_is_told_when_the_server_goes_away(memory: Memory, repository: Scripted) -> None:
    repository.script = ["lose", "refuse"]
    with pytest.raises(OutcomeUnknown):
        memory.lease("name", 60).acquire()
    repository.script = ["refuse"]
    with pytest.raises(Unavailable):
        memory.lease("other", 60).acquire()


def test_r40_a_request_that_arrives_late_is_recognised(memory: Memory, repository: Scripted) -> None:
    other = memory.lease("name", 60)
    assert other.acquire()
    fetch_one = repository.fetch_one

    def look(partition: str, key: str) -> Record | None:
        memory.delete("name")
        repository.arrive()
        return fetch_one(partition, key)

    repository.fetch_one = look  # type: ignore[method-assign]
    repository.script = ["late"]
    began = time.monotonic()
    lease = memory.lease("name", 60)
    assert lease.acquire(wait=30)
    assert lease.is_held
    # Counted from the request that came through, not from the look that found it.
    assert lease._grant is not None
    assert lease._grant.sent_at - began < 0.01
    lease.renew()
    lease.release()
    assert not memory.exists("name")


def test_r40_a_release_whose_reply_is_lost_is_done(memory: Memory, repository: Scripted) -> None:
    lease = memory.lease("name", 60)
    assert lease.acquire()
    repository.script = ["lose"]
    lease.release()
    assert not memory.exists("name")


def test_r40_a_release_that_failed_can_be_called_again(memory: Memory, repository: Scripted) -> None:
    lease = memory.lease("name", 60)
    assert lease.acquire()
    repository.script = ["refuse"]
    with pytest.raises(Unavailable):
        lease.release()
    assert lease.is_held
    lease.release()
    assert not memory.exists("name")


def test_r40_the_error_of_a_block_is_not_hidden_by_that_of_the_release(memory: Memory, repository: Scripted) -> None:
    def away(error: type[Exception] | None) -> None:
        with memory.lease("name", 60):
            repository.script = ["refuse"]
            if error is not None:
                raise error

    with pytest.raises(LookupError):
        away(LookupError)
    assert repository.script == []
    memory.delete("name")
    with pytest.raises(Unavailable):
        away(None)


def test_r40_who_waits_takes_over_when_the_lease_ends(memory: Memory, repository: Scripted) -> None:
    assert memory.lease("name", 0.3, owner="first").acquire()
    began = time.monotonic()
    with memory.lease("name", 60, wait=math.inf) as lease:
        assert 0.2 < time.monotonic() - began < 5
        assert lease.owner != "first"
    assert repository.calls["server_time"] == 1


def test_r40_is_held_ends_before_the_lease_does(memory: Memory) -> None:
    lease = memory.lease("name", 0.1)
    assert lease.acquire()
    eventually(lambda: not lease.is_held)
    eventually(lambda: not memory.exists("name"))
    assert lease.acquire()


@pytest.mark.parametrize("wait", [-1, math.nan, "1", None, True])
def test_r40_a_bad_wait_is_refused(memory: Memory, repository: Scripted, wait: Any) -> None:
    with pytest.raises(InvalidArgument):
        memory.lease("name", 1, wait=wait)
    assert not repository.calls


def test_who_would_wait_for_longer_than_a_number_can_tell_waits(memory: Memory) -> None:
    assert memory.lease("name", 0.1, wait=10**400).acquire()
    assert memory.lease("name", 1).acquire(wait=10**400)


def test_a_lease_shows_whether_it_is_held(memory: Memory) -> None:
    lease: Lease = memory.lease("name", 60)
    assert repr(lease) == "<Lease 'name'>"
    with lease:
        assert repr(lease) == "<Lease 'name', held>"


def test_a_holder_that_is_no_lease_is_named(memory: Memory) -> None:
    memory.put("name", "something else")
    with pytest.raises(LeaseHeld, match="no lease"):
        memory.lease("name", 60).__enter__()


def test_the_servers_clock_is_asked_now_and_then(
    memory: Memory, repository: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server_now(memory._gateway)
    assert server_now(memory.scoped("a/")._gateway) > first
    assert repository.calls["server_time"] == 1
    monkeypatch.setattr(clock, "_GOOD_SECONDS", -1)
    server_now(memory._gateway)
    assert repository.calls["server_time"] == 2
