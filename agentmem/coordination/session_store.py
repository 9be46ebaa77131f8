"""How a session is read and written: under its head's version, and so that all of it lives as long as its head.

Every write is one atomic batch that puts the head under the version that it was read with; whoever was second begins
again with the head that the conflict shows. The head has the session's TTL, and decides alone what is seen. All the
rest gets a TTL that is several times as long, and is renewed when the head would outlive it: so sliding costs one entry
a write, and what an ended session leaves ends too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from agentmem import retry
from agentmem.commands import Command, DeleteCommand, Outcome, PutCommand, TouchCommand
from agentmem.coordination.clock import server_now
from agentmem.coordination.session_layout import Head, Layout, changed, decoded, new_head, number_of
from agentmem.entries import record_of
from agentmem.errors import LeaseLost, VersionConflict
from agentmem.moments import microseconds
from agentmem.ttl import NEVER

if TYPE_CHECKING:
    from agentmem.entries import Record
    from agentmem.gateway import Gateway

T = TypeVar("T")

ATTEMPTS: Final = 64
"""So often a write begins again before it gives up: many more than agents that share one session."""
LONGER: Final = 4
"""How many times longer than the head the rest lives when it is written or renewed."""
_SLACK: Final = 10
"""A reader renews the head when more than a tenth of its TTL has passed since the last write."""
_LARGEST_PIECE: Final = 512


class Committed(NamedTuple):
    """What a write found and left, and what became of its commands; none where there was nothing to do."""

    before: Head
    after: Head
    outcomes: list[Outcome]


class Limits(NamedTuple):
    """How much of a session is kept; None for all of it."""

    keep: int | None = None
    max_bytes: int | None = None


class SessionStore:
    """One session behind a gateway.

    Args:
        gateway: the way there.
        layout: its keys.
        ttl_ms: its TTL; None for the one that it has, or never where it begins.
    """

    def __init__(self, gateway: Gateway, layout: Layout, ttl_ms: int | None) -> None:
        self.layout = layout
        self._gateway = gateway
        self._ttl_ms = ttl_ms
        self._head_key = gateway.scope.relative(layout.head)

    # Reading.

    def find(self) -> Record | None:
        """The head's entry."""
        return self._gateway.fetch_one(self.layout.head)

    def read(self) -> Head | None:
        """The head for who is about to read the session; its expiry moves when it is due."""
        found = self.find()
        if found is None:
            return None
        head = self._head(found)
        if self._is_due(found, head):
            # Another writer has renewed it then, or ended it; and reads are not fenced.
            with contextlib.suppress(VersionConflict, LeaseLost):
                self._apply(found, head, head, [])
        return head

    def fetch(self, head: Head, numbers: Iterable[int]) -> dict[int, Record]:
        """Messages by their numbers; what was trimmed meanwhile is missing."""
        keys = [self.layout.message(head, number) for number in numbers]
        return {number_of(key): record for key, record in self._gateway.fetch(keys).items()} if keys else {}

    # Writing.

    def commit(self, change: Callable[[Head], tuple[Head, Sequence[Command]] | None]) -> Committed:
        """Change the session, which is begun where there is none.

        Args:
            change: makes of a head the next one, and the commands that go with it; may be called again. None for
                nothing to do.

        Raises:
            VersionConflict: other writers were first at every attempt, or a command's own expectation failed.
        """

        def attempt(found: Record | None) -> Committed:
            before = self._head(found)
            done = change(before)
            if done is None:
                return Committed(before, before, [])
            after, commands = done
            return Committed(before, after, self._apply(found, before, after, commands))

        return self._guarded(attempt)

    def begin(self, head: Head, commands: Sequence[Command]) -> None:
        """Begin the session with what is already there.

        Raises:
            VersionConflict: there is one.
        """
        self._apply(None, head, head, commands)

    def end(self) -> bool:
        """Remove all of it in one batch; whether there was anything."""

        def attempt(found: Record | None) -> bool:
            if found is None:
                return False
            keys = self.keys(self._head(found))
            self._gateway.apply([DeleteCommand(self.layout.head, found.version), *map(DeleteCommand, keys)])
            return True

        return self._guarded(attempt)

    def put(self, head: Head, key: str, body: str, metadata: str | None = None) -> PutCommand:
        """The command that stores a part of the session."""
        return PutCommand(key, body, metadata, self._ttl(head) * LONGER)

    def keys(self, head: Head) -> list[str]:
        """The keys of all parts but the head, the state's whether there is one or not."""
        messages = (self.layout.message(head, number) for number in range(head.first, head.last + 1))
        return [*messages, self.layout.state(head)]

    def trimmed(self, head: Head, limits: Limits, sizes: dict[int, int]) -> Head:
        """The head without the oldest messages that are beyond the limits; the newest one stays in any case.

        Args:
            head: as it would be without limits.
            limits: how much to keep.
            sizes: bytes of messages that are not stored yet; those of others are looked up as need be.
        """
        first, size_bytes = head.first, head.size_bytes
        keep, max_bytes = limits.keep or head.count, limits.max_bytes or size_bytes
        piece = 1
        while first < head.last and (head.last - first >= keep or size_bytes > max_bytes):
            if first not in sizes:
                piece = min(max(piece, head.last - first + 1 - keep), _LARGEST_PIECE)
                sizes = self._sizes(head, first, min(first + piece, head.last)) | sizes
                piece *= 2
            size_bytes -= sizes[first]
            first += 1
        return changed(head, first=first, size_bytes=size_bytes)

    def removals(self, before: Head, after: Head) -> list[Command]:
        """The commands that remove the stored messages which a head no longer keeps."""
        gone = range(before.first, min(after.first, before.last + 1))
        return [DeleteCommand(self.layout.message(before, number)) for number in gone]

    # How it is done.

    def _guarded(self, attempt: Callable[[Record | None], T]) -> T:
        found: Record | None = self.find()
        conflict: VersionConflict | None = None
        for _ in retry.rounds(ATTEMPTS):
            try:
                return attempt(found)
            except VersionConflict as error:
                if error.key != self._head_key:
                    raise
                conflict, found = error, record_of(error.current)
        assert conflict is not None  # noqa: S101 - there is at least one round
        raise conflict

    def _head(self, found: Record | None) -> Head:
        return new_head() if found is None else decoded(found, self._head_key)

    def _ttl(self, head: Head) -> int:
        return head.ttl_ms if self._ttl_ms is None else self._ttl_ms

    def _is_due(self, found: Record, head: Head) -> bool:
        ttl_ms = self._ttl(head)
        if ttl_ms == NEVER or found.expires_us is None:
            return ttl_ms != NEVER
        return microseconds(server_now(self._gateway)) - found.updated_us > ttl_ms * 1000 // _SLACK

    def _apply(self, found: Record | None, before: Head, after: Head, commands: Sequence[Command]) -> list[Outcome]:
        ttl_ms = self._ttl(before)
        until_us, renewals = self._renewals(found, before, after) if found and ttl_ms != NEVER else (0, [])
        head = PutCommand(
            self.layout.head,
            changed(after, ttl_ms=ttl_ms, until_us=until_us).encoded(),
            None,
            ttl_ms,
            None if found is None else found.version,
            found is None,
        )
        return self._gateway.apply([head, *renewals, *commands])[1 + len(renewals) :]

    def _renewals(self, found: Record, before: Head, after: Head) -> tuple[int, list[Command]]:
        """Until when all parts live at the least, and the commands that make it so.

        The server's time is not known here, but it is past the head's last write, and not past the head's end.
        """
        ttl_ms = self._ttl(before)
        begun_us = found.created_us + before.ttl_ms * LONGER * 1000
        written_us = found.updated_us + ttl_ms * LONGER * 1000
        until_us = min(before.until_us or begun_us, written_us)
        if found.expires_us is not None and found.expires_us + ttl_ms * 1000 <= until_us:
            return until_us, []
        kept = changed(after, last=min(after.last, before.last))
        return written_us, [TouchCommand(key, ttl_ms * LONGER) for key in self.keys(kept)]

    def _sizes(self, head: Head, first: int, beyond: int) -> dict[int, int]:
        found = self.fetch(head, range(first, beyond))
        # What somebody else has removed takes no room.
        return {n: len((found[n].body or "").encode()) if n in found else 0 for n in range(first, beyond)}
