"""The functions of revision 0002: a new row that had to wait is stamped anew, and metadata of a host's own is borne."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg
import pytest
from sqlalchemy import create_engine, make_url

import agentmem
from agentmem.entries import Entry
from agentmem.memory import Memory
from agentmem.sql.engines import normalised
from agentmem.sql.postgres_batches import STAGE_FROM

pytestmark = pytest.mark.postgres


@pytest.fixture
def slow_url(postgres_schema_url: str) -> Iterator[str]:
    """A database where a row `slow` takes 20 ms to be inserted, while another transaction is under way."""
    with psycopg.connect(postgres_schema_url) as other, psycopg.connect(postgres_schema_url, autocommit=True) as own:
        other.execute("SELECT pg_current_xact_id()")
        own.execute("CREATE TABLE inserted (at timestamptz)")
        own.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(0.02); INSERT INTO inserted VALUES (clock_timestamp()); RETURN NEW; END $$"
        )
        own.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON memory_entries FOR EACH ROW WHEN (NEW.key = 'slow') "
            "EXECUTE FUNCTION slow()"
        )
        yield postgres_schema_url


def inserted(url: str) -> datetime:
    """When the slow row went into its table, which is long after its clock was read."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT at FROM inserted").fetchone()
        assert row is not None
        return row[0]


def put(memory: Memory) -> Entry:
    return memory.put("slow", 1, ttl=60)


def put_if_absent(memory: Memory) -> Entry:
    return memory.put("slow", 1, ttl=60, if_absent=True)


def put_many(memory: Memory) -> Entry:
    return memory.put_many({"slow": 1, "other": 1}, ttl=60)["slow"]


def put_very_many(memory: Memory) -> Entry:
    large = "x" * 900_000
    return memory.put_many({"slow": 1} | dict.fromkeys(map(str, range(STAGE_FROM // len(large) + 1)), large), ttl=60)[
        "slow"
    ]


@pytest.mark.rule("R11", "R12", "R19")
@pytest.mark.parametrize("write", [put, put_if_absent, put_many, put_very_many])
def test_what_is_told_of_a_slow_row_is_what_is_stored(slow_url: str, write: Callable[[Memory], Entry]) -> None:
    """Its clock was read before its trigger ran; its version, time stamps and expiry are of later."""
    with agentmem.connect(slow_url) as memory:
        memory.put("before", 1)
        told = write(memory)
        assert memory.entry("slow") == told
        assert told.created_at == told.updated_at
        assert told.expires_at is not None
        assert (told.expires_at - told.updated_at).total_seconds() == 60
        assert told.updated_at > inserted(slow_url)
        assert told.version >= told.updated_at.timestamp() * 1e6 - 1
        assert memory.check() == []


@pytest.mark.rule("R12")
def test_a_hosts_transaction_is_older_than_the_wait(slow_url: str) -> None:
    """Its number tells nothing about who came after it, so that every slow row of it is stamped anew."""
    engine = create_engine(normalised(make_url(slow_url)))
    with agentmem.connect(slow_url) as memory, engine.begin() as connection:
        memory.using(connection).put("first", 1)
        slow = memory.using(connection).put("slow", 1)
    assert slow.updated_at > inserted(slow_url)
    engine.dispose()


@pytest.mark.rule("R12")
def test_the_floor_of_now_counts(slow_url: str) -> None:
    with agentmem.connect(slow_url) as memory, psycopg.connect(slow_url, autocommit=True) as connection:
        memory.put("before", 1)
        version = memory.put("ahead", 1).version + 10**12
        connection.execute("UPDATE memory_entries SET version = %s WHERE key = 'ahead'", [version])
        memory.delete("ahead")
        assert memory.put("slow", 1).version > version


FOREIGN = ["no JSON", "", "[1]", '{"a": 1', '"owner"', '{"owner": "\\ud800"}', "[" * 20_000, '{"owner": 1e400000}']


@pytest.mark.rule("R10", "R25")
def test_metadata_that_is_none_spoils_no_filter(postgres_schema_url: str) -> None:
    """As on the other backends it has no fields; the entry itself is corrupt, and no other is."""
    with agentmem.connect(postgres_schema_url) as memory:
        memory.put("good", 1, metadata={"owner": "Ada\0", "n": {"deep": [1]}})
        memory.put("plain", 1)
        for number in range(len(FOREIGN)):
            memory.put(f"foreign/{number}", 1, metadata={"owner": "Ada"})
        with psycopg.connect(postgres_schema_url) as connection:
            for number, text in enumerate(FOREIGN):
                statement = "UPDATE memory_entries SET metadata = %s WHERE key = %s"
                connection.execute(statement, [text, f"foreign/{number}"])
        assert [entry.key for entry in memory.search(where={"@metadata.owner": {"$startswith": "Ada"}})] == ["good"]
        assert memory.count(where={"@metadata.n.deep": {"$contains": 1}}) == 1
        assert memory.count(where={"@metadata.owner": {"$exists": False}}) == 1 + len(FOREIGN)
        assert memory.count(where={"@metadata": {}}) == 1
        assert memory.delete_matching("foreign/*", where={"@metadata.owner": {"$ne": "Ada"}}) == len(FOREIGN)
