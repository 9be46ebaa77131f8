"""Stores whose servers, connections and disks may be broken, and what all of these tests do with one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import agentmem
from agentmem.sql import migrations
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.chaos import Crew, Resources, assert_survived, endure
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_server import open_client
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem import AgentMemError
    from agentmem.testing.servers import PostgresServer

POOL_SIZE = 4

OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


def _no_connections() -> int:
    return 0


@dataclass
class Stage:
    """A store, and what there is around it.

    Attributes:
        url: where, directly.
        server: its own, if it has one that may be killed.
        connections: counts those that its server has, but for the one that asks.
    """

    url: str
    server: Any = None
    connections: Callable[[], int] = _no_connections

    def survive(
        self, strike: Callable[[Crew], object], *, through: str | None = None, **options: Any
    ) -> set[type[AgentMemError]]:
        """Strike while a crew works, hold the store against what they were told, and return what errors came.

        Threads, descriptors and connections must be no more than before, connections never more than the pool holds.
        """
        with agentmem.connect(self.url) as direct:
            direct.ping()  # whatever is done once has been done
        before = Resources.now()
        with agentmem.connect(through or self.url, **{"pool_size": POOL_SIZE, **options}) as memory:
            crew = endure(memory, strike)
            eventually(lambda: self.connections() <= POOL_SIZE)
        eventually(lambda: self.connections() == 0)
        # Fewer is no leak: what an earlier test left behind may be collected meanwhile.
        eventually(lambda: all(now <= then for now, then in zip(Resources.now(), before, strict=True)))
        with agentmem.connect(self.url) as direct:
            assert_survived(direct, crew)
        return crew.errors


def postgres_stage(url: str, server: PostgresServer | None = None) -> Stage:
    def connections() -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(f"SELECT count(*) {OTHERS}").fetchone()
            return int(row[0]) if row else 0

    return Stage(url, server, connections)


def redis_stage(server: LocalRedis) -> Stage:
    """All connections to the server count: nobody else may use it."""
    url = server.new_store()

    def connections() -> int:
        with open_client(url) as client:
            return len(client.client_list()) - 1

    return Stage(url, server, connections)


@pytest.fixture
def stage_at() -> type[Stage]:
    """Makes a stage of a store that has no server."""
    return Stage


@pytest.fixture
def postgres_stage_at() -> Callable[[str], Stage]:
    """Makes a stage of a database that has our schema."""
    return postgres_stage


@pytest.fixture
def redis_stage_at() -> Callable[[LocalRedis], Stage]:
    """Makes a stage of a new store."""
    return redis_stage


@pytest.fixture(scope="module")
def own_redis() -> Iterator[LocalRedis]:
    """A server that syncs every write and that no other module uses."""
    with LocalRedis(redis_binaries()[0], options={"appendfsync": "always"}) as server:
        yield server


SERVERS = [pytest.param("postgresql", marks=pytest.mark.postgres), pytest.param("redis", marks=pytest.mark.redis)]


@pytest.fixture(params=["sqlite", *SERVERS])
def any_stage(request: pytest.FixtureRequest) -> Stage:
    """A store on each backend."""
    if request.param == "sqlite":
        return Stage(request.getfixturevalue("sqlite_url"))
    return _harmless(request)


@pytest.fixture(params=SERVERS)
def stage(request: pytest.FixtureRequest) -> Stage:
    """A store on a server that must not be harmed, behind connections that may."""
    return _harmless(request)


def _harmless(request: pytest.FixtureRequest) -> Stage:
    if request.param == "redis":
        return redis_stage(request.getfixturevalue("own_redis"))
    return postgres_stage(request.getfixturevalue("postgres_schema_url"))


@pytest.fixture(params=SERVERS)
def mortal(request: pytest.FixtureRequest) -> Stage:
    """A store on a server that may be harmed."""
    if request.param == "redis":
        return redis_stage(request.getfixturevalue("own_redis"))
    server = request.getfixturevalue("disposable_postgres_server")
    url = server.new_database()
    migrations.upgrade(url)
    return postgres_stage(url, server)
