"""What is told of sessions without a look at their messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agentmem import walks
from agentmem.coordination.names import level, unlevel
from agentmem.coordination.session_layout import HEAD, ROOT, decoded
from agentmem.errors import CorruptEntry
from agentmem.keys import validate_prefix
from agentmem.moments import expiry, from_microseconds
from agentmem.repository import Position, Query

if TYPE_CHECKING:
    from agentmem.entries import Record
    from agentmem.gateway import Gateway

_PIECE: Final = 100
"""So many heads are read in one call."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as of one moment.

    Attributes:
        id: relative to the handle, as a session is asked for.
        count: how many messages are kept.
        size_bytes: of their JSON texts.
        first: the number of the oldest one; above `last` where there is none.
        last: the number of the newest one, and so how many there ever were.
        created_at: when it was begun.
        updated_at: when it was last written or, give or take a tenth of its ttl, read.
        expires_at: when it ends unless it is used; None for never.
    """

    id: str
    count: int
    size_bytes: int
    first: int
    last: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None

    @classmethod
    def of(cls, session_id: str, found: Record) -> SessionInfo:
        """Read it from its head's entry.

        Raises:
            CorruptEntry: that holds something else.
        """
        head = decoded(found, session_id)
        return cls(
            session_id,
            head.count,
            head.size_bytes,
            head.first,
            head.last,
            from_microseconds(found.created_us),
            from_microseconds(found.updated_us),
            expiry(found.expires_us),
        )


def sessions(gateway: Gateway, prefix: str) -> Iterator[SessionInfo]:
    """The living sessions whose ids begin with a prefix; see `Memory.sessions`."""
    start = ROOT + (level(prefix) if validate_prefix(prefix) else "")
    query = Query(gateway.scope.under(start))
    gateway.check_open()

    def scan(after: Position | None, limit: int) -> list[Record]:
        return gateway.scan(query, after=after, limit=limit, bodies=False).records

    # Each session is one child, however many messages it has.
    return _living(gateway, walks.children(scan, gateway.scope.prefix + start, 1))


def _living(gateway: Gateway, places: Iterator[str]) -> Iterator[SessionInfo]:
    piece: list[str] = []
    for place in places:
        if place.endswith("/"):
            piece.append(place)
        if len(piece) == _PIECE:
            yield from _infos(gateway, piece)
            piece = []
    yield from _infos(gateway, piece)


def _infos(gateway: Gateway, places: list[str]) -> Iterator[SessionInfo]:
    found = gateway.fetch([place + HEAD for place in places]) if places else {}
    for place in places:
        record = found.get(place + HEAD)
        if record is None:
            continue
        # What else may lie there is no session: whoever asks for it by its id is told.
        with contextlib.suppress(CorruptEntry):
            yield SessionInfo.of(unlevel(gateway.scope.relative(place)[len(ROOT) : -1]), record)
