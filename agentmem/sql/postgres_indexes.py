"""PostgreSQL's indexes of values: one for each partition that asked for it (ADR 0020).

Which partitions have one is noted nowhere else than in the server's own catalogue. They are built and dropped
concurrently (PostgreSQL manual, CREATE INDEX, "Building Indexes Concurrently"): nobody's reads and writes wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from agentmem.sql.migration_locks import HELD, Deadline, server_lock
from agentmem.sql.postgres_timeouts import unbind

if TYPE_CHECKING:
    from sqlalchemy import Dialect, Engine

    from agentmem.sql.connections import Link
    from agentmem.sql.naming import Naming

WAIT_SECONDS: Final = 60
"""For migrations and other builds; and for transactions that began before, each of which a build outwaits."""
TIDY_SECONDS: Final = 1
"""What a build that failed has left is in the way of writes, and whoever asks next removes it as well."""

LOOK_SECONDS: Final = 60.0
"""Statements say a little more where there is an index; who does not know of it yet finds the same."""
MOST_KNOWN: Final = 1_000
PENDING_KB: Final = 256
"""What is written is sorted in by the piece. The server's own limit, 4 MB, is much for each search to read through, and
so much to sort in at once that one put is slow."""

_DIGITS: Final = 15
"""As many of a partition's hash as PostgreSQL's 63 bytes for a name have room for, beside the longest prefix."""

_FIND: Final = (
    "SELECT n.nspname::text, c.relname::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE i.indrelid = to_regclass(%(table)s) AND c.relname = ANY(%(names)s::text[])"
)
# Who builds holds the lock.
_IDLE: Final = f"SELECT NOT EXISTS (SELECT FROM pg_locks l WHERE {HELD} %(key)s)"


class ValueIndexes:
    """Of one installation's entries.

    Args:
        naming: how the tables are called.
        names: the tables' names, quoted.
        compiler: quotes others.
    """

    def __init__(self, naming: Naming, names: Mapping[str, str], compiler: Dialect) -> None:
        self._naming = naming
        self._entries = names["entries"]
        self._quote = compiler.identifier_preparer.quote
        self._known: dict[str, tuple[bool, float]] = {}

    def name_of(self, partition: str) -> str:
        """What the index of a partition is called, whatever signs the partition's name has."""
        digest = hashlib.sha256(partition.encode()).hexdigest()
        return self._naming.other(f"ix_memory_entries_value_{digest[:_DIGITS]}")

    def stands(self, link: Link, partition: str) -> bool | None:
        """Whether there is an index; None for one that was not finished."""
        found = self._find(link, [self.name_of(partition)])
        return found[0][2] or None if found else False

    def is_known(self, read: Callable[[Callable[[Link], Any]], Any], partition: str) -> bool:
        """Whether there was an index when the catalogue was looked at last, at most LOOK_SECONDS ago.

        Args:
            read: lends a connection to look.
            partition: whose.
        """
        is_there, until = self._known.get(partition, (False, 0.0))
        if time.monotonic() >= until:
            is_there = read(lambda link: self.stands(link, partition)) is True
            self.note(partition, is_there=is_there)
        return is_there

    def note(self, partition: str, *, is_there: bool) -> None:
        """What was seen just now."""
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[partition] = is_there, time.monotonic() + LOOK_SECONDS

    def set(self, engine: Engine, link: Link, partition: str, *, wanted: bool, is_pooled: bool) -> None:
        """Build or drop the index, unless somebody else has done it meanwhile.

        Args:
            engine: opens the connection that the lock is held on.
            link: one of our own, to be thrown away.
            partition: whose.
            wanted: whether there is to be one.
            is_pooled: whether a pooler stands between: then the session is not ours, and the server's settings count.

        Raises:
            Unavailable: others held the lock for WAIT_SECONDS.
        """
        unbind(link.raw)
        session = None if is_pooled else link.raw
        if session is not None:
            session.execute("SET statement_timeout = 0")
            session.execute(f"SET lock_timeout = '{WAIT_SECONDS}s'")
        with server_lock(engine, Deadline(WAIT_SECONDS), self._naming.lock_key):
            stands = self.stands(link, partition)
            if stands is wanted:
                return
            if stands is not False:
                self._drop(link, partition)
            if not wanted:
                return
            try:
                self._build(link, partition)
            except BaseException:
                with contextlib.suppress(psycopg.Error):
                    if session is not None:
                        session.execute(f"SET lock_timeout = '{TIDY_SECONDS}s'")
                    self._drop(link, partition)
                raise

    def unfinished(self, link: Link, partitions: Sequence[str]) -> list[str]:
        """Which of the partitions have an index that was begun, while nobody builds one."""
        by_name = {self.name_of(partition): partition for partition in partitions}
        found = [name for _, name, is_valid in self._find(link, [*by_name]) if not is_valid]
        if not found or not link.cursor.execute(_IDLE, {"key": self._naming.lock_key}).fetchone()[0]:
            return []
        return [by_name[name] for name in found]

    def _find(self, link: Link, names: list[str]) -> Any:
        return link.cursor.execute(_FIND, {"table": self._entries, "names": names}).fetchall()

    def _build(self, link: Link, partition: str) -> None:
        name, literal = self._quote(self.name_of(partition)), sql.Literal(partition).as_string(link.raw)
        link.raw.execute(
            f"CREATE INDEX CONCURRENTLY {name} ON {self._entries} USING gin (value jsonb_path_ops) "
            f"WITH (gin_pending_list_limit = {PENDING_KB}) WHERE partition = {literal}"
        )
        # How rare a value is decides whether the index is used.
        link.raw.execute(f"ANALYZE {self._entries} (partition, value)")

    def _drop(self, link: Link, partition: str) -> None:
        for schema, name, _ in self._find(link, [self.name_of(partition)]):
            quoted = sql.Identifier(schema, name).as_string(link.raw)
            link.raw.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted}")
