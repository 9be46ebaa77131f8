"""Threads that wait for work: each sleeps until somebody of its process, or the database, says that there may be some.

Where the database cannot say so, a waiter looks again after pauses that grow to half a second. One waiter is woken at a
time: if it finds as much as it wanted, it wakes the next; so a put does not make a crowd of threads claim.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from agentmem.pool.forking import Forkable

if TYPE_CHECKING:
    from agentmem.sql.queue_listening import Listener

Place = tuple[str, str]
"""A partition, and a queue in it."""

FIRST_PAUSE_SECONDS: Final = 0.015
"""Longer than a process that puts keeps silent about a queue after it has notified."""
LONGEST_PAUSE_SECONDS: Final = 0.5


class Waiting(Forkable):
    """The waiters of one store.

    Args:
        look: gives those among some queues where something is ready.
        listener: hears of puts by other processes; None where nobody can.
    """

    def __init__(self, look: Callable[[Sequence[Place]], Sequence[Place]], listener: Listener | None = None) -> None:
        self._look = look
        self._listener = listener
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[Place, deque[threading.Event]] = {}

    def wait(self, place: Place, seconds: float) -> None:
        """Return when something is ready, or may be, or after so many seconds."""
        deadline = time.monotonic() + seconds
        woken = self._enter(place)
        try:
            pause = FIRST_PAUSE_SECONDS
            while not self._look((place,)):
                left = deadline - time.monotonic()
                if left <= 0 or woken.wait(min(left, pause)):
                    return
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                if self._listener is not None and self._listener.hears(place, self):
                    # What was put until now, this look shows; of what follows the listener tells.
                    if not self._look((place,)):
                        woken.wait(deadline - time.monotonic())
                    return
        finally:
            self._leave(place, woken)

    def wake(self, place: Place) -> None:
        """Let one of those who wait here go."""
        if place not in self._waiters:
            return
        with self._lock:
            waiters = self._waiters.get(place)
            if waiters:
                waiters.popleft().set()

    def wake_all(self) -> None:
        """Let everybody go."""
        with self._lock:
            for waiters in self._waiters.values():
                while waiters:
                    waiters.popleft().set()

    def places(self) -> list[Place]:
        """Where anybody waits."""
        with self._lock:
            return [*self._waiters]

    def close(self) -> None:
        """Let everybody go, and end the listener's thread."""
        if self._listener is not None:
            self._listener.close()
        self.wake_all()

    def _enter(self, place: Place) -> threading.Event:
        woken = threading.Event()
        with self._lock:
            self._waiters.setdefault(place, deque()).append(woken)
        return woken

    def _leave(self, place: Place, woken: threading.Event) -> None:
        with self._lock:
            waiters = self._waiters.get(place)
            if waiters is None:
                return
            if woken in waiters:
                waiters.remove(woken)
            if not waiters:
                del self._waiters[place]

    def hold(self) -> None:
        """Nothing of ours is locked for long."""

    def let_go(self) -> None:
        """As it was."""

    def forget(self) -> None:
        """The waiters are the parent's, and so is the listener's connection."""
        self._reset()
        if self._listener is not None:
            self._listener.forget()
