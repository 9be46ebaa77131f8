"""What our cursors send and get otherwise than psycopg's: integers of one type, and timestamps as integers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from psycopg import ClientCursor, Cursor, generators
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg.types.numeric import Int8BinaryLoader, Int8Dumper

from agentmem.moments import from_microseconds, microseconds
from agentmem.sql.connections import JOINED

if TYPE_CHECKING:
    from agentmem.sql.connections import Link

EPOCH_US: Final = microseconds(datetime(2000, 1, 1, tzinfo=UTC))
"""What to add to a stored timestamptz, which counts from 2000, to count from 1970."""


def cursor_of(raw: Any) -> Any:
    """A cursor for the statements of this package; what else uses the connection does not notice.

    It gives timestamptz as the integer that it is on the wire, for `unix_us`: a datetime for each cost half of a page.
    An int is sent as a bigint whatever its size: psycopg's own choice of the smallest type makes another prepared
    statement, with a plan of its own, for a limit of 100 and one of 100,000.
    """
    cursor = raw.cursor(row_factory=tuple_row)
    if isinstance(cursor, ClientCursor):  # the kind that a host chose; it gives no binary results
        cursor = Cursor(raw, row_factory=tuple_row)
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    cursor.adapters.register_dumper(int, Int8Dumper)
    return cursor


@contextmanager
def pipeline(link: Link) -> Iterator[None]:
    """A pipeline of psycopg; an interrupt (Ctrl-C) in it is raised as such, and ends a connection of ours.

    psycopg is not in order after one: it may take for idle what is in the middle of a transaction, which the next
    COMMIT would store, or complain of its pipeline's end in place of the interrupt.
    """
    handled = sys.exc_info()[1]
    try:
        with link.raw.pipeline():
            yield
    except BaseException as error:
        interrupt = _interrupt_behind(error, handled)
        if interrupt is None:
            raise
        if link.words is not JOINED:
            link.raw.close()
        raise interrupt from None


def _interrupt_behind(error: BaseException | None, handled: BaseException | None) -> BaseException | None:
    """What is no error, such as KeyboardInterrupt, among what an error came of; not what the caller handles."""
    while error is not None and error is not handled:
        if not isinstance(error, Exception):
            return error
        error = error.__context__
    return None


def roll_back(link: Link) -> None:
    """Undo what a transaction of ours has done, and end it; in a host's transaction back to our savepoint.

    psycopg's own `rollback`, and a ROLLBACK by a cursor, also throw away every statement that is prepared on the
    connection, since an object could have been created or dropped meanwhile. Not by us; and all statements of a
    connection would be parsed and planned anew after each conflict.
    """
    if link.words is JOINED:
        link.cursor.execute(JOINED.rollback)
        return
    link.raw.pgconn.send_query(b"ROLLBACK")
    link.raw.wait(generators.execute(link.raw.pgconn))


def unix_us(stored: int) -> int:
    """Microseconds since 1970 of a timestamptz."""
    return stored + EPOCH_US


def moment_of(stored: int) -> datetime:
    """The moment of a timestamptz, in UTC."""
    return from_microseconds(stored + EPOCH_US)
