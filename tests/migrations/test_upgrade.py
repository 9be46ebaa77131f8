"""From an empty database to the head, and what happens when it does not go well."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import URL, QueuePool, StaticPool, create_engine, make_url, text

from agentmem import migrations
from agentmem.errors import (
    BackendError,
    ConfigurationError,
    PermissionDenied,
    PoolTimeout,
    SchemaMismatch,
    Unavailable,
)
from agentmem.sql import metadata, migration_locks, schema

OURS = {*metadata.tables}


def test_an_empty_database_gets_the_schema(url, tables):
    assert migrations.current(url) is None
    migrations.upgrade(url)
    assert migrations.current(url) == schema.HEAD
    assert tables(url) == OURS
    migrations.check(url)


def test_a_second_upgrade_changes_nothing_and_takes_no_lock(url, schema_of):
    migrations.upgrade(url)
    before = schema_of(url)
    with migration_locks.process_lock(migration_locks.Deadline(1)):
        migrations.upgrade(url, wait_seconds=0)
    assert schema_of(url) == before


def test_an_engine_is_a_target_and_stays_open(engine):
    migrations.upgrade(engine)
    assert migrations.current(engine) == schema.HEAD
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM memory_entries")).scalar_one() == 0


def test_a_connection_without_a_transaction_is_left_without_one(engine):
    with engine.connect() as connection:
        migrations.upgrade(connection)
        assert not connection.in_transaction()
        assert migrations.current(connection) == schema.HEAD
        assert not connection.in_transaction()
    assert migrations.current(engine) == schema.HEAD


def test_in_a_hosts_transaction_it_is_the_hosts_to_commit(engine, query):
    query("CREATE TABLE orders (id INTEGER)")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO orders VALUES (1)"))
        migrations.upgrade(connection)
        assert migrations.current(connection) == schema.HEAD
    assert migrations.current(engine) == schema.HEAD
    assert query("SELECT id FROM orders") == [(1,)]


@pytest.mark.parametrize("writes_first", [True, False])
def test_in_a_hosts_transaction_it_is_the_hosts_to_roll_back(engine, query, tables, url, writes_first):
    query("CREATE TABLE orders (id INTEGER)")
    with engine.connect() as connection, connection.begin() as transaction:
        if writes_first:
            connection.execute(text("INSERT INTO orders VALUES (1)"))
        migrations.upgrade(connection)
        transaction.rollback()
    assert tables(url) == {"orders"}
    assert query("SELECT id FROM orders") == []


def test_a_failure_leaves_the_hosts_transaction_usable(engine, query, tables, url):
    query("CREATE TABLE memory_entries (id INTEGER)")
    with engine.begin() as connection:
        with pytest.raises(BackendError, match=r"memory_entries.* already exists"):
            migrations.upgrade(connection)
        connection.execute(text("INSERT INTO memory_entries VALUES (7)"))
    assert query("SELECT id FROM memory_entries") == [(7,)]
    assert tables(url) == {"memory_entries"}


def test_all_or_nothing(url, query, tables):
    query("CREATE TABLE memory_entries (id INTEGER)")
    with pytest.raises(BackendError):
        migrations.upgrade(url)
    assert tables(url) == {"memory_entries"}
    query("DROP TABLE memory_entries")
    migrations.upgrade(url)
    migrations.check(url)


def test_a_pool_with_room_for_one_connection_will_do(url, host_engine):
    with host_engine(url, pool_size=1, max_overflow=0, pool_timeout=1) as engine:
        migrations.upgrade(engine)
        assert migrations.current(engine) == schema.HEAD


def test_a_database_in_memory_on_the_one_connection_of_its_engine(host_engine):
    with host_engine("sqlite://", poolclass=StaticPool) as engine:
        migrations.upgrade(engine)
        assert migrations.current(engine) == schema.HEAD


def test_an_engine_that_begins_its_transactions_itself(sqlite_url):
    from agentmem.sql.engines import sqlite_engine
    from agentmem.sql.options import SQLiteOptions

    engine = sqlite_engine(make_url(sqlite_url), SQLiteOptions())
    migrations.upgrade(engine)
    with engine.begin() as connection:
        migrations.downgrade(connection, "base")
    assert migrations.current(engine) is None
    engine.dispose()


def test_an_engine_in_autocommit_is_migrated_in_a_transaction(postgres_url, host_engine, tables):
    with host_engine(postgres_url, isolation_level="AUTOCOMMIT") as engine:
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE memory_entries (id integer)"))
            with pytest.raises(ConfigurationError, match="autocommit"):
                migrations.upgrade(connection)
        with pytest.raises(BackendError):
            migrations.upgrade(engine)
        assert tables(postgres_url) == {"memory_entries"}
        with engine.connect() as connection:
            assert connection.connection.driver_connection.autocommit


def test_a_long_query_of_the_host_makes_it_give_up_instead_of_holding_up_others(postgres_url, host_engine):
    migrations.upgrade(postgres_url)
    with host_engine(postgres_url) as engine, engine.begin() as reader:
        reader.execute(text("SELECT * FROM memory_entries"))
        with pytest.raises(Unavailable, match="lock time-out") as caught:
            migrations.downgrade(postgres_url, "base", lock_timeout_seconds=0.05, wait_seconds=0.3)
    assert caught.value.retryable
    assert migrations.current(postgres_url) == schema.HEAD


def test_the_lock_timeout_of_a_host_is_given_back(postgres_url, host_engine):
    with host_engine(postgres_url) as engine, engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '17s'"))
        migrations.upgrade(connection, lock_timeout_seconds=0.3)
        assert connection.execute(text("SHOW lock_timeout")).scalar_one() == "17s"


def test_on_sqlite_another_writer_is_waited_for_and_then_named(sqlite_url, host_engine):
    with host_engine(sqlite_url) as engine, engine.begin() as writer:
        writer.execute(text("CREATE TABLE orders (id INTEGER)"))
        writer.execute(text("INSERT INTO orders VALUES (1)"))
        with pytest.raises(Unavailable, match="the database is locked"):
            migrations.upgrade(sqlite_url, wait_seconds=0.05)
    migrations.upgrade(sqlite_url)


def test_on_sqlite_the_engines_own_busy_timeout_comes_back(sqlite_url, host_engine):
    with host_engine(sqlite_url, poolclass=StaticPool, connect_args={"timeout": 1.25}) as engine:
        migrations.upgrade(engine)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1250


@pytest.mark.parametrize("name", ["100%.db", "50%20off.db", "a b.db", "#é.db"])
def test_odd_names_of_files(tmp_path: Path, name: str):
    url = URL.create("sqlite", database=str(tmp_path / name))
    migrations.upgrade(url)
    assert (tmp_path / name).exists()
    migrations.check(url)


def test_a_password_with_odd_characters(postgres_server, postgres_url):
    # The test server's password holds a percent sign, an at sign and a slash.
    assert "%25" in postgres_url
    migrations.upgrade(postgres_url)
    migrations.check(postgres_url)


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "stamp"])
def test_an_unknown_revision_is_refused(url, command, tables):
    with pytest.raises(ConfigurationError, match="0999"):
        getattr(migrations, command)(url, "0999")
    assert not tables(url) & {"partitions", "memory_entries"}


@pytest.mark.parametrize("command", ["upgrade", "downgrade", "stamp", "current", "check"])
@pytest.mark.parametrize(
    "target", ["redis://localhost", "mysql://localhost/x", "nonsense", "postgresql://h:port/x", "sqlite:x"]
)
def test_what_is_no_target(command, target):
    arguments = ["base"] if command in ("downgrade", "stamp") else []
    with pytest.raises(ConfigurationError):
        getattr(migrations, command)(target, *arguments)


def test_a_server_that_does_not_answer():
    with pytest.raises(Unavailable):
        migrations.upgrade("postgresql://u:hunter2@127.0.0.1:1/x")


def test_a_role_that_may_not(postgres_url, query_postgres):
    query_postgres("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        query_postgres("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        guest = make_url(postgres_url).set(username="guest", password="guest")
        with pytest.raises(PermissionDenied):
            migrations.upgrade(guest)
        with pytest.raises(PermissionDenied):
            migrations.upgrade(guest.set(password="wrong"))
    finally:
        query_postgres("DROP ROLE guest")


def test_a_newer_database_is_left_alone(url, query):
    migrations.upgrade(url)
    query("UPDATE agentmem_version SET version_num = '7000'")
    for run in (migrations.upgrade, lambda u: migrations.downgrade(u, "base"), lambda u: migrations.stamp(u, "0001")):
        with pytest.raises(SchemaMismatch, match="upgrade agentmem"):
            run(url)
    assert query("SELECT version_num FROM agentmem_version") == [("7000",)]


def test_stamp_records_and_nothing_else(url, tables):
    migrations.stamp(url, "head")
    assert migrations.current(url) == schema.HEAD
    assert tables(url) == {"agentmem_version"}


def test_no_thread_is_left_behind(url):
    before = threading.enumerate()
    migrations.upgrade(url)
    assert threading.enumerate() == before


def test_an_engine_of_another_database_is_refused():
    engine = create_engine("sqlite://")
    engine.dialect.name = "oracle"
    with pytest.raises(ConfigurationError, match="oracle"):
        migrations.upgrade(engine)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "letter.db").write_text("Dear Ada, " * 100)
    with pytest.raises(Unavailable, match="cannot be used") as caught:
        migrations.upgrade(f"sqlite:///{tmp_path / 'letter.db'}")
    assert not caught.value.retryable


def test_a_lock_file_that_cannot_be_written(sqlite_url, tmp_path):
    (tmp_path / "memory.db.migration.lock").mkdir()
    with pytest.raises(Unavailable, match="lock file of a migration cannot be written") as caught:
        migrations.upgrade(sqlite_url)
    assert not caught.value.retryable


def test_an_exhausted_pool_of_the_host(url, host_engine):
    with host_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05) as engine:
        with engine.connect(), pytest.raises(PoolTimeout):
            migrations.upgrade(engine)
        migrations.upgrade(engine)


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"extra \[postgres\]"):
        migrations.upgrade("postgresql://localhost/x")
