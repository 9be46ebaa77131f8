"""Engines of our own: how they open connections, for the hot paths as for Alembic and a Session on the models."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.pool import NullPool, QueuePool

from agentmem.errors import ConfigurationError
from agentmem.sql.options import AUTO, PostgresOptions, SQLiteOptions

KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A peer that vanished without a word is noticed within a minute where the connection rests, and in 20 s where it is
used: so long nothing that was sent was even acknowledged. A server that is slow acknowledges. Probes at rest also keep
a firewall from forgetting the connection. What a URL says is stronger.
"""


def is_memory(url: URL) -> bool:
    """Whether the database lives in the process alone."""
    name = url.database or ":memory:"
    return name == ":memory:" or name.startswith("file::memory:") or url.query.get("mode") == "memory"


def file_url(path: Path) -> str:
    """The URL of a SQLite file; what a URL means otherwise is quoted in it, as this SQLAlchemy reads it."""
    return URL.create("sqlite", database=path.as_posix()).render_as_string()


def anchored(url: str) -> str:
    """The URL with a SQLite file's whole path, so that it means the same to a process that works in another folder."""
    parsed = normalised(make_url(url))
    name = parsed.database or ""
    if not parsed.drivername.startswith("sqlite") or is_memory(parsed) or name.startswith("file:"):
        return url
    return parsed.set(database=Path(name).absolute().as_posix()).render_as_string()


def sqlite_engine(url: URL, options: SQLiteOptions) -> Engine:
    """An engine in driver autocommit that begins its transactions in so many words.

    In memory there is one connection, lent to one thread at a time: with a shared one (StaticPool) the roll-back of
    one thread destroys what another has inserted.
    """
    pool: dict[str, Any] = {"poolclass": NullPool}
    if is_memory(url):
        pool = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": options.pool_timeout}
    arguments = {"check_same_thread": False, "isolation_level": None, "timeout": options.busy_timeout}
    engine = create_engine(url, connect_args=arguments, **pool)
    event.listen(engine, "connect", _Pragmas(options, memory=is_memory(url)))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


class _Pragmas:
    """Sets up each new connection."""

    def __init__(self, options: SQLiteOptions, *, memory: bool) -> None:
        self._synchronous = options.synchronous
        self._mmap_bytes = options.mmap_bytes
        self._timeout = options.busy_timeout
        self._memory = memory

    def __call__(self, connection: sqlite3.Connection, record: object) -> None:
        if not self._memory:
            self._enter_wal(connection)
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA mmap_size = {self._mmap_bytes}").fetchall()

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        # The change of mode ignores the busy time-out: eight processes on a fresh file would fail with "locked".
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                connection.execute("PRAGMA journal_mode = wal").fetchall()
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def postgres_engine(url: URL, options: PostgresOptions) -> Engine:
    """An engine without a pool: agentmem.sql.connections keeps the connections."""
    arguments = {
        **KEEPALIVES,
        "connect_timeout": options.connect_timeout,
        "application_name": options.application_name,
        # Stronger than what the environment or the role's settings say.
        "client_encoding": "utf8",
        # For a Session on the models and for Alembic; the hot paths set their own.
        "prepare_threshold": None if options.prepare_threshold == AUTO else options.prepare_threshold,
    }
    given = {name: value for name, value in arguments.items() if name not in url.query}
    engine = create_engine(url, connect_args=given, poolclass=NullPool)
    if options.timeout is not None:
        from agentmem.sql.postgres_timeouts import bound

        bound(engine, options.timeout)
    return engine


def normalised(url: URL) -> URL:
    """The URL with the driver that agentmem uses, and a file's name in full where it begins with `~`.

    Raises:
        ConfigurationError: another driver was asked for, or a password was not quoted.
    """
    wanted = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
    given = url.drivername.lower()
    name = wanted.get(given, given)
    if name not in wanted.values():
        raise ConfigurationError(f"agentmem speaks {', '.join(sorted(set(wanted.values())))}, not {url.drivername}")
    if "@" in (url.host or ""):
        # What follows an @ in a password; an error of the driver would show it as the host that cannot be found.
        raise ConfigurationError("the password in the URL is not quoted: @ is written as %40")
    if name == "sqlite+pysqlite" and (url.database or "").startswith("~"):
        url = url.set(database=str(Path(str(url.database)).expanduser()))
    return url.set(drivername=name)
