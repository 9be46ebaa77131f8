"""Bring a database to the schema of this version of agentmem, and tell which schema it has.

Safe from any number of threads, processes and hosts at once: whoever comes second waits, with a bound, and finds the
work done. On both databases a migration is one transaction: it happens as a whole, or not at all. `agentmem db …` and
plain `alembic` in a checkout come here too.

Everywhere `schema` and `table_prefix` say how the tables are called, as the options of `connect` do; migrations of
differently named tables in one database know nothing of each other.

A target is a URL, an Engine, or a Connection. A connection with a transaction open is a host's: the migration becomes
part of that transaction, which is neither committed nor rolled back here, and other migrations wait for its end.
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from agentmem.errors import ConfigurationError
from agentmem.sql.migration_errors import translated
from agentmem.sql.migration_locks import Deadline, process_lock, server_lock, transaction_lock
from agentmem.sql.migration_sqlite import write_turn
from agentmem.sql.migration_targets import Target, dialect_of, naming_of, opened
from agentmem.sql.naming import DEFAULT, Naming
from agentmem.sql.revisions import Revision, check, config, current, history, pending, revision_on, wait
from agentmem.sql.schema import HEAD, KNOWN, refuse_newer

__all__ = ["Revision", "check", "current", "downgrade", "history", "pending", "sql", "stamp", "upgrade", "wait"]

DEFAULT_WAIT_SECONDS: Final = 60.0
DEFAULT_LOCK_TIMEOUT_MS: Final = 800
"""Below the second that nobody's query should be held up for by a migration."""

_LOCK_NOT_AVAILABLE: Final = "55P03"


def upgrade(
    target: Target,
    revision: str = "head",
    *,
    wait_seconds: float = DEFAULT_WAIT_SECONDS,
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_MS / 1000,
    schema: str | None = None,
    table_prefix: str = "",
) -> None:
    """Upgrade a database; does nothing, without a lock, when it is at the newest revision already.

    Args:
        target: a URL, an Engine or a Connection.
        revision: up to which one.
        wait_seconds: how long to wait, in all, for somebody else's migration.
        lock_timeout_seconds: how long a statement waits for a table's lock (PostgreSQL), because every query that
            comes later waits behind it. Then all is rolled back, and tried again after a pause while `wait_seconds`
            last; not in a host's transaction.
        schema: where the tables are; it is made when it is missing.
        table_prefix: what their names begin with.

    Raises:
        SchemaMismatch: the database is ahead of this version of agentmem.
        Unavailable: the database does not answer, or a wait was in vain; the text says for whom. Nothing was changed.
        PermissionDenied: the role may not create tables.
        ConfigurationError: there is no such revision, or the target is none.
    """
    naming = naming_of(target, schema, table_prefix)
    with translated(), opened(target) as connection:
        if revision in ("head", HEAD) and revision_on(connection, naming) == HEAD:
            return
        _migrate(connection, "upgrade", revision, naming, Waits(wait_seconds, lock_timeout_seconds))


def downgrade(
    target: Target,
    revision: str,
    *,
    wait_seconds: float = DEFAULT_WAIT_SECONDS,
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_MS / 1000,
    schema: str | None = None,
    table_prefix: str = "",
) -> None:
    """Go back to a revision, or to `base`: before the first. What can be kept is kept, for the next upgrade.

    `base` renames the tables to `partitions_kept` and `memory_entries_kept`; an upgrade takes them back, with all that
    is in them. Drop them to be rid of the data.

    Raises:
        as `upgrade`.
    """
    naming = naming_of(target, schema, table_prefix)
    with translated(), opened(target) as connection:
        _migrate(connection, "downgrade", revision, naming, Waits(wait_seconds, lock_timeout_seconds))


def stamp(
    target: Target,
    revision: str,
    *,
    wait_seconds: float = DEFAULT_WAIT_SECONDS,
    schema: str | None = None,
    table_prefix: str = "",
) -> None:
    """Record that the database is at a revision, and change nothing else: for a schema that was made by a script.

    Raises:
        as `upgrade`.
    """
    naming = naming_of(target, schema, table_prefix)
    with translated(), opened(target) as connection:
        _migrate(connection, "stamp", revision, naming, Waits(wait_seconds, DEFAULT_LOCK_TIMEOUT_MS / 1000))


def sql(target: Target, revision: str = "head", *, schema: str | None = None, table_prefix: str = "") -> str:
    """Return a migration as a script for psql or sqlite3, without connecting.

    Args:
        target: a URL, an Engine or a Connection, or `postgresql` or `sqlite`: what counts is the dialect.
        revision: up to which one, from nothing; or a range, such as `0001:head`, or `0001:base` to go back.
        schema: where the tables are to be.
        table_prefix: what their names are to begin with.

    Raises:
        ConfigurationError: there is no such revision, or the target is none.
    """
    name = "downgrade" if _goes_down(revision) else "upgrade"
    output = io.StringIO()
    settings = config(output, dialect_name=dialect_of(target), naming=naming_of(target, schema, table_prefix))
    with translated(), process_lock(Deadline(DEFAULT_WAIT_SECONDS)), _alembic_globals_restored():
        _command(name)(settings, revision, sql=True)
    return output.getvalue()


@contextmanager
def alone(
    target: Target, *, wait_seconds: float = DEFAULT_WAIT_SECONDS, naming: Naming = DEFAULT
) -> Iterator[Connection]:
    """Lend a connection while no other migration of agentmem runs on its database. For alembic/env.py.

    On SQLite, and in a host's transaction, it comes in a transaction; else it is for Alembic to begin one.

    Raises:
        SchemaMismatch: the database is ahead.
        Unavailable: the wait was in vain.
    """
    with translated(), opened(target) as connection, _exclusive(connection, Deadline(wait_seconds), naming):
        yield connection


class Waits(NamedTuple):
    """How long a migration waits: in all for others, and for the lock of a table."""

    seconds: float
    lock_timeout_seconds: float


def _migrate(connection: Connection, name: str, revision: str, naming: Naming, waits: Waits) -> None:
    deadline = Deadline(waits.seconds)
    lock_timeout_ms = max(1, round(waits.lock_timeout_seconds * 1000))

    def run() -> None:
        settings = config(connection=connection, lock_timeout_ms=lock_timeout_ms, naming=naming)
        _command(name)(settings, revision)

    with _exclusive(connection, deadline, naming):
        if connection.in_transaction():
            # If it fails, a host's transaction is still good.
            with connection.begin_nested():
                run()
            return
        while not _has_locks(run, deadline):
            # At least as long as others may have waited behind us.
            time.sleep(min(deadline.left, waits.lock_timeout_seconds * random.uniform(1, 2)))  # noqa: S311 - no secret


def _has_locks(run: Callable[[], None], deadline: Deadline) -> bool:
    """Whether `run` went through; False when a table was in use for too long and there is time to try again."""
    try:
        run()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE or not deadline.left:
            raise
        return False
    return True


@contextmanager
def _exclusive(connection: Connection, deadline: Deadline, naming: Naming) -> Iterator[None]:
    """Keep everybody else out: the process's threads first, then other processes by the database's own means."""
    with process_lock(deadline), _alembic_globals_restored(), ExitStack() as stack:
        if connection.dialect.name == "sqlite":
            stack.enter_context(write_turn(connection, deadline))
        else:
            _refuse_autocommit(connection)
            if connection.in_transaction():
                transaction_lock(connection, deadline, naming.lock_key)
            else:
                stack.enter_context(server_lock(connection.engine, deadline, naming.lock_key))
        refuse_newer(revision_on(connection, naming))
        yield


def _refuse_autocommit(connection: Connection) -> None:
    if connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection):  # type: ignore[arg-type]  # it is open
        raise ConfigurationError("a migration needs a transaction, and this connection is in autocommit mode")


@contextmanager
def _alembic_globals_restored() -> Iterator[None]:
    """Give `alembic.context` and `alembic.op` back as they were: a host may call us from its own migration."""
    from alembic import context, op

    proxies = [getattr(module, "_proxy", None) for module in (context, op)]
    try:
        yield
    finally:
        for proxy in proxies:
            if proxy is not None:
                proxy._install_proxy()


def _command(name: str) -> Callable[..., None]:
    from alembic import command

    return getattr(command, name)  # type: ignore[no-any-return]  # upgrade, downgrade or stamp


def _goes_down(revision: str) -> bool:
    first, separator, last = revision.partition(":")
    steps = {revision: number for number, revision in enumerate(("base", *KNOWN))} | {"head": len(KNOWN)}
    return bool(separator) and last in steps and first in steps and steps[last] < steps[first]
