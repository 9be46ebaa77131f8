"""A pytest plugin: the option `--agentmem-servers` and fixtures that give real stores.

Ask for it in your topmost conftest.py; installing agentmem alone changes nobody's pytest:

    pytest_plugins = ["agentmem.testing.plugin"]

One PostgreSQL and one Redis server serve the whole run: each is started when a test first needs it, under pytest-xdist
by the controller before the workers start, and stopped at the end of the run, also of an interrupted one.
"""

from __future__ import annotations

import argparse
import pkgutil
import sqlite3
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest

import agentmem.testing
from agentmem.testing.servers import (
    CHOICES,
    PostgresServer,
    RedisServer,
    RemotePostgres,
    RemoteRedis,
    ServerError,
    choices_of,
    find_postgres,
    find_redis,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Tests that are shipped with the package get pytest's detailed assertions as well.
_prefix = agentmem.testing.__name__ + "."
pytest.register_assert_rewrite(
    *(name for _, name, _ in pkgutil.iter_modules(agentmem.testing.__path__, _prefix) if name not in sys.modules)
)

_CHOICE = "--agentmem-servers"

SomeServer = TypeVar("SomeServer", PostgresServer, RedisServer)


@dataclass(frozen=True)
class _Product(Generic[SomeServer]):
    """A server of the run: what is done with one is done with the other.

    Attributes:
        name: what people call it.
        key: what the choice, the fixtures and the marker call it.
        find: the server of a choice.
        remote: the server that the controller of pytest-xdist started, for its workers.
        found: where a run's configuration holds the server, or why there is none.
    """

    name: str
    key: str
    find: Callable[[str], SomeServer]
    remote: Callable[..., SomeServer]
    found: pytest.StashKey[SomeServer | ServerError] = field(default_factory=pytest.StashKey)

    @property
    def worker_key(self) -> str:
        return f"agentmem_{self.key}"

    def choice(self, config: pytest.Config) -> str:
        return choices_of(config.getoption(_CHOICE))[self.key]


_POSTGRES = _Product("PostgreSQL", "postgres", find_postgres, RemotePostgres)
_REDIS = _Product("Redis", "redis", find_redis, RemoteRedis)
_PRODUCTS: tuple[_Product[Any], ...] = (_POSTGRES, _REDIS)

_MARKERS = (
    "rule(name): the rule of the contract that a test shows",
    "slow: takes more than a few seconds",
    *(f"{each.key}: needs a {each.name} server; set on every test that uses a fixture for one" for each in _PRODUCTS),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the servers."""
    group = parser.getgroup("agentmem")
    group.addoption(
        _CHOICE,
        type=_choice,
        default="auto",
        help=f"where real servers come from: {', '.join(CHOICES)}, or for each: postgres=…,redis=… (default: auto)",
    )


def _choice(text: str) -> str:
    try:
        choices_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def pytest_configure(config: pytest.Config) -> None:
    """Choose the servers, and fail the run if one that was asked for by name is missing."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    for product in _PRODUCTS:
        config.stash[product.found] = server = _find(config, product)
        if not isinstance(server, ServerError):
            config.add_cleanup(server.close)
        elif product.choice(config) != "auto":
            raise pytest.UsageError(str(server))


def _find(config: pytest.Config, product: _Product[SomeServer]) -> SomeServer | ServerError:
    if worker_input := getattr(config, "workerinput", None):  # set in the workers of pytest-xdist
        url, kind, reason = worker_input[product.worker_key]
        return product.remote(url, kind=kind) if url else ServerError(reason)
    try:
        return product.find(product.choice(config))
    except ServerError as error:
        return error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start the servers and tell a worker of pytest-xdist where they are."""
    for product in _PRODUCTS:
        server = node.config.stash[product.found]
        if isinstance(server, ServerError):
            node.workerinput[product.worker_key] = (None, None, str(server))
            continue
        try:
            server.start()
        except ServerError as error:
            raise pytest.UsageError(str(error)) from error
        node.workerinput[product.worker_key] = (server.url(), server.kind, None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the servers that this run uses."""
    servers = [f"{product.name} {_described(config.stash[product.found])}" for product in _PRODUCTS]
    return [f"agentmem servers: SQLite {sqlite3.sqlite_version} (in process), {', '.join(servers)}"]


def _described(server: PostgresServer | RedisServer | ServerError) -> str:
    if isinstance(server, ServerError):
        return f"none ({server})"
    # The version of a container is known only when it runs.
    version = server.version if server.kind != "containers" or server.running else "version known at its start"
    return f"{version} ({server.kind})"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, so that `-m "not postgres"` can leave it out."""
    for item in items:
        for product in _PRODUCTS:
            if f"{product.key}_server" in getattr(item, "fixturenames", ()):
                item.add_marker(product.key)


def _running(config: pytest.Config, product: _Product[SomeServer]) -> SomeServer:
    server = config.stash[product.found]
    if isinstance(server, ServerError):
        pytest.fail(str(server), pytrace=False)
    server.start()
    return server


def _disposable(config: pytest.Config, product: _Product[SomeServer]) -> Iterator[SomeServer]:
    choice = product.choice(config)
    with product.find("auto" if choice == "url" else choice) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """The PostgreSQL server of this run. Others use it at the same time: do not stop it."""
    return _running(pytestconfig, _POSTGRES)


@pytest.fixture
def disposable_postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test's own, to stop, restart and kill at will."""
    yield from _disposable(pytestconfig, _POSTGRES)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database, dropped after the test."""
    yield from _database(postgres_server)


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: PostgresServer) -> Iterator[str]:
    from agentmem import migrations

    for url in _database(postgres_server):
        migrations.upgrade(url)
        yield url


@pytest.fixture
def postgres_schema_url(postgres_server: PostgresServer, _postgres_template: str) -> Iterator[str]:
    """The URL of a database that our migrations have set up, dropped after the test."""
    yield from _database(postgres_server, _postgres_template)


def _database(server: PostgresServer, template: str | None = None) -> Iterator[str]:
    url = server.new_database(template)
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> RedisServer:
    """The Redis server of this run. Others use it at the same time: do not stop or flush it."""
    return _running(pytestconfig, _REDIS)


@pytest.fixture
def disposable_redis_server(pytestconfig: pytest.Config) -> Iterator[RedisServer]:
    """A Redis server of this test's own, to stop, restart and kill at will."""
    yield from _disposable(pytestconfig, _REDIS)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """The URL of an empty store of the server of this run, `…?key_prefix=…`, whose keys are removed after the test."""
    url = redis_server.new_store()
    yield url
    redis_server.drop_store(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet, below the test's temporary directory."""
    return f"sqlite:///{tmp_path / 'memory.db'}"
