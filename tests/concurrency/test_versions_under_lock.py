"""R12 where it is hardest: a put whose row was deleted while it stood in PostgreSQL's queue for it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import agentmem

pytestmark = pytest.mark.postgres

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def put(memory: agentmem.Memory) -> int:
    return memory.put("k", "last").version


def put_if_absent(memory: agentmem.Memory) -> int:
    try:
        return memory.put("k", "last", if_absent=True).version
    except agentmem.VersionConflict:
        return sys.maxsize  # the delete comes last after all


def put_many(memory: agentmem.Memory) -> int:
    return memory.put_many({"k": "last", "other": 1})["k"].version


def increment(memory: agentmem.Memory) -> int:
    memory.increment("k")
    entry = memory.entry("k")
    return sys.maxsize if entry is None else entry.version  # None: the delete came last after all


def queued(url: str, calls: list[Callable[[], Any]]) -> list[Any]:
    """Start the calls one after the other behind a lock on the row `k`; let go when all of them wait."""
    results: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
        holder.execute("SELECT FROM memory_entries WHERE key = 'k' FOR UPDATE")
        for number, thread in enumerate(threads, start=1):
            thread.start()
            deadline = time.monotonic() + 10
            while watcher.execute(WAITING).fetchone() != (number,) and time.monotonic() < deadline:
                time.sleep(0.01)
        holder.rollback()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("last", [put, put_if_absent, put_many, increment])
def test_r12_a_put_that_waited_for_a_delete_gets_a_version_above_all_before(
    postgres_schema_url: str, last: Callable[[agentmem.Memory], int]
) -> None:
    with agentmem.connect(postgres_schema_url) as memory:
        for _ in range(10):
            memory.put("k", 1)
            first, deleted, version = queued(
                postgres_schema_url,
                [lambda: memory.put("k", 2).version, lambda: memory.delete("k"), lambda: last(memory)],
            )
            assert deleted is True
            assert version > first
            if (entry := memory.entry("k")) is not None:  # else the server let the delete pass the last one
                break
    assert entry is not None
    assert entry.version == version


def test_a_batch_whose_row_vanishes_between_its_two_statements_begins_anew(postgres_schema_url: str) -> None:
    stop = threading.Event()
    with agentmem.connect(postgres_schema_url) as memory:

        def churn() -> None:
            while not stop.is_set():
                memory.delete("k")
                memory.put("k", [0])

        threads = [threading.Thread(target=churn) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(200):
            # A lost write would show as a length of 0, or as an error.
            results = memory.apply([agentmem.Append("k", number), agentmem.Append(f"kept/{number}", number)])
            assert results[0].value >= 1
        stop.set()
        for thread in threads:
            thread.join()
        assert memory.count("kept/*") == 200
        assert memory.check() == []
