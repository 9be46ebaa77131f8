"""The harness of the Redis backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

import agentmem
from agentmem.handle import repository_of
from agentmem.redis.layout import HEADER
from agentmem.testing.harness import Harness

if TYPE_CHECKING:
    from agentmem.memory import Memory
    from agentmem.redis.repository import RedisRepository

_VERSION = slice(1, 9)


class RedisHarness(Harness):
    """A store of its own in a Redis server.

    Args:
        url: where, with the `key_prefix` of the store.
        restart: restarts its server, where that harms nobody else.
    """

    multiprocess: ClassVar[bool] = True
    sets_versions: ClassVar[bool] = True

    def __init__(self, url: str, restart: Callable[[], None] | None = None) -> None:
        self.url = url
        self._restart = restart

    @property
    def restartable(self) -> bool:  # type: ignore[override]  # depends on whose server it is
        """As Harness says."""
        return self._restart is not None

    def connect(self, **options: Any) -> Memory:
        """As Harness says."""
        return agentmem.connect(self.url, **options)

    def corrupt(self, partition: str, key: str) -> None:
        """As Harness says."""
        with self._entry(partition, key) as (value, put):
            body = HEADER.size + HEADER.unpack_from(value)[-1]
            put(value[:body] + b"{" * (len(value) - body))

    def set_version(self, partition: str, key: str, version: int) -> None:
        """As Harness says, with what a write ahead of the clock leaves in the partition's books."""
        with self._entry(partition, key) as (value, put):
            put(value[: _VERSION.start] + version.to_bytes(8, "big") + value[_VERSION.stop :])
        with self._repository() as repository:
            meta = repository.layout.place(partition).meta
            repository.servers.tell(meta, b"HSET", meta, b"floor", version)

    def stored(self, partition: str) -> int:
        """As Harness says."""
        with self._repository() as repository:
            listing = repository.layout.place(partition).listing
            return int(repository.servers.ask(listing, b"ZCARD", listing))

    def restart(self) -> None:
        """As Harness says."""
        if self._restart is None:
            super().restart()
        else:
            self._restart()

    @contextmanager
    def _repository(self) -> Iterator[RedisRepository]:
        with agentmem.connect(self.url) as memory:
            yield cast("RedisRepository", repository_of(memory))

    @contextmanager
    def _entry(self, partition: str, key: str) -> Iterator[tuple[bytes, Callable[[bytes], None]]]:
        """What is stored at a key, and how to replace it and nothing else."""
        with self._repository() as repository:
            name = repository.layout.place(partition).entry + key.encode()
            value = repository.servers.ask(name, b"GET", name)
            if value is None:
                raise LookupError(f"there is no entry {key!r} in {partition!r}")

            def put(changed: bytes) -> None:
                repository.servers.tell(name, b"SET", name, changed, b"KEEPTTL")

            yield value, put
