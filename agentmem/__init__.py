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
from agentmem.coordination.lease import Lease
from agentmem.coordination.queue import Queue
from agentmem.coordination.session import Session
from agentmem.entries import Entry, Page, Partition, Problem, Stats
from agentmem.errors import (
    AgentMemError,
    BackendError,
    BarrierTimeout,
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
    LeaseHeld,
    LeaseLost,
    NamespaceError,
    OutcomeUnknown,
    PermissionDenied,
    PoolTimeout,
    SchemaMismatch,
    Unavailable,
    ValueTooLarge,
    VersionConflict,
)
from agentmem.jobs import Job, Queued, QueueItem
from agentmem.memory import Memory
from agentmem.operations import Ack, Append, Check, Delete, Enqueue, Increment, Merge, Nack, Put, Result, Touch
from agentmem.transaction import Transaction
from agentmem.ttl import UNSET
from agentmem.typed import TypedEntry, TypedMemory
from agentmem.values import Codec

__all__ = [
    "MISSING",
    "UNSET",
    "Ack",
    "AgentMemError",
    "Append",
    "BackendError",
    "BarrierTimeout",
    "Check",
    "Closed",
    "Codec",
    "ConfigurationError",
    "CorruptEntry",
    "CounterOverflow",
    "Delete",
    "Enqueue",
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
    "Job",
    "Lease",
    "LeaseHeld",
    "LeaseLost",
    "Memory",
    "Merge",
    "Nack",
    "NamespaceError",
    "OutcomeUnknown",
    "Page",
    "Partition",
    "PermissionDenied",
    "PoolTimeout",
    "Problem",
    "Put",
    "Queue",
    "QueueItem",
    "Queued",
    "Result",
    "SchemaMismatch",
    "Session",
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
