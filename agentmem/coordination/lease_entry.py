"""A lease in the store: the entry that is put if absent, renewed and deleted under its version."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agentmem import translate, values
from agentmem.commands import DeleteCommand, PutCommand
from agentmem.coordination.fencing import Guard, Token, acquisition_of
from agentmem.errors import LeaseLost, OutcomeUnknown, Unavailable, VersionConflict
from agentmem.moments import expiry

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome
    from agentmem.coordination.renewing import Renewals
    from agentmem.entries import Record
    from agentmem.gateway import Gateway


class Grant:
    """What a holder knows of its lease.

    Attributes:
        body: what its entry holds.
        guard: its token, renewed.
        sent_at: when the request was sent that the present ttl counts from, or earlier; `time.monotonic`.
        expires_at: the end as the server has it.
        process: whose it is.
        renewals: the thread that renews it, if any.
    """

    __slots__ = ("body", "expires_at", "guard", "process", "renewals", "sent_at")

    def __init__(self, body: str, token: Token, record: Record, sent_at: float) -> None:
        self.body = body
        self.guard = Guard(token)
        self.process = os.getpid()
        self.renewals: Renewals | None = None
        self.note(record, sent_at)

    def note(self, record: Record, sent_at: float) -> None:
        """Take over what a write of the holder made of the entry."""
        self.guard.token = self.guard.token._replace(version=record.version)
        self.expires_at = expiry(record.expires_us)
        self.sent_at = sent_at


class LeaseEntry:
    """The place of a lease.

    Args:
        gateway: the way there.
        key: absolute.
        ttl_ms: above 0.
        metadata: of the entry, JSON text.
    """

    def __init__(self, gateway: Gateway, key: str, ttl_ms: int, metadata: str | None) -> None:
        self.key = key
        self.ttl_ms = ttl_ms
        self.metadata = metadata
        self.max_value_bytes = gateway.scope.max_value_bytes
        self._gateway = gateway

    def look(self) -> Record | None:
        """The entry of who holds it; takes no lock from those who write."""
        return self._gateway.fetch_one(self.key)

    def bid(self, owner: str) -> Bid:
        """Begin to acquire it."""
        return Bid(self, owner)

    def renew(self, grant: Grant) -> None:
        """Let it end a ttl from now. May be sent again after any error.

        Raises:
            LeaseLost: it does not stand.
        """
        sent_at = time.monotonic()
        outcome = self._guarded(
            grant, lambda version: PutCommand(self.key, grant.body, self.metadata, self.ttl_ms, version)
        )
        assert outcome.record is not None, "a repository answers a put with its record"  # noqa: S101
        grant.note(outcome.record, sent_at)

    def release(self, grant: Grant) -> None:
        """Remove the entry, unless it is another holder's or gone already."""
        with contextlib.suppress(LeaseLost):
            try:
                self._guarded(grant, lambda version: DeleteCommand(self.key, version))
            except OutcomeUnknown:
                # Under its version it removes nobody else's, however often it is sent.
                self._guarded(grant, lambda version: DeleteCommand(self.key, version))

    def apply(self, command: Command) -> Outcome:
        """One write, errors in the repository's words."""
        return self._gateway.repository.apply(self._gateway.scope.partition, (command,))[0]

    def put(self, body: str) -> tuple[Record, bool]:
        """Put if absent: the entry that is there now, and whether it was put by this very call."""
        return self._gateway.call(self._put, PutCommand(self.key, body, self.metadata, self.ttl_ms, None, True))

    def token(self, acquisition: str, record: Record) -> Token:
        """The token of an acquisition."""
        return Token(self._gateway.scope.partition, self.key, acquisition, record.version)

    def _put(self, command: PutCommand) -> tuple[Record, bool]:
        try:
            return translate.stored(command, self.apply(command)), True
        except VersionConflict as conflict:
            if conflict.current is None:
                raise
            return conflict.current, False

    def _guarded(self, grant: Grant, command: Callable[[int], Command]) -> Outcome:
        """One write under the version that the lease has now, whatever renewals came between."""
        return self._gateway.call(grant.guard.call, lambda version: self.apply(command(version)))


class Bid:
    """One attempt to acquire a lease, made as often as need be, under one acquisition's id."""

    def __init__(self, entry: LeaseEntry, owner: str) -> None:
        self._entry = entry
        self._acquisition = secrets.token_hex(16)
        value = {"owner": owner, "acquisition": self._acquisition}
        self._body = values.encode(value, max_bytes=entry.max_value_bytes)
        self._unsure_since: float | None = None

    def make(self) -> Grant | Record:
        """The grant, or else the entry of who has the lease.

        Raises:
            OutcomeUnknown: replies were lost twice in a row.
        """
        sent_at = time.monotonic()
        record, is_fresh = self._put(sent_at)
        if acquisition_of(record) != self._acquisition:
            return record
        if not is_fresh and self._unsure_since is not None:
            # An earlier one came through whose reply was lost.
            sent_at = self._unsure_since
        return Grant(self._body, self._entry.token(self._acquisition, record), record, sent_at)

    def again(self) -> Grant | Record:
        """As `make`, after a look: it writes only where nobody else is the holder."""
        record = self._entry.look()
        return self.make() if record is None or acquisition_of(record) == self._acquisition else record

    def _put(self, sent_at: float) -> tuple[Record, bool]:
        try:
            return self._entry.put(self._body)
        except OutcomeUnknown as unknown:
            if self._unsure_since is None:
                self._unsure_since = sent_at
            try:
                # If that came through, this one finds an entry with our own acquisition's id.
                return self._entry.put(self._body)
            except Unavailable:
                raise unknown from None
