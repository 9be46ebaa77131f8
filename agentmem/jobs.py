"""What a queue gives back: items, and jobs, which are items that somebody has leased."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from agentmem.errors import LeaseLost

if TYPE_CHECKING:
    from agentmem.queue_port import Item, State
    from agentmem.ttl import Duration


class Queued(NamedTuple):
    """What became of a put.

    Attributes:
        id: of the item that is in the queue now.
        created: whether it is the one that was put; False where an item of its `dedup_key` was there already.
    """

    id: int
    created: bool


class QueueItem:
    """An item of a queue as it was when the server answered. Immutable; all times are aware UTC datetimes.

    Attributes:
        queue: the queue's name, relative to the handle that gave it.
        id: rises in the order of putting; never used again in the queue.
        state: `ready`, `delayed`, `blocked`, `leased` or `dead`.
        priority: higher ones are claimed first.
        group: the items of a group are worked on one after the other; None for no group.
        dedup_key: as it was put.
        attempts: how often it was claimed, since it was put or redriven.
        max_attempts: after so many claims it is dead; None for any number.
        enqueued_at: when it was put.
        available_at: since when it can be claimed, or when it first can.
        error: what the last nack or bury said; None for nothing.
    """

    __slots__ = (
        "_body",
        "_decode",
        "_value",
        "attempts",
        "available_at",
        "dedup_key",
        "enqueued_at",
        "error",
        "group",
        "id",
        "max_attempts",
        "priority",
        "queue",
        "state",
    )

    queue: str
    id: int
    state: State
    priority: int
    group: str | None
    dedup_key: str | None
    attempts: int
    max_attempts: int | None
    enqueued_at: datetime
    available_at: datetime
    error: str | None
    _body: str
    _decode: Callable[[str, str], Any]
    _value: Any

    def __init__(self, queue: str, item: Item, decode: Callable[[str, str], Any]) -> None:
        put = object.__setattr__
        put(self, "id", item.id)
        put(self, "state", item.state)
        put(self, "priority", item.priority)
        put(self, "group", item.group)
        put(self, "dedup_key", item.dedup_key)
        put(self, "attempts", item.attempts)
        put(self, "enqueued_at", item.enqueued_at)
        put(self, "available_at", item.available_at)
        put(self, "error", item.error)
        put(self, "queue", queue)
        put(self, "max_attempts", item.max_attempts or None)
        put(self, "_body", item.body)
        put(self, "_decode", decode)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is immutable: {name} cannot be set")

    @property
    def value(self) -> Any:
        """The value, decoded when it is first asked for; it belongs to the caller.

        Raises:
            CorruptEntry: what is stored cannot be decoded; its key is the queue's name, `#` and the id.
        """
        try:
            return self._value
        except AttributeError:
            self._set("_value", self._decode(self._body, f"{self.queue}#{self.id}"))
            return self._value

    def __repr__(self) -> str:
        body = self._body if len(self._body) <= 60 else self._body[:57] + "..."
        return f"{type(self).__name__}({self.queue!r}, id={self.id}, {body}, attempts={self.attempts})"


class Settling(Protocol):
    """What a job needs of its queue."""

    def ack(self, *jobs: Job) -> None:
        """See Queue."""

    def nack(self, *jobs: Job, delay: Duration = 0, error: object = None) -> None:
        """See Queue."""

    def extend(self, *jobs: Job, lease: Duration | None = None) -> None:
        """See Queue."""

    def bury(self, *jobs: Job, error: object = None) -> None:
        """See Queue."""


class Job(QueueItem):
    """A claimed item in the hands of who works on it, until its lease ends.

    What is decided about it is refused (LeaseLost) once the lease ended or went to another holder: so a worker that was
    away too long changes nothing. One job serves any number of threads.

    Attributes:
        fence: of this lease; rises with every claim of the item and is never reset. Good as a fencing token elsewhere.
        leased_until: the end of the lease by the server's clock, as of the last answer; `extend` moves it.
        is_lost: whether the lease is known to be lost, found out by a call or by a worker's heartbeat.
        is_settled: whether this very job was acked, nacked or buried.
    """

    __slots__ = ("_is_lost", "_place", "_settling", "fence", "is_settled", "leased_until")

    fence: int
    leased_until: datetime
    is_settled: bool
    _is_lost: bool
    _place: tuple[str, str]
    _settling: Settling

    def __init__(
        self,
        queue: str,
        item: Item,
        decode: Callable[[str, str], Any],
        *,
        place: tuple[str, str],
        settling: Settling,
    ) -> None:
        super().__init__(queue, item, decode)
        put = object.__setattr__
        put(self, "fence", item.fence)
        put(self, "leased_until", item.leased_until)
        put(self, "is_settled", False)
        put(self, "_is_lost", False)
        put(self, "_place", place)
        put(self, "_settling", settling)

    @property
    def is_lost(self) -> bool:
        """See the class."""
        # A heartbeat that runs into an ack finds no lease any more, and is mistaken.
        return self._is_lost and not self.is_settled

    def ack(self) -> None:
        """Remove the item: it is done. As `Queue.ack`."""
        self._settling.ack(self)

    def nack(self, *, delay: Duration = 0, error: object = None) -> None:
        """Give the item back. As `Queue.nack`."""
        self._settling.nack(self, delay=delay, error=error)

    def extend(self, *, lease: Duration | None = None) -> None:
        """Let the lease end later, counted from now. As `Queue.extend`."""
        self._settling.extend(self, lease=lease)

    def bury(self, *, error: object = None) -> None:
        """Make the item dead. As `Queue.bury`."""
        self._settling.bury(self, error=error)


@contextmanager
def settling(jobs: Sequence[Job]) -> Iterator[None]:
    """Around a call that settles jobs: they learn what became of them."""
    with losing(jobs):
        yield
    for job in jobs:
        job._set("is_settled", True)


@contextmanager
def losing(jobs: Sequence[Job]) -> Iterator[None]:
    """Around a call that needs the leases of jobs: they learn which are lost."""
    try:
        yield
    except LeaseLost as error:
        for job in jobs:
            if job.queue == error.name and job.id in error.items:
                job._set("_is_lost", True)
        raise
