"""How those who wait for a queue hear of what is put: one connection for all waiting threads of a store.

Redis tells the subscribers of a channel what is published there, and forgets it. So who waits listens first, then
looks, then waits; and looks again now and then, because a message may be lost with its connection.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisClusterException, RedisError, ResponseError

from agentmem.errors import AgentMemError, Closed
from agentmem.pool.forking import Forkable
from agentmem.redis.queue_subscriber import Bell, Channel, Subscriber

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

LINGER_SECONDS: Final = 5.0
"""How long thread, connection and subscriptions outlive the last waiter: a worker is back as soon as it has worked."""
SUBSCRIBING_SECONDS: Final = 0.3
"""How long a waiter waits for its subscription before it polls."""
POLLING_SECONDS: Final = (0.02, 0.5)
"""The first pause of who cannot listen, and the longest."""
RETRY_SECONDS: Final = (0.1, 5.0)
"""The first pause before a new connection, and the longest."""
REFUSED_SECONDS: Final = 60.0
"""After so long a server that lets us subscribe nothing is asked again."""

_ROUND_SECONDS: Final = 1.0


class Listener:
    """One thread's wait for a channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._seen = 0
        self._patience = SUBSCRIBING_SECONDS
        self._pause = POLLING_SECONDS[0]

    def prepare(self, seconds: float) -> None:
        """Before a look: what is published from now on is heard, if the server lets us listen."""
        channel = self._channel
        with channel.changed:
            timeout, self._patience = min(seconds, self._patience), 0.0
            channel.changed.wait_for(lambda: channel.is_open or channel.has_failed, timeout)
            self._seen = channel.rings

    def wait(self, seconds: float) -> bool:
        """After a look in vain: True as soon as it rings, False after so many seconds; fewer where it cannot ring."""
        channel = self._channel
        with channel.changed:
            if not channel.is_open:
                seconds = min(seconds, self._pause)
                self._pause = min(2 * self._pause, POLLING_SECONDS[1])
            return channel.changed.wait_for(lambda: channel.rings != self._seen, max(0.0, seconds))


class Wakeups(Forkable):
    """The threads that wait, and the one that listens for them; it is there only while somebody waits, or did lately.

    Args:
        open_one: makes a connection that nobody else uses, not connected yet.
    """

    def __init__(self, open_one: Callable[[], ConnectionInterface]) -> None:
        self._open_one = open_one
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._channels: dict[bytes, Channel] = {}
        self._thread: threading.Thread | None = None
        self._bell: Bell | None = None
        self._is_down = False
        self._refused_until = 0.0

    @contextmanager
    def listen(self, name: bytes) -> Iterator[Listener]:
        """Wait for what is published in a channel.

        Raises:
            Closed: the store was closed.
        """
        with self._lock:
            if self._closed.is_set():
                raise Closed("this memory was closed")
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = Channel(self._lock)
                channel.has_failed = self._is_down
            channel.waiters += 1
            self._attend(channel)
        try:
            yield Listener(channel)
        finally:
            with self._lock:
                channel.waiters -= 1
                channel.left_at = time.monotonic()

    def _attend(self, channel: Channel) -> None:
        if time.monotonic() < self._refused_until:
            channel.fail()
        elif self._bell is None:
            self._bell = Bell()
            self._thread = threading.Thread(target=self._run, args=(self._bell,), name="agentmem-wakeups", daemon=True)
            self._thread.start()
        elif not channel.is_open:
            self._bell.press()

    def close(self) -> None:
        """Wake everybody and end the thread; a server that is stuck is not waited for. Idempotent."""
        self._closed.set()
        with self._lock:
            thread, bell = self._thread, self._bell
            for channel in self._channels.values():
                channel.fail()
            if bell is not None:
                bell.press()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_ROUND_SECONDS)

    def hold(self) -> None:
        self._lock.acquire()

    def let_go(self) -> None:
        self._lock.release()

    def forget(self) -> None:
        _inherited.append((self._bell, self._thread))
        was_closed = self._closed.is_set()
        self._reset()
        if was_closed:
            self._closed.set()

    def _run(self, bell: Bell) -> None:
        """The thread: listen until nobody waits any more; connect again when it must."""
        pause, subscriber = RETRY_SECONDS[0], None
        try:
            while self._is_wanted():
                try:
                    subscriber = subscriber or Subscriber(self._open_one())
                    self._listen(subscriber, bell)
                    pause = RETRY_SECONDS[0]
                except ResponseError:  # an ACL without the channels
                    self._refused_until = time.monotonic() + REFUSED_SECONDS
                    break
                except (AgentMemError, RedisError, RedisClusterException, OSError):
                    _close(subscriber)
                    subscriber = None
                    self._fail()
                    self._closed.wait(pause)
                    pause = min(2 * pause, RETRY_SECONDS[1])
        finally:
            _close(subscriber)
            self._end(bell)

    def _is_wanted(self) -> bool:
        with self._lock:
            since = time.monotonic() - LINGER_SECONDS
            for name, channel in list(self._channels.items()):
                if not channel.waiters and channel.left_at < since:
                    del self._channels[name]
            if self._channels and not self._closed.is_set():
                return True
            self._bell = self._thread = None  # whoever comes now finds nobody, and starts another
            return False

    def _listen(self, subscriber: Subscriber, bell: Bell) -> None:
        with self._lock:
            wanted = dict(self._channels)
        subscriber.follow(wanted)
        subscriber.pause(bell, _ROUND_SECONDS)
        for kind, name in subscriber.messages():
            with self._lock:
                self._is_down = False
                channel = wanted.get(name)
                if channel is not None and kind == b"subscribe":
                    channel.open()
                elif channel is not None and kind == b"message":
                    channel.ring()

    def _fail(self) -> None:
        with self._lock:
            self._is_down = True
            for channel in self._channels.values():
                channel.fail()

    def _end(self, bell: Bell) -> None:
        with self._lock:
            if self._bell is bell:  # it was not ended in order
                self._bell = self._thread = None
                for channel in self._channels.values():
                    channel.fail()
        bell.close()


def _close(subscriber: Subscriber | None) -> None:
    if subscriber is not None:
        with contextlib.suppress(RedisError, OSError):
            subscriber.close()


# What is the parent's, kept for ever in the child: to finalise it would write to the parent's connection.
_inherited: list[Any] = []
