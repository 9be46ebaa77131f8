"""A queue of a store by its port: what the handle does not offer, and no retries but those of the backend."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, cast

from agentmem.handle import repository_of
from agentmem.queue_port import Claim, Counts, Exchange, Exchanged, Item, NewItem, Put, PutOutcome, Settle

if TYPE_CHECKING:
    from agentmem.commands import Command
    from agentmem.memory import Memory
    from agentmem.redis.repository import RedisRepository

LEASE_MS = 60_000
BOOKS = ("qi", "qr", "qd", "ql", "qb", "qx", "qk", "qh", "qc")


def text_of(item: Item) -> str:
    """What was put."""
    return item.body[1:-1]


class Work:
    """One queue.

    Args:
        memory: a handle on its store.
        name: the queue's.
        partition: its partition.
    """

    def __init__(self, memory: Memory, name: str = "jobs", partition: str = "default") -> None:
        self.repository = cast("RedisRepository", repository_of(memory))
        self.store = self.repository.queues
        self.name = name
        self.partition = partition

    def step(self, **parts: Any) -> Exchanged:
        """One exchange."""
        return self.store.exchange(self.partition, Exchange(**parts))

    def puts(self, *texts: str, **options: Any) -> list[Put]:
        """Puts of texts, all with the same options."""
        return [Put(self.name, NewItem(f'"{text}"', **options)) for text in texts]

    def put(self, *texts: str, **options: Any) -> list[PutOutcome]:
        """Put texts."""
        return self.step(puts=self.puts(*texts, **options)).puts

    def claims(self, limit: int = 1, lease_ms: int = LEASE_MS, request_id: str | None = None) -> Claim:
        """A claim, by default with an id of its own."""
        return Claim(self.name, limit, lease_ms, secrets.token_hex(8) if request_id is None else request_id)

    def claim(self, limit: int = 1, lease_ms: int = LEASE_MS, request_id: str | None = None) -> list[Item]:
        """Claim items."""
        return self.step(claim=self.claims(limit, lease_ms, request_id)).items

    def settles(self, verb: Any, *items: Item, delay_ms: int = 0, error: str | None = None) -> list[Settle]:
        """Decisions about claimed items."""
        return [Settle(self.name, item.id, item.fence, verb, delay_ms, error) for item in items]

    def settle(self, verb: Any, *items: Item, commands: tuple[Command, ...] = (), **options: Any) -> Exchanged:
        """Decide about claimed items."""
        return self.step(settles=self.settles(verb, *items, **options), commands=commands)

    def counts(self) -> Counts:
        """How many are in each state."""
        return self.store.counts(self.partition, self.name)

    def texts(self, *, dead: bool = False) -> list[str]:
        """The texts of those that are ready, or dead."""
        return [text_of(item) for item in self.store.peek(self.partition, self.name, 1_000, dead=dead)]

    def book(self, kind: str) -> bytes:
        """The name of one of its keys in Redis."""
        return self.repository.layout.place(self.partition).queues[:-1] + f"{kind}:{self.name}".encode()
