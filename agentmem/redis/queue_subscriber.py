"""A connection that hears what is published in channels, and the channels that others wait for."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

QUIET_SECONDS: Final = 15.0
"""After so long without a word the server is asked whether it is there; after twice as long it is not."""


class Channel:
    """What is known of a channel.

    Attributes:
        changed: on a lock that guards all of this; notified when it rings, and when its subscription begins or fails.
        waiters: how many threads wait for it.
        left_at: when the last one left.
        rings: how many messages came, lost connections included: they may have swallowed one.
        is_open: whether a message now would be heard.
        has_failed: whether the subscription was tried in vain.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.waiters = 0
        self.left_at = 0.0
        self.rings = 0
        self.is_open = self.has_failed = False

    def open(self) -> None:
        """The subscription has begun."""
        self.is_open, self.has_failed = True, False
        self.changed.notify_all()

    def ring(self) -> None:
        """Something was published."""
        self.rings += 1
        self.changed.notify_all()

    def fail(self) -> None:
        """There is no subscription any more, or there will be none."""
        self.is_open, self.has_failed = False, True
        self.ring()


class Bell:
    """By which other threads wake one that waits for its server."""

    def __init__(self) -> None:
        self.heard, self._button = socket.socketpair()
        for end in (self.heard, self._button):
            end.setblocking(False)

    def press(self) -> None:
        """Wake it."""
        with contextlib.suppress(BlockingIOError):  # so often that it wakes up anyhow
            self._button.send(b"\0")

    def clear(self) -> None:
        """Be ready for the next time."""
        with contextlib.suppress(BlockingIOError):
            self.heard.recv(4096)

    def close(self) -> None:
        """The end."""
        self.heard.close()
        self._button.close()


class Subscriber:
    """A connection that listens; for one thread.

    Args:
        connection: connected here.
    """

    def __init__(self, connection: ConnectionInterface) -> None:
        self._connection: Any = connection
        self._followed: dict[bytes, Channel] = {}
        self._heard_at = time.monotonic()
        self._asked = False
        self._connection.connect()

    def follow(self, wanted: Mapping[bytes, Channel]) -> None:
        """Listen to these channels, and no others; one that is new under an old name is subscribed to again."""
        gone = [name for name in self._followed if name not in wanted]
        new = [name for name, channel in wanted.items() if self._followed.get(name) is not channel]
        for command, names in ((b"UNSUBSCRIBE", gone), (b"SUBSCRIBE", new)):
            if names:
                self._connection.send_command(command, *names, check_health=False)
        self._followed = dict(wanted)

    def pause(self, bell: Bell, seconds: float) -> None:
        """Wait until the server says something, or somebody rings the bell; ask a server that is silent for long.

        Raises:
            TimeoutError: it does not answer.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(bell.heard, selectors.EVENT_READ)
            selector.register(self._connection._sock, selectors.EVENT_READ)
            selector.select(seconds)
        bell.clear()
        silence = time.monotonic() - self._heard_at
        if silence > 2 * QUIET_SECONDS:
            raise TimeoutError(f"no word from the server for {silence:.0f} s")
        if silence > QUIET_SECONDS and not self._asked:
            self._asked = True
            self._connection.send_command(b"PING", check_health=False)

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """What has come: the kind of each message, and the channel."""
        while self._connection.can_read(timeout=0):
            message = self._connection.read_response(disable_decoding=True, push_request=True)
            self._heard_at, self._asked = time.monotonic(), False
            if isinstance(message, list) and len(message) == 3:  # else the answer to a ping
                yield message[0], message[1]

    def close(self) -> None:
        """The end."""
        self._connection.disconnect()
