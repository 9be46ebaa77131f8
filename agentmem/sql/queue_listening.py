"""A thread that hears PostgreSQL's notifications on a connection of its own, while anybody waits for work.

LISTEN needs a session: behind a pooler such as PgBouncer there is none, and waiters look again by themselves. A
notification may be missing (a process sends one a queue in some milliseconds), and no one comes when a delay or a lease
ends: so twice a second the thread looks for all who wait, in one statement.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import SQLAlchemyError

from agentmem.errors import AgentMemError

if TYPE_CHECKING:
    from agentmem.sql.connections import EngineConnections, Link
    from agentmem.sql.dialect import Dialect
    from agentmem.sql.queue_waiting import Place, Waiting
    from agentmem.sql.replicas import ReplicatedConnections

LOOK_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 5.0
"""So long the thread stays when nobody waits any more: workers come back."""
SHUN_SECONDS: Final = 5.0
"""So long nobody tries again to listen where it failed."""
JOIN_SECONDS: Final = 5.0


class Listener:
    """Of one store.

    Args:
        connections: opens the one that is listened on.
        dialect: listens.
    """

    def __init__(self, connections: EngineConnections | ReplicatedConnections, dialect: Dialect) -> None:
        self._connections = connections
        self._dialect = dialect
        self._queues = dialect.queues
        self._errors = (dialect.error, AgentMemError, SQLAlchemyError, OSError)
        self._closed = False
        self._shunned_until = 0.0
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._heard: dict[Place, float] = {}
        self._link: Link | None = None
        self._alarm: tuple[int, int] | None = None

    def hears(self, place: Place, waiting: Waiting) -> bool:
        """Whether who waits here will be woken; if not yet, the thread is told of it, and begun if need be."""
        if place in self._heard:
            return True
        with self._lock:
            if self._closed or time.monotonic() < self._shunned_until:
                return False
            if self._thread is None:
                self._alarm = os.pipe()
                self._thread = threading.Thread(
                    target=self._run, args=(waiting, self._alarm), name="agentmem-listener", daemon=True
                )
                self._thread.start()
            else:
                self._ring()
        return False

    def _ring(self) -> None:
        if self._alarm is not None:
            os.write(self._alarm[1], b"!")

    def _run(self, waiting: Waiting, alarm: tuple[int, int]) -> None:
        try:
            self._link = self._connections.apart()
            if self._dialect.can_listen(self._link):
                self._listen(self._link, waiting, alarm[0])
            else:
                self._shunned_until = float("inf")
        except self._errors:
            self._shunned_until = time.monotonic() + SHUN_SECONDS
        finally:
            self._end(alarm)
            waiting.wake_all()

    def _end(self, alarm: tuple[int, int]) -> None:
        with self._lock:
            link, self._link, self._thread, self._alarm = self._link, None, None, None
            self._heard = {}
            for end in alarm:
                os.close(end)
        if link is not None:
            self._connections.throw_away(link)

    def _listen(self, link: Link, waiting: Waiting, alarm: int) -> None:
        readable = selectors.DefaultSelector()
        readable.register(link.raw, selectors.EVENT_READ)
        readable.register(alarm, selectors.EVENT_READ)
        look_at = time.monotonic() + LOOK_SECONDS
        while not self._closed and self._attend(link, waiting.places()):
            for place in self._queues.notified(link):
                waiting.wake(place)
            left = max(0.0, look_at - time.monotonic())
            if any(key.fd == alarm for key, _ in readable.select(left)):
                os.read(alarm, 1_000)
            if time.monotonic() >= look_at:
                places = waiting.places()
                for place in self._queues.ready(link, places) if places else ():
                    waiting.wake(place)
                look_at = time.monotonic() + LOOK_SECONDS

    def _attend(self, link: Link, places: list[Place]) -> bool:
        """Listen where somebody waits, and no more where nobody has for a while; False when that is everywhere."""
        now = time.monotonic()
        for place in places:
            if place not in self._heard:
                self._queues.listen(link, place)
            self._heard[place] = now
        for place, since in [*self._heard.items()]:
            if now - since > LINGER_SECONDS:
                # In this order: who waits here from now on has to ask.
                del self._heard[place]
                self._queues.unlisten(link, place)
        return bool(self._heard)

    def close(self) -> None:
        """End the thread; nobody can begin it again."""
        with self._lock:
            self._closed = True
            thread = self._thread
            self._ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)

    def forget(self) -> None:
        """In a forked child: the thread does not exist there, and the connection is the parent's."""
        if self._link is not None:
            _inherited.append(self._link)
        alarm = self._alarm
        self._reset()
        if alarm is not None:
            for end in alarm:
                with contextlib.suppress(OSError):
                    os.close(end)


# The parent's connections, kept for ever in the child: to finalise one would write to the parent's socket.
_inherited: list[Link] = []
