"""The reference of agentmem.queue_port: queues in dicts, under one lock, written plainly, to compare backends with.

A repository in a dict can offer it as its `queues`. Nothing is stored about states: each answer works them out anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agentmem.errors import LeaseLost
from agentmem.keys import check_namespace
from agentmem.queue_port import (
    Claim,
    Counts,
    Exchange,
    Exchanged,
    Item,
    NewItem,
    Put,
    PutOutcome,
    QueueStore,
    Settle,
    State,
)

if TYPE_CHECKING:
    from agentmem.commands import Command, Outcome

_LOOK_SECONDS = 0.25
"""How often who waits looks for what becomes ready by time alone."""


@dataclass(frozen=True)
class _Stored:
    """An item in the books; `request_id` is of the claim that leased it last."""

    id: int
    new: NewItem
    enqueued_at: datetime
    available_at: datetime
    attempts: int = 0
    fence: int = 0
    leased_until: datetime | None = None
    request_id: str | None = None
    buried: bool = False
    error: str | None = None

    def is_leased(self, now: datetime) -> bool:
        return self.leased_until is not None and self.leased_until > now

    def is_dead(self, now: datetime) -> bool:
        is_used_up = 0 < self.new.max_attempts <= self.attempts
        return self.buried or (is_used_up and not self.is_leased(now))


@dataclass
class _Queue:
    """The items by id, and the last id that was given."""

    items: dict[int, _Stored] = field(default_factory=dict)
    last_id: int = 0

    def copy(self) -> _Queue:
        return _Queue(dict(self.items), self.last_id)

    def state(self, stored: _Stored, now: datetime) -> State:
        if stored.is_dead(now):
            return "dead"
        if stored.is_leased(now):
            return "leased"
        if stored.new.group is not None and self.head(stored.new.group, now) != stored.id:
            return "blocked"
        return "delayed" if stored.available_at > now else "ready"

    def head(self, group: str, now: datetime) -> int:
        """Which item of a group has its turn."""
        living = [s for s in self.items.values() if s.new.group == group and not s.is_dead(now)]
        return min(living, key=lambda stored: (not stored.is_leased(now), stored.id)).id

    def shown(self, stored: _Stored, now: datetime) -> Item:
        new = stored.new
        return Item(
            stored.id,
            new.body,
            new.priority,
            new.dedup_key,
            new.group,
            new.max_attempts,
            stored.attempts,
            stored.fence,
            self.state(stored, now),
            stored.enqueued_at,
            stored.available_at,
            stored.leased_until if stored.is_leased(now) else None,
            stored.error,
        )

    def among(self, state: State, now: datetime) -> list[_Stored]:
        return [stored for stored in self.items.values() if self.state(stored, now) == state]

    def ready(self, now: datetime) -> list[_Stored]:
        """In the order of claims."""
        return sorted(self.among("ready", now), key=lambda stored: (-stored.new.priority, stored.id))

    def holder(self, dedup_key: str, now: datetime) -> int | None:
        """The item that is in the queue under a dedup key."""
        holders = (s.id for s in self.items.values() if s.new.dedup_key == dedup_key and not s.is_dead(now))
        return next(holders, None)


class ReferenceQueues(QueueStore):
    """Queues in dicts.

    Args:
        apply: the repository's, for the commands of an exchange; it must change nothing when it raises.
        lock: held during each call; the repository's own, so that an exchange is atomic with its commands.
        now: the clock.
        namespace: the policy of a partition, or None.
    """

    def __init__(
        self,
        apply: Callable[[str, Sequence[Command]], list[Outcome]],
        *,
        lock: threading.RLock | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        namespace: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._apply = apply
        self._changed = threading.Condition(lock)
        self._now = now
        self._namespace = namespace
        self._queues: dict[tuple[str, str], _Queue] = {}

    def exchange(self, partition: str, step: Exchange) -> Exchanged:
        with self._changed:
            now = self._now()
            for put in step.puts:
                check_namespace(put.queue, self._namespace(partition))
            parts: list[Settle | Put | Claim] = [*step.settles, *step.puts, *([step.claim] if step.claim else [])]
            names = {part.queue for part in parts}
            work = {name: self._queues.get((partition, name), _Queue()).copy() for name in names}
            ends = _settle(work, step.settles, now)
            puts = [_put(work[put.queue], put, now) for put in step.puts]
            items = _claim(work[step.claim.queue], step.claim, now) if step.claim else []
            # An exchange that stores entries or items makes the partition, and `apply` knows how.
            outcomes = self._apply(partition, step.commands) if step.commands or step.puts else []
            self._queues.update({(partition, name): queue for name, queue in work.items()})
            self._changed.notify_all()
        return Exchanged(puts, items, outcomes, ends)

    def peek(self, partition: str, queue: str, limit: int, *, dead: bool = False) -> list[Item]:
        with self._reading(partition, queue) as (found, now):
            chosen = sorted(found.among("dead", now), key=lambda stored: stored.id) if dead else found.ready(now)
            return [found.shown(stored, now) for stored in chosen[:limit]]

    def counts(self, partition: str, queue: str) -> Counts:
        with self._reading(partition, queue) as (found, now):
            states = [found.state(stored, now) for stored in found.items.values()]
            return Counts(**{state: states.count(state) for state in set(states)})

    def redrive(self, partition: str, queue: str, limit: int) -> int:
        with self._reading(partition, queue) as (found, now):
            revived = 0
            for stored in sorted(found.among("dead", now), key=lambda stored: stored.id):
                key = stored.new.dedup_key
                if revived < limit and (key is None or found.holder(key, now) is None):
                    found.items[stored.id] = replace(
                        stored, attempts=0, buried=False, available_at=now, leased_until=None
                    )
                    revived += 1
            self._changed.notify_all()
            return revived

    def purge(self, partition: str, queue: str, *, dead: bool) -> int:
        with self._reading(partition, queue) as (found, now):
            doomed = found.among("dead", now) if dead else list(found.items.values())
            for stored in doomed:
                del found.items[stored.id]
            self._changed.notify_all()
            return len(doomed)

    def names(self, partition: str, prefix: str = "") -> list[str]:
        with self._changed:
            self._now()
            held = (name for (where, name), queue in self._queues.items() if where == partition and queue.items)
            return sorted(name for name in held if name.startswith(prefix))

    def wait(self, partition: str, queue: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with self._reading(partition, queue) as (found, now):
                if found.ready(now):
                    return
                self._changed.wait(min(left, _LOOK_SECONDS))

    def drop(self, partition: str) -> None:
        """For `Repository.drop_partition`. Ids and fences go on, as an entry's versions do."""
        with self._changed:
            for (where, _), queue in self._queues.items():
                if where == partition:
                    queue.items.clear()

    @contextmanager
    def _reading(self, partition: str, queue: str) -> Iterator[tuple[_Queue, datetime]]:
        with self._changed:
            yield self._queues.get((partition, queue)) or _Queue(), self._now()


def _milliseconds(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def _settle(work: dict[str, _Queue], settles: Iterable[Settle], now: datetime) -> list[datetime]:
    settles = list(settles)
    lost = [settle for settle in settles if not _stands(work[settle.queue].items.get(settle.id), settle, now)]
    if lost:
        raise LeaseLost(lost[0].queue, (settle.id for settle in lost))
    ends = []
    for settle in settles:
        items = work[settle.queue].items
        stored = items.pop(settle.id)
        end = now + _milliseconds(settle.delay_ms)
        if settle.verb == "extend":
            items[settle.id] = replace(stored, leased_until=end)
            ends.append(end)
        elif settle.verb != "ack":
            free = replace(stored, leased_until=None, error=settle.error)
            items[settle.id] = replace(free, buried=True) if settle.verb == "bury" else replace(free, available_at=end)
    return ends


def _stands(stored: _Stored | None, settle: Settle, now: datetime) -> bool:
    return stored is not None and stored.fence == settle.fence and stored.is_leased(now)


def _put(queue: _Queue, put: Put, now: datetime) -> PutOutcome:
    key = put.item.dedup_key
    holder = None if key is None else queue.holder(key, now)
    if holder is not None:
        return PutOutcome(holder, created=False)
    queue.last_id += 1
    queue.items[queue.last_id] = _Stored(queue.last_id, put.item, now, now + _milliseconds(put.item.delay_ms))
    return PutOutcome(queue.last_id, created=True)


def _claim(queue: _Queue, claim: Claim, now: datetime) -> list[Item]:
    claimed = [s for s in queue.among("leased", now) if s.request_id == claim.request_id]
    if not claimed:
        for stored in queue.ready(now)[: claim.limit]:
            leased = replace(
                stored,
                attempts=stored.attempts + 1,
                fence=stored.fence + 1,
                leased_until=now + _milliseconds(claim.lease_ms),
                request_id=claim.request_id,
            )
            queue.items[stored.id] = leased
            claimed.append(leased)
    claimed.sort(key=lambda stored: (-stored.new.priority, stored.id))
    return [queue.shown(stored, now) for stored in claimed]
