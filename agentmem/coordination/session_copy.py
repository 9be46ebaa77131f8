"""A session as of one moment, read while others write to it; and the messages that come out of one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agentmem import retry, values
from agentmem.coordination.session_layout import Head, Layout, changed, decoded, number_of
from agentmem.errors import CorruptEntry, InvalidOperation, Unavailable
from agentmem.moments import from_microseconds

if TYPE_CHECKING:
    from agentmem.entries import Record
    from agentmem.gateway import Gateway
    from agentmem.scope import Scope

_SAID_AT: Final = "said_at"
"""In the metadata of a message that was copied: its time in the first session."""


class Message(NamedTuple):
    """A message of a session.

    Attributes:
        number: 1 for the first that the session ever had, without gaps.
        value: as it was appended, a copy.
        created_at: when it was appended, by the server's clock; a fork keeps it.
    """

    number: int
    value: Any
    created_at: datetime

    @classmethod
    def of(cls, scope: Scope, number: int, record: Record) -> Message:
        """Read it from its entry.

        Raises:
            CorruptEntry: it cannot be decoded.
        """
        key = scope.relative(record.key)
        said_at = values.decode_metadata(record.metadata, key).get(_SAID_AT)
        return cls(
            number,
            scope.decode(record.body, key),
            from_microseconds(record.created_us) if said_at is None else datetime.fromisoformat(said_at),
        )


def metadata_of(record: Record) -> str | None:
    """The metadata of a message's copy."""
    return record.metadata or values.encode_metadata({_SAID_AT: from_microseconds(record.created_us).isoformat()})


class Snapshot(NamedTuple):
    """All of a session as it was at one moment.

    Attributes:
        head: as if the messages here were all.
        messages: the kept ones by number, up to the one that was asked for.
        state: None for none.
    """

    head: Head
    messages: dict[int, Record]
    state: Record | None


def snapshot(gateway: Gateway, layout: Layout, upto: int | None) -> Snapshot:
    """Read a session as it is at one moment, however long that takes.

    Messages never change, so what was read stays good. What came meanwhile is read next, in one view with the head and
    the state, until a view finds nothing new.

    Raises:
        InvalidOperation: there is no such session.
        CorruptEntry: a message is missing.
        Unavailable: others wrote all the time.
    """
    head: Head | None = None
    read: dict[int, Record] = {}
    for _ in retry.rounds(retry.DEFAULT_ATTEMPTS):
        missing = [] if head is None else [number for number in _kept(head, upto) if number not in read]
        keys = [] if head is None else [layout.state(head), *(layout.message(head, number) for number in missing)]
        found = gateway.fetch([layout.head, *keys])
        now = _head(gateway, layout, found)
        if head is None or now.incarnation != head.incarnation:
            head, read = now, {}
            continue
        read |= {number_of(key): record for key, record in found.items() if key in keys[1:]}
        _require(gateway, layout, now, [number for number in missing if number not in read])
        if all(number in read for number in _kept(now, upto)):
            return _cut(now, {number: read[number] for number in _kept(now, upto)}, found.get(layout.state(now)))
        head = now
    raise Unavailable(f"a session was written to at each of {retry.DEFAULT_ATTEMPTS} attempts to read all of it")


def _kept(head: Head, upto: int | None) -> range:
    return range(head.first, (head.last if upto is None else min(head.last, upto)) + 1)


def _head(gateway: Gateway, layout: Layout, found: dict[str, Record]) -> Head:
    key = gateway.scope.relative(layout.head)
    if layout.head not in found:
        raise InvalidOperation(key, "there is no session to fork")
    return decoded(found[layout.head], key)


def _require(gateway: Gateway, layout: Layout, head: Head, missing: list[int]) -> None:
    for number in missing:
        if number >= head.first:
            key = gateway.scope.relative(layout.message(head, number))
            raise CorruptEntry(key, "it is missing, though the session has it")


def _cut(head: Head, messages: dict[int, Record], state: Record | None) -> Snapshot:
    last = max(messages, default=head.first - 1)
    size_bytes = sum(len((record.body or "").encode()) for record in messages.values())
    return Snapshot(changed(head, last=last, size_bytes=size_bytes), messages, state)
