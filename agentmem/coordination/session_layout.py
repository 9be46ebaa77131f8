"""Where a session lies in its partition, and what its head says.

    session/<id>/head                               the head: without it there is no session
    session/<id>/<incarnation>/<number>             a message, with sixteen digits
    session/<id>/<incarnation>/state                the state

`/` and `%` in an id are escaped, so an id is one level. A session that is begun anew after its end draws another
incarnation: what may be left of the former one is never seen again, and ends by its own TTL.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from agentmem.coordination.names import level
from agentmem.errors import CorruptEntry
from agentmem.ttl import NEVER

if TYPE_CHECKING:
    from agentmem.entries import Record
    from agentmem.scope import Scope

ROOT: Final = "session/"
HEAD: Final = "head"
_REQUESTS: Final = 32
"""How many requests a head remembers, the newest."""


class Head(msgspec.Struct, frozen=True):
    """What is known of a session without a look at its messages.

    Attributes:
        incarnation: in the keys of all the rest.
        first: the number of the oldest message that is kept.
        last: that of the newest one; `first` - 1 where there is none.
        size_bytes: of the kept messages' JSON texts.
        ttl_ms: of the session; NEVER for none.
        until_us: all the rest lives at least until then, by the server's clock; 0 in the first head of a session, with
            which all of the rest was written.
        requests: ids of the last requests to append, each with the last number that it made.
    """

    incarnation: str
    first: int = 1
    last: int = 0
    size_bytes: int = 0
    ttl_ms: int = NEVER
    until_us: int = 0
    requests: tuple[tuple[str, int], ...] = ()

    @property
    def count(self) -> int:
        """How many messages are kept."""
        return self.last - self.first + 1

    def with_request(self, request_id: str | None) -> Head:
        """A head that remembers that this request made its last message."""
        if request_id is None:
            return self
        return changed(self, requests=(*self.requests, (request_id, self.last))[-_REQUESTS:])

    def encoded(self) -> str:
        """Its JSON text."""
        return msgspec.json.encode(self).decode()


_decode = msgspec.json.Decoder(Head).decode
changed = msgspec.structs.replace


def new_head() -> Head:
    """Of a session that begins."""
    return Head(secrets.token_hex(8))


def decoded(found: Record, key: str) -> Head:
    """The head that an entry holds.

    Raises:
        CorruptEntry: none; `key` is what the caller calls it.
    """
    try:
        return _decode(found.body or "")
    except (msgspec.MsgspecError, ValueError) as error:
        raise CorruptEntry(key, f"it is no head of a session: {error}") from error


class Layout:
    """The keys of one session, absolute.

    Args:
        scope: of the handle.
        session_id: as the caller has it.

    Attributes:
        head: the head's key.

    Raises:
        InvalidKey: the id is no text for a key, or too long for one. NamespaceError: see R4.
    """

    def __init__(self, scope: Scope, session_id: str) -> None:
        self._prefix = f"{scope.prefix}{ROOT}{level(session_id)}/"
        self.head = self._prefix + HEAD
        # The longest key that it will ever have.
        scope.writable(scope.relative(self.message(new_head(), 0)))

    def message(self, head: Head, number: int) -> str:
        """The key of a message."""
        return f"{self._prefix}{head.incarnation}/{number:016}"

    def state(self, head: Head) -> str:
        """The key of the state."""
        return f"{self._prefix}{head.incarnation}/state"


def number_of(key: str) -> int:
    """The number of a message, by its key."""
    return int(key.rpartition("/")[2])
