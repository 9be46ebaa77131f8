"""Stores on Redis, and ways to look at them that are not agentmem's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.crc import key_slot

import agentmem
from agentmem.redis.layout import Layout
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.faults import FaultProxy
from agentmem.testing.redis_cluster import RedisCluster
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.redis_server import key_prefix, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from agentmem.memory import Memory


@pytest.fixture(scope="module")
def own_server() -> Iterator[LocalRedis]:
    """A server that no other module uses at the same time, for what cannot be asked of one that others use."""
    with LocalRedis(redis_binaries()[0]) as server:
        yield server


@pytest.fixture(scope="module", params=redis_binaries(), ids=lambda program: "-".join(program.parts[-3:-1]))
def program(request: pytest.FixtureRequest) -> Path:
    """Every `redis-server` of this machine, for what their versions may do differently."""
    found: Path = request.param
    return found


@pytest.fixture
def memory(redis_url: str) -> Iterator[Memory]:
    """A handle on an empty store."""
    with agentmem.connect(redis_url) as memory:
        yield memory


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    """A client on the same database, to go around agentmem with."""
    with open_client(redis_url) as client:
        yield client


@pytest.fixture
def layout(redis_url: str) -> Layout:
    """Where things lie in that store."""
    return Layout(key_prefix(redis_url))


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    """A way to that store that can be broken."""
    with FaultProxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: FaultProxy) -> Iterator[Memory]:
    """A handle whose connections go through the proxy."""
    with agentmem.connect(proxy.url) as memory:
        memory.put_many({"key": 1, "list": [1], "object": {"a": 1}})
        yield memory


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    """Three masters with a replica each."""
    with RedisCluster(redis_binaries()[-1]) as cluster:
        yield cluster


@pytest.fixture
def cluster_url(cluster: RedisCluster) -> Iterator[str]:
    """An empty store in the cluster, which is whole."""
    cluster.start()  # what an earlier test has killed
    url = cluster.new_store()
    yield url
    cluster.start()
    cluster.drop_store(url)


class Nodes:
    """Who has what in a cluster, and the way of a slot from one node to another.

    Args:
        cluster: which.
    """

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster

    def slot_of(self, memory: Memory) -> int:
        """The slot of the partition `default` of a store."""
        layout = memory._gateway.repository.layout  # type: ignore[attr-defined]
        return int(key_slot(layout.place("default").meta))

    def slots(self, server: LocalRedis) -> set[int]:
        """Those that a server has itself: a replica has none."""
        with server.client() as client:
            lines: Any = client.execute_command("CLUSTER", "NODES")
        own = next(line for line in lines.decode().splitlines() if "myself" in line)
        ranges = [part.partition("-") for part in own.split()[8:] if not part.startswith("[")]
        return {slot for first, _, last in ranges for slot in range(int(first), int(last or first) + 1)}

    def masters(self) -> list[LocalRedis]:
        """The servers that have slots now."""
        return [server for server in self._cluster.servers if server.running and self.slots(server)]

    def owner(self, slot: int) -> LocalRedis:
        """The server that has a slot."""
        return next(server for server in self.masters() if slot in self.slots(server))

    def move(self, slot: int, pause_seconds: float) -> None:
        """Move a slot to another master, a key at a time, while others are at work: the books before the entries."""
        source = self.owner(slot)
        target = next(server for server in self.masters() if server is not source)
        with source.client() as giving, target.client() as taking:
            identity, other = (client.cluster("MYID").decode() for client in (taking, giving))
            taking.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", other)
            giving.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", identity)
            while names := giving.cluster("GETKEYSINSLOT", slot, 100_000):
                for name in sorted(names, key=lambda name: ":e:" in str(name)):
                    where = ("127.0.0.1", target.port, name, 0, 5_000, "AUTH", self._cluster.password)
                    giving.execute_command("MIGRATE", *where)
                    time.sleep(pause_seconds)
            for client in (taking, giving):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", identity)


@pytest.fixture
def nodes(cluster: RedisCluster) -> Nodes:
    """Who has what in the cluster."""
    return Nodes(cluster)
