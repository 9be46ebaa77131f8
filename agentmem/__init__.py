"""agentmem: the memory of agents, one handle over SQLite and PostgreSQL.

    import agentmem

    with agentmem.connect("sqlite:///memory.db") as memory:
        memory.put("run/42/plan", {"steps": ["read", "write"]}, ttl=3600)
        plan = memory.get("run/42/plan")

Nothing is connected and no driver is imported before `connect`.
"""

from __future__ import annotations

from typing import Any

from agentmem.arguments import MISSING
from agentmem.codecs import TypeCodec
from agentmem.connect import connect
from agentmem.entries import Entry, Page, Partition, Problem, Stats
from agentmem.errors import (
    AgentMemError,
    BackendError,
    Closed,
    ConfigurationError,
    CorruptEntry,
    CounterOverflow,
    InvalidArgument,
    InvalidCursor,
    InvalidFilter,
    InvalidKey,
    InvalidOperation,
    InvalidPattern,
    InvalidTTL,
    InvalidValue,
    NamespaceError,
    OutcomeUnknown,
    PermissionDenied,
    PoolTimeout,
    SchemaMismatch,
    Unavailable,
    ValueTooLarge,
    VersionConflict,
)
from agentmem.memory import Memory
from agentmem.operations import Append, Check, Delete, Increment, Merge, Put, Result, Touch
from agentmem.transaction import Transaction
from agentmem.ttl import UNSET
from agentmem.typed import TypedEntry, TypedMemory
from agentmem.values import Codec

__all__ = [
    "MISSING",
    "UNSET",
    "AgentMemError",
    "Append",
    "BackendError",
    "Check",
    "Closed",
    "Codec",
    "ConfigurationError",
    "CorruptEntry",
    "CounterOverflow",
    "Delete",
    "Entry",
    "Increment",
    "InvalidArgument",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidKey",
    "InvalidOperation",
    "InvalidPattern",
    "InvalidTTL",
    "InvalidValue",
    "Memory",
    "Merge",
    "NamespaceError",
    "OutcomeUnknown",
    "Page",
    "Partition",
    "PermissionDenied",
    "PoolTimeout",
    "Problem",
    "Put",
    "Result",
    "SchemaMismatch",
    "Stats",
    "Touch",
    "Transaction",
    "TypeCodec",
    "TypedEntry",
    "TypedMemory",
    "Unavailable",
    "ValueTooLarge",
    "VersionConflict",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("agentmem-store")
    raise AttributeError(f"module 'agentmem' has no attribute {name!r}")
