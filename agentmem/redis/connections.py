"""Connections to one Redis server, on the pool that all backends share, and what is said over them.

redis-py makes the connections and speaks the protocol. Its clients are not used: they retry every command, a write as
well, and cannot tell whether a request was sent when a connection broke (R18).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import (
    AskError,
    ExecAbortError,
    MaxConnectionsError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - redis-py's
)

from agentmem.errors import AgentMemError, OutcomeUnknown
from agentmem.pool import drivers
from agentmem.pool.connections import Connections
from agentmem.pool.drivers import Driver, is_readable
from agentmem.redis import errors

if TYPE_CHECKING:
    from redis.connection import ConnectionInterface

    from agentmem.redis.layout import Place
    from agentmem.redis.scripts import Script


POLL_SECONDS: Final = 0.001


class Link(drivers.Link):
    """A connection that is in step with its server: what was asked was answered.

    Attributes:
        pending: whether an answer is outstanding; then the connection is of no more use.
        asking: whether the slot is on its way to this node, which must be told so before each command.
    """

    __slots__ = ("asking", "pending")

    def __init__(self, raw: ConnectionInterface) -> None:
        super().__init__(raw)
        self.pending = self.asking = False

    def ask(self, *command: Any) -> Any:
        """Send a command and return its answer as bytes, integers and lists."""
        self.pending = True
        if self.asking:
            self.raw.send_command(b"ASKING")
            self._answer()
            self.pending = True
        self.raw.send_command(*command)
        return self._answer()

    def ask_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send several commands at once; an error that the server answers stands in the list."""
        self.pending = True
        self.raw.send_packed_command(self.raw.pack_commands(commands))
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(self._answer())
            except ResponseError as error:
                answers.append(error)
            self.pending = True
        self.pending = False
        return answers

    def transaction(self, calls: Sequence[tuple[Script, Place]]) -> list[Any]:
        """Run scripts without arguments as of one moment, on one server; an error may stand in place of an answer."""
        self.run(*calls[0])  # so that the server has the text
        commands = [(b"EVALSHA", script.sha, *place.keys) for script, place in calls]
        answers = self.ask_all([(b"MULTI",), *commands, (b"EXEC",)])[-1]
        if isinstance(answers, ExecAbortError):  # a server whose memory is full refuses even to read in a transaction
            return [answers]
        if isinstance(answers, ResponseError):
            raise answers
        return list(answers)

    def run(self, script: Script, place: Place, *arguments: Any) -> Any:
        """Run a script; the server is given its text only when it does not have it."""
        try:
            return self.ask(b"EVALSHA", script.sha, *place.keys, *arguments)
        except NoScriptError:
            return self.ask(b"EVAL", script.text, *place.keys, *arguments)

    def write(self, script: Script, place: Place, *arguments: Any) -> Any:
        """Run a script that writes: from now on, until there is an answer, nobody knows whether it took effect."""
        self.uncertain = True
        try:
            return self.run(script, place, *arguments)
        except errors.REFUSED:
            # The server says no; scripts look at everything that can fail before they write.
            self.uncertain = False
            raise

    def await_replicas(self, number: int, timeout_seconds: float) -> None:
        """Wait until replicas have what this connection wrote.

        Raises:
            OutcomeUnknown: fewer have it by then.
        """
        silence = getattr(self.raw, "_conn", self.raw).socket_timeout  # after which the connection counts as broken
        longest = silence / 2 if silence else timeout_seconds
        left, reached = timeout_seconds, 0
        while left > 0:
            reached = self.ask(b"WAIT", number, max(1, round(min(left, longest) * 1000)))
            if reached >= number:
                return
            left -= longest
        raise OutcomeUnknown(
            f"written, but {reached} of {number} replicas have it after {timeout_seconds:g} s (wait_replicas)"
        )

    def _answer(self) -> Any:
        try:
            answer = self.raw.read_response(disable_decoding=True)
        except ResponseError as error:
            # A primary that became a replica is left alone: the next connection finds the new one.
            self.pending = errors.is_read_only(error)
            raise
        self.pending = False
        return answer


class RedisDriver(Driver[Link]):
    """What the pool must know of redis-py."""

    error = RedisError

    def prepare(self, link: Link) -> None:
        """It is connected and has said who it is."""

    def restore(self, link: Link) -> None:
        """Nothing was changed."""

    def recover(self, link: Link) -> bool:
        """An error that the server answered leaves the connection in step."""
        return not link.pending and bool(link.raw.is_connected)

    def is_stale(self, link: Link) -> bool:
        """It should have nothing to say."""
        # With client-side caching a host's connection is a proxy of the one with the socket.
        socket = getattr(link.raw, "_conn", link.raw)._sock
        return socket is None or is_readable(socket.fileno())

    def has_timed_out(self, error: Exception) -> bool:
        return isinstance(error, TimeoutError)

    def translate(self, error: Exception, *, broken: bool, uncertain: bool) -> AgentMemError:
        """In agentmem.redis.errors; a redirection of the cluster is for who asked."""
        if isinstance(error, AskError):
            return Redirected(error)
        return errors.translate(error, uncertain=uncertain)


class Redirected(AgentMemError):
    """The slot is elsewhere, nothing was done. It does not leave the backend.

    Attributes:
        host, port: where.
        asking: whether it is only on its way there.
    """

    def __init__(self, error: AskError) -> None:
        super().__init__(str(error))
        self.host, self.port = error.host, int(error.port)
        self.asking = not isinstance(error, MovedError)


class OwnConnections(Connections[Link]):
    """Connections that we open ourselves.

    Args:
        open_one: makes a connection, not connected yet.
        capacity, timeout: as Connections.
    """

    def __init__(self, open_one: Callable[[], ConnectionInterface], *, capacity: int, timeout: float) -> None:
        self._open_one = open_one
        super().__init__(RedisDriver(), capacity=capacity, timeout=timeout, keep=True, own=True)

    def dedicated(self) -> ConnectionInterface:
        """One more, not connected yet, for whoever asks: it is not counted, and never lent."""
        return self._open_one()

    def _connect(self) -> Link:
        raw = self._open_one()
        raw.connect()
        return Link(raw)

    def _return(self, link: Link) -> None:
        link.raw.disconnect()

    _throw_away = _return

    def _dispose(self) -> None:
        """There is nothing behind them."""

    def _leave_to_parent(self) -> None:
        """The parent's connections are kept by the pool."""


class HostConnections(Connections[Link]):
    """Connections of a host's client, from its pool, and given back at the end of each call.

    Args:
        pool: the client's connection pool.
        timeout: how many seconds a borrower waits where the pool itself would not.
    """

    def __init__(self, pool: Any, *, timeout: float) -> None:
        self._pool = pool
        super().__init__(RedisDriver(), capacity=0, timeout=timeout, keep=False, own=False)

    def dedicated(self) -> ConnectionInterface:
        """One made as the host's are, that its pool does not know of; not connected yet."""
        connection: ConnectionInterface = self._pool.connection_class(**self._pool.connection_kwargs)
        return connection

    def _connect(self) -> Link:
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                return Link(self._pool.get_connection())
            except MaxConnectionsError:
                # redis-py's plain pool raises at its cap, where R32 asks us to wait.
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _return(self, link: Link) -> None:
        self._pool.release(link.raw)

    def _throw_away(self, link: Link) -> None:
        link.raw.disconnect()
        self._pool.release(link.raw)

    def _dispose(self) -> None:
        """It is the host's."""

    def _leave_to_parent(self) -> None:
        """redis-py's pools look after forks themselves."""
