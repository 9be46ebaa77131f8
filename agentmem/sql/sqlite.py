"""SQLite: one writer at a time, many readers, the process's clock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.expression import ColumnElement

from agentmem.commands import plain_puts
from agentmem.entries import Record, record_from
from agentmem.errors import AgentMemError
from agentmem.keys import ANY, Pattern
from agentmem.moments import from_microseconds
from agentmem.pool.drivers import Turn
from agentmem.sql import sqlite_filters, statements
from agentmem.sql.connections import JOINED, Link, Words
from agentmem.sql.dialect import Dialect, Row
from agentmem.sql.naming import DEFAULT, Naming, apply_to
from agentmem.sql.qtable_sqlite import SQLiteLearning
from agentmem.sql.queue_sqlite import SQLiteQueues
from agentmem.sql.sqlite_errors import translate
from agentmem.sql.sqlite_writes import Writes
from agentmem.sql.types import UtcDateTime

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome
    from agentmem.filters import Filter

WORDS = Words("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
POLL_MS = 3
_GLOB_ESCAPES = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})


def clock() -> int:
    """The process's UTC clock in microseconds (R21)."""
    return time.time_ns() // 1000


class SQLiteDialect(Dialect):
    """The SQL repository's SQLite.

    Args:
        busy_timeout: how many seconds a writer waits for another, of this process or any other.
        poll: whether we ask for the turn ourselves, at short intervals. SQLite's own intervals grow to 100 ms, and a
            process whose threads write all the time leaves gaps of microseconds: others would starve.
        max_value_bytes: for bodies that grow.
        naming: how the tables are called.
    """

    name = "sqlite"
    error = sqlite3.Error
    has_locks = True
    remove_at_once = 500
    now: ColumnElement[datetime] = bindparam("now", type_=UtcDateTime())

    def __init__(self, *, busy_timeout: float, max_value_bytes: int, poll: bool, naming: Naming = DEFAULT) -> None:
        self.compiler = apply_to(SQLiteDialect_pysqlite(paramstyle="named"), naming, statements.TABLES)
        self.busy_timeout = self.patience_seconds = busy_timeout
        self.polls = poll
        self.turn = Turn(timeout=self.busy_timeout, polls=self.polls)
        names = statements.names(self)
        self._writes = Writes(names, max_value_bytes)
        self.learning = SQLiteLearning(names, clock)
        self.queues = SQLiteQueues(names, clock, _Transaction, self._apply)

    def prepare(self, link: Link) -> None:
        """Driver autocommit: every transaction of ours is begun in so many words."""
        raw = link.raw
        link.proxy.info.setdefault("agentmem_isolation_level", raw.isolation_level)
        raw.isolation_level = None
        if "agentmem" not in link.proxy.info:
            link.proxy.info["agentmem"] = True
            if self.polls:
                raw.execute(f"PRAGMA busy_timeout = {POLL_MS}")
            _teach(link)
        link.cursor = _cursor(raw)
        link.words = WORDS

    def join(self, link: Link) -> None:
        """With the writer's lock, which the driver would take as late as the first write."""
        _teach(link)
        link.cursor = _cursor(link.raw)
        link.words = JOINED
        if not link.raw.in_transaction:
            link.cursor.execute(WORDS.begin)

    def restore(self, link: Link) -> None:
        """Leave the connection in the mode in which it was found."""
        link.raw.isolation_level = link.proxy.info["agentmem_isolation_level"]

    def recover(self, link: Link) -> bool:
        """Roll back what an error left open."""
        if link.raw.in_transaction:
            link.raw.execute("ROLLBACK")
        link.cursor = _cursor(link.raw)
        return True

    def is_stale(self, link: Link) -> bool:
        """A file is not cut off."""
        return False

    def is_busy(self, error: Exception) -> bool:
        """Somebody else writes, or recovers the log."""
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY

    def forget(self) -> None:
        """The thread that may have held the lock does not exist in a child."""
        self.turn = Turn(timeout=self.busy_timeout, polls=self.polls)

    def translate(self, error: Exception, *, broken: bool, uncertain: bool) -> AgentMemError:
        """In agentmem.sql.sqlite_errors."""
        waited = f"{self.busy_timeout:g} s (option busy_timeout)"
        return translate(error, uncertain=uncertain, waited=waited)

    def parameters(self, **values: Any) -> dict[str, Any]:
        """Every statement may ask for the clock."""
        values["now"] = clock()
        return values

    def keys(self, keys: Sequence[str]) -> str:
        """A JSON array: any number of keys is one parameter."""
        return orjson.dumps(keys).decode()

    def among(self, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        """Membership in a JSON array."""
        each = func.json_each(bindparam(name, type_=Text())).table_valued("value")
        return column.in_(select(each.c.value))

    def records(self, rows: Iterable[Row]) -> list[Record]:
        """Timestamps are integers here."""
        return list(map(record_from, rows))

    def moment(self, value: Any) -> datetime:
        """An integer of microseconds."""
        return from_microseconds(value)

    def stored_moment(self, microseconds: int) -> int:
        """As it is."""
        return microseconds

    def like(self, column: str, pattern: Pattern) -> tuple[str, dict[str, Any]]:
        """GLOB: case-sensitive, `?` is a character; its own brackets are the only escape it knows."""
        glob = "".join(
            token.translate(_GLOB_ESCAPES) if isinstance(token, str) else "*" if token is ANY else "?"
            for token in pattern.tokens
        )
        return f"{column} GLOB :glob", {"glob": glob}

    def filter(self, where: Filter, *, is_indexed: bool) -> tuple[str, dict[str, Any]]:
        """SQLite's JSON functions narrow down, the evaluator itself decides (ADR 0007)."""
        narrow, parameters = sqlite_filters.prefilter(where)
        exact = "agentmem_matches(:filter, key, body, version, created_at, updated_at, expires_at, metadata)"
        return f"{narrow} AND {exact}" if narrow else exact, {**parameters, "filter": where.text}

    def apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """One transaction, begun with the writer's lock in hand."""
        with _Transaction(link):
            return self._apply(link, partition, commands)

    def _apply(self, link: Link, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        now = clock()
        if len(commands) == 1:
            return [self._writes.apply_one(link.cursor, partition, commands[0], now)]
        if puts := plain_puts(commands):
            return self._writes.put_many(link.cursor, partition, puts, now)
        return self._writes.apply(link.cursor, partition, commands, now)

    def remove(
        self, link: Link, partition: str, condition: str, parameters: Mapping[str, Any]
    ) -> tuple[int, str | None]:
        """Remove the next piece in the order of keys."""
        with _Transaction(link):
            return self._writes.remove(
                link.cursor, partition, condition, parameters, now=clock(), limit=self.remove_at_once
            )

    def purge(self, link: Link, limit: int) -> int:
        """Oldest first, by the partial index."""
        with _Transaction(link):
            return self._writes.purge(link.cursor, limit, clock())

    def drop(self, link: Link, partition: str) -> int:
        """What was written since the entries were removed goes with the row."""
        with _Transaction(link):
            return self._writes.drop(link.cursor, partition, clock())

    def define(self, link: Link, statement: str, parameters: Mapping[str, Any]) -> None:
        """Run one writing statement."""
        with _Transaction(link):
            link.cursor.execute(statement, parameters)

    def server(self, link: Link) -> tuple[str, dict[str, Any]]:
        """The library's version and the file's own account."""
        answers: dict[str, Any] = {}
        for pragma in ("journal_mode", "synchronous", "page_size", "page_count", "freelist_count"):
            answers[pragma] = link.cursor.execute(f"PRAGMA {pragma}").fetchall()[0][0]
        answers["file_bytes"] = answers["page_size"] * answers["page_count"]
        answers["synchronous"] = ("off", "normal", "full", "extra")[answers["synchronous"]]
        return sqlite3.sqlite_version, answers


def _cursor(raw: sqlite3.Connection) -> sqlite3.Cursor:
    cursor = raw.cursor()
    cursor.row_factory = None  # whatever rows a host's connection makes
    return cursor


def _teach(link: Link) -> None:
    link.raw.create_function("agentmem_matches", 8, _matches, deterministic=True)


class _Transaction:
    """`BEGIN IMMEDIATE … COMMIT`; an exception rolls back."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __enter__(self) -> None:
        self._link.cursor.execute(self._link.words.begin)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        link = self._link
        if error is None:
            link.uncertain = True
            link.cursor.execute(link.words.commit)
        elif link.raw.in_transaction:
            link.raw.execute(link.words.rollback)


def _matches(where: str, *row: Any) -> bool:
    return sqlite_filters.decide(where, record_from(row))
