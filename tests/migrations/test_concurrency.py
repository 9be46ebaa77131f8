"""Any number of threads, processes and hosts set up one database, or many, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import psycopg
import pytest
from sqlalchemy import make_url

from agentmem import migrations
from agentmem.errors import Unavailable
from agentmem.sql import migration_locks, schema
from agentmem.sql.naming import DEFAULT
from agentmem.testing.support import eventually, run_threads

UPGRADE = "from agentmem import migrations; migrations.upgrade(sys.argv[1])"
CONNECT = "import agentmem; agentmem.connect(sys.argv[1], create='always').put(str(id(sys)), 1)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "turn"), [(UPGRADE, 1), (UPGRADE, 2), (UPGRADE, 3), (CONNECT, 1)], ids=["one", "two", "three", "connect"]
)
def test_eight_processes_on_an_empty_database(url, race, script, turn, query):
    assert race(script, [url], 8) == [(0, "")] * 8
    migrations.check(url)
    assert query("SELECT version_num FROM agentmem_version") == [(schema.HEAD,)]


@pytest.mark.slow
def test_processes_with_alembics_own_command(url, race):
    script = "import alembic.config; alembic.config.main(['-x', 'url=' + sys.argv[1], 'upgrade', 'head'])"
    assert race(script, [url], 3) == [(0, "")] * 3
    migrations.check(url)


def test_sixteen_threads_on_sixteen_databases(tmp_path):
    urls = [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(16)]
    run_threads(16, lambda index: migrations.upgrade(urls[index]))
    assert [migrations.current(url) for url in urls] == [schema.HEAD] * 16


def test_sixteen_threads_on_one_database(url):
    run_threads(16, lambda _: migrations.upgrade(url))
    migrations.check(url)


def test_threads_up_and_down_at_once(url):
    def work(index):
        migrations.upgrade(url)
        if index % 2:
            migrations.downgrade(url, "base")

    run_threads(8, work)
    migrations.upgrade(url)
    migrations.check(url)


def test_a_waiting_thread_gives_up_in_time(url):
    started = time.monotonic()
    with (
        migration_locks.process_lock(migration_locks.Deadline(1)),
        pytest.raises(Unavailable, match=r"another thread of this process has been migrating for 0\.1 s"),
    ):
        migrations.upgrade(url, wait_seconds=0.1)
    assert time.monotonic() - started < 10
    migrations.upgrade(url)


def test_a_waiting_process_says_for_whom_on_postgresql(postgres_url):
    with psycopg.connect(postgres_url, application_name="other pod") as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (DEFAULT.lock_key,))
        expected = f"server's process {other.info.backend_pid} \\(application_name 'other pod'\\) is migrating"
        with pytest.raises(Unavailable, match=expected) as caught:
            migrations.upgrade(postgres_url, wait_seconds=0.15)
    assert caught.value.retryable
    migrations.upgrade(postgres_url)


def test_a_waiting_process_says_for_whom_on_sqlite(sqlite_url):
    path = Path(f"{make_url(sqlite_url).database}.migration.lock")
    with filelock.FileLock(path):
        path.write_text("4711")
        with pytest.raises(Unavailable, match="process 4711 is migrating") as caught:
            migrations.upgrade(sqlite_url, wait_seconds=0.15)
    assert caught.value.retryable
    migrations.upgrade(sqlite_url)


def test_who_waits_finds_the_work_done(postgres_url, engine_of_postgres, query_postgres):
    # One of them looks at the others by the same text.
    seen = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'advisory|ROLLBACK' AND datname = current_database()"
    with engine_of_postgres.begin() as host:
        migrations.upgrade(host)
        waiting = threading.Thread(target=migrations.upgrade, args=(postgres_url,))
        waiting.start()
        eventually(lambda: query_postgres(seen)[0][0] > 2)
        assert waiting.is_alive()
    waiting.join(20)
    assert not waiting.is_alive()
    migrations.check(postgres_url)


def test_an_index_can_be_built_concurrently_while_the_lock_is_held(postgres_url, engine_of_postgres):
    # A session that waits for an advisory lock, or idles with a snapshot, would hold up the build for ever.
    with (
        migration_locks.server_lock(engine_of_postgres, migration_locks.Deadline(1), DEFAULT.lock_key),
        psycopg.connect(postgres_url, autocommit=True) as builder,
    ):
        waiting = threading.Thread(target=migrations.upgrade, args=(postgres_url,))
        waiting.start()
        builder.execute("SET statement_timeout = '10s'")
        builder.execute("CREATE TABLE large (id integer)")
        builder.execute("CREATE INDEX CONCURRENTLY large_id ON large (id)")
        assert waiting.is_alive()
    waiting.join(20)
    migrations.check(postgres_url)


@pytest.mark.fault
def test_a_killed_migration_leaves_nothing_behind(url, race, tables):
    script = (
        "import os\nfrom sqlalchemy import event, Engine\nfrom agentmem import migrations\n"
        "@event.listens_for(Engine, 'after_cursor_execute')\n"
        "def kill(connection, cursor, statement, *rest):\n"
        "    if 'CREATE TABLE memory_entries' in statement: os.kill(os.getpid(), 9)\n"
        "migrations.upgrade(sys.argv[1])"
    )
    assert race(script, [url], 1) == [(-9, "")]
    assert tables(url) == set()
    migrations.upgrade(url, wait_seconds=10)
    migrations.check(url)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_inherit_the_lock_of_a_thread(sqlite_url):
    script = (
        "import os, sys, threading\nfrom agentmem import migrations\nfrom agentmem.sql import migration_locks as m\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n    with m.process_lock(m.Deadline(1)):\n        held.set(); done.wait(20)\n"
        "thread = threading.Thread(target=hold); thread.start(); held.wait(20)\n"
        "child = os.fork()\n"
        "if not child:\n    migrations.upgrade(sys.argv[1], wait_seconds=5); os._exit(0)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]); done.set(); thread.join(); sys.exit(status)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, sqlite_url], check=False, timeout=60).returncode == 0
    migrations.check(sqlite_url)
