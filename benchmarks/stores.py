"""Where contenders store: fresh places, several of a kind on one file system or server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmem.testing.servers import find_postgres, find_redis

BACKENDS = ("sqlite", "postgresql", "redis")


@contextmanager
def places(backend: str, number: int = 2) -> Iterator[list[str]]:
    """The URLs of empty stores; what is in one makes the others no larger."""
    if backend == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield [f"sqlite:///{Path(folder) / str(each)}.db" for each in range(number)]
    elif backend == "postgresql":
        with find_postgres() as postgres:
            yield [postgres.new_database() for _ in range(number)]
    else:
        with find_redis() as redis:
            redis.start()
            yield [redis.url(database) for database in range(number)]
