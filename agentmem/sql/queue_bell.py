"""Whom PostgreSQL notifies of a put, and how often: the channels of queues."""

from __future__ import annotations

import hashlib
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from agentmem.sql.connections import JOINED

if TYPE_CHECKING:
    from agentmem.sql.connections import Link

NOTIFY_SECONDS: Final = 0.01
"""A NOTIFY takes a lock that all committing transactions of a database share: so often a process sends one a queue."""
_MOST_CHANNELS: Final = 10_000


class Bell:
    """Which queues' waiters a process should notify."""

    def __init__(self) -> None:
        self._rung: dict[str, float] = {}

    def due(self, link: Link, partition: str, queue: str) -> str | None:
        """The channel to notify, or None where that was done a moment ago: waiters look again after a burst."""
        channel = channel_of(partition, queue)
        if link.words is JOINED:
            return channel  # whose transaction may last
        now = time.monotonic()
        if now - self._rung.get(channel, 0.0) < NOTIFY_SECONDS:
            return None
        if len(self._rung) >= _MOST_CHANNELS:
            self._rung.clear()
        self._rung[channel] = now
        return channel


@lru_cache(maxsize=_MOST_CHANNELS)
def channel_of(partition: str, queue: str) -> str:
    """The channel of a queue: a name that PostgreSQL takes, whatever theirs are."""
    return "agentmem_" + hashlib.sha256(f"{partition}\0{queue}".encode()).hexdigest()[:40]
