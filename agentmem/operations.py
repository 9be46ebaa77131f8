"""The operations that `memory.apply` takes: one atomic batch, applied in order, all or nothing.

Acks and nacks come first and what is enqueued next, whatever their places in the batch; then the others in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agentmem.entries import Entry
from agentmem.jobs import Job
from agentmem.ttl import TTL, UNSET, Duration, MaybeTTL

DEFAULT_MAX_ATTEMPTS: Final = 5
"""After so many claims an item of a queue is dead, where nothing else was said."""


@dataclass(frozen=True, slots=True)
class Put:
    """As `memory.put`."""

    key: str
    value: Any
    ttl: MaybeTTL = UNSET
    metadata: Mapping[str, Any] | None = None
    if_version: int | None = None
    if_absent: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """As `memory.delete`."""

    key: str
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Increment:
    """As `memory.increment`."""

    key: str
    by: int | float = 1
    initial: int | float = 0
    ttl: MaybeTTL = UNSET


@dataclass(frozen=True, slots=True, init=False)
class Append:
    """As `memory.append`."""

    key: str
    items: tuple[Any, ...]
    limit: int | None

    def __init__(self, key: str, *items: Any, limit: int | None = None) -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "limit", limit)


@dataclass(frozen=True, slots=True)
class Merge:
    """As `memory.merge`; InvalidValue for a handle with a codec, which a transaction serves in its place."""

    key: str
    mapping: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Touch:
    """As `memory.touch`."""

    key: str
    ttl: TTL


@dataclass(frozen=True, slots=True)
class Check:
    """Assert that the key's living entry has this version; None: that there is none. Writes nothing."""

    key: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Enqueue:
    """As `memory.queue(queue).put`."""

    queue: str
    value: Any
    delay: Duration = 0
    priority: int = 0
    dedup_key: str | None = None
    group: str | None = None
    max_attempts: int | None = DEFAULT_MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Ack:
    """As `job.ack`; the job is of a queue of the same partition."""

    job: Job


@dataclass(frozen=True, slots=True)
class Nack:
    """As `job.nack`; the job is of a queue of the same partition."""

    job: Job
    delay: Duration = 0
    error: object = None


EntryOperation = Put | Delete | Increment | Append | Merge | Touch | Check
Operation = EntryOperation | Enqueue | Ack | Nack


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one operation of a batch.

    Attributes:
        key: the operation's key, or the name of its queue.
        value: what the method of the same name returns: Entry (Put, Merge), bool (Delete, Touch), number (Increment),
            length (Append), Queued (Enqueue), None (Check, Ack, Nack).
        entry: the entry as written, None for Delete and Check and for queues.
    """

    key: str
    value: Any
    entry: Entry | None
