"""PostgreSQL's timestamps as the integers that they are on the wire: a datetime for each cost half of a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from psycopg.types.numeric import Int8BinaryLoader

from agentmem.moments import from_microseconds, microseconds

EPOCH_US: Final = microseconds(datetime(2000, 1, 1, tzinfo=UTC))
"""What to add to a stored timestamptz, which counts from 2000, to count from 1970."""


def cursor_of(raw: Any) -> Any:
    """A cursor that gives timestamptz as an integer, for `unix_us`; what else uses the connection does not notice."""
    cursor = raw.cursor(binary=True)
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    return cursor


def unix_us(stored: int) -> int:
    """Microseconds since 1970 of a timestamptz."""
    return stored + EPOCH_US


def moment_of(stored: int) -> datetime:
    """The moment of a timestamptz, in UTC."""
    return from_microseconds(stored + EPOCH_US)
