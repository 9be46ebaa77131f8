"""Real stores for the 80 tests: found healthy before each, in order after it, and gone at its end.

Which servers they are on `--agentmem-servers` decides (agentmem/testing/plugin.py). A test has a database or a key
prefix of its own, so tests run beside one another, in any order.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psycopg
import pytest

import agentmem
from agentmem.memory import Memory
from agentmem.redis.layout import Layout
from agentmem.testing.redis_server import key_prefix, open_client
from agentmem.testing.servers import Server, ServerError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import redis

    from agentmem.testing.servers import RedisServer

NAMESPACE = "aqe/"
AGENTS = Path(__file__).with_name("agents.py")

Rows = Callable[..., list[tuple[Any, ...]]]


class Measure(Protocol):
    """Times a block, as the test itself sees it."""

    def __call__(
        self,
        what: str,
        operations: int,
        *,
        at_least_per_second: float | None = None,
        at_most_seconds: float | None = None,
    ) -> AbstractContextManager[None]:
        """Record how long the block takes, and assert the target if there is one."""


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Measure:
    """Times a block; the figure goes into the test's report (`--junitxml`) as the property `figure`, a JSON object."""

    @contextmanager
    def measure(
        what: str,
        operations: int,
        *,
        at_least_per_second: float | None = None,
        at_most_seconds: float | None = None,
    ) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        per_second = operations / seconds
        figure = {
            "what": what,
            "operations": operations,
            "seconds": round(seconds, 6),
            "per_second": round(per_second, 1),
            "at_least_per_second": at_least_per_second,
            "at_most_seconds": at_most_seconds,
        }
        record_property("figure", json.dumps(figure))
        assert at_least_per_second is None or per_second > at_least_per_second, figure
        assert at_most_seconds is None or seconds < at_most_seconds, figure

    return measure


@pytest.fixture(autouse=True)
def _healthy(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """The health check: fail at once, and say why, where a server that the test uses does not answer."""
    for fixture in ("postgres_server", "redis_server", "disposable_redis_server"):
        if fixture not in request.fixturenames:
            continue
        server: Server = request.getfixturevalue(fixture)
        try:
            server.check()
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        record_property(fixture.split("_")[-2], f"{server.version} ({server.kind})")


@contextmanager
def _opened(url: str) -> Iterator[Memory]:
    """A handle on a store; when the test is over the store's own books must be in order, whatever was done to it."""
    with agentmem.connect(url, namespace=NAMESPACE) as memory:
        memory.ping()
        yield memory
    with agentmem.connect(url) as memory:
        assert memory.check() == []


@pytest.fixture
def postgres_memory(postgres_schema_url: str) -> Iterator[Memory]:
    """A handle on a database of this test's own, with our schema; it is dropped afterwards."""
    with _opened(postgres_schema_url) as memory:
        yield memory


@pytest.fixture
def redis_memory(redis_url: str) -> Iterator[Memory]:
    """A handle on a store of this test's own; its keys are removed afterwards."""
    with _opened(redis_url) as memory:
        yield memory


class Store(NamedTuple):
    """A store of the test's own.

    Attributes:
        memory: a handle on it.
        url: for other handles, and other processes.
    """

    memory: Memory
    url: str


@pytest.fixture
def stores(postgres_memory: Memory, postgres_schema_url: str, redis_memory: Memory, redis_url: str) -> list[Store]:
    """One on PostgreSQL and one on Redis, for what must go alike on both."""
    return [Store(postgres_memory, postgres_schema_url), Store(redis_memory, redis_url)]


@pytest.fixture
def rows(postgres_schema_url: str) -> Iterator[Rows]:
    """Runs a statement on the test's database, around agentmem, and returns its rows."""
    with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
        yield lambda statement, *parameters: connection.execute(statement, parameters).fetchall()


class Inside:
    """What a store is in the eyes of its Redis server.

    Attributes:
        client: of redis-py, to go around agentmem with.
    """

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = open_client(url)
        self._layout = Layout(key_prefix(url))

    def name(self, key: str, partition: str = "default") -> bytes:
        """What the server calls an entry."""
        return self._layout.place(partition).entry + key.encode()

    def pttl(self, key: str) -> int:
        """Milliseconds that an entry has left; -1 for ever, -2 where the server has none."""
        return int(self.client.pttl(self.name(key)))

    def index(self) -> list[bytes]:
        """The keys in the index of the default partition."""
        keys: Any = self.client.zrange(self._layout.place("default").listing, 0, -1)
        return list(keys)

    def names(self) -> set[bytes]:
        """Everything that the server keeps for this store, by name."""
        return set(self.client.scan_iter(match=f"{self._layout.prefix}:*", count=1000))


@pytest.fixture
def inside(redis_url: str) -> Iterator[Inside]:
    """The test's store, around agentmem."""
    seen = Inside(redis_url)
    yield seen
    seen.client.close()


@pytest.fixture
def durable_redis(disposable_redis_server: RedisServer) -> RedisServer:
    """A server of this test's own that answers a write when it is on disk."""
    with disposable_redis_server.client() as client:
        client.config_set("appendfsync", "always")
    return disposable_redis_server


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_agent() -> Iterator[Start]:
    """Starts agents as processes, `start_agent("consumer", url, "c-1")`, none of which outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", str(AGENTS), *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run_agent(start_agent: Start) -> Callable[..., Any]:
    """Runs an agent as a process to its end, and returns the JSON that it printed last."""

    def run(*arguments: str) -> Any:
        process = start_agent(*arguments)
        output, _ = process.communicate(timeout=50)
        assert process.returncode == 0
        return json.loads(output.splitlines()[-1])

    return run
