"""The port: what a backend must do so that `Memory` can do everything else.

Users never need this module; authors of backends do. Everything that crosses it is already validated and encoded:
keys are absolute, values are JSON text, TTLs are integers (agentmem.ttl), filters are parsed trees (agentmem.filters).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from agentmem.entries import Partition, Problem, Record, Stats
from agentmem.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

    from agentmem.commands import Command, Outcome
    from agentmem.filters import Filter
    from agentmem.keys import Pattern
    from agentmem.qtable_port import QTableStore
    from agentmem.queue_port import QueueStore

DEFAULT_MAX_VALUE_BYTES = 1024 * 1024


class Query(NamedTuple):
    """Which living entries, and in which order.

    Attributes:
        pattern: which keys; its literal prefix bounds what the query may cost.
        where: which of them; None for all.
        order: by key (code points), or by time of the last write, then key.
        descending: the reverse.
    """

    pattern: Pattern
    where: Filter | None = None
    order: Literal["key", "updated"] = "key"
    descending: bool = False


class Position(NamedTuple):
    """Where a page ended: the next one begins strictly after it.

    Attributes:
        key: the last key given, or any text that a key could be compared with.
        updated_us: its `updated_at` in microseconds since 1970; 0 when ordered by key.
        as_of_us: when the walk began by the server's clock; entries written later are not part of a walk by
            "updated", or one that is rewritten meanwhile would come twice. 0 when ordered by key.
        inclusive: by ascending key only: the next page begins at `key` itself, if there is such a key. So a walk can
            jump past everything under a common prefix.
    """

    key: str
    updated_us: int = 0
    as_of_us: int = 0
    inclusive: bool = False


def in_pieces(remove: Callable[[int], int], most: int, at_once: int) -> int:
    """Remove up to `most` by calls for up to `at_once`, until one finds fewer than it may; how many were removed."""
    removed = 0
    while removed < most:
        piece = min(most - removed, at_once)
        found = remove(piece)
        removed += found
        if found < piece:
            break
    return removed


class Slice(NamedTuple):
    """What a scan found: at most `limit` records in order, and when the walk began (see Position.as_of_us)."""

    records: list[Record]
    as_of_us: int = 0


class Policy(NamedTuple):
    """What `define_partition` sets. None in a field leaves what stands; NEVER as `default_ttl`, or "", clears it.

    Attributes:
        index_values: whether searches with `where` are to be fast at the expense of writes. Advice: a backend may
            ignore it, and what is found is the same.
    """

    default_ttl: int | None = None
    namespace: str | None = None
    description: str | None = None
    index_values: bool | None = None


class Repository(ABC):
    """One store: many partitions of entries.

    Thread safety: every method may be called from any number of threads at once; more threads than connections wait,
    up to the pool's time-out, and then get `PoolTimeout`.
    Atomicity: `apply` is all or nothing within its partition, whatever its size, also when the process or the server
    dies; no reader sees half of it. `fetch` is one consistent view of its keys.
    Time: the server's clock decides what lives. An entry past its expiry is absent from every answer here.
    Versions: strictly increase over all writes to a key and are never used twice, not even after a delete or expiry.
    Durability: `apply` returns when the write is as durable as the backend was configured to be.
    Errors: only those of agentmem.errors leave these methods. A read is retried once on a broken connection; a write
    never, unless it cannot have been applied.
    Ordering: keys sort by code point. Operations on one key within a batch apply in order.
    """

    #: What `Stats.backend` says.
    name: ClassVar[str]

    #: Above this an encoded body is refused, also one that grows by an append or a merge.
    max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES

    @abstractmethod
    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        """Return the living entries among `keys`, any number of them, in one consistent view.

        With `bodies` False the records' body and metadata may be None.
        """

    def fetch_one(self, partition: str, key: str) -> Record | None:
        """Return one living entry: `fetch` of one key, for backends that can do that faster."""
        return self.fetch(partition, (key,)).get(key)

    @abstractmethod
    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        """Apply the commands in order, all or nothing, creating the partition when it is missing.

        Raises:
            VersionConflict: an expectation failed; `current` is the living Record.
            NamespaceError: a key to be stored is outside of the partition's namespace.
            InvalidOperation, CounterOverflow, InvalidValue, ValueTooLarge: a stored value does not bear its command.
            OutcomeUnknown: the connection broke after the batch was sent.
        """

    @abstractmethod
    def scan(
        self, partition: str, query: Query, *, after: Position | None = None, limit: int, bodies: bool = True
    ) -> Slice:
        """Return the first `limit` living entries that match, beyond `after`.

        Fewer than `limit` records mean that the walk is at its end. Ordered by key, the cost follows what is
        returned; ordered by "updated" or with `where` it may cost what the pattern's literal prefix covers.
        """

    @abstractmethod
    def count(self, partition: str, query: Query) -> int:
        """Count the living entries that match."""

    @abstractmethod
    def remove(self, partition: str, query: Query) -> int:
        """Remove the entries that match and return how many were living.

        Works in bounded atomic pieces, so that other writers never wait long; a query without `where` also removes
        dead entries under its pattern, uncounted.
        """

    @abstractmethod
    def statistics(self, partition: str | None = None, pattern: Pattern | None = None) -> Stats:
        """One consistent account: of the whole store, or of what a pattern covers in one partition."""

    @abstractmethod
    def purge(self, limit: int) -> int:
        """Remove up to `limit` expired entries of any partition, in one short step; return how many."""

    @abstractmethod
    def define_partition(self, name: str, policy: Policy) -> None:
        """Create the partition if need be, and set what the policy names."""

    @abstractmethod
    def partitions(self) -> list[Partition]:
        """All partitions, sorted by name."""

    @abstractmethod
    def drop_partition(self, name: str) -> int:
        """Remove a partition, its entries and its policy; return how many entries were living."""

    @abstractmethod
    def verify(self) -> list[Problem]:
        """Check the store's own books: versions, time stamps, orphans, indexes, decodability."""

    @abstractmethod
    def server_time(self) -> datetime:
        """The clock that decides what lives, as an aware UTC datetime; one round trip."""

    @abstractmethod
    def ping(self) -> None:
        """One round trip; raises Unavailable when there is no answer."""

    def joined(self, transaction: object) -> Repository:
        """This store as seen and written from within a host's transaction: for backends whose hosts have some.

        Raises:
            ConfigurationError: this backend has none to join, or not this kind.
        """
        raise ConfigurationError(f"{self.name} cannot join a transaction of {type(transaction).__module__}")

    @property
    def queues(self) -> QueueStore:
        """The work queues, for backends that have them.

        Raises:
            ConfigurationError: this backend has none.
        """
        raise ConfigurationError(f"{self.name} has no work queues")

    @property
    def qtables(self) -> QTableStore:
        """The learned values, for backends that have them.

        Raises:
            ConfigurationError: this backend has none.
        """
        raise ConfigurationError(f"{self.name} has no learned values")

    @abstractmethod
    def close(self) -> None:
        """Release every connection that the repository opened. Idempotent; other methods raise Closed afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
