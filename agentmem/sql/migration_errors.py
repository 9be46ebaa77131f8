"""What goes wrong while migrating, in the words of agentmem.errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolLimitError

from agentmem.errors import AgentMemError, BackendError, ConfigurationError, PermissionDenied, PoolTimeout, Unavailable


@contextmanager
def translated() -> Iterator[None]:
    """Let no error of SQLAlchemy, a driver or Alembic out (R29)."""
    from alembic.util import CommandError

    try:
        yield
    except DBAPIError as error:
        raise _translate(error.orig) from error
    except PoolLimitError as error:
        raise PoolTimeout(f"the engine's pool had no free connection: {error}") from error
    except CommandError as error:
        raise ConfigurationError(str(error)) from error


def _translate(error: Any) -> AgentMemError:
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    text = str(error).strip() or type(error).__name__
    # A server that refuses a connection gives no SQLSTATE to the client, only a text.
    state = getattr(error, "sqlstate", None) or ("28P01" if "authentication failed" in text else "")
    if state == "55P03":
        return Unavailable(f"a table was in use for longer than the lock time-out; nothing was changed: {text}")
    if state in ("28P01", "28000", "42501"):
        return PermissionDenied(text)
    if not state or state[:2] in ("08", "53", "57", "40", "55", "25", "3D"):
        return Unavailable(text, retryable=state[:2] != "3D")
    return BackendError(f"PostgreSQL: {text} (SQLSTATE {state})")


def _of_sqlite(error: sqlite3.Error) -> AgentMemError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"another writer kept the database for too long; nothing was changed: {error}")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return PermissionDenied(str(error))
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOTADB):
        return Unavailable(f"the database file cannot be used: {error}", retryable=False)
    return BackendError(f"SQLite: {error}")
