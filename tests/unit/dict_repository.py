"""A repository in a dict: the port in its smallest form, for tests of what lies above it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from agentmem import filters, values
from agentmem.commands import Command, Outcome
from agentmem.entries import Partition, Problem, Record, Stats
from agentmem.errors import Closed, CorruptEntry, Unavailable
from agentmem.keys import Pattern
from agentmem.moments import from_microseconds, microseconds
from agentmem.plan import Context, is_alive, plan
from agentmem.repository import DEFAULT_MAX_VALUE_BYTES, Policy, Position, Query, Repository, Slice
from agentmem.testing.queue_model import ReferenceQueues
from agentmem.ttl import NEVER

EVERYTHING = Query(Pattern.under(""))


class DictRepository(Repository):
    """One lock, one dict for each partition, and the pure planner for every write.

    Attributes:
        calls: how often each method was called.
        scanned: how many records all scans returned.
        failures: exceptions that the next calls raise, last first.
    """

    name: ClassVar[str] = "dict"
    location = "dict://user:secret@nowhere"

    def __init__(self, max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES) -> None:
        self.max_value_bytes = max_value_bytes
        self.calls: Counter[str] = Counter()
        self.scanned = 0
        self.failures: list[Exception] = []
        self.closed = False
        self._lock = threading.RLock()
        self._entries: dict[str, dict[str, Record]] = {}
        self._policies: dict[str, Partition] = {}
        self._floors: Counter[str] = Counter()
        self._queues = ReferenceQueues(self.apply, lock=self._lock, now=self._queue_time, namespace=self._namespace_of)

    def _queue_time(self) -> datetime:
        return from_microseconds(self._begin("queues"))

    def _namespace_of(self, partition: str) -> str | None:
        return self._policies.get(partition, Partition(partition)).namespace

    def _begin(self, method: str) -> int:
        self.calls[method] += 1
        if self.closed:
            raise Closed("the repository was closed")
        if self.failures:
            raise self.failures.pop()
        return microseconds(datetime.now(UTC))

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        with self._lock:
            now = self._begin("fetch")
            stored = self._entries.get(partition, {})
            found = {key: stored[key] for key in keys if is_alive(stored.get(key), now)}
        return found if bodies else {key: record._replace(body=None) for key, record in found.items()}

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        with self._lock:
            now = self._begin("apply")
            stored, policy = self._entries.get(partition, {}), self._policies.get(partition, Partition(partition))
            default = None if policy.default_ttl is None else policy.default_ttl // timedelta(milliseconds=1)
            context = Context(now, default, policy.namespace, self.max_value_bytes, self._floors[partition])
            result = plan(commands, stored, context)
            self._policies.setdefault(partition, Partition(partition, created_at=from_microseconds(now)))
            stored = self._entries.setdefault(partition, stored)
            stored.update((record.key, record) for record in result.puts)
            for key in result.deletes:
                del stored[key]
            self._floors[partition] = max(self._floors[partition], result.lost_version)
        return result.outcomes

    def scan(
        self, partition: str, query: Query, *, after: Position | None = None, limit: int, bodies: bool = True
    ) -> Slice:
        with self._lock:
            now = self._begin("scan")
            records = list(self._matching(partition, query, now))
        as_of_us = 0
        if query.order == "updated":
            as_of_us = after.as_of_us if after else now
            records = [record for record in records if _updated_us(record) <= as_of_us]
        records.sort(key=_order(query), reverse=query.descending)
        page = [record for record in records if after is None or _is_beyond(record, after, query)][:limit]
        self.scanned += len(page)
        return Slice(page if bodies else [record._replace(body=None, metadata=None) for record in page], as_of_us)

    def _matching(self, partition: str, query: Query, now: int | None) -> list[Record]:
        return [
            record
            for record in self._entries.get(partition, {}).values()
            if query.pattern.matches(record.key)
            and (now is None or is_alive(record, now))
            and (query.where is None or filters.matches(query.where, record))
        ]

    def count(self, partition: str, query: Query) -> int:
        with self._lock:
            return len(self._matching(partition, query, self._begin("count")))

    def remove(self, partition: str, query: Query) -> int:
        with self._lock:
            now = self._begin("remove")
            doomed = self._matching(partition, query, None if query.where is None else now)
            for record in doomed:
                self._forget(partition, record)
        return sum(is_alive(record, now) for record in doomed)

    def _forget(self, partition: str, record: Record) -> None:
        self._floors[partition] = max(self._floors[partition], record.version)
        del self._entries[partition][record.key]

    def statistics(self, partition: str | None = None, pattern: Pattern | None = None) -> Stats:
        with self._lock:
            now = self._begin("statistics")
            names = self._policies if partition is None else [partition]
            query = EVERYTHING if pattern is None else Query(pattern)
            records = {name: self._matching(name, query, None) for name in names}
        living = {name: [r for r in found if is_alive(r, now)] for name, found in records.items()}
        counts = {name: len(found) for name, found in living.items()}
        total = sum(map(len, records.values()))
        size = sum(len((r.body or "").encode()) for found in living.values() for r in found)
        return Stats(sum(counts.values()), total - sum(counts.values()), size, counts, self.name, "1")

    def purge(self, limit: int) -> int:
        with self._lock:
            now = self._begin("purge")
            dead = [
                (name, record)
                for name in self._entries
                for record in self._matching(name, EVERYTHING, None)
                if not is_alive(record, now)
            ][:limit]
            for name, record in dead:
                self._forget(name, record)
        return len(dead)

    def define_partition(self, name: str, policy: Policy) -> None:
        with self._lock:
            now = self._begin("define_partition")
            old = self._policies.get(name, Partition(name, created_at=from_microseconds(now)))
            ttl = None if policy.default_ttl == NEVER else timedelta(milliseconds=policy.default_ttl or 0)
            self._policies[name] = Partition(
                name,
                old.default_ttl if policy.default_ttl is None else ttl,
                old.namespace if policy.namespace is None else policy.namespace or None,
                old.description if policy.description is None else policy.description or None,
                old.created_at,
            )

    def partitions(self) -> list[Partition]:
        with self._lock:
            self._begin("partitions")
            return [self._policies[name] for name in sorted(self._policies)]

    def drop_partition(self, name: str) -> int:
        with self._lock:
            self._begin("drop_partition")
            removed = self.remove(name, EVERYTHING)
            self._queues.drop(name)
            self._policies.pop(name, None)
        return removed

    @property
    def queues(self) -> ReferenceQueues:
        return self._queues

    def verify(self) -> list[Problem]:
        with self._lock:
            self._begin("verify")
            return [
                Problem("corrupt_value", name, record.key, str(error))
                for name in self._entries
                for record in self._matching(name, EVERYTHING, None)
                if (error := _corruption(record))
            ]

    def server_time(self) -> datetime:
        return from_microseconds(self._begin("server_time"))

    def ping(self) -> None:
        self._begin("ping")

    def close(self) -> None:
        self.calls["close"] += 1
        self.closed = True

    # What tests do behind the port.

    def spoil(self, key: str, body: str = "{", partition: str = "default") -> None:
        """Replace a stored body."""
        self._entries[partition][key] = self._entries[partition][key]._replace(body=body)

    def stored(self, partition: str = "default") -> int:
        """Count the records that take room, dead ones included."""
        return len(self._entries.get(partition, {}))

    def fail(self, times: int, error: Exception | None = None) -> None:
        """Let the next calls fail."""
        self.failures = [error or Unavailable("the dict is away")] * times


def _updated_us(record: Record) -> int:
    return record.updated_us


def _order(query: Query) -> Any:
    return (lambda record: record.key) if query.order == "key" else (lambda record: (_updated_us(record), record.key))


def _is_beyond(record: Record, after: Position, query: Query) -> bool:
    if query.order == "key":
        if after.inclusive:
            return record.key >= after.key
        return record.key < after.key if query.descending else record.key > after.key
    ours, theirs = (_updated_us(record), record.key), (after.updated_us, after.key)
    return ours < theirs if query.descending else ours > theirs


def _corruption(record: Record) -> CorruptEntry | None:
    try:
        values.decode(record.body, record.key)
    except CorruptEntry as error:
        return error
    return None
