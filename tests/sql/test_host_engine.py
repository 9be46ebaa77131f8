"""A host application's own engine: used, and left as it was found (R35)."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.pool import NullPool, QueuePool

import agentmem
from agentmem import Append, Closed, NamespaceError, PoolTimeout, Put, SchemaMismatch, VersionConflict
from agentmem.sql import migrations
from agentmem.sql.engines import normalised
from agentmem.testing.faults import FaultProxy
from agentmem.testing.support import run_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory


@pytest.fixture
def make_engine(url: str) -> Iterator[Callable[..., Engine]]:
    """Makes engines of a host on a store that is set up, and disposes of them."""
    migrations.upgrade(url)
    engines = []

    def make(**options: Any) -> Engine:
        engines.append(create_engine(normalised(make_url(url)), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def use(memory: Memory) -> None:
    """A bit of everything, failures included."""
    memory.put_many({"a": 1, "b": 2})
    memory.increment("counter")
    memory.apply([Append("list", 1), Put("c", 3)])
    assert memory.get("a") == 1
    assert len(memory.search("*", where={(): {"$gte": 1}})) >= 3
    for conflict in ({"if_version": 1}, {"if_absent": True}):
        with pytest.raises(VersionConflict):
            memory.put("a", 2, **conflict)
    with pytest.raises(VersionConflict):
        memory.apply([Put("d", 4), Put("a", 2, if_version=1)])
    with pytest.raises(NamespaceError):
        memory.partition("fenced", namespace="x/").put("y", 1)
    memory.purge_expired()
    memory.stats()


def settings_of(raw: Any) -> tuple[Any, ...]:
    """What a driver's connection would show of somebody's having used it."""
    if isinstance(raw, psycopg.Connection):
        return (
            raw.autocommit,
            raw.prepare_threshold,
            raw.isolation_level,
            raw.read_only,
            raw.row_factory,
            raw.info.transaction_status,
        )
    return raw.isolation_level, raw.row_factory, raw.in_transaction


def settings_of_pool(engine: Engine) -> tuple[Any, ...]:
    raw = engine.raw_connection()
    try:
        return settings_of(raw.driver_connection)
    finally:
        raw.close()


@pytest.mark.parametrize(
    "options",
    [{}, {"isolation_level": "SERIALIZABLE"}, {"isolation_level": "AUTOCOMMIT"}, {"pool_pre_ping": True}],
    ids=["default", "serializable", "autocommit", "pre_ping"],
)
def test_connections_come_back_as_they_were(make_engine: Callable[..., Engine], options: Any) -> None:
    engine = make_engine(poolclass=QueuePool, pool_size=1, max_overflow=0, **options)
    with engine.connect() as connection:
        before = connection.get_isolation_level()
    settings = settings_of_pool(engine)
    use(agentmem.connect(engine))
    assert settings_of_pool(engine) == settings
    with engine.connect() as connection:
        assert connection.get_isolation_level() == before


def test_the_hosts_transactions_stay_transactions(make_engine: Callable[..., Engine]) -> None:
    """On a connection that we have used in autocommit, a host's roll-back still takes everything back."""
    engine = make_engine(poolclass=QueuePool, pool_size=1, max_overflow=0)
    with agentmem.connect(engine) as memory:
        use(memory)
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(text("UPDATE memory_entries SET version = 1"))
            transaction.rollback()
        assert memory.check() == []
        entry = memory.entry("a")
        assert entry is not None
        assert entry.version > 1


def test_the_engine_is_not_closed(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(poolclass=QueuePool)
    pool = engine.pool
    with agentmem.connect(engine) as memory:
        use(memory)
    with pytest.raises(Closed):
        memory.get("a")
    assert engine.pool is pool
    assert pool.checkedin() > 0  # type: ignore[attr-defined]  # a QueuePool
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM memory_entries")) == 5
    with agentmem.connect(engine) as again:
        assert again.get("a") == 1


def test_nothing_is_registered_on_the_engine(make_engine: Callable[..., Engine]) -> None:
    """No listener, no option, no change of its dialect: others use the engine too."""
    engine = make_engine(poolclass=QueuePool, pool_size=2)

    def state() -> tuple[Any, ...]:
        events = ("begin", "commit", "rollback", "engine_connect", "before_cursor_execute")
        pooled = ("connect", "first_connect", "checkout", "checkin", "reset", "invalidate", "close")
        heard = [*(getattr(engine.dispatch, name) for name in events)]
        heard += [getattr(engine.pool.dispatch, name) for name in pooled]
        dialect = {name: value for name, value in vars(engine.dialect).items() if not name.startswith("_")}
        return [len([*each]) for each in heard], engine.get_execution_options(), dialect, engine.pool, str(engine.url)

    with engine.connect():
        before = state()
    with agentmem.connect(engine) as memory:
        use(memory)
        assert state() == before
    assert state() == before


def test_the_pools_size_is_respected(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(poolclass=QueuePool, pool_size=2, max_overflow=0)
    opened, out, most = [], threading.Semaphore(2), []
    event.listen(engine, "connect", lambda raw, _: opened.append(raw))
    event.listen(engine, "checkout", lambda *_: most.append(out.acquire(blocking=False)))
    event.listen(engine, "checkin", lambda *_: out.release())
    with agentmem.connect(engine) as memory:
        run_threads(12, lambda _: [memory.increment("counter") for _ in range(5)])
        assert memory.get("counter") == 60
    assert all(most)
    assert len(opened) <= 2


def test_no_connection_is_kept_between_calls(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=1)
    with agentmem.connect(engine) as memory:
        memory.put("key", 1)
        for entry in memory.items():
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
            assert memory.get(entry.key) == 1
        with memory.transaction() as tx:
            tx.put("key", tx.get("key") + 1)
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))


def test_a_host_that_keeps_its_pool_busy_means_a_pool_timeout(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.2)
    with agentmem.connect(engine) as memory:
        memory.put("key", 1)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            with pytest.raises(PoolTimeout):
                memory.get("key")
        assert memory.get("key") == 1


def test_an_engine_without_a_pool_will_do(make_engine: Callable[..., Engine]) -> None:
    with agentmem.connect(make_engine(poolclass=NullPool)) as memory:
        use(memory)


def test_many_threads_share_an_engine_with_its_host(make_engine: Callable[..., Engine]) -> None:
    engine = make_engine(poolclass=QueuePool, pool_size=3, max_overflow=2)
    with agentmem.connect(engine) as memory:

        def work(index: int) -> None:
            for _ in range(10):
                if index % 2:
                    memory.increment("counter")
                else:
                    with engine.connect() as connection:
                        connection.execute(text("SELECT count(*) FROM memory_entries"))

        run_threads(12, work)
        assert memory.get("counter") == 60


@pytest.mark.parametrize("moment", ["connect", "checkout"])
def test_a_host_that_prepares_its_connections(make_engine: Callable[..., Engine], moment: str) -> None:
    """A listener that executes something leaves a transaction open, which is not ours to fail over."""
    engine = make_engine(poolclass=QueuePool, pool_size=4)
    statement = (
        "SET application_name = 'tenant 7'" if engine.dialect.name == "postgresql" else "PRAGMA cache_size = 777"
    )

    def prepare(raw: Any, *_: Any) -> None:
        cursor = raw.cursor()
        cursor.execute(statement)
        cursor.close()

    event.listen(engine, moment, prepare)
    with agentmem.connect(engine) as memory:
        use(memory)
        run_threads(4, lambda _: memory.increment("counter"))
        assert memory.get("counter") == 5


def test_a_host_whose_connections_make_other_rows(sqlite_url: str) -> None:
    engine = create_engine(normalised(make_url(sqlite_url)))
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "row_factory", sqlite3.Row))
    with agentmem.connect(engine, create="always") as memory:
        use(memory)
        memory.queue("jobs").put(1)
        assert [job.value for job in memory.queue("jobs").claim(1)] == [1]
    assert settings_of_pool(engine)[1] is sqlite3.Row
    engine.dispose()


@pytest.mark.postgres
def test_a_host_whose_connections_bind_in_the_client(postgres_schema_url: str) -> None:
    # As some do behind a pooler. Such cursors give no binary results.
    engine = create_engine(
        normalised(make_url(postgres_schema_url)), connect_args={"cursor_factory": psycopg.ClientCursor}
    )
    with agentmem.connect(engine) as memory, engine.begin() as connection:
        for handle in (memory, memory.using(connection)):
            use(handle)
            assert handle.qtable("order").update("small", "first", reward=1.0) == 0.1
            handle.put("quoted", ["\\", "'", '"', "%s"])
            assert handle.get("quoted") == ["\\", "'", '"', "%s"]
            handle.clear()
            handle.qtable("order").clear()
    engine.dispose()


def test_an_engine_without_our_schema(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with pytest.raises(SchemaMismatch, match="agentmem db upgrade"):
        agentmem.connect(engine)
    with agentmem.connect(engine, create="always") as memory:
        use(memory)
    engine.dispose()


def test_a_hosts_sqlite_in_memory() -> None:
    """The pool that SQLAlchemy gives it has a database for each thread; one connection for all is the host's choice."""
    engine = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, connect_args={"check_same_thread": False}
    )
    with agentmem.connect(engine, create="always") as memory:
        run_threads(8, lambda _: [memory.increment("counter") for _ in range(10)])
        assert memory.get("counter") == 80
    engine.dispose()


def test_an_engine_of_another_driver_is_refused() -> None:
    from sqlalchemy import create_mock_engine
    from sqlalchemy.dialects.mysql import dialect

    engine = create_engine("sqlite://")
    engine.dialect = dialect()
    with pytest.raises(agentmem.ConfigurationError, match="mysql"):
        agentmem.connect(engine)
    with pytest.raises(agentmem.ConfigurationError):
        agentmem.connect(create_mock_engine("sqlite://", lambda *_: None))  # type: ignore[arg-type]  # no Engine


def test_connections_of_a_hosts_pool_that_were_cut_at_rest(postgres_schema_url: str) -> None:
    """Without pre_ping the host's pool lends dead ones."""
    with FaultProxy(postgres_schema_url) as proxy:
        engine = create_engine(normalised(make_url(proxy.url)), pool_size=4)
        with agentmem.connect(engine) as memory:
            for call in (lambda: memory.get("key"), lambda: memory.put("key", 1), lambda: memory.append("list", 1)):
                run_threads(4, lambda _: memory.increment("counter"))
                proxy.cut()
                time.sleep(0.1)
                call()
        engine.dispose()
