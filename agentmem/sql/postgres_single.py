"""PostgreSQL: one operation in one statement, and so in one round trip.

Every statement here does what agentmem.plan says in the server's own words. Where it finds something that it was not
made for (no partition yet, another namespace, a number that is no int64, a race it cannot decide), it changes nothing
and the batch path looks closer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg

from agentmem.commands import (
    KEEP_METADATA,
    Command,
    DeleteCommand,
    IncrementCommand,
    Outcome,
    PutCommand,
)
from agentmem.errors import CounterOverflow, VersionConflict
from agentmem.plan import INT64_MAX, INT64_MIN
from agentmem.sql import fragments
from agentmem.sql.connections import JOINED
from agentmem.sql.postgres_batches import record, restamped
from agentmem.ttl import KEEP

if TYPE_CHECKING:
    from agentmem.sql.connections import Link


class Single:
    """The single-statement operations."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._put = fragments.put(names)
        self._put_if_absent = fragments.put_if_absent(names)
        self._put_if_version = fragments.put_if_version(names)
        self._delete = fragments.delete(names, bodies=False)
        self._pop = fragments.delete(names, bodies=True)
        self._increment = fragments.increment(names)
        self._routes: dict[type[Command], Callable[[Link, str, Any], Outcome | None]] = {
            PutCommand: self._apply_put,
            DeleteCommand: self._apply_delete,
            IncrementCommand: self._apply_increment,
        }

    def apply(self, link: Link, partition: str, command: Command) -> Outcome | None:
        """Apply one command, or return None when it takes the batch path; nothing is changed then."""
        route = self._routes.get(type(command))
        return None if route is None else route(link, partition, command)

    def _run(self, link: Link, statement: str, parameters: dict[str, Any]) -> Any:
        link.uncertain = True
        rows = link.cursor.execute(statement, parameters).fetchall()
        link.uncertain = False
        return rows[0] if rows else None

    def _apply_put(self, link: Link, partition: str, command: PutCommand) -> Outcome | None:
        if command.if_version is not None:
            return self._apply_put_if_version(link, partition, command)
        if command.ttl == KEEP or command.metadata == KEEP_METADATA:
            return None
        parameters = {
            "partition": partition,
            "key": command.key,
            "body": command.body,
            "metadata": command.metadata,
            "ttl": command.ttl,
            "in_transaction": link.words is JOINED,
        }
        if command.if_absent:
            row = self._run(link, self._put_if_absent, parameters)
            return None if row is None or row[0] is None else self._decided(command, row)
        row = self._run(link, self._put, parameters)
        if row is None:
            return None
        *columns, stamps = row
        return Outcome(None, restamped(record((command.key, command.body, *columns, command.metadata)), stamps))

    def _apply_put_if_version(self, link: Link, partition: str, command: PutCommand) -> Outcome | None:
        keep = command.metadata == KEEP_METADATA
        parameters = {
            "partition": partition,
            "key": command.key,
            "body": command.body,
            "metadata": None if keep else command.metadata,
            "keep": keep,
            "ttl": command.ttl,
            "expected": command.if_version,
        }
        row = self._run(link, self._put_if_version, parameters)
        if row is None:
            raise VersionConflict(command.key, command.if_version, None)
        if row[0] is None or (not row[0] and row[3] == command.if_version):
            return None  # the namespace forbids it, or the version is right and something else stood in the way
        return self._decided(command, row)

    def _decided(self, command: PutCommand, row: Any) -> Outcome:
        """The written row, or the current one as a conflict."""
        hit, *columns, stamps = row
        found = record(columns)
        if not hit:
            raise VersionConflict(command.key, command.if_version, found)
        return Outcome(None, restamped(found, stamps))

    def _apply_delete(self, link: Link, partition: str, command: DeleteCommand) -> Outcome | None:
        if command.if_version is not None:
            return None
        statement = self._pop if command.returning else self._delete
        row = self._run(link, statement, {"partition": partition, "key": command.key})
        if row is None or not row[0]:
            return Outcome(False, None)
        return Outcome(True, record(row[1:]) if command.returning else None)

    def _apply_increment(self, link: Link, partition: str, command: IncrementCommand) -> Outcome | None:
        total = command.initial + command.by
        if not (isinstance(command.by, int) and isinstance(total, int) and INT64_MIN <= total <= INT64_MAX):
            return None
        parameters = {
            "partition": partition,
            "key": command.key,
            "by": command.by,
            "total": total,
            "ttl": command.ttl,
            "in_transaction": link.words is JOINED,
        }
        try:
            row = self._run(link, self._increment, parameters)
        except psycopg.errors.NumericValueOutOfRange as error:
            raise CounterOverflow(command.key, "the counter would leave the range of int64") from error
        if row is None:
            return None
        *columns, stamps = row
        return Outcome(int(row[1]), restamped(record(columns), stamps))
