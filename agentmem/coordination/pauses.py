"""How long to wait between two looks at something that another agent changes."""

from __future__ import annotations

import random
from typing import Final

from agentmem.errors import InvalidArgument

SHARE: Final = 10
"""A pause is at least so many times as long as the look before it took: who waits keeps a server busy for a tenth of
the time at most, however slow the look is."""


class Pauses:
    """Pauses that double while nothing happens, drawn at random so that many who wait do not look in step.

    Args:
        shortest_seconds: the pause after something happened.
        longest_seconds: what the others grow to. A look that is slow makes them longer still, see SHARE.

    Raises:
        InvalidArgument: not 0 < shortest <= longest.
    """

    def __init__(self, shortest_seconds: float, longest_seconds: float) -> None:
        if not 0 < shortest_seconds <= longest_seconds:
            raise InvalidArgument(
                f"pauses need 0 < shortest <= longest, in seconds, not {shortest_seconds!r} and {longest_seconds!r}"
            )
        self._shortest = shortest_seconds
        self._longest = longest_seconds
        self._limit = shortest_seconds

    def after(self, look_seconds: float, *, found: bool) -> float:
        """The seconds to wait after a look.

        Args:
            look_seconds: how long it took.
            found: whether it found something.
        """
        if found:
            self._limit = self._shortest
        pause = random.uniform(self._shortest, self._limit)  # noqa: S311 - spreads load, keeps no secret
        if not found:
            self._limit = min(self._limit * 2, self._longest)
        return max(pause, SHARE * look_seconds)
