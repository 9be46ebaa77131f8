"""Fleets: what each call costs, replies that are lost, threads that end, what is refused."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agentmem import (
    BarrierTimeout,
    Closed,
    CorruptEntry,
    InvalidArgument,
    InvalidKey,
    InvalidTTL,
    LeaseLost,
    Memory,
    OutcomeUnknown,
    Unavailable,
    ValueTooLarge,
    VersionConflict,
)
from agentmem.commands import Command, Outcome
from agentmem.coordination.fleet import Fleet
from agentmem.testing.support import eventually
from tests.unit.dict_repository import DictRepository


class Forgetful(DictRepository):
    """Applies what it is given and loses some of the replies."""

    lost_replies = 0

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        outcomes = super().apply(partition, commands)
        if self.lost_replies:
            self.lost_replies -= 1
            raise OutcomeUnknown("the reply was lost")
        return outcomes


@pytest.fixture
def repository() -> Forgetful:
    return Forgetful()


@pytest.fixture
def memory(repository: Forgetful) -> Memory:
    return Memory(repository)


@pytest.fixture
def fleet(memory: Memory) -> Fleet:
    return memory.fleet("f")


def test_a_fleet_costs_nothing_to_make(memory: Memory, repository: Forgetful) -> None:
    assert memory.fleet("f").prefix == "fleet/f/"
    assert not repository.calls


def test_a_name_is_one_level_of_the_key(memory: Memory) -> None:
    assert [memory.fleet(name).prefix for name in ("a/b", "a%2Fb", "é")] == [
        "fleet/a%2Fb/",
        "fleet/a%252Fb/",
        "fleet/é/",
    ]


REFUSED: dict[str, tuple[type[Exception], Callable[[Fleet], Any]]] = {
    "agent": (InvalidKey, lambda fleet: fleet.register("")),
    "ttl": (InvalidTTL, lambda fleet: fleet.register("a", ttl=0)),
    "endless": (InvalidTTL, lambda fleet: fleet.register("a", ttl=None)),  # type: ignore[arg-type]
    "beat": (InvalidArgument, lambda fleet: fleet.register("a", beat=1)),  # type: ignore[arg-type]
    "details": (ValueTooLarge, lambda fleet: fleet.register("a", details="x" * 20_000)),
    "task": (InvalidKey, lambda fleet: fleet.assign("", "a")),
    "status": (InvalidKey, lambda fleet: fleet.report("\0", 1)),
    "keep": (InvalidArgument, lambda fleet: fleet.broadcast("m", keep=0)),
    "limit": (InvalidArgument, lambda fleet: fleet.messages("a", limit=0)),
    "number": (InvalidArgument, lambda fleet: fleet.commit("a", 0)),
    "parties": (InvalidArgument, lambda fleet: fleet.barrier("b", 0)),
    "timeout": (InvalidArgument, lambda fleet: fleet.barrier("b", 1, timeout=-1)),
    "party": (InvalidKey, lambda fleet: fleet.barrier("b", 1, party="")),
    "waiting": (InvalidArgument, lambda fleet: fleet.messages("a", timeout=0)),
}


@pytest.mark.parametrize(("error", "call"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused_before_any_call(
    fleet: Fleet, repository: Forgetful, error: type[Exception], call: Callable[[Fleet], Any]
) -> None:
    with pytest.raises(error):
        call(fleet)
    assert not repository.calls


@pytest.mark.parametrize("name", ["", "\0", "x" * 1025])
def test_a_bad_name_is_refused(memory: Memory, name: str) -> None:
    with pytest.raises(InvalidKey):
        memory.fleet(name)


def test_what_calls_cost(fleet: Fleet, repository: Forgetful) -> None:
    member = fleet.register("a")
    member.heartbeat("x")
    fleet.assign("t", member)
    fleet.broadcast("first")
    assert repository.calls == {"apply": 4}
    repository.calls.clear()
    member.messages()
    assert repository.calls == {"fetch": 1, "scan": 1}


def test_a_registration_whose_reply_was_lost_is_found(fleet: Fleet, repository: Forgetful) -> None:
    repository.lost_replies = 1
    with fleet.register("a"):
        assert fleet.is_alive("a")


def test_a_heartbeat_whose_reply_was_lost_loses_nothing(fleet: Fleet, repository: Forgetful) -> None:
    with fleet.register("a") as member:
        repository.lost_replies = 1
        with pytest.raises(OutcomeUnknown):
            member.heartbeat("first")
        assert fleet.alive()["a"].doing == "first"
        member.heartbeat("second")
        assert fleet.alive()["a"].doing == "second"
    assert not fleet.is_alive("a")


def test_a_member_is_a_fence(fleet: Fleet, memory: Memory) -> None:
    member = fleet.register("a", ttl=0.02)
    memory.put("result", 1, fence=member)
    eventually(lambda: not fleet.is_alive("a"))
    with pytest.raises(LeaseLost), fleet.register("a"):
        memory.put("result", 2, fence=member)
    assert memory.get("result") == 1


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("fleet/f/agents/a")]


@pytest.mark.parametrize("value", [1, {}, {"owner": "somebody"}])
def test_what_is_no_member_is_named(fleet: Fleet, memory: Memory, value: Any) -> None:
    memory.put("fleet/f/agents/foreign", value)
    with pytest.raises(CorruptEntry, match="no member of a fleet") as caught:
        fleet.alive()
    assert caught.value.key == "fleet/f/agents/foreign"


def test_the_thread_ends_with_the_member(fleet: Fleet) -> None:
    with fleet.register("a", beat=True):
        assert len(threads()) == 1
    assert not threads()


def test_r35_the_thread_ends_with_the_memory(fleet: Fleet, memory: Memory) -> None:
    member = fleet.register("a", beat=True, ttl=0.06)
    memory.close()
    eventually(lambda: not threads())
    assert member.lost.is_set()


def test_the_thread_ends_with_a_member_that_was_dropped(fleet: Fleet) -> None:
    member = fleet.register("a", beat=True, ttl=0.06)
    assert threads()
    del member
    gc.collect()
    eventually(lambda: not threads())
    eventually(lambda: not fleet.is_alive("a"))


def test_the_thread_tells_that_the_place_is_lost(fleet: Fleet) -> None:
    with fleet.register("a", beat=True, ttl=0.3) as member:
        fleet.clear()
        assert member.lost.wait(10)
        with pytest.raises(LeaseLost):
            member.heartbeat()


def test_a_message_takes_no_attempt_in_vain_but_the_first(fleet: Fleet, repository: Forgetful) -> None:
    fleet.broadcast("first")
    repository.calls.clear()
    # Whoever has not sent before learns the last number from the conflict, without asking for it.
    assert fleet.broadcast("second") == 2
    assert repository.calls == {"apply": 2}


def test_messages_are_waited_for(fleet: Fleet) -> None:
    sender = threading.Timer(0.1, fleet.broadcast, ["late"])
    sender.start()
    assert [one.message for one in fleet.messages("a", timeout=10)] == ["late"]
    sender.join()
    began = time.monotonic()
    assert fleet.messages("b", timeout=10)
    fleet.commit("b", 1)
    assert fleet.messages("b", timeout=0.05) == []
    assert 0.05 <= time.monotonic() - began < 10


def test_waiting_asks_seldom(fleet: Fleet, repository: Forgetful) -> None:
    assert fleet.messages("a", timeout=0.4) == []
    assert repository.calls["scan"] < 12
    with pytest.raises(BarrierTimeout):
        fleet.barrier("b", 2, timeout=0.4)
    assert repository.calls["fetch"] < 20


def test_a_barrier_sits_out_a_server_that_is_away(fleet: Fleet, repository: Forgetful) -> None:
    repository.fail(3)
    fleet.barrier("b", 1, timeout=10)
    repository.lost_replies = 2
    fleet.barrier("c", 1, timeout=10)


def test_a_barrier_may_be_waited_for_longer_than_a_number_can_tell(fleet: Fleet) -> None:
    fleet.barrier("b", 1, timeout=10**400)


def test_a_barrier_does_not_sit_out_what_nothing_mends(fleet: Fleet, repository: Forgetful) -> None:
    repository.fail(1, Unavailable("the password is wrong", retryable=False))
    with pytest.raises(Unavailable):
        fleet.barrier("b", 1)


def test_a_barrier_ends_with_its_memory(fleet: Fleet, memory: Memory) -> None:
    closing = threading.Timer(0.05, memory.close)
    closing.start()
    with pytest.raises(Closed):
        fleet.barrier("b", 2, timeout=10)
    closing.join()


def test_a_member_that_is_lost_leaves_the_barrier(fleet: Fleet, memory: Memory) -> None:
    member = fleet.register("a", ttl=1)
    timer = threading.Timer(0.05, memory.delete, [member.name])
    timer.start()
    with pytest.raises(LeaseLost):
        member.barrier("b", 2, timeout=10)
    timer.join()
    assert list(memory.keys("fleet/f/arrivals/")) == []


def test_a_member_lives_while_it_waits(fleet: Fleet) -> None:
    with fleet.register("a", ttl=1) as member:
        opener = threading.Timer(1.2, fleet.barrier, ["b", 2])
        opener.start()
        member.barrier("b", 2, timeout=10)
        opener.join()
        member.heartbeat()


def test_a_barrier_that_opens_as_one_gives_up_lets_it_pass(fleet: Fleet, memory: Memory) -> None:
    keys = memory.keys

    class Late:
        """Opens the barrier when the arrivals are counted for the last time."""

        def __getattr__(self, name: str) -> Any:
            return getattr(memory, name)

        def keys(self, prefix: str) -> Any:
            memory.put("fleet/f/barriers/b", {})
            return keys(prefix)

    fleet._memory = Late()  # type: ignore[assignment]
    fleet.barrier("b", 2, timeout=0.05)


def test_a_plan_that_is_outdated_is_not_published(fleet: Fleet) -> None:
    first = fleet.publish(["a"])
    fleet.publish(["b"], if_version=first.version)
    with pytest.raises(VersionConflict) as caught:
        fleet.publish(["c"], if_version=first.version)
    assert caught.value.current == fleet.plan()


def test_barrier_timeouts_survive_pickling() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(BarrierTimeout("b", 1, 2, 0.5)))
    assert (str(error), error.arrived, error.parties, error.waited_seconds) == (
        "1 of 2 parties came to the barrier 'b' in 0.5 s",
        1,
        2,
        0.5,
    )
    assert isinstance(error, TimeoutError)
