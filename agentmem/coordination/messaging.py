"""What a fleet's agents tell each other: messages to all, numbered by the server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agentmem import arguments, retry
from agentmem.coordination.blackboard import Blackboard, name_of
from agentmem.coordination.pauses import Pauses
from agentmem.errors import VersionConflict
from agentmem.operations import Delete, Operation, Put
from agentmem.repository import Position, Query

if TYPE_CHECKING:
    from datetime import datetime

    from agentmem.coordination.member import Member
    from agentmem.entries import Entry
    from agentmem.transaction import Transaction
    from agentmem.ttl import TTL

DAY_SECONDS: Final = 24 * 3600
KEPT: Final = 1000
"""Messages, where nothing else is said."""
POLL_SECONDS: Final = (0.02, 1.0)
"""The bounds of the pauses between two looks for messages."""
_DIGITS: Final = 16
"""Of a number in a key, so that keys sort as numbers do."""
_ATTEMPTS: Final = 200
"""Each conflict means that another message got its number; so many in a row befall nobody in practice."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to a fleet.

    Attributes:
        number: 1, 2, 3, … in the one order in which all agents get them. A gap is a message that expired or was
            trimmed.
        message: what was sent.
        sender: the agent's name, if it gave one.
        sent_at: by the server's clock.
    """

    number: int
    message: Any
    sender: str | None
    sent_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Message:
        """Read it from its entry."""
        number = int(entry.key[-_DIGITS:])
        return cls(number, entry.value["message"], entry.value["sender"], entry.created_at)


class Messaging(Blackboard):
    """The part of `Fleet` that carries messages.

    `last` holds the number of the newest message and `messages/<number>` a message; both are written in one batch that
    checks `last`. So numbers have no gaps when they are given, and whoever sees a message sees all before it.
    """

    def broadcast(self, message: Any, *, ttl: TTL = DAY_SECONDS, keep: int = KEPT, sender: str | None = None) -> int:
        """Send a message to all agents, those that join later included; return its number.

        Args:
            message: JSON.
            ttl: how long it can be read; a day, unless another is given.
            keep: how many messages are kept: the one so many before this is removed in the same step. Should be the
                same for all of a fleet.
            sender: who says so; `member.broadcast` fills it in.

        Raises:
            OutcomeUnknown: sent again, it may come twice.
        """
        arguments.whole("keep", keep)
        content = {"message": message, "sender": sender}
        conflict: VersionConflict | None = None
        for _ in retry.rounds(_ATTEMPTS):
            current: Entry | None = None if conflict is None else conflict.current
            number = 1 if current is None else current.value + 1
            writes = [self._head(number, current), Put(self._message_key(number), content, ttl=ttl)]
            try:
                self._memory.apply(writes + self._trimmed(number - keep))
            except VersionConflict as error:
                conflict = error
            else:
                return number
        assert conflict is not None  # noqa: S101 - there is at least one round
        raise conflict

    def _head(self, number: int, current: Entry | None) -> Operation:
        version = None if current is None else current.version
        return Put(f"{self.prefix}last", number, ttl=None, if_version=version, if_absent=current is None)

    def _trimmed(self, number: int) -> list[Operation]:
        return [Delete(self._message_key(number))] if number > 0 else []

    def _message_key(self, number: int) -> str:
        return self._key("messages", f"{number:0{_DIGITS}d}")

    def messages(self, agent: str | Member, *, limit: int = 100, timeout: float | None = None) -> list[Message]:
        """The next messages for an agent: those after its cursor, in order.

        They come again at the next call, until `commit` moves the cursor: so an agent that dies while it handles one
        gets it again (at least once). The cursor is kept in memory under the agent's name; one that never committed
        gets all messages that are kept. Two round trips, at the cost of what is returned.

        Args:
            agent: whose cursor.
            limit: the most messages that are returned.
            timeout: seconds to wait where there is none, with pauses that grow up to a second; None does not wait.
        """
        arguments.whole("limit", limit)
        seconds = arguments.seconds_or_none("timeout", timeout)
        deadline = time.monotonic() + (seconds or 0.0)
        after = self._memory.get(self._cursor_key(agent), 0)
        pauses = Pauses(*POLL_SECONDS)
        while True:
            began = time.monotonic()
            found = self._messages_after(after, limit)
            now = time.monotonic()
            if found or now >= deadline:
                return found
            time.sleep(min(pauses.after(now - began, found=False), deadline - now))

    def _messages_after(self, number: int, limit: int) -> list[Message]:
        scope = self._gateway.scope
        query = Query(scope.under(f"{self.prefix}messages/"))
        position = Position(scope.absolute(self._message_key(number)))
        found = self._gateway.scan(query, after=position, limit=limit)
        return [Message.of(scope.entry(record)) for record in found.records]

    def commit(self, agent: str | Member, number: int) -> None:
        """Move an agent's cursor past a message: all up to this number are done. It never moves back."""
        arguments.whole("number", number)
        key = self._cursor_key(agent)

        def move(tx: Transaction) -> None:
            if tx.get(key, 0) < number:
                tx.put(key, number, ttl=None)

        self._memory.run(move)

    def _cursor_key(self, agent: str | Member) -> str:
        return self._key("cursors", name_of(agent))
