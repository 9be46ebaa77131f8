"""What is known of a queue, and its care: the half of `Queue` that neither puts nor claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agentmem import arguments, translate
from agentmem.jobs import QueueItem
from agentmem.operations import DEFAULT_MAX_ATTEMPTS
from agentmem.queue_port import Counts
from agentmem.ttl import Duration, duration_ms

if TYPE_CHECKING:
    from agentmem.gateway import Gateway

MAX_LIMIT: Final = 1000
"""How many items one step claims, shows or revives at most, so that other users of the server never wait long."""
DEFAULT_LEASE: Final = 30.0


class QueueCare:
    """The half of `Queue` that looks after what is in it.

    Args:
        gateway: the handle's.
        name: a key under R1; also the rules of namespaces hold (R4).
        lease: how long a claim lasts unless it says otherwise.
        max_attempts: after so many claims an item that is put here is dead; None for any number.

    Raises:
        InvalidKey, NamespaceError, InvalidArgument: a bad argument.
    """

    def __init__(
        self,
        gateway: Gateway,
        name: str,
        *,
        lease: Duration = DEFAULT_LEASE,
        max_attempts: int | None = DEFAULT_MAX_ATTEMPTS,
    ) -> None:
        self._gateway = gateway
        self._scope = gateway.scope
        self._path = self._scope.writable(name)
        self.name = self._scope.relative(self._path)
        self.lease_ms = duration_ms("lease", lease)
        translate.attempts(max_attempts)
        self.max_attempts = max_attempts
        gateway.check_open()

    def peek(self, limit: int = 10) -> list[QueueItem]:
        """Items that could be claimed now, in the order of claims, up to `limit` (at most 1,000) of them."""
        return self._peek(limit, dead=False)

    def dead(self, limit: int = 10) -> list[QueueItem]:
        """Dead items, the oldest first, up to `limit` (at most 1,000) of them; each tells its last error."""
        return self._peek(limit, dead=True)

    def counts(self) -> Counts:
        """How many items are `ready`, `delayed`, `blocked`, `leased` and `dead`, as of one moment."""
        return self._gateway.call(self._gateway.queues.counts, self._scope.partition, self._path)

    def redrive(self, limit: int | None = None) -> int:
        """Give dead items another chance: ready again, with no attempts, the oldest first; return how many.

        One whose `dedup_key` another one has taken meanwhile stays dead.

        Args:
            limit: how many at most; None for all, in atomic pieces of 1,000.
        """
        left = arguments.whole_or_none("limit", limit)
        total = 0
        while left is None or left > total:
            piece = MAX_LIMIT if left is None else min(MAX_LIMIT, left - total)
            revived = self._gateway.call(self._gateway.queues.redrive, self._scope.partition, self._path, piece)
            total += revived
            if revived < piece:
                break
        return total

    def purge(self, *, dead: bool = False) -> int:
        """Remove every item, leased ones as well, or with `dead` the dead ones; return how many.

        Works in bounded atomic pieces, so that others never wait long.
        """
        arguments.flag("dead", dead)
        return self._gateway.call(self._gateway.queues.purge, self._scope.partition, self._path, dead=dead)

    def __repr__(self) -> str:
        return f"Queue({self.name!r}, partition={self._scope.partition!r})"

    def _peek(self, limit: int, *, dead: bool) -> list[QueueItem]:
        most = arguments.whole("limit", limit, most=MAX_LIMIT)
        store = self._gateway.queues
        items = self._gateway.call(store.peek, self._scope.partition, self._path, most, dead=dead)
        return [QueueItem(self.name, item, self._scope.decode) for item in items]
