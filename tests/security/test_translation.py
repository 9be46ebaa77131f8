"""R29: no driver's exception leaves the package; each means one of ours, with the driver's as its cause."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy.exc import SQLAlchemyError

import agentmem
from agentmem import (
    AgentMemError,
    BackendError,
    ConfigurationError,
    PermissionDenied,
    SchemaMismatch,
    Unavailable,
)
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory

READS: list[Callable[[Memory], object]] = [
    lambda m: m.get("key"),
    lambda m: m.exists("key"),
    lambda m: m.get_many(["key"]),
    lambda m: m.search("k*", where={"a": 1}),
    lambda m: m.count(),
    lambda m: m.stats(),
]
WRITES: list[Callable[[Memory], object]] = [
    lambda m: m.put("key", 2),
    lambda m: m.increment("counter"),
    lambda m: m.put_many({"key": 2, "b": 2}),
    lambda m: m.append("list", 2),
    lambda m: m.delete("key"),
    lambda m: m.delete_matching("*"),
    lambda m: m.partition("default", default_ttl=5),
    lambda m: m.drop_partition("default"),
]


def assert_raises(expected: type[AgentMemError], calls: list[Callable[[Memory], object]], memory: Memory) -> None:
    for call in calls:
        with pytest.raises(AgentMemError) as caught:
            call(memory)
        assert type(caught.value) is expected, caught.value
        assert isinstance(caught.value.__cause__, psycopg.Error | sqlite3.Error | SQLAlchemyError)


# PostgreSQL


@contextmanager
def administrator(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@contextmanager
def as_role(url: str, *grants: str) -> Iterator[Memory]:
    """A handle of a role that may log in, and what it was granted."""
    with administrator(url) as connection:
        database = connection.info.dbname
        role = f"{database}_guest"
        connection.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'guest'".encode())
        for grant in grants:
            connection.execute(f'GRANT {grant} TO "{role}"'.encode())
        parts = url.rpartition("@")[2]
        try:
            with agentmem.connect(f"postgresql://{role}:guest@{parts}") as memory:
                yield memory
        finally:
            connection.execute(f'DROP OWNED BY "{role}"'.encode())
            connection.execute(f'DROP ROLE "{role}"'.encode())


def test_a_role_without_rights(postgres_schema_url: str) -> None:
    with pytest.raises(PermissionDenied, match="permission denied") as caught, as_role(postgres_schema_url):
        pass
    assert caught.value.__cause__ is not None
    with as_role(postgres_schema_url, "SELECT ON agentmem_version") as memory:
        assert_raises(PermissionDenied, [*READS, *WRITES], memory)


def test_a_role_that_may_only_read(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as owner:
        owner.put("key", {"a": 1})
        with as_role(postgres_schema_url, "SELECT ON ALL TABLES IN SCHEMA public") as memory:
            for call in READS:
                call(memory)
            assert_raises(PermissionDenied, WRITES, memory)
        assert owner.get("key") == {"a": 1}
        assert owner.check() == []


@pytest.mark.parametrize("setting", ["statement_timeout", "lock_timeout"])
def test_a_limit_of_the_server_on_waiting(postgres_schema_url: str, setting: str) -> None:
    with administrator(postgres_schema_url) as connection:
        connection.execute(f"ALTER DATABASE \"{connection.info.dbname}\" SET {setting} = '150ms'".encode())
    with agentmem.connect(postgres_schema_url) as memory, psycopg.connect(postgres_schema_url) as other:
        memory.put_many({"key": 1, "counter": 1, "list": []})
        other.execute("SET statement_timeout = 0")
        other.execute("LOCK TABLE memory_entries IN EXCLUSIVE MODE")
        for call in WRITES[:6]:
            with pytest.raises(Unavailable) as caught:
                call(memory)
            assert caught.value.retryable
        assert memory.get("key") == 1
        other.rollback()
        WRITES[0](memory)
        assert memory.get("key") == 2


def test_a_server_that_only_reads(postgres_schema_url: str) -> None:
    """A standby, or one that is being moved: it may pass."""
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("key", {"a": 1})
    with administrator(postgres_schema_url) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET default_transaction_read_only = on'.encode())
    with agentmem.connect(postgres_schema_url) as memory:
        for call in READS:
            call(memory)
        assert_raises(Unavailable, WRITES[:6], memory)


def test_a_table_that_is_gone(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("key", 1)
        with administrator(postgres_schema_url) as connection:
            connection.execute("ALTER TABLE memory_entries RENAME TO elsewhere")
        assert_raises(SchemaMismatch, [*READS, *WRITES[:6]], memory)
        with pytest.raises(SchemaMismatch, match="agentmem db upgrade"):
            memory.get("key")


def test_a_rule_of_the_hosts_own(postgres_schema_url: str) -> None:
    """A constraint or trigger that somebody added to our table: nothing of ours, and it says so."""
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("key", 1)
        with administrator(postgres_schema_url) as connection:
            connection.execute("ALTER TABLE memory_entries ADD CONSTRAINT polite CHECK (body <> '2')")
        assert_raises(BackendError, [WRITES[0], WRITES[2]], memory)
        with pytest.raises(BackendError, match="polite"):
            memory.put("key", 2)
        assert memory.put("key", 3).value == 3


def test_too_many_connections(postgres_schema_url: str) -> None:
    with administrator(postgres_schema_url) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0'.encode())
        with pytest.raises(Unavailable) as caught, as_role(postgres_schema_url):
            pass
        assert caught.value.retryable


def test_no_schema_yet(postgres_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="agentmem db upgrade"):
        agentmem.connect(postgres_url)


# SQLite


def path_of(url: str) -> str:
    return url.removeprefix("sqlite:///")


def test_a_read_only_file(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url) as memory:
        memory.put("key", {"a": 1})
    with agentmem.connect(f"sqlite:///file:{path_of(sqlite_url)}?mode=ro&uri=true", create="never") as memory:
        for call in READS:
            call(memory)
        assert_raises(PermissionDenied, WRITES, memory)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(Unavailable, match="no SQLite database") as caught:
        agentmem.connect(f"sqlite:///{path}")
    assert not caught.value.retryable
    assert path.read_text() == "Dear Sir or Madam, " * 100


def test_a_file_that_was_damaged_meanwhile(sqlite_url: str) -> None:
    path = Path(path_of(sqlite_url))
    with agentmem.connect(sqlite_url) as memory:
        memory.put_many({f"key/{n:04}": "x" * 500 for n in range(500)})
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 8192) + content[-4096:])
    with pytest.raises(AgentMemError) as caught, agentmem.connect(sqlite_url) as memory:
        list(memory.items())
    assert isinstance(caught.value, Unavailable | SchemaMismatch | BackendError)


@pytest.mark.parametrize(
    "place",
    [
        "{tmp}",
        "{tmp}/file.txt/memory.db",
        "{tmp}/file.txt/deep/memory.db",
        "/proc/nowhere/memory.db",
        "/dev/null/memory.db",
    ],
)
def test_a_place_where_no_file_can_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file.txt").write_text("a file")
    with pytest.raises(Unavailable) as caught:
        agentmem.connect("sqlite:///" + place.format(tmp=tmp_path))
    assert not caught.value.retryable


def test_a_folder_is_made_unless_nothing_may_be(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a/b/memory.db"
    with pytest.raises(AgentMemError):
        agentmem.connect(url, create="never")
    assert list(tmp_path.iterdir()) == []
    with agentmem.connect(url) as memory:
        memory.put("key", 1)
    assert (tmp_path / "a" / "b" / "memory.db").exists()


def test_a_file_by_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with agentmem.connect(f"sqlite:///file:{tmp_path}/memory.db?uri=true") as memory:
        memory.put("key", 1)
    assert {path.name for path in tmp_path.iterdir()} >= {"memory.db"}
    assert "file:" not in {path.name for path in tmp_path.iterdir()}


def test_a_file_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with agentmem.connect("sqlite:///~/memory.db") as memory:
        memory.put("key", 1)
    assert (tmp_path / "home" / "memory.db").exists()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("parameter", ["timeout=5", "timeout=soon", "mode=ro", "nonsense=1", "isolation_level=x"])
def test_a_parameter_that_would_be_ignored(sqlite_url: str, parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=parameter.partition("=")[0]):
        agentmem.connect(f"{sqlite_url}?{parameter}")
    with pytest.raises(ConfigurationError, match="NUL"):
        agentmem.connect(f"{sqlite_url}\0")


def test_a_disk_that_is_full(sqlite_url: str) -> None:
    """A limit on the number of pages stands in for the end of the disk: SQLite reports both alike."""
    with agentmem.connect(sqlite_url, pool_size=1) as memory:
        memory.put("key", 1)
        repository = memory._gateway.repository
        (pages,) = repository._rows("PRAGMA page_count", {})[0]  # type: ignore[attr-defined]
        repository._rows(f"PRAGMA max_page_count = {pages + 20}", {})  # type: ignore[attr-defined]
        with pytest.raises(Unavailable, match="full") as caught:
            memory.put_many({f"bulk/{n}": "x" * 1000 for n in range(500)})
        assert caught.value.retryable
        assert memory.count() == 1
        assert memory.put("key", 2).value == 2
        assert memory.check() == []


def test_a_table_of_sqlite_that_is_gone(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url) as memory:
        memory.put("key", 1)
        with sqlite3.connect(path_of(sqlite_url)) as other:
            other.execute("ALTER TABLE memory_entries RENAME TO elsewhere")
        other.close()
        assert_raises(SchemaMismatch, [*READS, *WRITES[:6]], memory)


def test_a_file_that_is_locked_exclusively(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url, busy_timeout=0.1) as memory:
        memory.put("key", 1)
    with agentmem.connect(sqlite_url, busy_timeout=0.1) as memory:
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert_raises(Unavailable, WRITES[:6], memory)
        other.execute("ROLLBACK")
        other.close()
        memory.put("key", 2)


def test_errors_of_many_threads_are_translated_too(sqlite_url: str) -> None:
    with agentmem.connect(sqlite_url, busy_timeout=0.1) as memory:
        memory.put("key", 1)
        other = sqlite3.connect(path_of(sqlite_url), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        def work(index: int) -> str:
            with pytest.raises(AgentMemError) as caught:
                memory.put("key", index)
            return type(caught.value).__name__

        assert set(run_threads(6, work)) == {"Unavailable"}
        other.execute("ROLLBACK")
        other.close()


def test_numbers_that_no_driver_takes(memory: Memory) -> None:
    """One more than the greatest limit is asked for to see whether anything follows."""
    memory.put("key", 1)
    for limit in (2**62, 2**63 - 1):
        assert [entry.key for entry in memory.search(limit=limit)] == ["key"]
        assert list(memory.keys(limit=limit)) == ["key"]
        assert memory.purge_expired(batch=limit) == 0
        with pytest.raises(agentmem.VersionConflict):
            memory.put("key", 1, if_version=limit)
        with pytest.raises(agentmem.VersionConflict):
            memory.delete("key", if_version=limit)
        assert memory.count(where={"@version": {"$lt": limit}}) == 1
