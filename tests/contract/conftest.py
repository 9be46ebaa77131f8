"""The harnesses on which this project runs its own contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.testing.binaries import redis_binaries
from agentmem.testing.harnesses import PostgresHarness, SQLiteFileHarness, SQLiteMemoryHarness
from agentmem.testing.redis_local import LocalRedis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agentmem.testing.redis_server import RedisServer


@pytest.fixture
def sqlite_file_harness(tmp_path: Path) -> SQLiteFileHarness:
    """A SQLite file that does not exist yet."""
    return SQLiteFileHarness(tmp_path)


@pytest.fixture
def sqlite_memory_harness() -> SQLiteMemoryHarness:
    """SQLite in memory."""
    return SQLiteMemoryHarness()


@pytest.fixture
def postgres_harness(postgres_schema_url: str) -> PostgresHarness:
    """An empty PostgreSQL database with our schema."""
    return PostgresHarness(postgres_schema_url)


@pytest.fixture(scope="session")
def other_redis(redis_server: RedisServer) -> Iterator[RedisServer]:
    """A server of another version than that of the run, if this machine has one."""
    for binary in redis_binaries():
        with LocalRedis(binary) as server:
            if server.version != redis_server.version:
                yield server
                return
    pytest.skip(f"this machine has no Redis but {redis_server.version}")
