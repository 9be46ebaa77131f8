"""What the lender of connections must know of a driver: how one is made ready, mended, and what its errors mean."""

from __future__ import annotations

import select
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from agentmem.errors import AgentMemError

TURN_SECONDS = 0.1
"""How long the threads of a process may write without a pause, which so costs 4 % at the most."""
PAUSE_SECONDS = 0.004
LONG_SECONDS = 0.001
"""Who had the turn for longer lets the threads that wait go first."""
HAND_OVER_SECONDS = 0.001


class Link:
    """A driver's connection, and what its lender and its borrower know of it.

    Attributes:
        raw: the driver's connection.
        uncertain: set by a write before the bytes that may take effect leave; a connection that breaks earlier has
            certainly applied nothing.
    """

    __slots__ = ("raw", "uncertain")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.uncertain = False


L = TypeVar("L", bound=Link)


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
        self._is_wanted = False
        self._taken_at = self._busy_since = self._wrote_at = 0.0

    def take(self, held: list[bool]) -> bool:
        """Wait for it; the list's last item says whether it was given (see Connections._enter about interrupts)."""
        held += map(self.lock.acquire, (False,))
        if not held[-1]:
            self._is_wanted = True
            held += map(self.lock.acquire, (True,), (self.timeout,))
        self._taken_at = time.monotonic()
        return held[-1]

    def hand_over(self) -> None:
        """After a long turn was given back: let those who wait have theirs.

        Whoever wants it again takes it before a waiter is awake. One put after the other delays the others by a few of
        these; one step of a clear after the other all but shut them out until its end.
        """
        if self._is_wanted:
            self._is_wanted = False
            time.sleep(HAND_OVER_SECONDS)

    def pause(self) -> bool:
        """Leave the database to other processes now and then; called with the lock in hand, at the end of a turn.

        Threads that write one after the other leave gaps of microseconds, which a process that polls hardly ever hits.

        Returns:
            Whether the turn was a long one.
        """
        now = time.monotonic()
        was_long = now - self._taken_at > LONG_SECONDS
        if not self._polls:
            return was_long
        if now - self._wrote_at > PAUSE_SECONDS:
            self._busy_since = now
        elif now - self._busy_since > TURN_SECONDS:
            time.sleep(PAUSE_SECONDS)
            now = self._busy_since = time.monotonic()
        self._wrote_at = now
        return was_long


class Driver(ABC, Generic[L]):
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
    def prepare(self, link: L) -> None:
        """Make a fresh or borrowed connection ours: its mode, settings, cursor."""

    @abstractmethod
    def restore(self, link: L) -> None:
        """Give a borrowed connection back as it was."""

    @abstractmethod
    def recover(self, link: L) -> bool:
        """After an error: end what is open; False when the connection is of no more use."""

    @abstractmethod
    def is_stale(self, link: L) -> bool:
        """Whether a connection that rested was cut meanwhile, as far as can be seen without a round trip."""

    def is_busy(self, error: Exception) -> bool:
        """Whether the error says no more than that somebody else had the turn."""
        return False

    def has_timed_out(self, error: Exception) -> bool:
        """Whether an answer was waited for in vain, which it would be on another connection as well."""
        return False

    def forget(self) -> None:
        """In a forked child: replace what another thread of the parent may have held."""

    @abstractmethod
    def translate(self, error: Exception, *, broken: bool, uncertain: bool) -> AgentMemError:
        """The error of agentmem's tree that a driver's error means."""


def is_readable(descriptor: int) -> bool:
    """Whether a connection that nobody asked anything has something to say: it was cut, or says goodbye."""
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    # select() ends at descriptor 1,023.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
