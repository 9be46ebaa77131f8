"""agentmem: the memory of agents, one handle over SQLite, PostgreSQL and Redis.

    import agentmem

    with agentmem.connect("sqlite:///memory.db") as memory:
        memory.put("run/42/plan", {"steps": ["read", "write"]}, ttl=3600)
        plan = memory.get("run/42/plan")

Nothing is connected and no driver is imported before `connect`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from agentmem.arguments import MISSING
from agentmem.codecs import TypeCodec
from agentmem.connect import connect
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

if TYPE_CHECKING:
    from agentmem.coordination.fleet import Fleet
    from agentmem.coordination.lease import Lease
    from agentmem.coordination.member import Member
    from agentmem.coordination.qtable import QTable
    from agentmem.coordination.queue import Queue
    from agentmem.coordination.session import Session
    from agentmem.coordination.watch import Change, Watch

# Names for annotations: a Memory makes these, and loads them when it is asked to. They would double the time of import.
_LATE: Final = {
    "Change": "watch",
    "Fleet": "fleet",
    "Lease": "lease",
    "Member": "member",
    "QTable": "qtable",
    "Queue": "queue",
    "Session": "session",
    "Watch": "watch",
}

__all__ = [
    "MISSING",
    "UNSET",
    "Ack",
    "AgentMemError",
    "Append",
    "BackendError",
    "BarrierTimeout",
    "Change",
    "Check",
    "Closed",
    "Codec",
    "ConfigurationError",
    "CorruptEntry",
    "CounterOverflow",
    "Delete",
    "Enqueue",
    "Entry",
    "Fleet",
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
    "Member",
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
    "QTable",
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
    "Watch",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("agentmem-store")
    if name in _LATE:
        return getattr(import_module(f"agentmem.coordination.{_LATE[name]}"), name)
    raise AttributeError(f"module 'agentmem' has no attribute {name!r}")
