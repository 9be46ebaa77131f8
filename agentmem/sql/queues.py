"""The work queues of the SQL repository: one implementation of the port over what the databases do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agentmem.queue_port import QueueStore
from agentmem.sql.queue_dialect import KINDS, PIECE
from agentmem.sql.queue_waiting import Waiting

if TYPE_CHECKING:
    from agentmem.entries import Problem
    from agentmem.queue_port import Counts, Exchange, Exchanged, Item
    from agentmem.sql.connections import EngineConnections, Link
    from agentmem.sql.joining import JoinedConnections
    from agentmem.sql.queue_dialect import QueueDialect
    from agentmem.sql.queue_listening import Listener
    from agentmem.sql.queue_waiting import Place
    from agentmem.sql.replicas import ReplicatedConnections

# What is blocked goes first, or each item that goes would make another one ready.
_ORDER_OF_PURGE = (KINDS.index("state = 3"), *(n for n, kind in enumerate(KINDS) if kind != "state = 3"))
_DEAD = KINDS.index("state = 4")


class SQLQueues(QueueStore):
    """All queues in one table (agentmem.sql.models.QueueItem).

    Args:
        connections: to the primary, or a host's one.
        dialect: what the database does.
        listener: hears of puts by other processes; None where nobody can.
    """

    def __init__(
        self,
        connections: EngineConnections | ReplicatedConnections | JoinedConnections,
        dialect: QueueDialect,
        listener: Listener | None = None,
    ) -> None:
        self._read = connections.read
        self._write = connections.write
        self._dialect = dialect
        # No method of ours, which would hold this store, and its connections, in a circle beyond the last reference.
        self._waiting = Waiting(partial(_look, connections.read, dialect), listener)

    def exchange(self, partition: str, step: Exchange) -> Exchanged:
        """As the port says; with commands two round trips more than `Repository.apply` of them."""
        done = self._write(lambda link: self._dialect.exchange(link, partition, step))
        for queue in {put.queue for put in step.puts} | {settle.queue for settle in step.settles}:
            self._waiting.wake((partition, queue))
        if step.claim is not None and len(done.items) == step.claim.limit:
            # There may be more: one that woke wakes the next.
            self._waiting.wake((partition, step.claim.queue))
        return done

    def peek(self, partition: str, queue: str, limit: int, *, dead: bool = False) -> list[Item]:
        """As the port says."""
        self._look_at_the_clock(partition, queue)
        return self._read(lambda link: self._dialect.peek(link, partition, queue, limit, dead=dead))

    def counts(self, partition: str, queue: str) -> Counts:
        """As the port says; costs what the queue holds."""
        self._look_at_the_clock(partition, queue)
        return self._read(lambda link: self._dialect.counts(link, partition, queue))

    def redrive(self, partition: str, queue: str, limit: int) -> int:
        """As the port says; in atomic pieces of 2,000 items."""
        self._look_at_the_clock(partition, queue)
        revived = self._pieces(lambda link, left: self._dialect.redrive(link, partition, queue, left), limit)
        self._waiting.wake((partition, queue))
        return revived

    def purge(self, partition: str, queue: str, *, dead: bool) -> int:
        """As the port says; in pieces of 2,000 items."""
        last = self._read(self._dialect.last)
        kinds = (_DEAD,) if dead else _ORDER_OF_PURGE
        if dead:
            self._look_at_the_clock(partition, queue)
        return sum(
            self._pieces(lambda link, _, kind=kind: self._dialect.purge(link, partition, queue, kind, last))  # type: ignore[misc]
            for kind in kinds
        )

    def names(self, partition: str, prefix: str = "") -> list[str]:
        """As the port says; one statement."""
        return self._read(lambda link: self._dialect.queues(link, partition, prefix))

    def wait(self, partition: str, queue: str, seconds: float) -> None:
        """As the port says."""
        self._waiting.wait((partition, queue), seconds)

    def drop(self, partition: str) -> None:
        """Remove all queues of a partition, in pieces; what is put meanwhile may stay."""
        for queue in self.names(partition):
            self.purge(partition, queue, dead=False)

    def close(self) -> None:
        """Let those who wait go, and end the listener."""
        self._waiting.close()

    def problems(self) -> list[Problem]:
        """As Repository.verify; reads every item."""
        return self._read(self._dialect.problems)

    def _look_at_the_clock(self, partition: str, queue: str) -> None:
        while self._read(lambda link: self._dialect.is_due(link, partition, queue)):
            if self._write(lambda link: self._dialect.ripen(link, partition, queue)) < PIECE:
                return

    def _pieces(self, piece: Callable[[Link, int], int], limit: int | None = None) -> int:
        done = 0
        while limit is None or done < limit:
            left = PIECE if limit is None else min(PIECE, limit - done)
            changed = self._write(lambda link, left=left: piece(link, left))  # type: ignore[misc]
            done += changed
            if changed < left:
                break
        return done


def _look(read: Callable[[Any], Any], dialect: QueueDialect, places: Sequence[Place]) -> Sequence[Place]:
    """Those among some queues where something may be ready."""
    found: Sequence[Place] = read(lambda link: dialect.ready(link, places))
    return found
