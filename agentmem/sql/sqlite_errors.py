"""What a driver's error means, for SQLite: the one place where that is decided (R29)."""

from __future__ import annotations

import sqlite3

from agentmem.errors import (
    AgentMemError,
    BackendError,
    OutcomeUnknown,
    PermissionDenied,
    SchemaMismatch,
    Unavailable,
)


def translate(error: BaseException, *, uncertain: bool, waited: str) -> AgentMemError:
    """By SQLite's result codes (sqlite.org/rescode.html).

    Args:
        error: sqlite3's.
        uncertain: a COMMIT was under way.
        waited: how long somebody waited for a turn to write, for the message.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"the database is locked: no turn within {waited}")
    if code == sqlite3.SQLITE_IOERR and uncertain:
        return OutcomeUnknown(f"the file could not be written: {error}")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return Unavailable(f"the database file cannot be used: {error}", retryable=code == sqlite3.SQLITE_FULL)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return PermissionDenied(str(error))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(f"the file cannot be used, it is damaged or no SQLite database: {error}", retryable=False)
    if "no such table" in str(error) or "no such column" in str(error):
        return SchemaMismatch(f"{error}: run `agentmem db upgrade` on this database")
    return BackendError(f"SQLite: {error}")
