"""SQLite's turn to migrate: a lock file for those who migrate, and the writer's lock against everybody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock
from sqlalchemy import Connection

from agentmem.errors import Unavailable
from agentmem.sql.migration_locks import POLL_SECONDS, Deadline


@contextmanager
def write_turn(connection: Connection, deadline: Deadline) -> Iterator[None]:
    """Hold the database's only right to write, in a transaction: of a host's, or one that ends with the block.

    The driver's own transactions would leave DDL outside. A kill in the middle leaves all or nothing.
    """
    if connection.in_transaction():
        # No lock file: this transaction may be the writer that somebody with the lock file waits for.
        if not _driver(connection).in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield
        return
    with ExitStack() as stack:
        if database := _file(connection):
            stack.enter_context(file_lock(database, deadline))
        with connection.begin():
            _begin_immediate(connection, deadline)
            yield


def _begin_immediate(connection: Connection, deadline: Deadline) -> None:
    if _driver(connection).in_transaction:
        # Begun by a listener of the engine, and perhaps only to read: then its first write could find itself too late.
        connection.exec_driver_sql("ROLLBACK")
    before = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(deadline.left * 1000):d}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {before:d}")


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _file(connection: Connection) -> Path | None:
    """The database's file; None in memory, where only threads of this process can come together."""
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    connection.rollback()
    file = next(row[2] for row in rows if row[1] == "main")
    return Path(file) if file else None


@contextmanager
def file_lock(database: Path, deadline: Deadline) -> Iterator[None]:
    """Hold a lock on a file beside a SQLite database.

    The lock file stays: to remove it would let a process that waits for the old file and one that makes a new one
    both believe that they are alone.
    """
    path = database.with_name(f"{database.name}.migration.lock")
    try:
        lock = filelock.FileLock(path, timeout=deadline.left, poll_interval=POLL_SECONDS / 4)
        lock.acquire()
    except filelock.Timeout as error:
        raise Unavailable(
            f"gave up after {deadline.seconds:g} s: process {_owner(path)} is migrating {database}"
        ) from error
    except OSError as error:
        raise Unavailable(f"the lock file of a migration cannot be written: {error}", retryable=False) from error
    try:
        path.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _owner(path: Path) -> str:
    try:
        return path.read_text() or "(unknown)"
    except OSError:
        return "(unknown)"
