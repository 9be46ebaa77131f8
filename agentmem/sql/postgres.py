"""PostgreSQL through psycopg 3: autocommit for single statements, short explicit transactions for batches."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import ARRAY, Text, any_, bindparam
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import ColumnElement

from agentmem.entries import Record
from agentmem.errors import AgentMemError
from agentmem.keys import ANY, Pattern
from agentmem.moments import from_microseconds
from agentmem.pool.drivers import is_readable
from agentmem.retry import rounds
from agentmem.sql import postgres_filters, statements
from agentmem.sql.connections import JOINED, Link, translated
from agentmem.sql.dialect import Dialect, Row
from agentmem.sql.migration_locks import Deadline
from agentmem.sql.naming import DEFAULT, Naming, apply_to
from agentmem.sql.options import AUTO
from agentmem.sql.postgres_arrays import text_array
from agentmem.sql.postgres_batches import LOCK_SECONDS, WORDS, Batches, record
from agentmem.sql.postgres_cursors import cursor_of, moment_of, roll_back
from agentmem.sql.postgres_errors import translate
from agentmem.sql.postgres_indexes import WAIT_SECONDS, ValueIndexes
from agentmem.sql.postgres_single import Single
from agentmem.sql.postgres_timeouts import ReplyTimeout
from agentmem.sql.qtable_postgres import PostgresLearning
from agentmem.sql.queue_postgres import PostgresQueues
from agentmem.sql.types import server_now

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome
    from agentmem.filters import Filter
    from agentmem.sql.connections import EngineConnections
    from agentmem.sql.replicas import ReplicatedConnections

T = TypeVar("T")

PREPARE_THRESHOLD = 5
ROLLED_BACK_ATTEMPTS = 16
# A unique key is violated only where a put and a redrive of the same dedup key meet: after that, one finds the other's.
ROLLED_BACK = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation)
_LIKE_ESCAPES = str.maketrans({"%": "\\%", "_": "\\_", "\\": "\\\\"})


class PostgresDialect(Dialect):
    """The SQL repository's PostgreSQL.

    Args:
        prepare_threshold: as PostgresOptions.
        max_value_bytes: for bodies that grow.
        naming: how the tables are called.
    """

    name = "postgresql"
    error = psycopg.Error
    remove_at_once = 2_000
    now: ColumnElement[datetime] = server_now()

    def __init__(
        self, *, prepare_threshold: int | Literal["auto"] | None, max_value_bytes: int, naming: Naming = DEFAULT
    ) -> None:
        compiler = PGDialect_psycopg()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        self.compiler = apply_to(compiler, naming, statements.TABLES)
        self._prepare_threshold = prepare_threshold
        functions = {name: naming.quoted(name, self.compiler) for name in statements.FUNCTIONS}
        names = statements.names(self) | functions
        self._indexes = ValueIndexes(naming, names, self.compiler)
        self._fields = names["memory_entries_fields"]
        self._batches = Batches(names, max_value_bytes)
        self._single = Single(names)
        self.learning = PostgresLearning(names)
        self.queues = PostgresQueues(names, self.attempt, self._apply)

    def prepare(self, link: Link) -> None:
        """Autocommit is a flag of the client: it costs no round trip."""
        raw = link.raw
        if raw.info.transaction_status == TransactionStatus.INTRANS:
            raw.commit()  # what a host's own event handlers have set on it
        link.proxy.info["agentmem"] = (raw.autocommit, raw.prepare_threshold)
        raw.autocommit = True
        if self._prepare_threshold == AUTO:
            self._prepare_threshold = None if _is_pooled(raw) else PREPARE_THRESHOLD
        raw.prepare_threshold = self._prepare_threshold
        link.cursor = cursor_of(raw)
        link.words = WORDS

    def join(self, link: Link) -> None:
        """With the host's own threshold for preparing."""
        link.cursor = cursor_of(link.raw)
        link.words = JOINED

    def can_listen(self, link: Link) -> bool:
        """In a session of its own, which a pooler gives nobody for long."""
        return not _is_pooled(link.raw)

    def restore(self, link: Link) -> None:
        """Leave the connection in the mode in which it was found."""
        link.cursor.close()
        link.raw.autocommit, link.raw.prepare_threshold = link.proxy.info["agentmem"]

    def recover(self, link: Link) -> bool:
        """Roll back; False for a connection that is gone or in the middle of something."""
        raw = link.raw
        if raw.closed or raw.broken:
            return False
        if raw.info.transaction_status == TransactionStatus.INTRANS:
            roll_back(link)
        elif raw.info.transaction_status == TransactionStatus.INERROR:
            # What stood behind the error in a pipeline was not prepared, though psycopg believes it: it is to forget.
            raw.rollback()
        if raw.info.transaction_status != TransactionStatus.IDLE:
            return False
        link.cursor = cursor_of(raw)
        return True

    def is_stale(self, link: Link) -> bool:
        """A connection at rest that has something to say says goodbye: a FATAL message, a FIN or a reset.

        Should it have been a notice after all, a new connection is cheaper than a write whose outcome is unknown.
        """
        return bool(link.raw.closed) or is_readable(link.raw.fileno())

    def has_timed_out(self, error: Exception) -> bool:
        """Where option `timeout` is set."""
        return isinstance(error, ReplyTimeout)

    def translate(self, error: Exception, *, broken: bool, uncertain: bool) -> AgentMemError:
        """In agentmem.sql.postgres_errors."""
        return translate(error, broken=broken, uncertain=uncertain)

    def execute(self, link: Link, statement: str, parameters: Mapping[str, Any]) -> Any:
        """A filter's is planned for its operands each time."""
        return postgres_filters.execute(link.cursor, statement, parameters)

    def index_values(
        self, connections: EngineConnections | ReplicatedConnections, partition: str, *, wanted: bool
    ) -> None:
        """Concurrently, in a session of its own: an index that stands as wanted costs one look."""
        if connections.read(lambda link: self._indexes.stands(link, partition)) is not wanted:
            self._change_index(connections, partition, wanted=wanted)
        self._indexes.note(partition, is_there=wanted)

    def _change_index(
        self, connections: EngineConnections | ReplicatedConnections, partition: str, *, wanted: bool
    ) -> None:
        link: Link | None = None
        try:
            link = connections.apart()
            is_pooled = not self.can_listen(link)
            self._indexes.set(connections.engine, link, partition, wanted=wanted, is_pooled=is_pooled)
        except DBAPIError as error:
            raise translated(self, error) from error
        except self.error as error:
            broken = link is None or bool(link.raw.closed)
            raise self.translate(error, broken=broken, uncertain=link is not None) from error
        finally:
            if link is not None:
                connections.throw_away(link)

    def is_indexed(self, read: Callable[[Callable[[Link], Any]], Any], partition: str) -> bool:
        """The catalogue is asked once in a while."""
        return self._indexes.is_known(read, partition)

    def unfinished_indexes(self, link: Link, partitions: Sequence[str]) -> list[str]:
        """Their builds were broken off."""
        return self._indexes.unfinished(link, partitions)

    def parameters(self, **values: Any) -> dict[str, Any]:
        """The server has its own clock."""
        return values

    def keys(self, keys: Sequence[str]) -> str:
        """A text array."""
        return text_array(keys)

    def among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Membership in an array."""
        return column == any_(bindparam(name, type_=ARRAY(Text)))

    def records(self, rows: Iterable[Row]) -> list[Record]:
        """Timestamps count from 2000 here."""
        return list(map(record, rows))

    def moment(self, value: int) -> datetime:
        """In UTC."""
        return moment_of(value)

    def stored_moment(self, microseconds: int) -> datetime:
        """A timestamptz."""
        return from_microseconds(microseconds)

    def like(self, column: str, pattern: Pattern) -> tuple[str, dict[str, Any]]:
        """LIKE under COLLATE "C": by character in a UTF-8 database."""
        like = "".join(
            token.translate(_LIKE_ESCAPES) if isinstance(token, str) else "%" if token is ANY else "_"
            for token in pattern.tokens
        )
        return f"{column} LIKE :like ESCAPE '\\'", {"like": like}

    def filter(self, where: Filter, *, is_indexed: bool) -> tuple[str, dict[str, Any]]:
        """All of it in SQL, over the generated JSONB."""
        return postgres_filters.translate(where, fields_of=self._fields, is_indexed=is_indexed)

    def apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """One statement where one will do, else one transaction."""
        return self.attempt(link, lambda: self._apply(link, partition, commands))

    def attempt(self, link: Link, work: Callable[[], T]) -> T:
        """After deadlocks, failures to serialize and unique keys that are taken."""
        for attempt in rounds(ROLLED_BACK_ATTEMPTS):
            try:
                return work()
            except ROLLED_BACK:
                # The server has rolled all of it back, so that trying again applies nothing twice (R18). A host's
                # transaction is the host's to try again.
                if attempt + 1 == ROLLED_BACK_ATTEMPTS or link.words is JOINED or not self.recover(link):
                    raise
        raise AssertionError("rounds yields at least once")

    def _apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        if len(commands) == 1:
            outcome = self._single.apply(link, partition, commands[0])
            if outcome is not None:
                return [outcome]
        return self._batches.apply(link, partition, commands)

    def remove(
        self, link: Link, partition: str, condition: str, parameters: Mapping[str, Any]
    ) -> tuple[int, str | None]:
        """Remove the next piece in the order of keys, in one statement."""
        return self._batches.remove(link, partition, condition, parameters, self.remove_at_once)

    def purge(self, link: Link, limit: int) -> int:
        """Oldest first; rows that somebody holds are left for the next time."""
        return self._batches.purge(link, limit)

    def drop(self, link: Link, partition: str) -> int:
        """Under a lock that waits for writers in flight and holds up new ones: so shortly, and often (ADR 0014).

        The build of an index, which takes long, has a lock that is in the way of it and not in the writers' way.
        """
        deadline = Deadline(WAIT_SECONDS)
        while True:
            try:
                return self._batches.drop(link, partition)
            except psycopg.errors.LockNotAvailable:
                if link.words is JOINED or not deadline.left or not self.recover(link):
                    raise
            time.sleep(LOCK_SECONDS * random.uniform(1, 2))  # noqa: S311 - no secret

    def define(self, link: Link, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run one writing statement."""
        link.uncertain = True
        link.cursor.execute(statement, parameters)

    def server(self, link: Link) -> tuple[str, dict[str, Any]]:
        """Sizes, settings that bear on durability, and connections."""
        row = link.cursor.execute(self._batches.server).fetchone()
        fields = ("database_bytes", "table_bytes", "index_bytes", "queue_bytes", "connections", "max_connections")
        settings = ("fsync", "synchronous_commit", "timezone", "server_encoding")
        return row[0], dict(zip((*fields, *settings), row[1:], strict=True))


def _is_pooled(raw: Any) -> bool:
    """Whether a pooler stands between, which gives its clients made-up process ids; asked once in a handle's life."""
    row = raw.execute("SELECT pg_backend_pid()").fetchone()
    return bool(row[0] != raw.info.backend_pid)
