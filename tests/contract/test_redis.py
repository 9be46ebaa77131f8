"""The contract on Redis: the server of the run, the other version, a cluster; and what a restart leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agentmem.testing.binaries import redis_binaries
from agentmem.testing.contract import ContractSuite
from agentmem.testing.contract.restarts import Restarts
from agentmem.testing.redis_cluster import RedisCluster
from agentmem.testing.redis_harness import RedisHarness
from agentmem.testing.redis_local import LocalRedis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.testing.redis_server import RedisServer

pytestmark = pytest.mark.redis


class TestRedis(ContractSuite):
    """All rules that one backend can show."""

    @pytest.fixture
    def harness(self, redis_url: str) -> RedisHarness:
        """A fresh store."""
        return RedisHarness(redis_url)


class OnServer(ContractSuite):
    """On a server that this module starts."""

    @pytest.fixture
    def server(self) -> RedisServer:
        """Which."""
        raise NotImplementedError

    @pytest.fixture
    def harness(self, server: RedisServer) -> Iterator[RedisHarness]:
        """A fresh store."""
        url = server.new_store()
        yield RedisHarness(url)
        server.drop_store(url)


@pytest.mark.variant
class TestOtherRedis(OnServer):
    """All rules that one backend can show, on the other version."""

    @pytest.fixture
    def server(self, other_redis: RedisServer) -> RedisServer:
        """The other version."""
        return other_redis


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Six nodes."""
    with RedisCluster(redis_binaries()[0]) as cluster:
        yield cluster


@pytest.mark.variant
@pytest.mark.slow
class TestRedisCluster(OnServer):
    """All rules that one backend can show, on a cluster."""

    @pytest.fixture
    def server(self, redis_cluster: RedisCluster) -> RedisServer:
        """Three masters, three replicas."""
        return redis_cluster


@pytest.mark.fault
@pytest.mark.slow
class TestRedisRestarts(Restarts):
    """On a server of its own, which is restarted in order, or killed."""

    @pytest.fixture(params=["restart", "kill"])
    def harness(self, request: pytest.FixtureRequest) -> Iterator[RedisHarness]:
        """A fresh store on a fresh server that syncs every write."""
        with LocalRedis(redis_binaries()[0], options={"appendfsync": "always"}) as server:

            def kill() -> None:
                server.kill()
                server.start()

            ways: dict[str, Callable[[], None]] = {"restart": server.restart, "kill": kill}
            yield RedisHarness(server.new_store(), ways[request.param])
