"""`memory.using(connection)`: memory and a host's own rows commit or roll back together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

import agentmem
from agentmem import Closed, ConfigurationError, PoolTimeout, Put, Unavailable, VersionConflict
from agentmem.sql import MemoryEntry
from agentmem.sql.engines import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agentmem.memory import Memory

CALLS: dict[str, Callable[[Memory], object]] = {
    "put": lambda memory: memory.put("key", 1),
    "put if_absent": lambda memory: memory.put("new", 1, if_absent=True),
    "put_many": lambda memory: memory.put_many({"key": 1, "b": 2}),
    "put_many, large": lambda memory: memory.put_many({f"key/{number}": number for number in range(1200)}),
    "put_many, large, twice": lambda memory: [CALLS["put_many, large"](memory) for _ in range(2)],
    "load": lambda memory: memory.load({"key": 1, "b": 2, "c": 3}, chunk=2),
    "increment": lambda memory: memory.increment("counter"),
    "append": lambda memory: memory.append("list", 1),
    "merge": lambda memory: memory.merge("object", {"a": 1}),
    "touch": lambda memory: memory.touch("before", 60),
    "delete": lambda memory: memory.delete("before"),
    "delete_matching": lambda memory: memory.delete_matching("bef*"),
    "apply": lambda memory: memory.apply([Put("key", 1), Put("other", 2)]),
    "transaction": lambda memory: memory.run(lambda tx: tx.put("key", tx.get("before"))),
    "partition": lambda memory: memory.partition("jobs", default_ttl=60).put("key", 1),
    "drop_partition": lambda memory: memory.drop_partition("default"),
}


@pytest.fixture
def engine(url: str, memory: Memory) -> Iterator[Engine]:
    engine = create_engine(normalised(make_url(url)))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY)"))
    memory.put("before", "was there")
    yield engine
    engine.dispose()


def order(connection: Connection | Session, number: int) -> None:
    connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": number})


def orders(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM orders")).scalar_one())


def everything(memory: Memory) -> dict[str, Any]:
    return {f"{p.name}/{e.key}": e.value for p in memory.partitions() for e in memory.partition(p.name).items()}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("commits", [True, False], ids=["commit", "rollback"])
def test_it_is_part_of_the_hosts_transaction(memory: Memory, engine: Engine, name: str, commits: bool) -> None:
    before = everything(memory)
    reference = memory.partition("reference")
    with engine.connect() as connection:
        order(connection, 1)
        joined = memory.using(connection)
        CALLS[name](joined)
        seen = everything(joined)
        order(connection, 2)
        connection.commit() if commits else connection.rollback()
    assert seen != before or name == "touch"
    assert everything(memory) == (seen if commits else before)
    assert orders(engine) == (2 if commits else 0)
    assert memory.check() == []
    assert reference.count() == 0


def test_a_session_joins_as_well(memory: Memory, engine: Engine) -> None:
    with Session(engine) as session:
        joined = memory.scoped("agents/").using(session)
        joined.put("a", 1)
        order(session, 1)
        session.commit()
    assert memory.get("agents/a") == 1
    with Session(engine) as session:
        memory.using(session).put("agents/b", 1)
        order(session, 2)  # and closed without a commit
    assert (memory.exists("agents/b"), orders(engine)) == (False, 1)


def test_nobody_else_sees_it_before_the_commit(memory: Memory, engine: Engine) -> None:
    with engine.connect() as connection:
        memory.using(connection).put("key", 1)
        assert not memory.exists("key")
        connection.commit()
    assert memory.get("key") == 1


def test_what_raises_changes_nothing_and_the_transaction_goes_on(memory: Memory, engine: Engine) -> None:
    with engine.begin() as connection:
        joined = memory.using(connection)
        order(connection, 1)
        joined.put("a", 1)
        with pytest.raises(VersionConflict):
            joined.apply([Put("b", 1), Put("before", 1, if_absent=True)])
        with pytest.raises(VersionConflict):
            joined.put("before", 1, if_absent=True)
        with pytest.raises(agentmem.InvalidOperation):
            joined.increment("before")
        joined.put("c", 1)
        order(connection, 2)
    assert sorted(memory.keys()) == ["a", "before", "c"]
    assert orders(engine) == 2


def test_a_savepoint_of_the_host_takes_it_back(memory: Memory, engine: Engine) -> None:
    with engine.begin() as connection:
        joined = memory.using(connection)
        joined.put("a", 1)
        inner = connection.begin_nested()
        joined.put("b", 1)
        inner.rollback()
        joined.put("c", 1)
    assert sorted(memory.keys()) == ["a", "before", "c"]


def test_the_handle_ends_with_the_transaction(memory: Memory, engine: Engine) -> None:
    with engine.connect() as connection:
        joined = memory.using(connection)
        connection.rollback()
        with pytest.raises(Closed, match="transaction"):
            joined.get("before")
        connection.begin()
        with pytest.raises(Closed):
            joined.put("key", 1)
    with engine.connect() as connection:
        joined = memory.using(connection)
        memory.close()
        with pytest.raises(Closed):
            joined.get("before")


def test_the_connection_is_as_it_was(memory: Memory, engine: Engine) -> None:
    with engine.connect() as connection:
        memory.using(connection).put("key", 1)
        connection.commit()
        raw = connection.connection.driver_connection
        assert raw is not None
        state = raw.isolation_level if engine.dialect.name == "sqlite" else (raw.autocommit, raw.prepare_threshold)
        assert state in ("", (False, 5))
        order(connection, 1)
        connection.rollback()
    assert orders(engine) == 0


def test_what_it_does_not_take(memory: Memory, engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="takes a SQLAlchemy Connection or Session"):
        memory.using(engine)  # type: ignore[arg-type]
    other = create_engine("sqlite://")
    if engine.dialect.name == "postgresql":
        with other.connect() as connection, pytest.raises(ConfigurationError, match="on sqlite"):
            memory.using(connection)
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(ConfigurationError, match="autocommit"),
    ):
        memory.using(connection)


def test_r29_what_has_no_transaction_to_join(memory: Memory, engine: Engine) -> None:
    closed = engine.connect()
    closed.close()
    with pytest.raises(ConfigurationError, match=r"no transaction to join: .*closed"):
        memory.using(closed)
    with pytest.raises(ConfigurationError, match=r"no transaction to join: .*not bound"):
        memory.using(Session())
    with Session(engine) as session:
        session.add(MemoryEntry(key="before", value=1))
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(ConfigurationError, match=r"no transaction to join: .*rolled back"):
            memory.using(session)


def test_r29_a_session_whose_pool_has_no_connection_left(memory: Memory, engine: Engine) -> None:
    small = create_engine(engine.url, pool_size=1, max_overflow=0, pool_timeout=0.05, poolclass=QueuePool)
    with small.connect(), Session(small) as session, pytest.raises(PoolTimeout, match="no free connection"):
        memory.using(session)
    small.dispose()


@pytest.mark.postgres
def test_a_transaction_that_an_error_of_the_hosts_has_ended(postgres_schema_url: str) -> None:
    engine = create_engine(normalised(make_url(postgres_schema_url)))
    with agentmem.connect(engine) as memory, engine.connect() as connection:
        joined = memory.using(connection)
        with pytest.raises(ProgrammingError):
            connection.execute(text("SELECT * FROM nothing"))
        for call in (lambda: joined.put("key", 1), lambda: joined.get("key")):
            with pytest.raises(Unavailable, match="transaction is aborted") as caught:
                call()
            assert not caught.value.retryable
        connection.rollback()
        memory.using(connection).put("key", 1)
    engine.dispose()


def test_an_engine_that_begins_sqlites_transactions_itself(sqlite_url: str) -> None:
    # https://docs.sqlalchemy.org, "Serializable isolation / Savepoints / Transactional DDL" of pysqlite.
    engine = create_engine(sqlite_url)
    event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with agentmem.connect(engine, create="always") as memory:
        for ends in (Session.rollback, Session.commit):
            with Session(engine) as session:
                memory.using(session).put("key", 1)
                ends(session)
            assert memory.exists("key") is (ends is Session.commit)
    engine.dispose()


@pytest.mark.postgres
def test_two_hosts_at_once(postgres_schema_url: str) -> None:
    """Exact counters across transactions that wait for each other."""
    engine = create_engine(normalised(make_url(postgres_schema_url)))
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("counter", 0)

        def host(_: int) -> None:
            for _ in range(20):
                with engine.begin() as connection:
                    memory.using(connection).increment("counter")

        threads = [threading.Thread(target=host, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert memory.get("counter") == 80
    engine.dispose()
