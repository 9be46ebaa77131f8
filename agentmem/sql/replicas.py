"""Reads from a replica, without missing what was written by the same handle.

A replica that streams shows a commit a little later than its primary. So after a write of this handle its reads go to
the primary, until there was a short pause in its writing and the replica has been asked whether it has replayed the
write-ahead log up to that point (PostgreSQL manual, section 26.2.5 and the functions of table 9.97).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from agentmem.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine, Transaction

    from agentmem.sql.connections import EngineConnections, Link

T = TypeVar("T")

LOOK_SECONDS: Final = 0.05
"""The pause after the last write, and between two questions to the replica."""
SHUN_SECONDS: Final = 5.0
"""How long a replica that failed is left alone."""

# Up to where commits that were confirmed have flushed the log. Beyond it may be notes that no commit has flushed, which
# a replica does not get for many seconds; but also the commits that did not wait for their flush.
_WRITTEN: Final = (
    "SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()"
    " ELSE pg_current_wal_flush_lsn() END::text"
)
# One that was promoted meanwhile replays nothing more.
_REPLAYED: Final = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    " >= %(position)s::pg_lsn"
)


class ReplicatedConnections:
    """Lends connections of a primary, and for some reads those of its replica.

    Args:
        primary: takes writes, and reads that must be of the latest.
        replica: may lag, and may be away: then the primary is read from.
    """

    def __init__(self, primary: EngineConnections, replica: EngineConnections) -> None:
        self._primary = primary
        self._replica = replica
        self.read = primary.read
        # Which write was the last, and up to which one the replica was seen to have come. At the beginning it need not
        # even have the tables.
        self._last_write = object()
        self._replayed: object = None
        self._written_at = float("-inf")
        self._look_at = self._shunned_until = float("-inf")
        self._joined: set[weakref.ref[Transaction]] = set()

    @property
    def engine(self) -> Engine:
        """The primary's."""
        return self._primary.engine

    def write(self, work: Callable[[Link], T]) -> T:
        """As the primary's."""
        try:
            return self._primary.write(work)
        finally:  # also when it failed: a conflict is to be decided anew on what stands now
            self._note_write()

    def join(self, transaction: Transaction) -> None:
        """The end of a host's transaction is to count as a write of this handle, which may write in it."""
        self._joined.add(weakref.ref(transaction))

    def apart(self) -> Link:
        """As the primary's."""
        return self._primary.apart()

    def throw_away(self, link: Link) -> None:
        """As the primary's."""
        self._primary.throw_away(link)

    def read_anywhere(self, work: Callable[[Link], T]) -> T:
        """Run `work` on the replica if that shows all that was written here, else on the primary."""
        if self._shows_everything():
            try:
                return self._replica.read(work)
            except Unavailable:
                self._shun()
        return self._primary.read(work)

    def close(self) -> None:
        """Close both."""
        self._replica.close()
        self._primary.close()

    def _note_write(self) -> None:
        self._last_write = object()
        self._written_at = time.monotonic()

    def _shows_everything(self) -> bool:
        for joined in list(self._joined):
            transaction = joined()
            if transaction is None or not transaction.is_active:
                self._note_write()
                self._joined.discard(joined)
        last = self._last_write
        now = time.monotonic()
        if now < self._shunned_until:
            return False
        if last is self._replayed:
            return True
        if now < max(self._look_at, self._written_at + LOOK_SECONDS):
            return False
        # The others read from the primary meanwhile.
        self._look_at = now + LOOK_SECONDS
        position = self._primary.read(lambda link: _value(link, _WRITTEN))
        try:
            if self._replica.read(lambda link: _value(link, _REPLAYED, position=position)):
                self._replayed = last
        except Unavailable:
            self._shun()
        return self._replayed is last

    def _shun(self) -> None:
        self._shunned_until = time.monotonic() + SHUN_SECONDS


def _value(link: Link, question: str, **parameters: object) -> object:
    return link.cursor.execute(question, parameters).fetchone()[0]
