"""Moments as microseconds since 1970, in UTC: what servers reckon in, exact and cheap to compare."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970, exact."""
    return EPOCH + timedelta(microseconds=microseconds)


def expiry(expires_us: int | None) -> datetime | None:
    """As `from_microseconds`; None, which means never, stays None."""
    return None if expires_us is None else from_microseconds(expires_us)
