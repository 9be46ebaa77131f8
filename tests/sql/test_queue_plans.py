"""Which indexes the steps of a queue use, among many items of other queues, and that an extended lease writes none."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event

import agentmem
from agentmem import migrations
from agentmem.sql.backend import open_url
from agentmem.testing.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agentmem.memory import Memory
    from agentmem.testing.servers import PostgresServer

OTHERS = 20
EACH = 500

INDEXES = {
    "pk_queue_items", "ix_queue_items_ready", "ix_queue_items_due", "ix_queue_items_request",
    "ix_queue_items_blocked", "ix_queue_items_dead", "uq_queue_items_dedup", "uq_queue_items_active",
}  # fmt: skip
SCANS = "SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'queue_items'"
USES = "SELECT indexrelname, idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE relname = 'queue_items'"
HOT = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'queue_items'"


def fill(memory: Memory) -> None:
    """Items of every kind in many queues."""
    for number in range(OTHERS):
        queue = memory.queue(f"other/{number}", lease=3600, max_attempts=1)
        queue.put_many(range(EACH))
        queue.bury(*queue.claim(EACH // 4))
        queue.claim(EACH // 4)
        queue.put_many(range(EACH // 4), delay=3600)
        queue.put_many(range(EACH // 4), group="g")


def everything(memory: Memory) -> None:
    """All that can be done to a queue, on a few items."""
    queue = memory.queue("mine", lease=3600)
    queue.put(1, dedup_key="d")
    queue.put(1, dedup_key="d")
    queue.put_many(range(6), group="g")
    queue.put_many(range(6), priority=3)
    queue.ack(*queue.claim(4, request_id="r"))
    jobs = queue.claim(3)
    queue.extend(*jobs)
    queue.nack(*queue.ack_and_claim(jobs[:1], limit=2))
    queue.put(1, delay=0.001)
    queue.bury(*queue.claim(2, lease=3600))
    queue.put(1)
    assert queue.claim(1, lease=0.02)
    time.sleep(0.03)
    assert queue.peek()
    assert queue.dead()
    assert queue.counts().ready
    assert queue.redrive()
    assert memory.queues("min") == ["mine"]
    assert queue.claim(1)
    assert queue.purge() > 5


@pytest.fixture(scope="module")
def postgres(postgres_server: PostgresServer) -> Iterator[tuple[str, psycopg.Connection[Any]]]:
    url = postgres_server.new_database()
    migrations.upgrade(url)
    with psycopg.connect(url, autocommit=True) as connection:
        with agentmem.connect(url) as memory:
            fill(memory)
        connection.execute("VACUUM ANALYZE queue_items")
        yield url, connection
    postgres_server.drop_database(url)


def settled(connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    """A server's statistics, when those who are gone have delivered theirs."""
    seen: list[list[tuple[Any, ...]]] = [[]]

    def still() -> bool:
        time.sleep(0.1)
        seen.append(connection.execute(statement.encode()).fetchall())
        return seen[-1] == seen[-2]

    eventually(still)
    return seen[-1]


@pytest.mark.postgres
@pytest.mark.parametrize("threshold", ["none", "0", "5"])
def test_postgresql_reads_by_the_indexes(postgres: tuple[str, psycopg.Connection[Any]], threshold: str) -> None:
    url, connection = postgres
    scans, uses = settled(connection, SCANS), {row[0]: row[1:] for row in settled(connection, USES)}
    with agentmem.connect(f"{url}?prepare_threshold={threshold}") as memory:
        for _ in range(8):
            everything(memory)
    eventually(lambda: {row[0]: row[1:] for row in settled(connection, USES)} != uses)
    after = {row[0]: row[1:] for row in settled(connection, USES)}
    assert settled(connection, SCANS) == scans
    assert {name for name in after if after[name][0] > uses[name][0]} == INDEXES
    read = sum(after[name][1] - uses[name][1] for name in INDEXES)
    assert read < OTHERS * EACH


@pytest.mark.postgres
def test_a_plan_that_was_made_for_an_empty_table_stays_good(postgres_schema_url: str) -> None:
    with (
        agentmem.connect(postgres_schema_url, pool_size=1) as memory,
        psycopg.connect(postgres_schema_url, autocommit=True) as connection,
    ):
        for _ in range(8):
            everything(memory)
        fill(memory)
        everything(memory)
        memory.close()
        # Some statement may read a table that is small; 15,000 items nobody reads.
        assert settled(connection, SCANS)[0][1] < OTHERS * EACH / 10


def hot_ratio(url: str, connection: psycopg.Connection[Any]) -> float:
    """Of 3,000 extended leases, how many left the indexes alone."""
    before = settled(connection, HOT)[0]
    with agentmem.connect(url) as memory:
        queue = memory.queue("jobs", lease=60)
        queue.put_many([{"text": "x" * 200}] * 300)
        jobs = queue.claim(300)
        for turn in range(10):
            queue.extend(*jobs, lease=60 + turn)
        queue.ack(*jobs)
    # The first 300 are those of the claim.
    eventually(lambda: settled(connection, HOT)[0][0] == before[0] + 3_300)
    return float(settled(connection, HOT)[0][1] - before[1]) / 3_000


@pytest.mark.postgres
def test_an_extended_lease_writes_no_index(postgres_schema_url: str) -> None:
    with psycopg.connect(postgres_schema_url, autocommit=True) as connection:
        # The best of several: while somebody has a transaction open on the server, there is no room on the pages.
        assert any(hot_ratio(postgres_schema_url, connection) >= 0.95 for _ in range(8))


@pytest.mark.parametrize("analysed", [True, False])
def test_sqlite_reads_by_the_indexes(sqlite_url: str, analysed: bool) -> None:
    statements: list[str] = []
    repository = open_url(sqlite_url, {"pool_size": 1})
    event.listen(repository.engine, "connect", lambda raw, _: raw.set_trace_callback(statements.append))
    with repository, agentmem.connect(repository) as memory:
        fill(memory)
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
            if analysed:
                connection.execute("ANALYZE")
            statements.clear()
            everything(memory)
            wanted = {each for each in statements if "queue_items" in each}
            plans = [row[3] for each in wanted for row in connection.execute(f"EXPLAIN QUERY PLAN {each}")]
        connection.close()
    lines = [line for line in plans if "queue_items" in line]
    assert len(lines) > 20
    assert [line for line in lines if not line.startswith("SEARCH")] == []
    assert {name for name in INDEXES for line in lines if name in line} >= INDEXES - {"pk_queue_items"}
