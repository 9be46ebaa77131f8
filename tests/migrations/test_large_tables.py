"""What a future revision does to a large table while others write: nobody waits for long.

The revisions here are examples of the rules that alembic/script.py.mako prints into each new one. What a write takes
depends on the machine as well, so the tests look at who waits for whose lock. docs/deploy.md has the seconds that were
measured on 1,000,000 rows; AGENTMEM_TEST_ROWS=1000000 repeats it, and the XML report of a run has them.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest

import agentmem
from agentmem import migrations as public
from agentmem.errors import Unavailable
from agentmem.sql import migrations, revisions, schema
from agentmem.testing.support import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]
ROWS = int(os.environ.get("AGENTMEM_TEST_ROWS", "100000"))

REVISION = '''"""An example."""
from alembic import op
import sqlalchemy as sa
revision, down_revision = "9999", "{head}"
def upgrade():
    {body}
def downgrade():
    pass
'''
CONCURRENT = """name = op.get_context().opts["other_name"]("ix_memory_entries_example")
    with op.get_context().autocommit_block():
        op.drop_index(name, postgresql_concurrently=True, if_exists=True)
        op.create_index(name, "memory_entries", ["updated_at", "key"], postgresql_concurrently=True)"""
COLUMN = 'op.add_column("memory_entries", sa.Column("example", sa.Integer, server_default="7"))'


@pytest.fixture
def add_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make this version of agentmem know one revision more."""

    def add(body: str) -> None:
        scripts = shutil.copytree(ROOT / "alembic", tmp_path / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / "9999_example.py").write_text(REVISION.format(head=schema.HEAD, body=body))
        known = (*schema.KNOWN, "9999")
        for module in (schema, revisions, migrations):
            monkeypatch.setattr(module, "KNOWN", known)
            monkeypatch.setattr(module, "HEAD", "9999")
        monkeypatch.setattr(revisions, "_scripts", lambda: scripts)

    return add


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Note a measurement, for the XML report of a run."""
    return lambda name, value: request.node.user_properties.append((name, value))


def fill(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO memory_entries (partition, key, body, version, created_at, updated_at) "
            "SELECT 'default', 'stored/' || n, '{\"n\": ' || n || '}', n, now(), now() "
            f"FROM generate_series(1, {ROWS}) n"
        )


@contextmanager
def writers(url: str) -> Iterator[list[float]]:
    """Two threads that put all the time; gives the seconds of each call."""
    stop, seconds = threading.Event(), []

    def work(memory: agentmem.Memory, number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            started = time.monotonic()
            memory.put(f"written/{number}/{turn % 1000}", turn)
            seconds.append(time.monotonic() - started)

    with agentmem.connect(url) as memory:
        threads = [threading.Thread(target=work, args=(memory, number), daemon=True) for number in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield seconds
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'memory_entries'::regclass"
GIVES_WAY_TO = f"{WAITING} AND mode = 'AccessExclusiveLock'"


@contextmanager
def watched(url: str, question: str) -> Iterator[list[int]]:
    """Ask for a number every few milliseconds; gives the answers."""
    stop = threading.Event()
    answers: list[int] = []

    def look(connection: psycopg.Connection[tuple[int]]) -> None:
        while not stop.wait(0.002):
            answers.extend(row[0] for row in connection.execute(question.encode()))

    with psycopg.connect(url, autocommit=True) as connection:
        thread = threading.Thread(target=look, args=(connection,), daemon=True)
        thread.start()
        try:
            yield answers
        finally:
            stop.set()
            thread.join(60)


def test_an_index_on_a_large_table(
    postgres_url: str, add_revision: Callable[[str], None], report: Callable[[str, object], None]
) -> None:
    public.upgrade(postgres_url)
    fill(postgres_url)
    with writers(postgres_url) as seconds, watched(postgres_url, WAITING) as waiting:
        add_revision(CONCURRENT)
        started = time.monotonic()
        public.upgrade(postgres_url)
        took = time.monotonic() - started
    for name, value in (("rows", ROWS), ("took", took), ("longest", max(seconds)), ("writes", len(seconds))):
        report(name, value)
    assert waiting, "nobody looked"
    assert max(waiting) == 0, "somebody waited for a lock on the table"
    assert public.current(postgres_url) == "9999"
    with psycopg.connect(postgres_url) as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_memory_entries_example'::regclass"
        assert connection.execute(valid).fetchone() == (True,)


def test_a_build_that_was_broken_off_is_made_anew(postgres_url: str, add_revision: Callable[[str], None]) -> None:
    """It leaves an invalid index, which IF NOT EXISTS would take for the wanted one."""
    public.upgrade(postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE INDEX ix_memory_entries_example ON memory_entries (key)")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_memory_entries_example'::regclass"
        )
    add_revision(CONCURRENT)
    public.upgrade(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT indexdef FROM pg_indexes WHERE indexname LIKE '%example'").fetchone()
        assert row is not None
        assert "(updated_at, key)" in row[0]


def _are_more(items: list[float], count: int) -> bool:
    return len(items) > count


def test_a_hosts_long_query_holds_up_the_migration_and_nobody_else(
    postgres_url: str, add_revision: Callable[[str], None], report: Callable[[str, object], None]
) -> None:
    """Every query of a table waits behind who waits for its lock: so that gives up, pauses, and tries again."""
    public.upgrade(postgres_url)
    fill(postgres_url)
    with psycopg.connect(postgres_url) as reader, writers(postgres_url) as seconds:
        reader.execute("SELECT count(*) FROM memory_entries")
        add_revision(COLUMN)
        with pytest.raises(Unavailable, match="lock time-out"):
            public.upgrade(postgres_url, wait_seconds=0.4, lock_timeout_seconds=0.2)
        upgrade = threading.Thread(target=public.upgrade, args=(postgres_url,), kwargs={"lock_timeout_seconds": 0.2})
        with watched(postgres_url, GIVES_WAY_TO) as waiting:
            upgrade.start()
            for _ in range(3):
                eventually(lambda: 1 in waiting[-5:], 30)
                enough = len(seconds) + 20
                # Until the reader ends, the writers get on only because the migration gives way.
                eventually(partial(_are_more, seconds, enough), 30)
        assert upgrade.is_alive()
        reader.rollback()
        upgrade.join(60)
        assert not upgrade.is_alive()
    report("longest", max(seconds))
    assert public.current(postgres_url) == "9999"


def test_locks_are_bounded_after_an_autocommit_block_too(
    postgres_url: str, add_revision: Callable[[str], None]
) -> None:
    """The block ends the transaction in which the bound was set."""
    public.upgrade(postgres_url)
    add_revision(CONCURRENT)
    later = Path(revisions._scripts()) / "versions" / "99999_later.py"
    later.write_text(
        '"""Later."""\nfrom alembic import op\nrevision, down_revision = "99999", "9999"\n'
        "def upgrade():\n    op.execute(\"SELECT 1 / (current_setting('lock_timeout') = '800ms')::int\")\n"
    )
    public.upgrade(postgres_url, "99999")
