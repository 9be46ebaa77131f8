"""Random calls of all kinds on a few keys, for agentmem.testing.histories to write down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from agentmem.operations import Delete, Increment, Put
from agentmem.testing.histories import Client, Event, Write
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.testing.registers import Found


class _Turn(NamedTuple):
    """What a call is made with.

    Attributes:
        client: who makes it.
        key, other: where, two different ones.
        value: no other call puts this one.
        version: of the key when it was last read, or another that fails.
    """

    client: Client
    key: str
    other: str
    value: int
    version: int


def _move(turn: _Turn) -> None:
    def decide(found: Mapping[str, Found | None]) -> list[Write]:
        here = found[turn.key]
        return [] if here is None else [Put(turn.key, here.value - 1), Increment(turn.other, 1)]

    turn.client.transact([turn.key, turn.other], decide)


#: What a client does, and how often in proportion.
_KINDS: Final[Sequence[tuple[int, Callable[[_Turn], object]]]] = (
    (6, lambda t: t.client.read(t.key)),
    (1, lambda t: t.client.read_many([t.key, t.other])),
    (5, lambda t: t.client.apply(Put(t.key, t.value))),
    (3, lambda t: t.client.apply(Put(t.key, t.value, if_absent=True))),
    (4, lambda t: t.client.apply(Put(t.key, t.value, if_version=t.version))),
    (4, lambda t: t.client.apply(Increment(t.key, initial=t.value))),
    (2, lambda t: t.client.apply(Delete(t.key))),
    (1, lambda t: t.client.apply(Delete(t.key, if_version=t.version))),
    (2, lambda t: t.client.apply(Put(t.key, t.value), Increment(t.other))),
    (1, lambda t: t.client.apply(Put(t.key, t.value), Put(t.other, t.value + 1))),
    (1, lambda t: t.client.apply(Delete(t.key), Put(t.other, t.value, if_absent=True))),
    (1, lambda t: t.client.apply(Delete(t.key), Delete(t.other))),
    (2, _move),
)
_WEIGHTS: Final = [weight for weight, _ in _KINDS]
_CALLS: Final = [call for _, call in _KINDS]


def wander(client: Client, keys: Sequence[str], dice: Random, calls: int) -> None:
    """Make some calls.

    Args:
        client: who makes them; no other has its number.
        keys: two or more, and few, so that clients meet.
        dice: decides what is called.
        calls: how many.
    """
    for number in range(1, calls + 1):
        key, other = dice.sample(keys, 2)
        value = (client.number * 1_000 + number) * 1_000
        turn = _Turn(client, key, other, value, client.versions.get(key, 1))
        dice.choices(_CALLS, _WEIGHTS)[0](turn)


def wander_together(
    memories: Sequence[Memory], keys: Sequence[str], seed: int, *, clients: int, calls: int
) -> list[Event]:
    """Let threads make calls at the same time, and return what they were answered.

    Args:
        memories: handles on one store, which the threads share out among themselves.
        keys: as for `wander`; they must have been absent ever before.
        seed: what is called follows from it, not what is answered.
        clients: how many threads.
        calls: how many each of them makes.
    """
    events: list[Event] = []

    def work(number: int) -> None:
        client = Client(number, memories[number % len(memories)], events)
        wander(client, keys, Random(f"{seed}/{number}"), calls)  # noqa: S311 - keeps no secret

    run_threads(clients, work)
    return events
