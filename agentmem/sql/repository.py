"""The SQL repository: one implementation of the port for SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agentmem.commands import Command, Outcome
from agentmem.entries import Partition, Problem, Record, Stats
from agentmem.errors import ConfigurationError, PermissionDenied
from agentmem.keys import Pattern
from agentmem.moments import microseconds
from agentmem.plan import INT64_MAX
from agentmem.repository import Policy, Position, Query, Repository, Slice, in_pieces
from agentmem.sql import statements, verification
from agentmem.sql.conditions import Conditions, conditions_of
from agentmem.sql.joining import JoinedConnections
from agentmem.sql.qtable import SQLQTables
from agentmem.sql.queue_listening import Listener
from agentmem.sql.queues import SQLQueues
from agentmem.sql.replicas import ReplicatedConnections
from agentmem.urls import redact

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from agentmem.sql.connections import EngineConnections, Link
    from agentmem.sql.dialect import Dialect

T = TypeVar("T")
EVERYTHING = Pattern.under("")


class SQLRepository(Repository):
    """Partitions and entries in two tables (agentmem.sql.models).

    SQLite has one writer at a time; others wait up to `busy_timeout`. PostgreSQL locks rows, in the order of keys.
    `remove` works in pieces of 500 or 2,000 entries, each atomic.
    """

    _connections: EngineConnections | ReplicatedConnections | JoinedConnections

    def __init__(
        self, connections: EngineConnections | ReplicatedConnections, dialect: Dialect, *, max_value_bytes: int
    ) -> None:
        self.name = dialect.name  # type: ignore[misc]  # one class for two backends
        self.max_value_bytes = max_value_bytes
        self.location = redact(str(connections.engine.url))
        self._connections = connections
        # What a replica may answer: what shows entries to a caller. The rest is about the primary.
        self._read = connections.read_anywhere if isinstance(connections, ReplicatedConnections) else connections.read
        self._dialect = dialect
        self._reads = statements.Reads(dialect)
        self._writes = statements.policy_writes(dialect)
        listener = Listener(connections, dialect) if dialect.queues.notifies else None
        self._queues = SQLQueues(connections, dialect.queues, listener)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine: for a Session on the models, and for migrations."""
        return self._connections.engine

    def fetch_one(self, partition: str, key: str) -> Record | None:
        """As the port says; one statement."""
        dialect = self._dialect
        parameters = dialect.parameters(partition=partition, key=key)

        def work(link: Link) -> Record | None:
            rows = link.cursor.execute(self._reads.fetch_one, parameters).fetchall()
            return dialect.records(rows)[0] if rows else None

        return self._read(work)

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        """As the port says; one statement for any number of keys."""
        dialect = self._dialect
        parameters = dialect.parameters(partition=partition, keys=dialect.keys(keys))
        rows = self._shown(self._reads.fetch[bodies], parameters)
        return {record.key: record for record in dialect.records(rows)}

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """As the port says."""
        if not commands:
            return []
        return self._connections.write(lambda link: self._dialect.apply(link, partition, commands))

    def scan(
        self, partition: str, query: Query, *, after: Position | None = None, limit: int, bodies: bool = True
    ) -> Slice:
        """As the port says; one statement a page, and with a filter one more now and then (Dialect.is_indexed)."""
        dialect = self._dialect
        conditions = self._conditions(partition, query, after)
        by_key = query.order == "key"
        sql = self._reads.scan(tuple(conditions.texts), by_key=by_key, descending=query.descending, bodies=bodies)
        rows = self._shown(
            sql, dialect.parameters(partition=partition, limit=min(limit, INT64_MAX), **conditions.parameters)
        )
        if by_key:
            return Slice(dialect.records(rows))
        records = dialect.records(row[:-1] for row in rows)
        as_of = after.as_of_us if after is not None else microseconds(dialect.moment(rows[0][-1])) if rows else 0
        return Slice(records, as_of)

    def count(self, partition: str, query: Query) -> int:
        """As the port says; one statement."""
        conditions = self._conditions(partition, query)
        parameters = self._dialect.parameters(partition=partition, **conditions.parameters)
        return int(self._shown(self._reads.count(tuple(conditions.texts)), parameters)[0][0])

    def remove(self, partition: str, query: Query) -> int:
        """As the port says; in pieces, in the order of keys."""
        dialect = self._dialect
        conditions = self._conditions(partition, query)
        texts = [*conditions.texts, *([self._reads.alive] if query.where is not None else [])]
        text = self._reads.condition(tuple(texts))
        after: str | None = ""
        removed = 0
        while after is not None:
            parameters = dialect.parameters(**conditions.parameters, after=after)

            def piece(link: Link, parameters: dict[str, Any] = parameters) -> tuple[int, str | None]:
                return dialect.remove(link, partition, text, parameters)

            living, after = self._connections.write(piece)
            removed += living
        return removed

    def statistics(self, partition: str | None = None, pattern: Pattern | None = None) -> Stats:
        """As the port says; the figures are one statement."""
        dialect = self._dialect
        conditions = Conditions([], {})
        if partition is not None:
            conditions = conditions_of(dialect, Query(pattern or EVERYTHING))
        sql = self._reads.statistics(None if partition is None else tuple(conditions.texts))
        parameters = dialect.parameters(partition=partition, **conditions.parameters)

        def work(link: Link) -> tuple[Any, tuple[str, dict[str, Any]]]:
            return link.cursor.execute(sql, parameters).fetchall(), dialect.server(link)

        rows, (version, server) = self._read(work)
        names: dict[str, int] = {} if partition is None else {partition: 0}
        for name, living, _, _ in sorted(rows):
            names[name] = names.get(name, 0) + int(living)
        dead, size = (sum(int(row[column]) for row in rows) for column in (2, 3))
        return Stats(sum(names.values()), dead, size, names, self.name, version, server)

    def purge(self, limit: int) -> int:
        """As the port says; one statement or short transaction for each piece."""

        def purge(piece: int) -> int:
            return self._connections.write(lambda link: self._dialect.purge(link, piece))

        return in_pieces(purge, limit, self._dialect.remove_at_once)

    def define_partition(self, name: str, policy: Policy) -> None:
        """As the port says; the index of values comes first, since it alone may be refused."""
        if policy.index_values is not None:
            if isinstance(self._connections, JoinedConnections):
                raise ConfigurationError(
                    "index_values cannot be set in a transaction of yours: ask a handle that is not of using()"
                )
            self._dialect.index_values(self._connections, name, wanted=policy.index_values)
        stored = {
            "default_ttl_ms": policy.default_ttl,
            "namespace": policy.namespace,
            "description": policy.description,
        }
        # NEVER and "" clear; None leaves what stands.
        changes = {column: value or None for column, value in stored.items() if value is not None}
        statement = self._writes(frozenset(changes))
        parameters = self._dialect.parameters(name=name, version_floor=0, **changes)
        self._connections.write(lambda link: self._dialect.define(link, statement, parameters))

    def partitions(self) -> list[Partition]:
        """As the port says."""
        return [
            Partition(
                name,
                None if default_ttl is None else timedelta(milliseconds=default_ttl),
                namespace,
                description,
                self._dialect.moment(created_at),
            )
            for name, default_ttl, namespace, description, created_at in self._rows(self._reads.partitions, {})
        ]

    def drop_partition(self, name: str) -> int:
        """As the port says: entries go in pieces, the rest together with the partition's row.

        The index of its values stays, empty, where this is a host's transaction or the role may not drop it.
        """
        if not isinstance(self._connections, JoinedConnections):
            with contextlib.suppress(PermissionDenied):
                self._dialect.index_values(self._connections, name, wanted=False)
        removed = self.remove(name, Query(EVERYTHING))
        self.qtables.drop(name)
        self._queues.drop(name)
        return removed + self._connections.write(lambda link: self._dialect.drop(link, name))

    def verify(self) -> list[Problem]:
        """As the port says; reads every entry, in pages."""
        found = verification.problems(self._rows, self._dialect, self._reads)
        found += self._connections.read(partial(verification.index_problems, self._dialect, self.partitions()))
        return found + self.qtables.problems() + self._queues.problems()

    def server_time(self) -> datetime:
        """As the port says."""
        return self._dialect.moment(self._rows(self._reads.server_time, self._dialect.parameters())[0][0])

    def ping(self) -> None:
        """As the port says."""
        self._rows("SELECT 1", {})

    def joined(self, transaction: object) -> SQLRepository:
        """As the port says, of a SQLAlchemy Connection or Session; each write is a savepoint of it."""
        joined = copy.copy(self)
        joined._connections = JoinedConnections.of(transaction, self._dialect)
        joined._read = joined._connections.read
        if isinstance(self._connections, ReplicatedConnections) and joined._connections.transaction is not None:
            self._connections.join(joined._connections.transaction)
        # What is put there cannot be heard of before the host commits.
        joined._queues = SQLQueues(joined._connections, self._dialect.queues)
        return joined

    @property
    def qtables(self) -> SQLQTables:
        """As the port says."""
        return SQLQTables(self._connections, self._read, self._dialect)

    @property
    def queues(self) -> SQLQueues:
        """As the port says."""
        return self._queues

    def close(self) -> None:
        """As the port says; a host's engine stays open."""
        self._queues.close()
        self._connections.close()

    def _conditions(self, partition: str, query: Query, after: Position | None = None) -> Conditions:
        is_indexed = query.where is not None and self._dialect.is_indexed(self._read, partition)
        return conditions_of(self._dialect, query, after, is_indexed=is_indexed)

    def _shown(self, sql: str, parameters: dict[str, Any]) -> Any:
        return self._read(lambda link: self._dialect.execute(link, sql, parameters).fetchall())

    def _rows(self, sql: str, parameters: dict[str, Any]) -> Any:
        return self._connections.read(lambda link: link.cursor.execute(sql, parameters).fetchall())
