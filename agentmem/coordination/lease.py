"""Leases: a name that one holder has at a time, until it lets go of it or falls silent.

Gray and Cheriton, "Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache Consistency", 1989.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from agentmem import arguments, translate
from agentmem.coordination.clock import server_now
from agentmem.coordination.fencing import Token, fields_of
from agentmem.coordination.lease_entry import Grant, LeaseEntry
from agentmem.coordination.pauses import Pauses
from agentmem.coordination.renewing import Renewals
from agentmem.errors import AgentMemError, InvalidArgument, InvalidTTL, LeaseHeld, LeaseLost
from agentmem.keys import validate_name
from agentmem.moments import expiry
from agentmem.ttl import Duration, to_milliseconds

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from agentmem.entries import Record
    from agentmem.gateway import Gateway

_SHORTEST_SECONDS: Final = 0.01
_LONGEST_SECONDS: Final = 1.0
"""Who waits for a lease looks at it after pauses between these."""


class Lease:
    """Made by `memory.lease(name, ttl)` for one holder: another holder, of the same thread too, makes its own.

    Used as a `with` block, or by `acquire` and `release`. It belongs to the process that acquired it: a forked child
    holds nothing, and may acquire it as anybody else. While clocks run at one rate no two holders see `is_held` at the
    same time; but a process can be stopped between that look and a write. So what must not come too late is written
    with `memory.put(..., fence=lease)` or through `memory.fenced(lease)`.

    Attributes:
        name: the key of the lease's entry.
        ttl_seconds: how long it lasts without being renewed.
        lost: set when it was found lost, or will be renewed no more; cleared when it is acquired again. Work that
            should stop then waits for it or looks at it.
    """

    def __init__(
        self,
        gateway: Gateway,
        name: str,
        ttl: Duration,
        *,
        owner: str | None = None,
        wait: float = 0.0,
        renew: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        key = gateway.scope.writable(name)
        ttl_ms = _finite(ttl)
        self.name = gateway.scope.relative(key)
        self.ttl_seconds = ttl_ms / 1000
        self.lost = threading.Event()
        self._owner = None if owner is None else validate_name(owner, "lease's owner")
        self._wait_seconds = _waiting(wait)
        self._renews = arguments.flag("renew", renew)
        self._entry = LeaseEntry(gateway, key, ttl_ms, translate.encoded_metadata(metadata))
        self._gateway = gateway
        self._grant: Grant | None = None

    def acquire(self, wait: float | None = None) -> bool:
        """Try to become the holder; tell whether that was so.

        Where a reply is lost, the entry itself tells whether it is ours.

        Args:
            wait: seconds to keep trying while somebody else holds it, after pauses of random length; None for what the
                lease was made with, math.inf for ever.

        Raises:
            LeaseHeld: by this very object, at once, whatever `wait` says: a lease is not reentrant.
            NamespaceError, InvalidArgument, Unavailable: it was not acquired.
            OutcomeUnknown: replies were lost twice in a row; if it was acquired, it ends unused after its ttl.
        """
        return self._taken(self._wait_seconds if wait is None else _waiting(wait)) is None

    def renew(self) -> None:
        """Let it end a whole ttl from now. May be called again after any error but LeaseLost.

        Raises:
            LeaseLost: it is not held, or was found lost, which sets `lost`.
            Unavailable, OutcomeUnknown: it stands for as long as it did, or longer.
        """
        self.renew_grant(self._granted())

    def release(self) -> None:
        """Let go of it, so that others need not wait for its end. Idempotent; that it was lost is no error.

        Raises:
            Unavailable, OutcomeUnknown: it may stand until its end, and is renewed no more; may be called again.
        """
        grant = self._own()
        if grant is None:
            return
        if grant.renewals is not None:
            grant.renewals.stop()
        self._entry.release(grant)
        self._grant = None

    def __enter__(self) -> Self:
        """Acquire it, or raise LeaseHeld when it is still another's after `wait`."""
        holder = self._taken(self._wait_seconds)
        if holder is not None:
            raise LeaseHeld(self.name, str(fields_of(holder).get("owner", "what is no lease")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The block's own error says more than that of a release, without which the lease ends by itself.
        with contextlib.suppress(AgentMemError) if kind else contextlib.nullcontext():
            self.release()

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lease, by this process's clock alone: no call is made.

        Counted from before the request was sent, so it turns False before the server gives the lease to anybody else.
        """
        grant = self._own()
        if grant is None or self.lost.is_set():
            return False
        return time.monotonic() < grant.sent_at + self.ttl_seconds

    @property
    def expires_at(self) -> datetime | None:
        """When the server ends it unless it is renewed; None when it was not acquired, or was released."""
        grant = self._own()
        return None if grant is None else grant.expires_at

    @property
    def owner(self) -> str:
        """What its holder calls itself: as given, or host and process id."""
        return self._owner or f"{socket.gethostname()}:{os.getpid()}"

    @property
    def token(self) -> Token:
        """What fences writes, here or in another process; renewals leave it good.

        Whether the lease still stands, the server finds out when something is written.

        Raises:
            LeaseLost: it was not acquired, or was released.
        """
        return self._granted().guard.token

    def renew_grant(self, grant: Grant) -> None:
        """As `renew`, for one acquisition and none that follows it."""
        try:
            self._entry.renew(grant)
        except LeaseLost:
            if self._grant is grant:
                self.lost.set()
            raise

    def _own(self) -> Grant | None:
        grant = self._grant
        return grant if grant is not None and grant.process == os.getpid() else None

    def _granted(self) -> Grant:
        grant = self._own()
        if grant is None:
            raise LeaseLost(self.name)
        return grant

    def _taken(self, wait_seconds: float) -> Record | None:
        """Acquire it, or return the entry of who still has it when the time is over."""
        if self.is_held:
            raise LeaseHeld(self.name, self.owner)
        self._forget()
        deadline = time.monotonic() + wait_seconds
        pauses = Pauses(_SHORTEST_SECONDS, _LONGEST_SECONDS)
        bid = self._entry.bid(self.owner)
        found = bid.make()
        while not isinstance(found, Grant):
            now = time.monotonic()
            if now >= deadline:
                return found
            time.sleep(min(pauses.after(0, found=False), self._remaining(found), deadline - now))
            found = bid.again()
        self._hold(found)
        return None

    def _remaining(self, holder: Record) -> float:
        """Seconds until a lease ends, and a little more, lest one looks just before."""
        ends_at = expiry(holder.expires_us)
        if ends_at is None:
            return math.inf
        return max((ends_at - server_now(self._gateway)).total_seconds(), 0) + _SHORTEST_SECONDS

    def _hold(self, grant: Grant) -> None:
        self.lost.clear()
        self._grant = grant
        if self._renews:
            grant.renewals = Renewals(self, grant, self._gateway.lifetime)
            grant.renewals.start()

    def _forget(self) -> None:
        grant, self._grant = self._grant, None
        if grant is None or grant.renewals is None:
            return
        if grant.process == os.getpid():
            grant.renewals.stop()
        else:
            self.lost = threading.Event()  # it may have been forked while locked (R33)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}{', held' if self.is_held else ''}>"


def _finite(ttl: Duration) -> int:
    milliseconds = to_milliseconds(ttl)
    if milliseconds <= 0:
        raise InvalidTTL("a lease needs a ttl, after which it ends when its holder falls silent")
    return milliseconds


def _waiting(seconds: Any) -> float:
    if isinstance(seconds, bool) or not (isinstance(seconds, int | float) and seconds >= 0):
        raise InvalidArgument(f"wait must be a number of seconds of at least 0, not {seconds!r}")
    return float(seconds) if seconds < threading.TIMEOUT_MAX else math.inf
