"""Connections that break, are few, or belong to somebody else (R18, R29, R32, R34, R35)."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

import agentmem
from agentmem import Closed, ConfigurationError, OutcomeUnknown, PoolTimeout, Put, Unavailable
from agentmem.sql import migrations
from agentmem.sql.backend import open_url
from agentmem.sql.engines import normalised
from agentmem.testing.faults import FaultProxy
from agentmem.testing.processes import free_port
from agentmem.testing.support import eventually, run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

READS: dict[str, Callable[[Memory], object]] = {
    "get": lambda m: m.get("key"),
    "entry": lambda m: m.entry("key"),
    "exists": lambda m: m.exists("key"),
    "get_many": lambda m: m.get_many(["key"]),
    "search": lambda m: list(m.search("k*")),
    "count": lambda m: m.count("k*"),
    "stats": lambda m: m.stats().entries,
    "partitions": lambda m: m.partitions(),
    "ping": lambda m: m.ping(),
}
WRITES: dict[str, Callable[[Memory], object]] = {
    "put": lambda m: m.put("key", 2),
    "put if_absent": lambda m: m.put("new", 2, if_absent=True),
    "increment": lambda m: m.increment("key"),
    "delete": lambda m: m.delete("key"),
    "put_many": lambda m: m.put_many({"key": 2, "new": 2}),
    "delete_matching": lambda m: m.delete_matching("k*"),
    "purge_expired": lambda m: m.purge_expired(),
    "policy": lambda m: m.partition("default", default_ttl=60),
}
#: Lock and read in one round trip, write and commit in the next.
BATCHES: dict[str, Callable[[Memory], object]] = {
    "append": lambda m: m.append("list", 2),
    "merge": lambda m: m.merge("object", {"b": 2}),
    "apply": lambda m: m.apply([Put("key", 2), Put("new", 2), Put("new", 3)]),
    "delete_many": lambda m: m.delete_many(["key", "list"]),
    "touch": lambda m: m.touch("key", 60),
}


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.new_database()
    migrations.upgrade(url)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def postgres_schema_url(database: str) -> str:
    """A database of this module's own, emptied for each test: there are many of them."""
    terminate_all(database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("TRUNCATE memory_entries, partitions")
    return database


@pytest.fixture
def proxy(postgres_schema_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(postgres_schema_url) as proxy:
        yield proxy


@pytest.fixture
def behind(proxy: FaultProxy) -> Iterator[Memory]:
    """A handle whose connections go through the proxy."""
    with agentmem.connect(proxy.url) as memory:
        memory.put_many({"key": 1, "list": [1], "object": {"a": 1}})
        yield memory


@pytest.fixture
def behind_too(postgres_schema_url: str) -> Iterator[Memory]:
    """A handle on the same store whose connections do not."""
    with agentmem.connect(postgres_schema_url) as memory:
        yield memory


def terminate_all(url: str) -> None:
    """End every other connection to the database, as an administrator would, and wait until they are gone."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}")
        eventually(lambda: connection.execute(f"SELECT count(*) {others}").fetchone() == (0,))


# Cut while it rests


@pytest.mark.parametrize("name", [*READS, *WRITES, *BATCHES])
def test_a_call_on_a_connection_that_was_terminated_at_rest_works(postgres_schema_url: str, name: str) -> None:
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put_many({"key": 1, "list": [1], "object": {"a": 1}})
        terminate_all(postgres_schema_url)
        {**READS, **WRITES, **BATCHES}[name](memory)
        assert memory.check() == []


@pytest.mark.parametrize("name", ["get", "put", "increment", "apply"])
def test_a_call_on_a_connection_that_was_reset_at_rest_works(proxy: FaultProxy, behind: Memory, name: str) -> None:
    proxy.cut()
    time.sleep(0.1)
    {**READS, **WRITES, **BATCHES}[name](behind)
    assert behind.check() == []


def test_all_connections_of_a_pool_were_cut_at_rest(proxy: FaultProxy, behind: Memory) -> None:
    run_threads(8, lambda _: behind.get("key"))
    proxy.cut()
    time.sleep(0.1)
    run_threads(8, lambda index: behind.put(f"{index}", index))
    assert behind.count() == 11


def test_it_survives_the_restart_of_its_server(disposable_postgres_server: PostgresServer) -> None:
    server = disposable_postgres_server
    with agentmem.connect(server.new_database(), create="always") as memory:
        memory.put("key", 1)
        server.stop()
        for call in (lambda: memory.get("key"), lambda: memory.put("key", 2), lambda: memory.apply([Put("key", 2)])):
            with pytest.raises(Unavailable) as caught:
                call()
            assert caught.value.retryable
        server.start()
        assert memory.get("key") == 1
        memory.put("key", 2)
        server.restart()
        memory.put("key", 3)
        assert memory.get("key") == 3


# Cut in flight


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
@pytest.mark.parametrize("name", READS)
def test_a_read_is_retried_once(proxy: FaultProxy, behind: Memory, name: str, fault: str) -> None:
    expected = READS[name](behind)
    before = proxy.connections
    getattr(proxy, fault)()
    assert READS[name](behind) == expected
    assert proxy.connections == before + 1


def test_a_read_is_not_retried_for_ever(proxy: FaultProxy, behind: Memory) -> None:
    behind.get("key")
    before = proxy.connections
    for _ in range(2):
        proxy.lose_reply(containing=b"SELECT")
    with pytest.raises(Unavailable):
        behind.get("key")
    assert proxy.connections == before + 1
    assert behind.get("key") == 1


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_reply_is_lost_was_applied_once(
    proxy: FaultProxy, behind: Memory, behind_too: Memory, name: str
) -> None:
    """It is never tried again: an increment that were would count twice (R18)."""
    reference = behind_too.partition("reference")
    reference.put_many({"key": 1, "list": [1], "object": {"a": 1}})
    if name != "policy":
        WRITES[name](reference)
    before = proxy.connections
    proxy.lose_reply()
    with pytest.raises(OutcomeUnknown):
        WRITES[name](behind)
    assert proxy.connections == before
    assert {e.key: e.value for e in behind.items()} == {e.key: e.value for e in reference.items()}
    assert behind.check() == []


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_request_is_lost_is_not_applied(proxy: FaultProxy, behind: Memory, name: str) -> None:
    everything = list(behind.items())
    proxy.lose_request()
    with pytest.raises(OutcomeUnknown):
        WRITES[name](behind)
    assert list(behind.items()) == everything
    WRITES[name](behind)


@pytest.mark.parametrize("fault", ["lose_request", "lose_reply"])
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_breaks_before_its_commit_is_certainly_not_applied(
    proxy: FaultProxy, behind: Memory, behind_too: Memory, name: str, fault: str
) -> None:
    everything = list(behind.items())
    getattr(proxy, fault)()
    with pytest.raises(Unavailable) as caught:
        BATCHES[name](behind)
    assert caught.value.retryable
    assert list(behind_too.items()) == everything
    BATCHES[name](behind)
    assert behind.check() == []


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_whose_commit_is_lost_is_applied_as_a_whole_or_not_at_all(
    proxy: FaultProxy, behind: Memory, behind_too: Memory, name: str
) -> None:
    everything = list(behind.items())
    proxy.lose_request(containing=b"COMMIT\0")
    with pytest.raises(OutcomeUnknown):
        BATCHES[name](behind)
    assert list(behind.items()) == everything  # and there is a connection again
    proxy.lose_reply(containing=b"COMMIT\0")
    with pytest.raises(OutcomeUnknown):
        BATCHES[name](behind)
    reference = behind_too.partition("reference")
    reference.put_many({"key": 1, "list": [1], "object": {"a": 1}})
    BATCHES[name](reference)
    assert {e.key: e.value for e in behind.items()} == {e.key: e.value for e in reference.items()}
    assert behind.check() == []


def test_a_large_batch_that_breaks_leaves_nothing(
    proxy: FaultProxy, behind: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way by COPY, which takes more round trips than one."""
    monkeypatch.setattr("agentmem.sql.postgres_batches.STAGE_FROM", 1)
    values = {f"bulk/{n:05}": n for n in range(6_000)}
    for statement in (b"BEGIN", b"CREATE TEMP", b"COPY", b"bulk/05000", b"INSERT", b"COMMIT\0"):
        behind.ping()
        proxy.lose_request(containing=statement)
        with pytest.raises((Unavailable, OutcomeUnknown)):
            behind.put_many(values)
        assert behind.count("bulk/*") == 0
    assert len(behind.put_many(values)) == 6_000


def test_a_batch_is_large_by_its_metadata_and_keys_too(
    proxy: FaultProxy, behind: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentmem.sql.postgres_batches.STAGE_FROM", 30_000)
    small = [Put("a", 1), Put("b", 2)]
    for large in (Put("c", 3, metadata={"text": "x" * 15_000}), Put("c" * 1_000, 3)):
        behind.apply(small)
        puts = [*small, *(Put(f"{large.key}{n}", 3, metadata=large.metadata) for n in range(30))]
        proxy.lose_request(containing=b"CREATE TEMP")
        with pytest.raises(Unavailable):
            behind.apply(puts)
        assert len(behind.apply(puts)) == 32


def test_a_server_that_is_away_and_comes_back(proxy: FaultProxy, behind: Memory) -> None:
    proxy.refuse()
    for call in (*READS.values(), *WRITES.values(), *BATCHES.values()):
        with pytest.raises(Unavailable) as caught:
            call(behind)
        assert caught.value.retryable
        assert isinstance(caught.value.__cause__, Exception)
    proxy.accept()
    assert behind.get("key") == 1
    assert behind.put("key", 2).value == 2


def test_a_failure_in_flight_gives_its_place_in_the_pool_back(proxy: FaultProxy) -> None:
    with agentmem.connect(proxy.url, pool_size=1, pool_timeout=2) as memory:
        memory.put("key", 0)
        for _ in range(3):
            memory.ping()
            proxy.lose_reply()
            with pytest.raises(OutcomeUnknown):
                memory.put("key", 1)
            proxy.refuse()
            with pytest.raises(Unavailable):
                memory.get("key")
            proxy.accept()
        assert memory.get("key") == 1


def test_the_second_of_two_hosts_is_used(postgres_schema_url: str) -> None:
    parts = urlsplit(postgres_schema_url)
    user = parts.netloc.rpartition("@")[0]
    hosts = f"host=127.0.0.1,{parts.hostname}&port={free_port()},{parts.port}"
    with agentmem.connect(f"postgresql://{user}@{parts.path}?{hosts}&target_session_attrs=read-write") as memory:
        memory.put("key", 1)
        assert memory.get("key") == 1


@pytest.mark.parametrize(("threshold", "prepared"), [(None, False), (0, True)])
def test_prepared_statements_are_an_option(postgres_schema_url: str, threshold: int | None, prepared: bool) -> None:
    """A pooler that gives each transaction another connection cannot bear them."""
    with open_url(postgres_schema_url, {"pool_size": 1, "prepare_threshold": threshold}) as repository:
        with agentmem.connect(repository) as memory:
            for n in range(10):
                memory.put("key", n)
                memory.append("list", n)
                memory.get("key")
        (count,) = repository._rows("SELECT count(*) FROM pg_prepared_statements", {})[0]
        assert (count > 0) is prepared


# Few


@contextmanager
def held(url: str, memory: Memory) -> Iterator[None]:
    """Keep all connections of a pool of one busy: a put waits for a row that another session has locked."""
    memory.put("locked", 0)
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM memory_entries WHERE key = 'locked' FOR UPDATE")
        waiting = threading.Thread(target=memory.put, args=("locked", 1))
        waiting.start()
        with psycopg.connect(url, autocommit=True) as observer:
            blocked = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            eventually(lambda: observer.execute(blocked).fetchone() == (1,))
        yield
        other.rollback()
        waiting.join(30)
        assert not waiting.is_alive()


def test_r06_text_comes_back_whatever_encoding_the_environment_says(
    postgres_schema_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("→", "→")
        assert memory.get("→") == "→"
    engine = create_engine(normalised(make_url(postgres_schema_url)))
    with pytest.raises(ConfigurationError, match="the connection's client_encoding is LATIN1"):
        agentmem.connect(engine)
    engine.dispose()


def test_a_database_in_another_encoding_is_refused(sqlite_url: str) -> None:
    with closing(sqlite3.connect(make_url(sqlite_url).database or "")) as database:
        database.execute("PRAGMA encoding = 'UTF-16'")
        database.execute("CREATE TABLE orders (id INTEGER)")
    with pytest.raises(ConfigurationError, match="the database's encoding is UTF-16"):
        agentmem.connect(sqlite_url)


def test_no_connection_becomes_free_in_time(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url, pool_size=1, pool_timeout=0.25) as memory:
        with held(postgres_schema_url, memory):
            for call in (lambda: memory.get("key"), lambda: memory.put("key", 1)):
                with pytest.raises(PoolTimeout, match=r"0\.25 s.* 1 .*pool_size") as caught:
                    call()
                assert isinstance(caught.value, TimeoutError)
                assert caught.value.retryable
        assert memory.get("locked") == 1


def test_a_thread_that_waits_gets_the_connection_that_becomes_free(postgres_schema_url: str) -> None:
    with agentmem.connect(postgres_schema_url, pool_size=1, pool_timeout=30) as memory:
        found: list[Any] = []
        with held(postgres_schema_url, memory):
            reader = threading.Thread(target=lambda: found.append(memory.get("locked")))
            reader.start()
            time.sleep(0.1)
            assert found == []
        reader.join(30)
        assert found == [1]


def test_a_pool_is_never_exceeded(postgres_schema_url: str) -> None:
    with FaultProxy(postgres_schema_url) as proxy, agentmem.connect(proxy.url, pool_size=3) as memory:
        before = proxy.connections
        run_threads(24, lambda index: [memory.increment("counter") for _ in range(10)])
        assert memory.get("counter") == 240
        assert proxy.connections - before <= 3


def test_waiting_writers_of_sqlite_leave_the_pool_to_readers(sqlite_url: str) -> None:
    """pitfall: a lock that is taken after the pool makes a pool of many serve one thread."""
    with agentmem.connect(sqlite_url, pool_size=2, pool_timeout=0.5, busy_timeout=20) as memory:
        memory.put("key", 1)
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")

        def work(index: int) -> None:
            if index:
                memory.put(f"{index}", index)
                return
            try:
                time.sleep(0.2)
                assert memory.get("key") == 1
                time.sleep(0.6)
            finally:
                other.execute("ROLLBACK")
                other.close()

        run_threads(5, work)
        assert memory.count() == 5


def test_more_descriptors_than_select_takes(postgres_schema_url: str) -> None:
    """A busy server has more than 1,024 of them; select(2) does not know those beyond."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), hard))
    filler = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        with agentmem.connect(postgres_schema_url) as memory:
            memory.put("key", 1)
            assert memory.get("key") == 1
            terminate_all(postgres_schema_url)
            assert memory.get("key") == 1
    finally:
        for descriptor in filler:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Closed


def test_close_ends_the_connections(postgres_schema_url: str) -> None:
    mine = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(postgres_schema_url, autocommit=True) as observer:
        memory = agentmem.connect(postgres_schema_url)
        run_threads(4, lambda _: memory.get("key"))
        assert observer.execute(f"SELECT count(*) > 0 {mine}").fetchone() == (True,)
        memory.close()
        memory.close()
        eventually(lambda: observer.execute(f"SELECT count(*) {mine}").fetchone() == (0,))
    for call in (*READS.values(), *WRITES.values(), *BATCHES.values()):
        with pytest.raises(Closed):
            call(memory)


def test_close_ends_the_files(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with agentmem.connect(sqlite_url) as memory:
        run_threads(4, lambda index: memory.put(f"{index}", index))
        assert open_files(path) > 0
    assert open_files(path) == 0
    with pytest.raises(Closed):
        memory.get("0")


def open_files(path: str) -> int:
    return sum(str(link.resolve()).startswith(path) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


def test_a_call_in_flight_ends_in_peace_when_the_handle_is_closed(postgres_schema_url: str) -> None:
    memory = agentmem.connect(postgres_schema_url, pool_size=1)
    with held(postgres_schema_url, memory):
        memory.close()
    with agentmem.connect(postgres_schema_url) as again:
        assert again.get("locked") == 1


# In memory


def test_sqlite_in_memory_serves_many_threads() -> None:
    with agentmem.connect("sqlite://") as memory:

        def work(index: int) -> None:
            for turn in range(20):
                memory.increment("counter")
                memory.put(f"{index}/{turn}", index)
                with pytest.raises(agentmem.VersionConflict):
                    memory.apply([Put(f"{index}/never", 1), Put("counter", 1, if_absent=True)])

        run_threads(12, work)
        assert memory.get("counter") == 240
        assert memory.count() == 241
        assert memory.check() == []


def test_each_handle_in_memory_has_a_store_of_its_own() -> None:
    with agentmem.connect("sqlite://") as one, agentmem.connect("sqlite:///:memory:") as other:
        one.put("key", 1)
        assert other.get("key") is None
