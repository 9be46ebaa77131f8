"""Bring a database to the schema of this version of agentmem: see `agentmem.sql.migrations`."""

from agentmem.sql.migrations import (
    Revision,
    check,
    current,
    downgrade,
    history,
    pending,
    sql,
    stamp,
    upgrade,
    wait,
)

__all__ = ["Revision", "check", "current", "downgrade", "history", "pending", "sql", "stamp", "upgrade", "wait"]
