"""Where contenders store: fresh places, several of a kind on one file system or server."""

from __future__ import annotations

import os
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


@contextmanager
def placed(backend: str, number: int) -> Iterator[list[str]]:
    """Stores, with us on one processor and their server on the others.

    Left to itself, the kernel sometimes puts a client and its connection's process on one processor, where a round trip
    takes a third of the time: a matter of luck, and of hours, for one contender and not for the next.
    """
    usual = os.sched_getaffinity(0) if backend != "sqlite" and hasattr(os, "sched_getaffinity") else set()
    if len(usual) < 2:
        with places(backend, number) as urls:
            yield urls
        return
    ours = min(usual)
    try:
        os.sched_setaffinity(0, usual - {ours})
        with places(backend, number) as urls:
            os.sched_setaffinity(0, {ours})
            yield urls
    finally:
        os.sched_setaffinity(0, usual)
