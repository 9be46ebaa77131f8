"""Downgrade and upgrade again keep what can be kept: of the first revision, everything."""

from __future__ import annotations

import pytest

import agentmem
from agentmem import SchemaMismatch, migrations
from agentmem.sql import metadata, schema

ENTRY = (
    "INSERT INTO memory_entries (partition, key, body, version, created_at, updated_at) "
    "VALUES ('p', 'k', '{{\"n\": 1}}', 17, {0}, {0})"
)


def fill(url, query):
    now = "1" if url.startswith("sqlite") else "now()"
    query(f"INSERT INTO partitions (name, created_at, default_ttl_ms) VALUES ('p', {now}, 5)")
    query(ENTRY.format(now))


def test_data_survives_a_downgrade_to_base(url, query, schema_of, tables):
    migrations.upgrade(url)
    fill(url, query)
    before = schema_of(url), query("SELECT * FROM memory_entries"), query("SELECT * FROM partitions")
    migrations.downgrade(url, "base")
    assert migrations.current(url) is None
    data = {*metadata.tables} - {schema.VERSION_TABLE}
    assert tables(url) == {schema.VERSION_TABLE, *(f"{name}_kept" for name in data)}
    migrations.upgrade(url)
    assert (schema_of(url), query("SELECT * FROM memory_entries"), query("SELECT * FROM partitions")) == before


def test_again_and_again(url, query):
    migrations.upgrade(url)
    fill(url, query)
    for _ in range(3):
        migrations.downgrade(url, "base")
        migrations.downgrade(url, "base")
        migrations.upgrade(url)
    assert query("SELECT version FROM memory_entries") == [(17,)]
    assert migrations.current(url) == schema.HEAD


def test_whoever_drops_what_was_kept_begins_anew(url, query):
    migrations.upgrade(url)
    fill(url, query)
    migrations.downgrade(url, "base")
    query("DROP TABLE partitions_kept")
    query("DROP TABLE memory_entries_kept")
    migrations.upgrade(url)
    assert query("SELECT count(*) FROM memory_entries") == [(0,)]


def test_in_a_hosts_transaction(engine, url, query):
    migrations.upgrade(url)
    fill(url, query)
    with engine.connect() as connection, connection.begin() as transaction:
        migrations.downgrade(connection, "base")
        assert migrations.current(connection) is None
        transaction.rollback()
    assert migrations.current(url) == schema.HEAD
    assert query("SELECT version FROM memory_entries") == [(17,)]


@pytest.mark.parametrize("revision", ["0001", "base"])
def test_a_handle_that_is_open_names_the_command(url, revision):
    migrations.upgrade(url)
    calls = [lambda m: m.queue("jobs").claim(1), lambda m: m.qtable("order").update("small", "first", reward=1.0)]
    if revision == "base" or url.startswith("postgresql"):  # whose puts call a function
        calls.append(lambda m: m.put("key", 1))
    with agentmem.connect(url) as memory:
        migrations.downgrade(url, revision)
        for call in calls:
            with pytest.raises(SchemaMismatch, match="run `agentmem db upgrade`"):
                call(memory)
        migrations.upgrade(url)
        for call in calls:
            call(memory)
