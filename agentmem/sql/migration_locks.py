"""One migration at a time in a database: between threads, processes and hosts, each with a bounded wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, text

from agentmem.errors import Unavailable

POLL_SECONDS: Final = 0.1

_SET_TIMEOUT: Final = text("SELECT set_config('lock_timeout', :value, true)")
_TRY: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
HELD: Final = (
    "l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (CAST(l.classid AS bigint) << 32) + CAST(l.objid AS bigint) ="
)
"""Which row of pg_locks is that of an advisory lock's holder; its key comes behind."""
_HOLDER: Final = text(
    f"SELECT l.pid, a.application_name FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE {HELD} :key"
)


class Deadline:
    """A time to wait that several waits share.

    Attributes:
        seconds: the whole of it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, never below 0."""
        return max(0.0, self._end - time.monotonic())


# Alembic keeps what it works on in globals of its modules, so that two threads cannot migrate even two databases.
_process_lock = threading.Lock()


def _renew_in_child() -> None:
    global _process_lock  # noqa: PLW0603 - the thread that held it does not exist in the child
    _process_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_in_child)


@contextmanager
def process_lock(deadline: Deadline) -> Iterator[None]:
    """Keep the other threads of this process out of Alembic."""
    lock = _process_lock
    if not lock.acquire(timeout=deadline.left):
        raise Unavailable(f"another thread of this process has been migrating for {deadline.seconds:g} s and more")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def server_lock(engine: Engine, deadline: Deadline, key: int) -> Iterator[None]:
    """Hold an advisory lock of PostgreSQL, on a connection of its own, in a transaction that does nothing else.

    Such locks count per database. A transaction's lock, unlike a session's, is right behind PgBouncer too. At READ
    COMMITTED it keeps no snapshot while it idles, so CREATE INDEX CONCURRENTLY does not wait for it; nor for those who
    wait here, because they ask again and again, each time in a new transaction, instead of standing in a queue.
    """
    # A host's pool may have room for a single connection; this is opened in the same way, and outside of it.
    aside = Engine(engine.pool.recreate(), engine.dialect, engine.url)
    try:
        with aside.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            transaction_lock(connection, deadline, key, between=connection.rollback)
            # Some servers end every transaction that idles. And a command without a snapshot must be the last one: the
            # query's portal would keep its own open.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield
    finally:
        aside.dispose()


def transaction_lock(
    connection: Connection, deadline: Deadline, key: int, between: Callable[[], None] | None = None
) -> None:
    """Take PostgreSQL's advisory lock until the end of the connection's transaction.

    Args:
        connection: in a host's transaction, or in one of its own.
        deadline: how long to try.
        key: which lock.
        between: called after each try that failed.

    Raises:
        Unavailable: says which process holds it.
    """
    while not connection.execute(_TRY, {"key": key}).scalar_one():
        if not deadline.left:
            raise Unavailable(
                f"gave up after {deadline.seconds:g} s: {_holder(connection, key)} is migrating this database, "
                "or building an index of it"
            )
        if between is not None:
            between()
        time.sleep(min(POLL_SECONDS, deadline.left))


def _holder(connection: Connection, key: int) -> str:
    row = connection.execute(_HOLDER, {"key": key}).first()
    if row is None:
        return "another process, which has just ended,"
    return f"the server's process {row.pid} (application_name {row.application_name or ''!r})"


@contextmanager
def lock_timeout(connection: Connection, milliseconds: int) -> Iterator[None]:
    """Let PostgreSQL's statements wait at most so long for a lock, to the end of the block.

    Our DDL waits for a host's long query, and every other query of the host waits behind our DDL: so it gives up soon.
    """
    if connection.dialect.name != "postgresql":
        yield
        return
    before = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
    set_lock_timeout(connection, milliseconds)
    yield
    # After an error there is nothing to restore: the transaction, or its savepoint, takes the setting along.
    connection.execute(_SET_TIMEOUT, {"value": before})


def set_lock_timeout(connection: Connection, milliseconds: int) -> None:
    """Let PostgreSQL's statements wait at most so long for a lock, to the end of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(_SET_TIMEOUT, {"value": f"{milliseconds}ms"})
