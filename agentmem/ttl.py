"""Times to live: from what a caller writes to whole milliseconds."""

from __future__ import annotations

import enum
import math
from datetime import timedelta
from typing import Final, Literal

from agentmem.errors import InvalidArgument, InvalidTTL
from agentmem.values import shown


class Unset(enum.Enum):
    """The type of `UNSET`, for signatures where None has a meaning of its own."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

#: What a caller may give as a TTL: seconds, a timedelta, None (never expires) or UNSET.
TTL = int | float | timedelta | None
MaybeTTL = int | float | timedelta | Literal[Unset.UNSET] | None

#: A length of time: seconds, or a timedelta.
Duration = int | float | timedelta

MAX_TTL_MS: Final = 100 * 365 * 24 * 3600 * 1000 + 25 * 24 * 3600 * 1000
"""100 years, leap days included, in milliseconds."""

# A TTL on its way to a repository is one integer: a positive number of milliseconds or one of these.
NEVER: Final = 0
DEFAULT: Final = -1
"""The partition's `default_ttl`, or never where it has none."""
KEEP: Final = -2
"""The expiry that stands; on a new entry the same as DEFAULT."""


def to_milliseconds(ttl: MaybeTTL, unset: int = DEFAULT) -> int:
    """Translate a caller's TTL to whole milliseconds, rounded up.

    Args:
        ttl: seconds as int or float, a timedelta, None for never, or UNSET.
        unset: what UNSET means for the operation, DEFAULT or KEEP.

    Returns:
        Milliseconds above 0, or NEVER, DEFAULT or KEEP.

    Raises:
        InvalidTTL: not a number, a bool, not above 0, or above 100 years.
    """
    if ttl is UNSET:
        return unset
    if ttl is None:
        return NEVER
    try:
        return duration_ms("a TTL", ttl)
    except InvalidArgument as error:
        raise InvalidTTL(f"{error} (None means never)") from None


def duration_ms(name: str, duration: Duration, *, least_ms: int = 1) -> int:
    """Translate a length of time to whole milliseconds, rounded up.

    Args:
        name: what it is, for the error.
        duration: seconds as int or float, or a timedelta.
        least_ms: 0 where no time at all is allowed.

    Raises:
        InvalidArgument: not a number, a bool, not finite, below the least, or above 100 years.
    """
    if isinstance(duration, timedelta):
        milliseconds, is_negative = -(-duration // timedelta(milliseconds=1)), duration < timedelta()
    elif isinstance(duration, bool) or not isinstance(duration, int | float):
        raise InvalidArgument(f"{name} is seconds (int or float) or a timedelta, not {type(duration).__name__}")
    elif not -math.inf < duration < math.inf:
        raise InvalidArgument(f"{name} must be finite, not {duration}")
    else:
        milliseconds = duration * 1000 if isinstance(duration, int) else _round_up(duration)
        is_negative = duration < 0
    if is_negative or not least_ms <= milliseconds <= MAX_TTL_MS:
        least = "above 0" if least_ms else "at least 0"
        raise InvalidArgument(f"{name} must be {least} and at most 100 years, not {shown(duration)}")
    return milliseconds


def _round_up(seconds: float) -> int:
    seconds = min(max(seconds, -1.0), MAX_TTL_MS)  # beyond the limits in any case: a thousand times 1e306 is inf
    # 0.07 * 1000 is 70.00000000000001 in binary: only what exceeds the decimal a caller wrote rounds up.
    return math.ceil(round(seconds * 1000, 6)) or (1 if seconds > 0 else 0)
