"""The Redis repository: the port on plain Redis."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from redis.exceptions import ResponseError

from agentmem.commands import Command, Outcome
from agentmem.entries import Partition, Problem, Record, Stats
from agentmem.keys import Pattern
from agentmem.moments import from_microseconds
from agentmem.redis import information, scripts, verification
from agentmem.redis.layout import VERSION, Layout, Place
from agentmem.redis.qtable import RedisQTables
from agentmem.redis.queues import RedisQueues
from agentmem.redis.reads import DROPPED_AT_ONCE, Reads
from agentmem.redis.servers import Servers
from agentmem.redis.writes import Writes
from agentmem.repository import Policy, Position, Query, Repository, Slice, in_pieces

EVERYTHING = Pattern.under("")
_FIELDS = ("created", "ttl", "namespace", "description")


class RedisRepository(Repository):
    """Partitions and entries in one Redis, under one prefix.

    Every write is one Lua script, or two round trips where values must be read to compute the new ones; `remove` works
    in pieces of 1,000 entries, each atomic.
    """

    name: ClassVar[str] = "redis"

    def __init__(
        self, servers: Servers, layout: Layout, *, location: str, max_value_bytes: int, replicas: tuple[int, float]
    ) -> None:
        self.max_value_bytes = max_value_bytes
        self.location = location
        self.layout = layout
        self.servers = servers
        self._wait_replicas = replicas[0]
        self._writes = Writes(servers, layout, max_value_bytes, replicas)
        self._reads = Reads(servers, layout, self._writes.write)
        self._queues = RedisQueues(servers, layout, self._writes)
        self._qtables = RedisQTables(servers, layout, self._writes)
        self.fetch_one = self._reads.fetch_one  # type: ignore[method-assign]  # a call less on the hottest path

    def fetch(self, partition: str, keys: Sequence[str], *, bodies: bool = True) -> dict[str, Record]:
        return self._reads.fetch(partition, keys, bodies=bodies) if keys else {}

    def apply(self, partition: str, commands: Sequence[Command]) -> list[Outcome]:
        return self._writes.apply(partition, commands) if commands else []

    def scan(
        self, partition: str, query: Query, *, after: Position | None = None, limit: int, bodies: bool = True
    ) -> Slice:
        return self._reads.scan(partition, query, after=after, limit=limit, bodies=bodies)

    def count(self, partition: str, query: Query) -> int:
        return self._reads.count(partition, query)

    def remove(self, partition: str, query: Query) -> int:
        return self._reads.remove(partition, query)

    def statistics(self, partition: str | None = None, pattern: Pattern | None = None) -> Stats:
        """As the port says; of a whole store in one transaction, below a prefix in pieces of 1,000.

        Partition by partition, so not of one moment, on a cluster and on a server whose memory is full.
        """
        if partition is None:
            names = self._names()
            figures = self._measured(names)
        else:
            names = [partition]
            figures = [self._reads.measure(self.layout.place(partition), pattern)]
        counts = {name: living for name, (living, _, _) in zip(names, figures, strict=True)}
        version, account = information.server(self.servers)
        server = {"layout": VERSION, "wait_replicas": self._wait_replicas, **account}
        dead, size = (sum(figure[column] for figure in figures) for column in (1, 2))
        return Stats(sum(counts.values()), dead, size, counts, self.name, version, server)

    def purge(self, limit: int) -> int:
        """As the port says; pieces of 200, partition by partition."""
        removed = 0
        for name in self._registered():
            removed += self._purge(self.layout.place(name), limit - removed)
            if removed == limit:
                break
        return removed

    def _purge(self, place: Place, limit: int) -> int:
        return in_pieces(lambda piece: int(self._writes.write(place, scripts.PURGE, piece)), limit, DROPPED_AT_ONCE)

    def define_partition(self, name: str, policy: Policy) -> None:
        """As the port says; there is no index of values here."""
        changes: list[Any] = []
        stored = policy.default_ttl, policy.namespace, policy.description
        for field, value in zip(_FIELDS[1:], stored, strict=True):
            if value is not None:
                changes += (field, value or "")  # NEVER and "" clear
        with self._writes.making(name):
            self._writes.write(self.layout.place(name), scripts.DEFINE, *changes)

    def partitions(self) -> list[Partition]:
        return [partition for name in self._registered() if (partition := self._described(name)) is not None]

    def _described(self, name: str) -> Partition | None:
        meta = self.layout.place(name).meta
        created, ttl, namespace, description = self.servers.ask(meta, b"HMGET", meta, *_FIELDS)
        if created is None:
            return None
        return Partition(
            name,
            timedelta(milliseconds=int(ttl)) if ttl else None,
            namespace.decode() if namespace else None,
            description.decode() if description else None,
            from_microseconds(int(created)),
        )

    def drop_partition(self, name: str) -> int:
        """As the port says: entries, queues and Q-tables go in pieces, then the rest, unless somebody writes again."""
        place, registry = self.layout.place(name), self.layout.partitions
        removed, is_gone = 0, 0
        while not is_gone:
            removed += self.remove(name, Query(EVERYTHING))
            self._queues.drop(name)
            self._qtables.drop(name)
            is_gone, late = self._writes.write(place, scripts.FORGET)
            removed += late
        self.servers.tell(registry, b"ZREM", registry, name.encode())
        if self._described(name) is not None:  # it kept its versions, or was made again meanwhile
            self._writes.register(name)
        return removed

    def verify(self) -> list[Problem]:
        """As the port says; reads every entry, item and learned value, in pieces, while others may write."""
        return verification.problems(self.servers, self.layout, self._registered(), self._queues, self._qtables)

    def server_time(self) -> datetime:
        seconds, fraction = self.servers.ask(self.layout.layout, b"TIME")
        return from_microseconds(int(seconds) * 1_000_000 + int(fraction))

    def ping(self) -> None:
        self.servers.ask(self.layout.layout, b"PING")

    @property
    def queues(self) -> RedisQueues:
        return self._queues

    @property
    def qtables(self) -> RedisQTables:
        return self._qtables

    def close(self) -> None:
        self._queues.close()
        self.servers.close()

    def _registered(self) -> list[str]:
        registry = self.layout.partitions
        names = self.servers.ask(registry, b"ZRANGEBYLEX", registry, b"-", b"+")
        return [name.decode() for name in names]

    def _names(self) -> list[str]:
        return [partition.name for partition in self.partitions()]

    def _measured(self, names: list[str]) -> list[tuple[int, int, int]]:
        """All partitions; on one server as of one moment."""
        places = [self.layout.place(name) for name in names]
        if self.servers.together and len(places) > 1:
            found = self.servers.read(
                self.layout.layout, lambda link: link.transaction([(scripts.MEASURE, place) for place in places])
            )
            if not any(isinstance(each, ResponseError) or each[0] < 0 for each in found):
                return [(each[0], each[1], each[2]) for each in found]
        return [self._reads.measure(place) for place in places]
