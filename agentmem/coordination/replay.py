"""Trajectories kept for replay: a bounded store of them, and a fair draw that does not read it all.

Long-Ji Lin, "Self-improving reactive agents based on reinforcement learning, planning and teaching", 1992, called it
experience replay. Trajectories are entries with rising numbers, and one more says which numbers are in use: so who
draws some knows what to draw from, and reads what was drawn and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from agentmem import arguments
from agentmem.coordination.transitions import Transition, from_json, to_json
from agentmem.errors import CorruptEntry, InvalidArgument, InvalidOperation

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.transaction import Transaction
    from agentmem.ttl import MaybeTTL

_ATTEMPTS: Final = 64
_LARGEST_STEP: Final = 1_000
"""How many old trajectories one new one displaces at most, where the limit has become smaller."""


class Rng(Protocol):
    """What randomness comes from: a `random.Random`, or a Generator of NumPy."""

    def random(self) -> float:
        """A number from 0 up to 1, exclusive."""


def drawing(rng: Rng | None) -> Rng:
    """The source that was given, or Python's own."""
    return random if rng is None else rng


class Replay:
    """The trajectories below one prefix.

    Args:
        memory: where.
        prefix: of their keys.
    """

    def __init__(self, memory: Memory, prefix: str) -> None:
        self._memory = memory
        self._prefix = prefix
        self._head = f"{prefix}head"

    def record(self, trajectory: Iterable[Any], *, ttl: MaybeTTL, limit: int) -> str:
        """Store one, and let the oldest go where there are more than `limit`; its key."""
        arguments.whole("limit", limit)
        steps = to_json(trajectory)
        if not steps:
            raise InvalidArgument("a trajectory has at least one transition")

        def work(tx: Transaction) -> str:
            first, number = self._bounds(tx.get(self._head))
            oldest = min(max(first, number + 1 - limit), first + _LARGEST_STEP)
            for gone in range(first, oldest):
                tx.delete(self._key(gone))
            tx.put(self._key(number), steps, ttl=ttl)
            tx.put(self._head, {"first": oldest, "next": number + 1}, ttl=None)
            return self._key(number)

        return self._memory.run(work, attempts=_ATTEMPTS)

    def sample(self, n: int, rng: Rng | None) -> list[list[Transition]]:
        """Up to `n` different ones, each with the same chance."""
        arguments.whole("n", n)
        first, following = self._bounds(self._memory.get(self._head))
        order = _shuffled(following - first, drawing(rng))
        found: list[list[Transition]] = []
        tried = 0
        while len(found) < n:
            # Some may have expired: the more are missed, the more are looked for at once.
            keys = [self._key(first + number) for number in islice(order, max(n - len(found), tried))]
            if not keys:
                break
            tried += len(keys)
            stored = self._memory.get_many(keys)
            found += [self._decoded(key, stored[key]) for key in keys if key in stored]
        return found[:n]

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number:012}"

    def _bounds(self, head: Any) -> tuple[int, int]:
        if head is None:
            return 0, 0
        try:
            return int(head["first"]), int(head["next"])
        except (TypeError, LookupError, ValueError) as error:
            raise InvalidOperation(self._head, "it does not say which trajectories there are") from error

    def _decoded(self, key: str, trajectory: Any) -> list[Transition]:
        try:
            return from_json(trajectory)
        except InvalidArgument as error:
            raise CorruptEntry(key, f"it is no trajectory: {error}") from error


def _shuffled(size: int, rng: Rng) -> Iterator[int]:
    """The numbers below `size` in random order, as they are asked for (Fisher and Yates), without a list of them."""
    moved: dict[int, int] = {}
    for place in range(size):
        drawn = place + int(rng.random() * (size - place))
        yield moved.get(drawn, drawn)
        moved[drawn] = moved.get(place, place)
