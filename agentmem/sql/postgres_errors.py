"""What a driver's error means, for PostgreSQL: the one place where that is decided (R29)."""

from __future__ import annotations

import psycopg

from agentmem.errors import (
    AgentMemError,
    BackendError,
    ConfigurationError,
    OutcomeUnknown,
    PermissionDenied,
    SchemaMismatch,
    Unavailable,
)

# A server that refuses a connection gives its client no SQLSTATE, only a text.
_REFUSALS = ("authentication failed", "no pg_hba.conf entry", "is not permitted to log in")


def translate(error: BaseException, *, broken: bool, uncertain: bool) -> AgentMemError:
    """By SQLSTATE (PostgreSQL manual, appendix A); without one it was the connection that failed.

    Args:
        error: psycopg's.
        broken: the connection is of no more use, or never was.
        uncertain: a write was sent that may have been applied.
    """
    state = getattr(error, "sqlstate", None) or ""
    text = str(error).strip() or type(error).__name__
    if broken and uncertain:
        # Even "terminating connection" may come after the commit, from a wait for a synchronous standby.
        return OutcomeUnknown(f"the connection broke before the reply: {text}")
    if state in ("28P01", "28000", "42501") or (not state and any(refusal in text for refusal in _REFUSALS)):
        return PermissionDenied(text)
    if state in ("42P01", "42703", "42883", "3F000"):
        return SchemaMismatch(f"{text}: run `agentmem db upgrade` on this database")
    if state == "55P03":
        return Unavailable(f"in use for longer than the lock time-out; nothing was changed: {text}")
    if state[:2] in ("08", "53", "57", "40", "55", "25"):
        # In a host's transaction that an error has ended (25P02) nothing can be done before its roll-back.
        return Unavailable(text, retryable=state != "25P02")
    if state == "3D000" or (not state and text.endswith("does not exist")):
        return Unavailable(text, retryable=False)
    if state:
        return BackendError(f"PostgreSQL: {text} (SQLSTATE {state})")
    if broken and isinstance(error, psycopg.ProgrammingError):
        return ConfigurationError(f"the connection's parameters: {text}")
    if broken or isinstance(error, psycopg.OperationalError):
        return Unavailable(text)
    return BackendError(f"psycopg: {text}")
