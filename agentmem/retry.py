"""Trying again after a conflict or a failure: exponential back-off with full jitter.

The technique is that of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: among writers that
compete for one key, a pause drawn evenly from zero up to a growing limit costs the fewest calls in all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

DEFAULT_ATTEMPTS: Final = 16


class Backoff(NamedTuple):
    """Pauses drawn evenly from zero up to a limit that doubles with each failure.

    Attributes:
        first_seconds: the limit after the first failure.
        longest_seconds: where the doubling ends.
    """

    first_seconds: float
    longest_seconds: float

    def pause(self, failures: int) -> float:
        """Draw the pause after so many failures, in seconds."""
        limit = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 64))
        return random.uniform(0, limit)  # noqa: S311 - spreads load, keeps no secret


CONFLICT: Final = Backoff(0.002, 0.25)
"""For a conflict with another writer."""
AWAY: Final = Backoff(0.1, 5.0)
"""For a server that does not answer."""


def rounds(attempts: int) -> Iterator[int]:
    """Yield 0 up to `attempts` - 1, and sleep before each but the first."""
    for done in range(attempts):
        if done:
            time.sleep(CONFLICT.pause(done))
        yield done
