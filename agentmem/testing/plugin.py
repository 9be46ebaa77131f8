"""A pytest plugin: the option `--agentmem-servers` and fixtures that give real stores.

Ask for it in your topmost conftest.py; installing agentmem alone changes nobody's pytest:

    pytest_plugins = ["agentmem.testing.plugin"]

One PostgreSQL server serves the whole run: it is started when a test first needs it, under pytest-xdist by the
controller before the workers start, and stopped at the end of the run, also of an interrupted one.
"""

from __future__ import annotations

import pkgutil
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import pytest

import agentmem.testing
from agentmem.testing.servers import CHOICES, PostgresServer, RemotePostgres, ServerError, find_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Tests that are shipped with the package get pytest's detailed assertions as well.
_prefix = agentmem.testing.__name__ + "."
pytest.register_assert_rewrite(
    *(name for _, name, _ in pkgutil.iter_modules(agentmem.testing.__path__, _prefix) if name not in sys.modules)
)

_CHOICE = "--agentmem-servers"
_WORKER_KEY = "agentmem_postgres"
_POSTGRES = pytest.StashKey[PostgresServer | ServerError]()

_MARKERS = (
    "rule(name): the rule of the contract that a test shows",
    "slow: takes more than a few seconds",
    "postgres: needs a PostgreSQL server; set on every test that uses one of the fixtures for it",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that chooses the servers."""
    group = parser.getgroup("agentmem")
    group.addoption(
        _CHOICE, choices=CHOICES, default="auto", help="where real servers come from (default: %(default)s)"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the servers, and fail the run if one that was asked for by name is missing."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    config.stash[_POSTGRES] = server = _choose(config)
    if isinstance(server, PostgresServer):
        config.add_cleanup(server.close)
    elif config.getoption(_CHOICE) != "auto":
        raise pytest.UsageError(str(server))


def _choose(config: pytest.Config) -> PostgresServer | ServerError:
    if worker_input := getattr(config, "workerinput", None):  # set in the workers of pytest-xdist
        url, kind, reason = worker_input[_WORKER_KEY]
        return RemotePostgres(url, kind=kind) if url else ServerError(reason)
    try:
        return find_postgres(config.getoption(_CHOICE))
    except ServerError as error:
        return error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Start the server and tell a worker of pytest-xdist where it is."""
    server = node.config.stash[_POSTGRES]
    if isinstance(server, ServerError):
        node.workerinput[_WORKER_KEY] = (None, None, str(server))
        return
    try:
        server.start()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from error
    node.workerinput[_WORKER_KEY] = (server.url(), server.kind, None)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the servers that this run uses."""
    server = config.stash[_POSTGRES]
    if isinstance(server, ServerError):
        postgres = f"none ({server})"
    else:
        # The version of a container is known only when it runs.
        version = server.version if server.kind != "containers" or server.running else "version known at its start"
        postgres = f"{version} ({server.kind})"
    return [f"agentmem servers: SQLite {sqlite3.sqlite_version} (in process), PostgreSQL {postgres}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server, so that `-m "not postgres"` can leave it out."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.postgres)


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> PostgresServer:
    """The PostgreSQL server of this run. Others use it at the same time: do not stop it."""
    server = pytestconfig.stash[_POSTGRES]
    if isinstance(server, ServerError):
        pytest.fail(str(server), pytrace=False)
    server.start()
    return server


@pytest.fixture
def disposable_postgres_server(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test's own, to stop, restart and kill at will."""
    choice = pytestconfig.getoption(_CHOICE)
    with find_postgres("auto" if choice == "url" else choice) as server:
        yield server


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


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet, below the test's temporary directory."""
    return f"sqlite:///{tmp_path / 'memory.db'}"
