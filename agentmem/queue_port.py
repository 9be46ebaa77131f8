"""The port of a work queue: what a backend does natively so that `memory.queue(name)` works.

Users never need this module; authors of backends do. What crosses it is validated and encoded: queue names are absolute
and are keys under R1, dedup keys and groups are texts under R1, values are JSON text, errors are texts of at most 4,096
bytes of UTF-8 without NUL, durations are whole milliseconds, limits are 1 to 1,000.

An item is in one of five states:

    delayed   it waits for its time (`delay`, or a nack with one)
    blocked   it waits for another item of its group, and perhaps for its time as well
    ready     it can be claimed
    leased    somebody works on it, until its lease ends; from then on it counts as ready
    dead      it was claimed as often as it may be, or buried; only `redrive` and `purge` touch it

By the server's clock alone, without anybody's intervention: a delayed item whose time has come is ready, an item whose
lease has ended is ready, or dead where its attempts are used up; and the next one of its group is no more blocked. An
answer shows that at once, whatever the books say.

Of a group at most one item is ready, delayed or leased, and all others that are not dead are blocked: it is the leased
one, if there is one, or else that of the lowest id. (An item that is redriven keeps its id: so it may come before one
that is ready, which is blocked then, or wait for one that is leased.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome

State = Literal["delayed", "blocked", "ready", "leased", "dead"]
Verb = Literal["ack", "nack", "extend", "bury"]


class NewItem(NamedTuple):
    """What is put.

    Attributes:
        body: JSON text.
        delay_ms: so long nobody can claim it.
        priority: higher ones are claimed first; -1,000 to 1,000.
        dedup_key: while an item of this key is in the queue and not dead, putting another one does nothing.
        group: items of a group are worked on one after the other, in the order in which they were put.
        max_attempts: after so many claims it is dead; 0 for any number.
    """

    body: str
    delay_ms: int = 0
    priority: int = 0
    dedup_key: str | None = None
    group: str | None = None
    max_attempts: int = 0


class Item(NamedTuple):
    """An item as it is stored.

    Attributes:
        id: rises in the order of putting within a queue; never used again in it, not even after a purge.
        fence: of the present or last lease; rises with every claim of the item and is never reset. 0 before the first.
            An id with its fence never comes again, not even after the partition was dropped.
        attempts: claims so far, the present one included; a redrive sets it to 0.
        enqueued_at: when it was put.
        available_at: when it could, or can, first be claimed: since it was put, nacked or redriven.
        leased_until: the end of the present lease; None when it is not leased.
        error: what the last nack or bury said; None for nothing.
    """

    id: int
    body: str
    priority: int
    dedup_key: str | None
    group: str | None
    max_attempts: int
    attempts: int
    fence: int
    state: State
    enqueued_at: datetime
    available_at: datetime
    leased_until: datetime | None
    error: str | None


class Put(NamedTuple):
    """Put an item into a queue."""

    queue: str
    item: NewItem


class Settle(NamedTuple):
    """Decide about a leased item; refused unless the lease stands: leased by this very `fence`, and not ended.

    No two settles of a step are of one item.

    Attributes:
        verb: `ack` removes it; `nack` gives it back, to be ready after `delay_ms`, or makes it dead where its attempts
            are used up; `extend` lets its lease end `delay_ms` from now; `bury` makes it dead.
        error: kept with the item by nack and bury.
    """

    queue: str
    id: int
    fence: int
    verb: Verb
    delay_ms: int = 0
    error: str | None = None


class Claim(NamedTuple):
    """Lease up to `limit` items that are ready: the highest priority first, then the lowest id.

    Attributes:
        request_id: while any item is leased by a claim of this id, the same claim gives just those items again, with
            the same fences, attempts and ends, and leases no others: so a claim whose reply was lost can be repeated.
    """

    queue: str
    limit: int
    lease_ms: int
    request_id: str


class Exchange(NamedTuple):
    """One atomic step: all of it, or nothing.

    In this order: `settles`, `puts`, `claim`, and `commands`, which are of the same partition's entries. What a settle
    or put of the same step makes ready can be claimed in it.
    """

    settles: Sequence[Settle] = ()
    puts: Sequence[Put] = ()
    claim: Claim | None = None
    commands: Sequence[Command] = ()


class PutOutcome(NamedTuple):
    """The id of the item that is in the queue now, and whether it is the one that was put."""

    id: int
    created: bool


class Exchanged(NamedTuple):
    """What became of an exchange.

    Attributes:
        puts: of each put, in order.
        items: what the claim leased, in the order of the claim.
        outcomes: of each command, in order.
        ends: the new end of the lease, of each settle that is an `extend`, in order.
    """

    puts: list[PutOutcome]
    items: list[Item]
    outcomes: list[Outcome]
    ends: Sequence[datetime] = ()


class Counts(NamedTuple):
    """How many items of a queue are in each state, as of one moment."""

    ready: int = 0
    delayed: int = 0
    blocked: int = 0
    leased: int = 0
    dead: int = 0

    @property
    def open(self) -> int:
        """Those that are still to be done, now or later: all but the dead ones."""
        return self.ready + self.delayed + self.blocked + self.leased


class QueueStore(ABC):
    """The queues of a repository; `Repository.queues`.

    Thread safety, errors and durability: as `Repository`. Atomicity: `exchange` is all or nothing, also when the
    process or the server dies. A queue is there when something was put into it; nothing need be made or declared.
    `Repository.drop_partition` removes the partition's queues; `remove`, `count`, `scan` and `statistics` do not know
    them. `Repository.verify` looks at their books, too.
    """

    @abstractmethod
    def exchange(self, partition: str, step: Exchange) -> Exchanged:
        """Do one step, creating the partition when something is to be stored and it is missing.

        One round trip; with `commands` at most two more than `Repository.apply` of them.

        Raises:
            NamespaceError: the partition's policy has a namespace that does not begin the name of a queue into which
                something is put, which is looked at before all else. Nothing was changed.
            LeaseLost: the lease of one or more settles does not stand; `items` names all of them. Nothing was changed.
            As `Repository.apply`, for `commands`.
        """

    @abstractmethod
    def peek(self, partition: str, queue: str, limit: int, *, dead: bool = False) -> list[Item]:
        """Items that could be claimed now, in the order of claims; or the dead ones, the lowest id first."""

    @abstractmethod
    def counts(self, partition: str, queue: str) -> Counts:
        """All zero for a queue that is not there."""

    @abstractmethod
    def redrive(self, partition: str, queue: str, limit: int) -> int:
        """Make up to `limit` dead items ready (or blocked) again, the lowest id first, with no attempts.

        An item whose `dedup_key` another one has taken meanwhile stays dead, and does not count; of two dead items of
        one key the first is taken. `error` stays. Returns how many were revived.
        """

    @abstractmethod
    def purge(self, partition: str, queue: str, *, dead: bool) -> int:
        """Remove every item, or with `dead` the dead ones; in bounded atomic pieces. Returns how many.

        Who has leased one of them loses the lease.
        """

    @abstractmethod
    def names(self, partition: str, prefix: str = "") -> list[str]:
        """The queues that hold anything, by code point, among those whose name begins with `prefix`."""

    @abstractmethod
    def wait(self, partition: str, queue: str, seconds: float) -> None:
        """Return when an item is ready, at once if one is already, or after `seconds`; may return early for no reason.

        Holds no pooled connection and does not poll at short intervals. An item that becomes ready by time alone (a
        delay, an ended lease) is seen no later than it becomes ready plus half a second; one that another process put,
        as soon as the backend can tell.
        """
