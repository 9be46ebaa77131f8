"""Fencing: writes that happen only while a lease stands.

Martin Kleppmann, "How to do distributed locking", 2016: a holder that was away may believe in a lease that has ended,
so the store itself must refuse its writes. Here the check of the lease is part of the very batch that writes.
"""

# ruff: noqa: ARG002, D102 - what overrides has a fixed signature, and says only where it differs

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

from agentmem import retry, values
from agentmem.commands import CheckCommand, Command, Outcome
from agentmem.errors import CorruptEntry, InvalidArgument, LeaseLost, PermissionDenied, VersionConflict
from agentmem.queue_port import Counts, Exchange, Exchanged, Item, QueueStore
from agentmem.repository import Policy, Position, Query, Repository, Slice

if TYPE_CHECKING:
    from agentmem.entries import Partition, Problem, Record, Stats
    from agentmem.keys import Pattern
    from agentmem.qtable_port import QTableStore

T = TypeVar("T")


class Token(NamedTuple):
    """Says under which lease something is written. Small, picklable, good in any process on the same store.

    Attributes:
        partition: where the lease is.
        key: of the lease, without regard to any handle's prefix.
        acquisition: drawn at random when the lease was acquired, and kept by renewals.
        version: of the lease's entry when the token was taken; renewals since then do no harm.
    """

    partition: str
    key: str
    acquisition: str
    version: int

    @property
    def token(self) -> Token:
        """Itself: so a token serves wherever a lease does."""
        return self


class Fence(Protocol):
    """A `Lease` or a `Token`."""

    @property
    def token(self) -> Token:
        """The token."""


def token_of(fence: Fence, partition: str) -> Token:
    """The token of a fence that is to guard a partition.

    Raises:
        InvalidArgument: it is none, or of another partition, where no batch could check it.
        LeaseLost: a lease that is not held.
    """
    token = getattr(fence, "token", None)
    if not isinstance(token, Token):
        raise InvalidArgument(f"a fence is a lease or its token, not {type(fence).__name__}")
    _require_partition(token, partition)
    return token


def _require_partition(token: Token, partition: str) -> None:
    if token.partition != partition:
        raise InvalidArgument(
            f"the lease {token.key!r} is of the partition {token.partition!r}: it cannot fence what is written to "
            f"{partition!r}"
        )


class Guard:
    """A token, and the version that its lease was last seen with. Any number of threads may share it."""

    __slots__ = ("token",)

    def __init__(self, token: Token) -> None:
        self.token = token

    def call(self, attempt: Callable[[int], T]) -> T:
        """Call `attempt(version)`, which must be refused by VersionConflict unless the lease has this version.

        A renewal that came between costs another attempt; where threads renew one lease together, they take turns.

        Raises:
            LeaseLost: the lease does not stand.
            AgentMemError: what else `attempt` raises.
        """
        conflict: VersionConflict | None = None
        for _ in retry.rounds(retry.DEFAULT_ATTEMPTS):
            token = self.token
            try:
                return attempt(token.version)
            except VersionConflict as error:
                if (error.key, error.expected) != (token.key, token.version):
                    raise
                self.token = _renewed(token, error)
                conflict = error
        assert conflict is not None  # noqa: S101 - there is at least one attempt
        raise conflict


def _renewed(token: Token, conflict: VersionConflict) -> Token:
    current: Record | None = conflict.current
    if current is None or acquisition_of(current) != token.acquisition:
        raise LeaseLost(token.key) from conflict
    return token._replace(version=current.version)


def acquisition_of(record: Record) -> Any:
    """Which acquisition of a lease an entry is of; None for what is no lease."""
    return fields_of(record).get("acquisition")


def fields_of(record: Record) -> dict[str, Any]:
    """What a lease's entry holds; empty for what is no lease."""
    try:
        value = values.decode(record.body, record.key)
    except CorruptEntry:
        return {}
    return value if isinstance(value, dict) else {}


class FencedRepository(Repository):
    """A repository whose writes are refused by LeaseLost unless a lease stands; reads go through.

    What cannot be one batch with the check is refused by PermissionDenied.

    Args:
        repository: what to write to.
        token: under which lease.
    """

    def __init__(self, repository: Repository, token: Token) -> None:
        self.name = repository.name  # type: ignore[misc]  # each stands for another backend
        self.max_value_bytes = repository.max_value_bytes
        self.location = getattr(repository, "location", None)
        self._inner = repository
        self._guard = Guard(token)

    def guarded(self, partition: str, attempt: Callable[[CheckCommand], T]) -> T:
        """Call `attempt` with the command that checks the lease, which it must put in front of its batch."""
        key = self._guard.token.key
        _require_partition(self._guard.token, partition)
        return self._guard.call(lambda version: attempt(CheckCommand(key, version)))

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """As Repository says.

        Raises:
            LeaseLost: the lease does not stand. Nothing was written.
            InvalidArgument: the lease is of another partition.
        """
        return self.guarded(partition, lambda check: self._inner.apply(partition, [check, *commands]))[1:]

    @property
    def queues(self) -> QueueStore:
        """As Repository says; of other partitions and of what is no exchange, see the class."""
        return FencedQueues(self._inner.queues, self)

    @property
    def qtables(self) -> QTableStore:
        """Refused: a step of learning is no part of a batch."""
        _refuse("learn")

    def joined(self, transaction: object) -> Repository:
        """As Repository says: the lease must stand in the host's transaction."""
        return FencedRepository(self._inner.joined(transaction), self._guard.token)

    def remove(self, partition: str, query: Query) -> int:
        _refuse("clear or delete_matching")

    def purge(self, limit: int) -> int:
        _refuse("purge_expired")

    def define_partition(self, name: str, policy: Policy) -> None:
        _refuse("set a partition's policy")

    def drop_partition(self, name: str) -> int:
        _refuse("drop_partition")

    # What reads goes through; see Repository.

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        return self._inner.fetch(partition, keys, bodies=bodies)

    def fetch_one(self, partition: str, key: str) -> Record | None:
        return self._inner.fetch_one(partition, key)

    def scan(
        self, partition: str, query: Query, *, after: Position | None = None, limit: int, bodies: bool = True
    ) -> Slice:
        return self._inner.scan(partition, query, after=after, limit=limit, bodies=bodies)

    def count(self, partition: str, query: Query) -> int:
        return self._inner.count(partition, query)

    def statistics(self, partition: str | None = None, pattern: Pattern | None = None) -> Stats:
        return self._inner.statistics(partition, pattern)

    def partitions(self) -> list[Partition]:
        return self._inner.partitions()

    def verify(self) -> list[Problem]:
        return self._inner.verify()

    def server_time(self) -> datetime:
        return self._inner.server_time()

    def ping(self) -> None:
        self._inner.ping()

    def close(self) -> None:
        """The repository that is fenced stays its owner's to close."""


class FencedQueues(QueueStore):
    """A repository's queues behind the fence of a FencedRepository."""

    def __init__(self, queues: QueueStore, fence: FencedRepository) -> None:
        self._inner = queues
        self._fence = fence

    def exchange(self, partition: str, step: Exchange) -> Exchanged:
        """As QueueStore says.

        Raises:
            LeaseLost: the fence's lease does not stand, then `items` is empty; or that of an item.
        """

        def attempt(check: CheckCommand) -> Exchanged:
            return self._inner.exchange(partition, step._replace(commands=[check, *step.commands]))

        done = self._fence.guarded(partition, attempt)
        return done._replace(outcomes=done.outcomes[1:])

    def redrive(self, partition: str, queue: str, limit: int) -> int:
        _refuse("redrive")

    def purge(self, partition: str, queue: str, *, dead: bool) -> int:
        _refuse("purge a queue")

    def peek(self, partition: str, queue: str, limit: int, *, dead: bool = False) -> list[Item]:
        return self._inner.peek(partition, queue, limit, dead=dead)

    def counts(self, partition: str, queue: str) -> Counts:
        return self._inner.counts(partition, queue)

    def names(self, partition: str, prefix: str = "") -> list[str]:
        return self._inner.names(partition, prefix)

    def wait(self, partition: str, queue: str, seconds: float) -> None:
        self._inner.wait(partition, queue, seconds)


def _refuse(what: str) -> NoReturn:
    raise PermissionDenied(f"a fenced memory cannot {what}: that could not be one step with the check of the lease")
