"""A TCP proxy on the loopback that breaks connections at a chosen moment: what does a client do then?"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from agentmem.testing.processes import free_port

if TYPE_CHECKING:
    from types import TracebackType

Observer = Callable[[int, bytes], None]

_LOOPBACK: Final = "127.0.0.1"
_CHUNK_BYTES: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with RST in place of FIN


class _Fault(NamedTuple):
    """What is to happen when a client says something.

    Attributes:
        kind: what.
        containing: what the client must say.
        skip: how often it may say it before.
        reply: for `answer`.
    """

    kind: Literal["lose request", "lose reply", "halve reply", "answer"]
    containing: bytes
    skip: int = 0
    reply: bytes = b""


class FaultProxy:
    """Passes bytes between clients and one server of this machine until it is told otherwise. A context manager.

    Safe to command from any thread, and knows no protocol. Whatever it breaks, it breaks by a reset, as a crash or a
    firewall does. Faults that were asked for happen one after the other, each once.

    Args:
        url: of the server, with its one host and port.
        observer: called with the number of a connection, counted from 0, and what its client sent.

    Attributes:
        port: where clients connect, on 127.0.0.1; the same over its whole life.
        connections: how many clients have connected so far.
        requests: how many times one has said something so far, as far as was received.
    """

    def __init__(self, url: str, observer: Observer | None = None) -> None:
        self.port = free_port()
        self.connections = self.requests = 0
        self._url = urlsplit(url)
        if not self._url.hostname or not self._url.port:
            raise ValueError("a proxy needs a URL with a host and a port")
        self._server = (self._url.hostname, self._url.port)
        self._observer = observer
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._conversations: list[_Conversation] = []
        self._listener: threading.Thread | None = None
        self._stopped = threading.Event()
        self._flows = threading.Event()
        self.accept()

    @property
    def url(self) -> str:
        """The server's URL by way of this proxy."""
        user, at, _ = self._url.netloc.rpartition("@")
        return self._url._replace(netloc=f"{user}{at}{_LOOPBACK}:{self.port}").geturl()

    def accept(self) -> None:
        """Listen, and pass everything on, as at the beginning. Idempotent."""
        self._flows.set()
        if self._listener is not None:
            return
        self._stopped = threading.Event()
        server = socket.create_server((_LOOPBACK, self.port))
        self._listener = threading.Thread(target=self._serve, args=(server, self._stopped), daemon=True)
        self._listener.start()

    def refuse(self) -> None:
        """Cut every connection and refuse new ones until `accept`, as a server that is down does. Idempotent."""
        if self._listener is not None:
            self._stopped.set()
            self._listener.join()
            self._listener = None
        self.cut()
        self._flows.set()

    def hang(self) -> None:
        """Keep connections, take new ones, and pass nothing on until `accept`, as a server that is stuck does."""
        self._flows.clear()

    def cut(self) -> None:
        """Reset the connections that are open now."""
        with self._lock:
            conversations, self._conversations = self._conversations, []
        for conversation in conversations:
            conversation.reset()

    def lose_request(self, containing: bytes = b"", *, skip: int = 0) -> None:
        """Reset the connection on which a client says something, and pass nothing of that on to the server.

        Args:
            containing: what it must say; by default anything.
            skip: how many times it may say so unharmed.
        """
        self._expect(_Fault("lose request", containing, skip))

    def lose_reply(self, containing: bytes = b"", *, skip: int = 0) -> None:
        """Pass on what a client says, and reset its connection when the server answers: the answer is lost.

        Args:
            containing: as for `lose_request`.
            skip: as for `lose_request`.
        """
        self._expect(_Fault("lose reply", containing, skip))

    def halve_reply(self, containing: bytes = b"", *, skip: int = 0) -> None:
        """As `lose_reply`, but half of the answer arrives before the reset.

        Args:
            containing: as for `lose_request`.
            skip: as for `lose_request`.
        """
        self._expect(_Fault("halve reply", containing, skip))

    def answer(self, reply: bytes, containing: bytes = b"", *, skip: int = 0) -> None:
        """Answer in the server's place what a client says, and pass nothing of that on.

        Args:
            reply: as the server would.
            containing: as for `lose_request`.
            skip: as for `lose_request`.
        """
        self._expect(_Fault("answer", containing, skip, reply))

    def relent(self) -> bool:
        """Give up the faults that have not happened yet; return whether there were any."""
        with self._lock:
            waiting, self._faults = self._faults, []
        return bool(waiting)

    def _expect(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def _serve(self, server: socket.socket, stopped: threading.Event) -> None:
        server.settimeout(0.02)
        with server:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = server.accept()
                    self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.settimeout(None)
        try:
            server = socket.create_connection(self._server)
        except OSError:
            client.close()
            return
        conversation = _Conversation(client, server, self._flows)
        with self._lock:
            number, self.connections = self.connections, self.connections + 1
            self._conversations.append(conversation)
        threading.Thread(target=conversation.pass_requests, args=(number, self._heard), daemon=True).start()
        threading.Thread(target=conversation.pass_replies, daemon=True).start()

    def _heard(self, number: int, data: bytes) -> _Fault | None:
        if self._observer is not None:
            self._observer(number, data)
        with self._lock:
            self.requests += 1
            if not self._faults or self._faults[0].containing not in data:
                return None
            if not self._faults[0].skip:
                return self._faults.pop(0)
            self._faults[0] = self._faults[0]._replace(skip=self._faults[0].skip - 1)
        return None


class _Conversation:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket, flows: threading.Event) -> None:
        self._client = client
        self._server = server
        self._flows = flows
        self._passes = 1.0  # which part of the next answer the client gets
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pass_requests(self, number: int, heard: Callable[[int, bytes], _Fault | None]) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(_CHUNK_BYTES):
                fault = heard(number, data)
                self._flows.wait()
                if fault is None:
                    self._server.sendall(data)
                elif fault.kind == "lose request":
                    break
                elif fault.kind == "answer":
                    self._client.sendall(fault.reply)
                else:
                    self._passes = 0.5 if fault.kind == "halve reply" else 0.0
                    self._server.sendall(data)
        self.reset()

    def pass_replies(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_CHUNK_BYTES):
                self._flows.wait()
                passes = self._passes  # once: what the client says next, when it has this answer, concerns the next one
                self._client.sendall(data[: int(len(data) * passes)])
                if passes < 1:
                    break
        self.reset()

    def reset(self) -> None:
        """End both connections, whatever state they are in, and wake the threads that read from them."""
        for each in (self._client, self._server):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.shutdown(socket.SHUT_RD)
            each.close()
