"""What the lender of connections must know of a driver: how one is made ready, mended, and what its errors mean."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.pool import PoolProxiedConnection

    from agentmem.errors import AgentMemError

TURN_SECONDS = 0.1
"""How long the threads of a process may write without a pause, which so costs 4 % at the most."""
PAUSE_SECONDS = 0.004


class Link:
    """A driver connection with the one cursor that its borrower uses.

    Attributes:
        uncertain: set by a write before the statement that may commit; a connection that breaks earlier has
            certainly applied nothing.
    """

    __slots__ = ("cursor", "proxy", "raw", "uncertain")

    def __init__(self, proxy: PoolProxiedConnection) -> None:
        self.proxy = proxy
        self.raw: Any = proxy.driver_connection
        self.cursor: Any = None
        self.uncertain = False


class Turn:
    """The writer's lock between the threads of a process, where the database lets one write at a time.

    Args:
        timeout: how many seconds a thread waits for it.
        polls: whether other processes poll for the database.
    """

    def __init__(self, *, timeout: float, polls: bool) -> None:
        self.timeout = timeout
        self.lock = threading.Lock()
        self._polls = polls
        self._busy_since = self._wrote_at = 0.0

    def pause(self) -> None:
        """Leave the database to other processes now and then; called with the lock in hand.

        Threads that write one after the other leave gaps of microseconds, which a process that polls hardly ever hits.
        """
        if not self._polls:
            return
        now = time.monotonic()
        if now - self._wrote_at > PAUSE_SECONDS:
            self._busy_since = now
        elif now - self._busy_since > TURN_SECONDS:
            time.sleep(PAUSE_SECONDS)
            now = self._busy_since = time.monotonic()
        self._wrote_at = now


class Driver(ABC):
    """What differs between drivers in the life of a connection."""

    #: The root of the driver's exceptions.
    error: type[Exception]
    #: Whether the library has locks that a fork may not find taken.
    has_locks: bool = False

    #: How many seconds a call that found the database busy is tried again; only what was certainly not applied.
    patience_seconds: float = 0.0
    #: What a write waits for before it takes a connection.
    turn: Turn | None = None

    @abstractmethod
    def prepare(self, link: Link) -> None:
        """Make a fresh or borrowed connection ours: autocommit, settings, cursor."""

    @abstractmethod
    def restore(self, link: Link) -> None:
        """Give a borrowed connection back as it was."""

    @abstractmethod
    def recover(self, link: Link) -> bool:
        """After an error: end what is open; False when the connection is of no more use."""

    @abstractmethod
    def is_stale(self, link: Link) -> bool:
        """Whether a connection that rested was cut meanwhile, as far as can be seen without a round trip."""

    def is_busy(self, error: Exception) -> bool:
        """Whether the error says no more than that somebody else had the turn."""
        return False

    def forget(self) -> None:  # noqa: B027 - a driver without state has nothing to forget
        """In a forked child: replace what another thread of the parent may have held."""

    @abstractmethod
    def translate(self, error: Exception, *, broken: bool, uncertain: bool) -> AgentMemError:
        """The error of agentmem's tree that a driver's error means."""
