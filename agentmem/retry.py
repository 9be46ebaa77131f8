"""Trying again after a conflict: exponential back-off with full jitter.

The technique is that of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: among writers that
compete for one key, a pause drawn evenly from zero up to a growing limit costs the fewest calls in all.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

FIRST_SECONDS: Final = 0.002
"""The longest pause after the first conflict; it doubles with each further one."""
LONGEST_SECONDS: Final = 0.25

DEFAULT_ATTEMPTS: Final = 16


def rounds(attempts: int) -> Iterator[int]:
    """Yield 0 up to `attempts` - 1, and sleep before each but the first."""
    for done in range(attempts):
        if done:
            time.sleep(random.uniform(0, longest_pause(done)))  # noqa: S311 - spreads load, keeps no secret
        yield done


def longest_pause(conflicts: int) -> float:
    """The limit in seconds that the pause after this many conflicts is drawn below."""
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(conflicts - 1, 32))
