"""Where a claim on PostgreSQL may begin to look, while somebody's old snapshot keeps what is done in the indexes.

A claimed or acked item leaves an entry in the index of what is ready. No entry can be removed as long as a transaction
is open that might see the item: then every claim reads all of them to find the first one that counts (ADR 0017). A
handle that notices skips for a short time what it knows to be done. Nothing is ever lost by that: an item that comes
back below a floor, or was committed late, is found when the floor is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from agentmem.queue_port import Item

CRAWLING: Final = 1_000
"""So many entries beyond those of the items that are wanted are not read where the dead ones can be removed."""
SECONDS_PER_ENTRY: Final = 4e-6
"""A floor stands so long for each entry that was read to set it: some twenty times as long as that took."""
LONGEST_SECONDS: Final = 5.0
_MOST_QUEUES: Final = 1_000

Place = tuple[str, str]


class Floor(NamedTuple):
    """What a claim looks at: segments in the order of (rank, id). None everywhere is all of it.

    Attributes:
        ranks: each segment lies beyond one of these, and of that rank beyond the id at the same place in `ids`,
        ids: in ascending order.
        ends: each segment ends before one of these ranks.
        recent_ms: what was due before so many milliseconds ago is not looked at.
    """

    ranks: list[int] | None = None
    ids: list[int] | None = None
    ends: list[int] | None = None
    recent_ms: int | None = None


EVERYTHING: Final = Floor()
_LOWEST, _BEYOND = -(2**15), 2**15 - 1


class _Known:
    """What a handle has seen of one queue: of each rank the highest id it claimed, and since when it crawls."""

    def __init__(self) -> None:
        self.highest: dict[int, int] = {}
        self.since = self.until = 0.0


class Floors:
    """Of one store, for any number of threads: what is lost in a race is an optimisation."""

    def __init__(self) -> None:
        self._known: dict[Place, _Known] = {}

    def of(self, place: Place) -> Floor:
        """Where a claim may begin."""
        known = self._known.get(place)
        now = time.monotonic()
        if known is None or now >= known.until:
            return EVERYTHING
        ranks = sorted(known.highest)
        return Floor(
            [_LOWEST, *ranks],
            [0, *(known.highest[rank] for rank in ranks)],
            [*ranks, _BEYOND],
            int((now - known.since) * 1000) + 1_000,
        )

    def learn(self, place: Place, items: Sequence[Item], visited: int, wanted: int) -> None:
        """Take note of what a claim gave, and of how many entries it read for that."""
        known = self._known.get(place)
        if known is None:
            if len(self._known) >= _MOST_QUEUES:
                self._known.clear()
            known = self._known[place] = _Known()
        known.highest.update(_highest(items, known.highest))
        if visited > CRAWLING + wanted:
            known.since = time.monotonic()
            known.until = known.since + min(LONGEST_SECONDS, visited * SECONDS_PER_ENTRY)

    def forget(self, place: Place) -> None:
        """Something came back: the next claim looks everywhere."""
        self._known.pop(place, None)


def _highest(items: Sequence[Item], before: Mapping[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for item in items:
        rank = -item.priority
        found[rank] = max(item.id, found.get(rank, before.get(rank, 0)))
    return found
