"""A host application's own client: used, and left as it was found (R35)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, CacheProxyConnection, ConnectionPool
from redis.retry import Retry

import agentmem
from agentmem import (
    Append,
    Closed,
    ConfigurationError,
    NamespaceError,
    OutcomeUnknown,
    PoolTimeout,
    Put,
    VersionConflict,
)
from agentmem.redis import scripts
from agentmem.testing.redis_server import key_prefix
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.faults import FaultProxy

#: How a host may have made its client.
CLIENTS: dict[str, Callable[[str], redis.Redis]] = {
    "as it comes": redis.Redis.from_url,
    "text": lambda url: redis.Redis.from_url(url, decode_responses=True),
    "text of another encoding": lambda url: redis.Redis.from_url(url, decode_responses=True, encoding="latin-1"),
    "RESP2": lambda url: redis.Redis.from_url(url, protocol=2),
    "RESP3": lambda url: redis.Redis.from_url(url, protocol=3, decode_responses=True),
    "a pool of one": lambda url: redis.Redis(connection_pool=BlockingConnectionPool.from_url(url, max_connections=1)),
    "at most two": lambda url: redis.Redis.from_url(url, max_connections=2),
    "one connection": lambda url: redis.Redis.from_url(url, single_connection_client=True),
    "health checks": lambda url: redis.Redis.from_url(url, health_check_interval=1),
    "no retries": lambda url: redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)),
}


@pytest.fixture
def place(redis_url: str) -> str:
    """The server, without the store's prefix, which a host's client knows nothing of."""
    return redis_url.partition("?")[0]


@pytest.fixture(params=CLIENTS)
def host(request: pytest.FixtureRequest, place: str) -> Iterator[redis.Redis]:
    """A host's client."""
    with CLIENTS[request.param](place) as client:
        yield client


def use(memory: Memory) -> None:
    """A bit of everything, failures included."""
    memory.put_many({"a": 1, "b": 2, "é": "ü"})
    memory.increment("counter")
    memory.apply([Append("list", 1), Put("c", {"d": [1.5, "\0"]})])
    memory.put("short", 1, ttl=60, metadata={"by": "host"})
    assert memory.get("é") == "ü"
    assert memory.get("c") == {"d": [1.5, "\0"]}
    assert len(memory.search("*", where={(): {"$gte": 1}})) >= 3
    for conflict in ({"if_version": 1}, {"if_absent": True}):
        with pytest.raises(VersionConflict):
            memory.put("a", 2, **conflict)
    with pytest.raises(NamespaceError):
        memory.partition("fenced", namespace="x/").put("y", 1)
    memory.delete("b")
    memory.purge_expired()
    assert memory.stats().entries == memory.count() == 6
    assert memory.check() == []
    memory.drop_partition("fenced")


def settings_of(client: redis.Redis) -> tuple[Any, ...]:
    """What a client would show of somebody's having changed it."""
    pool = client.connection_pool
    return client.connection_pool, dict(pool.connection_kwargs), pool.max_connections


def borrowed(client: redis.Redis) -> int:
    """How many of its connections are not in its pool."""
    pool: Any = client.connection_pool
    if isinstance(pool, BlockingConnectionPool):
        return pool.max_connections - pool.pool.qsize()
    return len(pool._in_use_connections)


def test_r35_a_hosts_client_is_used_and_left_as_it_was(host: redis.Redis, redis_url: str) -> None:
    host.ping()
    settings, taken = settings_of(host), borrowed(host)
    with agentmem.connect(host, key_prefix=key_prefix(redis_url)) as memory:
        use(memory)
        assert borrowed(host) == taken
    assert settings_of(host) == settings
    with pytest.raises(Closed):
        memory.get("a")
    assert borrowed(host) == taken
    assert host.ping()


def test_r35_a_hosts_client_answers_as_before(host: redis.Redis, redis_url: str) -> None:
    name = f"{key_prefix(redis_url)}:of the host"
    host.set(name, "text")
    before = host.get(name), host.hgetall("agentmem-nowhere"), host.time()[0]
    with agentmem.connect(host, key_prefix=key_prefix(redis_url)) as memory:
        use(memory)
    assert (host.get(name), host.hgetall("agentmem-nowhere")) == before[:2]
    assert host.delete(name) == 1


def test_r32_more_threads_than_a_hosts_client_has_connections(host: redis.Redis, redis_url: str) -> None:
    """They wait, also where the client's own pool does not."""
    with agentmem.connect(host, key_prefix=key_prefix(redis_url)) as memory:
        run_threads(8, lambda index: [memory.increment("counter") for _ in range(25)])
        assert memory.get("counter") == 200
        assert memory.check() == []


@pytest.mark.parametrize(
    "pool",
    [
        lambda url: BlockingConnectionPool.from_url(url, max_connections=1, timeout=0.1),
        lambda url: ConnectionPool.from_url(url, max_connections=1),
    ],
    ids=["that waits", "that raises"],
)
def test_r32_a_hosts_client_has_no_connection_left(pool: Callable[[str], Any], redis_url: str, place: str) -> None:
    with redis.Redis(connection_pool=pool(place)) as host:
        memory = agentmem.connect(host, key_prefix=key_prefix(redis_url), pool_timeout=0.1)
        taken = host.connection_pool.get_connection()
        for call in (lambda: memory.get("key"), lambda: memory.put("key", 1)):
            with pytest.raises(PoolTimeout) as caught:
                call()
            assert isinstance(caught.value.__cause__, redis.ConnectionError)
        host.connection_pool.release(taken)
        assert memory.put("key", 1).value == 1


def test_r18_a_hosts_retries_do_not_count_twice(proxy: FaultProxy, redis_url: str) -> None:
    """pitfall: redis-py retries every command by default; one INCR and three lost replies made 4."""
    with redis.Redis.from_url(proxy.url.partition("?")[0], retry=Retry(NoBackoff(), 5)) as host:
        memory = agentmem.connect(host, key_prefix=key_prefix(redis_url))
        memory.increment("counter")
        for _ in range(3):
            proxy.lose_reply(containing=scripts.INCREMENT.sha)
            with pytest.raises(OutcomeUnknown):
                memory.increment("counter")
        assert memory.get("counter") == 4
        assert borrowed(host) == 0


def test_r34_a_hosts_connections_that_were_cut_at_rest_are_replaced(proxy: FaultProxy, redis_url: str) -> None:
    with redis.Redis.from_url(proxy.url.partition("?")[0], retry=Retry(NoBackoff(), 0)) as host:
        memory = agentmem.connect(host, key_prefix=key_prefix(redis_url))
        run_threads(3, lambda _: memory.increment("counter"))
        proxy.cut()
        time.sleep(0.1)
        for _ in range(4):
            memory.increment("counter")
        assert memory.get("counter") == 7
        assert borrowed(host) == 0


def test_a_client_with_a_cache_of_its_own_works(place: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are proxies; what is asked here never comes from the cache."""
    monkeypatch.setattr(CacheProxyConnection, "MIN_ALLOWED_VERSION", "6.0.0")
    with redis.Redis.from_url(f"{place}?protocol=3", cache_config=redis.cache.CacheConfig()) as host:
        memory = agentmem.connect(host, key_prefix=key_prefix(redis_url))
        use(memory)
        for number in range(3):
            with agentmem.connect(redis_url) as other:
                other.put("a", number)
            assert memory.get("a") == number


def test_r31_options_of_connections_are_the_hosts_own(place: str) -> None:
    with redis.Redis.from_url(place) as host, pytest.raises(ConfigurationError, match="unknown option 'timeout'"):
        agentmem.connect(host, timeout=3)


def test_a_database_of_the_hosts_choice(place: str, redis_url: str) -> None:
    with redis.Redis.from_url(place.rpartition("/")[0], db=5) as host:
        memory = agentmem.connect(host, key_prefix=key_prefix(redis_url))
        memory.put("key", 1)
        assert host.unlink(*host.keys(f"{key_prefix(redis_url)}:*")) >= 4
    with agentmem.connect(redis_url) as other:
        assert other.get("key") is None
