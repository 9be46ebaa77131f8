"""Disks that are full for a while, and files that may not grow, while eight threads write."""

from __future__ import annotations

import errno
import resource
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from agentmem import OutcomeUnknown, Unavailable
from agentmem.sql import migrations
from agentmem.testing.binaries import redis_binaries
from agentmem.testing.chaos import Crew
from agentmem.testing.kinds import give_to
from agentmem.testing.processes import unprivileged_account
from agentmem.testing.redis_local import LocalRedis
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.testing.servers import PostgresServer

pytestmark = [pytest.mark.fault, pytest.mark.slow]

DISK_MIB = 40


class Disk:
    """A file system of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (65_536, 4_096):
                with suppress(_Full):
                    while True:
                        _write(file, b"\0" * size)

    def free(self) -> None:
        self._filler.unlink()

    def full_now_and_then(self, crew: Crew) -> None:
        for _ in range(3):
            self.fill()
            wait_for_trouble(crew)
            self.free()
            crew.proceed(50)


def wait_for_trouble(crew: Crew) -> None:
    """Until every worker was told a few times that something is wrong."""
    before = crew.failures
    eventually(lambda: crew.failures >= before + 30)


class _Full(Exception):
    """There is no room."""


def _write(file: Any, data: bytes) -> None:
    try:
        if file.write(data) < len(data):
            raise _Full
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _Full from error
        raise


@pytest.fixture
def disk() -> Iterator[Disk]:
    """In memory, so that it takes no root's disk away; to mount it takes root all the same."""
    path = Path(tempfile.mkdtemp(prefix="agentmem-disk-"))
    options = f"size={DISK_MIB}m,mode=755"
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
        yield Disk(path)
        subprocess.run(["umount", path], check=True)
    finally:
        path.rmdir()


def test_r17_sqlite_on_a_full_disk(disk: Disk, stage_at: Callable[[str], Any]) -> None:
    stage = stage_at(f"sqlite:///{disk.path}/memory.db")
    assert stage.survive(disk.full_now_and_then) <= {Unavailable, OutcomeUnknown}


def test_r17_sqlite_in_a_file_that_may_not_grow(sqlite_url: str, stage_at: Callable[[str], Any]) -> None:
    """As by a quota; SQLite tells it from a full disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")

    def strike(crew: Crew) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 100_000, hard))
        try:
            wait_for_trouble(crew)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    assert stage_at(sqlite_url).survive(strike) <= {Unavailable, OutcomeUnknown}


@pytest.mark.postgres
def test_r17_postgresql_on_a_full_disk(
    disk: Disk, disposable_postgres_server: PostgresServer, postgres_stage_at: Callable[..., Any]
) -> None:
    """Its tables, that is; its log has room."""
    server, place = disposable_postgres_server, disk.path / "tables"
    place.mkdir()
    if account := unprivileged_account():
        give_to(account, place)
    with psycopg.connect(server.url(), autocommit=True) as administrator:
        administrator.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
        administrator.execute(b"CREATE DATABASE small TABLESPACE small")
    url = server.url("small")
    migrations.upgrade(url)
    assert postgres_stage_at(url).survive(disk.full_now_and_then) <= {Unavailable, OutcomeUnknown}


@pytest.fixture
def redis_on(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], LocalRedis]]:
    """Starts a server whose files are on the small disk."""
    started: list[LocalRedis] = []

    def start(appendfsync: str) -> LocalRedis:
        monkeypatch.setattr(tempfile, "tempdir", str(disk.path))
        server = LocalRedis(redis_binaries()[0], options={"appendfsync": appendfsync})
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.close()


@pytest.mark.redis
def test_r17_redis_on_a_full_disk_refuses(
    disk: Disk, redis_on: Callable[[str], LocalRedis], redis_stage_at: Callable[[LocalRedis], Any]
) -> None:
    stage = redis_stage_at(redis_on("everysec"))
    assert stage.survive(disk.full_now_and_then) == {Unavailable}


@pytest.mark.redis
def test_r17_redis_that_must_sync_dies_of_a_full_disk(
    disk: Disk, redis_on: Callable[[str], LocalRedis], redis_stage_at: Callable[[LocalRedis], Any]
) -> None:
    """It has confirmed nothing that it could not write."""
    server = redis_on("always")

    def strike(crew: Crew) -> None:
        disk.fill()
        eventually(lambda: not server.running)
        disk.free()
        server.start()

    assert redis_stage_at(server).survive(strike) <= {Unavailable, OutcomeUnknown}
